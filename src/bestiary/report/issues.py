"""What each kind of finding is called, what it does to the models, and what to do about it.

In: nothing. Out: `WORDS`, by issue. Owns no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bestiary.audit.findings import Issue


@dataclass(frozen=True)
class Words:
    """A heading, a short name for a table's head, and one sentence each on what it does and what to do."""

    title: str
    short: str
    effect: str
    mend: str


_POOR = "The model learns little from such an image, and may meet none like it later."
WORDS: Mapping[Issue, Words] = {
    "unreadable": Words(
        "Files that cannot be read",
        "Unreadable",
        "They are left out: no model sees them.",
        "Put a whole file in the place of each, or delete it.",
    ),
    "label_conflict": Words(
        "The same picture in different classes",
        "Label conflict",
        "Training is told both, and on test one of the two counts as an error whatever the answer.",
        "Decide which class is right; relabel or drop the others.",
    ),
    "leak": Words(
        "Copies on more than one side of the given split",
        "Leak",
        "What is scored was trained on: the test figures are too good.",
        "Put all copies on one side, or let bestiary divide anew with split.use_given = false.",
    ),
    "label_error": Words(
        "Labels that are probably wrong",
        "Label error",
        "In training a wrong label teaches the wrong class; on test it counts a right answer as an error.",
        "Look at each: relabel it, drop it, or keep it. The suggestion is a guess by models that never saw the image.",
    ),
    "exact_duplicate": Words(
        "Exact copies",
        "Exact copies",
        "One photo counts several times, in training and in the score.",
        "Keep one of each.",
    ),
    "near_duplicate": Words(
        "Near copies",
        "Near copies",
        "One photo, saved anew, resized, cropped or mirrored, counts several times; parted by a split, it leaks.",
        "Keep the best of each, which stands first.",
    ),
    "outlier": Words(
        "Unlike every class",
        "Outlier",
        "Such an image may not belong to the data, or be the only one of its kind.",
        "Drop what does not belong; of what does, collect more.",
    ),
    "shortcut": Words(
        "Classes told apart without looking",
        "Shortcut",
        "A model can learn size, format, light or borders in place of the subject, and fails where these differ.",
        "Collect images of the class from other sources, or bring all images to the same form.",
    ),
    "small_class": Words(
        "Classes with few images",
        "Small class",
        "A model learns such a class badly, and its figures are too uncertain to tell.",
        "Collect more, or join it to another class with data.rename.",
    ),
    "imbalance": Words(
        "Classes of unequal size",
        "Imbalance",
        "Models lean towards large classes, and plain accuracy hides it: look at balanced accuracy.",
        "Collect more of the small ones, or set class_weights.",
    ),
    "dark": Words("Very dark images", "Dark", _POOR, "Drop those in which you cannot see the subject yourself."),
    "light": Words("Very bright images", "Bright", _POOR, "Drop those in which you cannot see the subject yourself."),
    "blurry": Words("Blurry images", "Blurry", _POOR, "Drop those in which you cannot see the subject yourself."),
    "low_information": Words(
        "Images with little in them", "Little in it", _POOR, "Drop blank and broken pictures; keep plain ones."
    ),
    "odd_aspect_ratio": Words(
        "Images of an odd shape",
        "Odd shape",
        "Made square, they lose their sides or their proportions.",
        "Crop them to the subject, or drop them.",
    ),
    "odd_size": Words(
        "Images of an odd size",
        "Odd size",
        "Very small ones are blurred when enlarged; very large ones may come from elsewhere.",
        "Look whether they show what the others show.",
    ),
    "grayscale": Words(
        "Grey images among coloured ones",
        "Grey",
        "If one class has more of them, lack of colour gives the class away.",
        "Drop them where the class does not need them.",
    ),
}
