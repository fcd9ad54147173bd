"""Issues: what an audit may find, one declaration each. Everything that depends on an issue is derived from it here.

In and out: nothing. Owns no file. The order of the findings table, what answers a finding, the report's cards, the
review page and the table in docs/audit.md follow from the declarations. Issues stand in the order in which they are
worth a person's time. To add one: declare it, add its row to docs/audit.md, and return `Finding`s that name it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# What a finding is about, and how it is shown.
# judged: an image that a model doubts, beside its nearest neighbours. copies: images that are copies of one another.
# image: an image by itself. file: a file that no model sees. class: a whole class.
Kind = Literal["judged", "copies", "image", "file", "class"]

# Cards of one issue in the report: how many, and how many of them are open.
_CARDS: dict[Kind, tuple[int, int]] = {
    "judged": (6, 6),
    "copies": (6, 3),
    "image": (6, 6),
    "file": (6, 6),
    "class": (30, 6),
}


@dataclass(frozen=True)
class Issue:
    """A kind of fault.

    Attributes:
        key: its name in `audit.csv` and `corrections.csv`.
        kind: what its findings are about, and how they are shown.
        title: the heading above its findings in the report.
        short: its name at the head of a column.
        effect: a sentence on what it does to models.
        fix: a sentence on what to do.
        name: what the review page calls one finding.
        question: what the review page asks about it.
        relabel_answers: whether a new label answers it, besides `drop` and `keep`.
        cards: how many cards of it the report has, where that is not what its kind has.
    """

    key: str
    kind: Kind
    title: str
    short: str
    effect: str
    fix: str
    name: str
    question: str
    relabel_answers: bool = False
    cards: int | None = None

    @property
    def are_copies(self) -> bool:
        """Whether the images of a finding (its own and the related ones) are copies of one another."""
        return self.kind == "copies"

    @property
    def asks(self) -> bool:
        """Whether the review page asks for a decision; the others are for information."""
        return self.kind not in ("file", "class")

    @property
    def most_cards(self) -> int:
        """How many findings the report shows as cards."""
        return _CARDS[self.kind][0] if self.cards is None else self.cards

    @property
    def open_cards(self) -> int:
        """How many of the cards are open at first."""
        return _CARDS[self.kind][1]


def _poor_image(key: str, *, title: str, short: str, name: str, fix: str, effect: str = "") -> Issue:
    return Issue(
        key=key,
        kind="image",
        title=title,
        short=short,
        effect=effect or "The model learns little from such an image, and may meet none like it later.",
        fix=fix,
        name=name,
        question="Is it good enough to learn from?",
    )


_IF_UNSEEN = "Drop those in which you cannot see the subject yourself."

_DECLARED = (
    Issue(
        key="unreadable",
        kind="file",
        title="Files that cannot be read",
        short="Unreadable",
        effect="They are left out: no model sees them.",
        fix="Replace each with a whole file, or delete it.",
        name="Unreadable file",
        question="It is left out already. Fix or delete the file.",
    ),
    Issue(
        key="label_conflict",
        kind="copies",
        title="The same picture in different classes",
        short="Label conflict",
        effect="Training gets both labels, and in the test set one of the two counts as an error whatever the answer.",
        fix="Decide which class is right; relabel or drop the others.",
        name="Same picture, two classes",
        question="Which class is right? Relabel or drop what is wrong.",
        relabel_answers=True,
    ),
    Issue(
        key="similar_class_names",
        kind="class",
        title="Class names that differ only in how they are written",
        short="Similar names",
        effect="One class counts as two, and models are asked to tell them apart.",
        fix="Give them one name with data.rename, or put the images into one folder.",
        name="Similar class names",
        question="Nothing to decide here: give them one name with data.rename.",
    ),
    Issue(
        key="leak",
        kind="copies",
        title="Copies in more than one given split",
        short="Leak",
        effect="A model is scored on images that it was trained on: the test figures are too good.",
        fix="Put all copies into one split, or let bestiary split again with split.use_given = false.",
        name="Copies across given splits",
        question="Keep one and drop the others, or keep them all.",
    ),
    Issue(
        key="label_error",
        kind="judged",
        title="Labels that are probably wrong",
        short="Label error",
        effect="In training a wrong label teaches the wrong class; in the test set it makes a right answer an error.",
        fix="Look at each: relabel, drop or keep it. The suggestion is a guess by models that never saw the image.",
        name="Likely label error",
        question="Is the label right?",
        relabel_answers=True,
        cards=30,
    ),
    Issue(
        key="exact_duplicate",
        kind="copies",
        title="Exact copies",
        short="Exact copies",
        effect="One photo counts several times, in training and in the score.",
        fix="Keep one of each.",
        name="Exact copies",
        question="Keep one and drop the others, or keep them all.",
    ),
    Issue(
        key="near_duplicate",
        kind="copies",
        title="Near copies",
        short="Near copies",
        effect="One photo, re-encoded, resized, cropped or mirrored, counts several times; where a split separates the "
        "copies, it leaks.",
        fix="Keep the best of each, which stands first.",
        name="Near copies",
        question="Is it the same picture? Keep one, or keep them all.",
    ),
    Issue(
        key="outlier",
        kind="judged",
        title="Unlike every class",
        short="Outlier",
        effect="Such an image may not belong to the data, or be the only one of its kind.",
        fix="Drop what does not belong; collect more of what does.",
        name="Unlike every class",
        question="Does it belong to this data set?",
        relabel_answers=True,
    ),
    Issue(
        key="shortcut",
        kind="class",
        title="Classes that metadata alone gives away",
        short="Shortcut",
        effect="A model can learn size, format, brightness or borders in place of the subject, and fails where these "
        "differ.",
        fix="Collect images of the class from other sources, or bring all images to the same form.",
        name="Given away by metadata",
        question="Nothing to decide here: mind it when you collect.",
    ),
    Issue(
        key="small_class",
        kind="class",
        title="Classes with few images",
        short="Small class",
        effect="A model learns such a class badly, and its figures are too uncertain to be of use.",
        fix="Collect more, or join it to another class with data.rename.",
        name="Few images in a class",
        question="Nothing to decide here: collect more.",
    ),
    Issue(
        key="imbalance",
        kind="class",
        title="Classes of unequal size",
        short="Imbalance",
        effect="Models favour large classes, and plain accuracy hides it: look at balanced accuracy.",
        fix="Collect more of the small ones, or set class_weights.",
        name="Classes of unequal size",
        question="Nothing to decide here: mind it when you compare.",
    ),
    _poor_image("dark", title="Very dark images", short="Dark", name="Very dark", fix=_IF_UNSEEN),
    _poor_image("light", title="Very bright images", short="Bright", name="Very bright", fix=_IF_UNSEEN),
    _poor_image("blurry", title="Blurry images", short="Blurry", name="Blurry", fix=_IF_UNSEEN),
    _poor_image(
        "low_information",
        title="Images with little in them",
        short="Little in it",
        name="Little to see",
        fix="Drop blank and broken pictures; keep plain ones.",
    ),
    _poor_image(
        "odd_aspect_ratio",
        title="Images of an odd shape",
        short="Odd shape",
        name="Odd shape",
        effect="Made square, they lose their sides or their proportions.",
        fix="Crop them to the subject, or drop them.",
    ),
    _poor_image(
        "odd_size",
        title="Images of an odd size",
        short="Odd size",
        name="Odd size",
        effect="Very small ones are blurred when enlarged; very large ones may come from elsewhere.",
        fix="Check that they show what the others show.",
    ),
    _poor_image(
        "grayscale",
        title="Grey images among coloured ones",
        short="Grey",
        name="Grey among colour",
        effect="If one class has more of them, lack of colour gives the class away.",
        fix="Drop them where the class does not need them.",
    ),
    Issue(
        key="other_files",
        kind="file",
        title="Files that are no images",
        short="Other files",
        effect="They are left out, and change nothing.",
        fix="Leave them, or move them out of the folder.",
        name="Files that are no images",
        question="Nothing to decide here: they are left out.",
    ),
)

# The registry, by key and in order. All that is derived from it is looked up when it is needed.
ISSUE: dict[str, Issue] = {issue.key: issue for issue in _DECLARED}
ISSUES: tuple[str, ...] = tuple(ISSUE)


def place(key: str) -> int:
    """The place of a known issue in the order of issues, from 0."""
    return list(ISSUE).index(key)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of issues, each once, in the order of issues; names that are none come last."""
    known = {name: number for number, name in enumerate(ISSUE)}
    return tuple(sorted(dict.fromkeys(names), key=lambda name: known.get(name, len(known))))
