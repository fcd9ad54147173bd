"""Issues: what an audit may find, one declaration each. Everything else that knows of issues follows from this list.

In and out: nothing. Owns no file.

The order is that in which findings are worth a person's time: of the audit's table, of the report and of the review
page. To add an issue: an entry here, a row in docs/audit.md, and what finds it (see `audit.run`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

About = Literal["image", "copies", "class", "file"]


@dataclass(frozen=True)
class Issue:
    """What is known of one kind of finding.

    Attributes:
        key: its name in `audit.csv` and `corrections.csv`.
        about: what a finding names: an `image`; images that are `copies` of one another (its own and the related ones);
            a whole `class`; a `file` that is left out. Only images and copies are asked about on the review page.
        title: its heading on pages.
        short: its name in the head of a table.
        effect: what it does to the models, in a sentence.
        fix: what to do about it, in a sentence.
        question: what a person has to decide, on the review page.
        with_neighbours: whether its images are shown beside the most similar ones.
        answered_by_label: whether a new label answers it; a `drop` answers all, a `keep` what it names.
        most_cards: how many of it the report shows at most.
    """

    key: str
    about: About
    title: str
    short: str
    effect: str
    fix: str
    question: str
    with_neighbours: bool = False
    answered_by_label: bool = False
    most_cards: int = 6


_POOR = "The model learns little from such an image, and may meet none like it later."
_UNSEEN = "Drop those in which you cannot see the subject yourself."
_QUALITY = "Is it good enough to learn from?"
_COPIES = "Keep one and drop the others, or keep them all."
_NOTHING = "Nothing to decide here: "

_ALL = (
    Issue(
        "unreadable",
        "file",
        title="Files that cannot be read",
        short="Unreadable",
        effect="They are left out: no model sees them.",
        fix="Replace each by a file that can be read, or delete it.",
        question="It is left out already. Replace or delete the file.",
    ),
    Issue(
        "misplaced",
        "file",
        title="Images that lie in no class folder",
        short="Misplaced",
        effect="They are left out: nothing says what they show.",
        fix="Move each into the folder of its class.",
        question=f"{_NOTHING}move the files into the folders of their classes.",
    ),
    Issue(
        "label_conflict",
        "copies",
        title="The same picture in different classes",
        short="Label conflict",
        effect="Training sees both labels, and on test one of the two counts as an error whatever the answer.",
        fix="Decide which class is right; relabel or drop the others.",
        question="Which class is right? Relabel or drop what is wrong.",
        answered_by_label=True,
    ),
    Issue(
        "leak",
        "copies",
        title="Copies on more than one side of the given split",
        short="Leak",
        effect="What is scored was trained on, or is much like it: the test figures may be too high.",
        fix="Put all copies on one side, or let bestiary split again with split.use_given = false and --redraw.",
        question=_COPIES,
    ),
    Issue(
        "label_error",
        "image",
        title="Labels that may be wrong",
        short="Label error",
        effect="In training a wrong label teaches the wrong class; on test it counts a right answer as an error.",
        fix="Check each: relabel it, drop it, or keep it. The suggestion is a guess by a model that never saw it.",
        question="Is the label right?",
        with_neighbours=True,
        answered_by_label=True,
        most_cards=30,
    ),
    Issue(
        "exact_duplicate",
        "copies",
        title="Exact copies",
        short="Exact copies",
        effect="One photo counts several times, in training and in the score.",
        fix="Keep one of each.",
        question=_COPIES,
    ),
    Issue(
        "near_duplicate",
        "copies",
        title="Near copies",
        short="Near copies",
        effect="One photo, saved again, resized, cropped or mirrored, counts several times; across a split, it leaks.",
        fix="Keep the best of each, which stands first.",
        question="Is it the same picture? Keep one, or keep them all.",
    ),
    Issue(
        "same_scene",
        "copies",
        title="The same scene, or very much alike",
        short="Same scene",
        effect="Apart, on two sides of a split, they would make the score too good.",
        fix="Nothing: all can be kept. Where they carry different labels, check which is right.",
        question="Frames of one scene, or one picture? Keep them all, unless it is one picture.",
    ),
    Issue(
        "outlier",
        "image",
        title="Unlike every class",
        short="Outlier",
        effect="Such an image may not belong to the data, or be the only one of its kind.",
        fix="Drop what does not belong; of what does, collect more.",
        question="Does it belong to this data set?",
        with_neighbours=True,
        answered_by_label=True,
    ),
    Issue(
        "shortcut",
        "class",
        title="Classes that metadata alone give away",
        short="Shortcut",
        effect="A model can learn size, format, light or borders instead of the subject, and fails where they differ.",
        fix="Collect images of the class from other sources, or bring all images to the same form.",
        question=f"{_NOTHING}keep it in mind when you collect.",
        most_cards=30,
    ),
    Issue(
        "similar_classes",
        "class",
        title="Classes whose names are nearly the same",
        short="Similar names",
        effect="If they are one class, the model is taught to separate what is the same.",
        fix="If they are one class, make them one with data.rename or by renaming the folder.",
        question=f"{_NOTHING}rename the folder, or set data.rename.",
        most_cards=30,
    ),
    Issue(
        "rare_class",
        "class",
        title="Classes with too few images to be split",
        short="Rare class",
        effect="They are left out: no model knows them, and it will call their images something else.",
        fix='Collect more, merge them with data.rename or data.rare = "merge:other", or delete the folder.',
        question=f"{_NOTHING}collect more, or set data.rare.",
        most_cards=30,
    ),
    Issue(
        "small_class",
        "class",
        title="Classes with few images",
        short="Small class",
        effect="A model learns such a class badly, and its figures are very uncertain.",
        fix="Collect more, or join it to another class with data.rename.",
        question=f"{_NOTHING}collect more.",
        most_cards=30,
    ),
    Issue(
        "imbalance",
        "class",
        title="Classes of unequal size",
        short="Imbalance",
        effect="Models favour large classes, and plain accuracy hides it: see balanced accuracy.",
        fix="Collect more of the small ones, or set class_weights.",
        question=f"{_NOTHING}keep it in mind when you compare.",
        most_cards=30,
    ),
    Issue("dark", "image", "Very dark images", "Dark", _POOR, _UNSEEN, _QUALITY),
    Issue("light", "image", "Very bright images", "Bright", _POOR, _UNSEEN, _QUALITY),
    Issue("blurry", "image", "Blurry images", "Blurry", _POOR, _UNSEEN, _QUALITY),
    Issue(
        "low_information",
        "image",
        title="Images with little in them",
        short="Little in it",
        effect=_POOR,
        fix="Drop blank and broken pictures; keep plain ones.",
        question=_QUALITY,
    ),
    Issue(
        "odd_aspect_ratio",
        "image",
        title="Images of an odd shape",
        short="Odd shape",
        effect="Made square, they lose their sides or their proportions.",
        fix="Crop them to the subject, or drop them.",
        question=_QUALITY,
    ),
    Issue(
        "odd_size",
        "image",
        title="Images of an odd size",
        short="Odd size",
        effect="Very small ones are blurred when enlarged; very large ones may come from elsewhere.",
        fix="Check whether they show what the others show.",
        question=_QUALITY,
    ),
    Issue(
        "grayscale",
        "image",
        title="Grey images among coloured ones",
        short="Grey",
        effect="If one class has more of them, lack of colour gives the class away.",
        fix="Drop them where the class does not need them.",
        question=_QUALITY,
    ),
    Issue(
        "mask",
        "file",
        title="Masks beside photos",
        short="Masks",
        effect="They are left out: as images they would teach the class a picture of few colours.",
        fix='Leave them; data.masks = "keep" takes them as images.',
        question=f"{_NOTHING}they are left out.",
    ),
    Issue(
        "other_files",
        "file",
        title="Files that are no images",
        short="Other files",
        effect="They are left out, and change nothing.",
        fix="Leave them, or move them out of the folder.",
        question=f"{_NOTHING}they are left out.",
    ),
)

ISSUES: dict[str, Issue] = {issue.key: issue for issue in _ALL}


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of issues, each once, in the order of `ISSUES`; names that are none come last."""
    place = {name: number for number, name in enumerate(ISSUES)}
    return tuple(sorted(dict.fromkeys(names), key=lambda name: place.get(name, len(place))))


def is_about_copies(key: str) -> bool:
    """Whether the images of a finding, its own and the related ones, are copies of one another."""
    return ISSUES[key].about == "copies"


def is_asked_about(key: str) -> bool:
    """Whether a finding of this kind is decided on an image: not on a class, nor on a file that is left out."""
    return ISSUES[key].about in ("image", "copies")
