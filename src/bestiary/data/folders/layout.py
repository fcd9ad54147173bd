"""What the folders above the images mean: classes, or splits with classes in them.

In: what a walk found. Out: a `Layout`, which gives each path its label and split. Owns no file.

The layouts that are read: `class/...`, `split/class/...` and `class/split/...`. A folder is a split's where its name
says so. Where the same folders recur below all top folders and the names do not say what the top folders are, it could
be either: that is an error, since a wrong guess would be a classifier of test against train.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bestiary.config.schema import SplitName
from bestiary.data.folders.walk import SIDECAR_FILE, SYSTEM_FILE, Found
from bestiary.errors import DataError, UsageError

TopFolders = Literal["auto", "classes", "splits"]

NO_CLASS_FOLDER = "lies in no class folder"
NO_SPLIT_FOLDER = "lies in no split folder"
EMPTY_FOLDER = "folder without image files"

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
# Such names are a split's only where the folders below agree: they may be classes. `eval` and `evaluation` are left
# out: some sets call their validation images so, others their test images.
_ABBREVIATIONS: dict[str, SplitName] = {
    "tr": "train",
    "trn": "train",
    "dev": "val",
    "vl": "val",
    "te": "test",
    "ts": "test",
    "tst": "test",
}
# What is added to such names: train_images, Training Set, images-train.
_FILLERS = frozenset(
    [
        *("set", "sets", "data", "dataset", "split", "folder", "files", "samples", "seg"),
        *("image", "images", "img", "imgs", "photo", "photos", "pictures"),
    ]
)


@dataclass(frozen=True)
class Layout:
    """What the folders of a data set mean.

    Attributes:
        splits: where the top folders are splits, the split of each, and the folder in which its classes lie.
        splits_below: whether class folders hold split folders.
    """

    splits: Mapping[str, tuple[SplitName, str]] = field(default_factory=dict)
    splits_below: bool = False

    def place(self, path: str) -> tuple[str, str, str]:
        """Label, split, and the reason why a file has no label; of a folder as well, with `/` at its end."""
        parts = path.split("/")
        if not self.splits:
            label = parts[0] if len(parts) > 1 else ""
            split = (split_of(parts[1]) or "") if self.splits_below and len(parts) > 2 else ""
            return label, split, "" if label else NO_CLASS_FOLDER
        if parts[0] not in self.splits or len(parts) == 1:
            return "", "", NO_SPLIT_FOLDER
        split, classes_in = self.splits[parts[0]]
        inner = path.removeprefix(classes_in + "/").split("/") if path.startswith(classes_in + "/") else []
        label = inner[0] if len(inner) > 1 else ""
        return label, split, "" if label else NO_CLASS_FOLDER


def split_of(name: str, *, ignoring: Iterable[str] = (), abbreviated: bool = False) -> SplitName | None:
    """The split that a folder's name stands for, such as `train` of `Training`, `train_images` and `train2017`.

    Args:
        name: of one folder.
        ignoring: words that say nothing here, since all folders beside it have them.
        abbreviated: whether `tr`, `dev`, `ts` and their like count.
    """
    words = [word for word in _words(name) if word not in _FILLERS]
    left = [word for word in words if word not in set(ignoring)] or words
    joined = "".join(left)
    known = {**SPLIT_FOLDERS, **_ABBREVIATIONS} if abbreviated else SPLIT_FOLDERS
    for filler in ("", *sorted(_FILLERS, key=len, reverse=True)):
        if joined.endswith(filler) and (split := known.get(joined[: len(joined) - len(filler)])):
            return split
    return None


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", name.casefold())


class _Tree:
    """The folders that hold what may be images, at any depth."""

    def __init__(self, found: Iterable[Found]) -> None:
        self.below: dict[str, set[str]] = {"": set()}
        self.with_files: set[str] = set()
        folders: list[str] = []
        for item in found:
            if item.is_folder and not item.error:
                folders.append(item.path)
            elif item.error not in (SYSTEM_FILE, SIDECAR_FILE):
                parts = item.path.split("/") if item.is_folder else item.path.split("/")[:-1]
                self.with_files.add("/".join(parts))
                for depth, name in enumerate(parts):
                    self.below.setdefault("/".join(parts[:depth]), set()).add(name)
                    self.below.setdefault("/".join(parts[: depth + 1]), set())
        self.without_images = [path for path in folders if path not in self.below]

    @property
    def tops(self) -> list[str]:
        return sorted(self.below[""])

    def classes_in(self, top: str) -> str:
        """The folder in which the classes of a split lie: the split's own, or one in it of the same or no meaning."""
        place = top
        while len(self.below[place]) == 1 and place not in self.with_files:
            (name,) = self.below[place]
            says_nothing = bool(_words(name)) and set(_words(name)) <= _FILLERS
            says_the_same = name.casefold() == top.casefold() or split_of(name) in {split_of(top)} - {None}
            if not self.below[f"{place}/{name}"] or not (says_nothing or says_the_same):
                break
            place += f"/{name}"
        return place

    def classes_of(self, top: str) -> set[str]:
        return self.below[self.classes_in(top)]


def read_layout(root: str, found: Sequence[Found], top_folders: TopFolders = "auto") -> Layout:
    """Find out what the top folders of a data set are.

    Args:
        root: for messages.
        found: all that a walk found.
        top_folders: what the user says that they are.

    Raises:
        DataError: they may be splits or classes, or a folder beside splits is no split; says what to rename or set.
        UsageError: they are said to be splits, and a name is no split's.
    """
    tree = _Tree(found)
    tops = tree.tops
    if top_folders == "splits":
        return _as_splits(root, tree, tops)
    splits_below = len(tops) > 1 and _hold_splits(tree, tops)
    if top_folders == "classes" or len(tops) < 2 or splits_below:
        return Layout(splits_below=splits_below)
    return _guessed(root, tree, tops)


def _hold_splits(tree: _Tree, tops: Sequence[str]) -> bool:
    """Whether the folders below are splits, and the top folders none."""
    below = [{split_of(name) for name in tree.below[top]} for top in tops]
    return (
        all(below)
        and not any(None in splits for splits in below)
        and len(set.union(*below)) > 1
        and not all(split_of(top) for top in tops)
    )


def _guessed(root: str, tree: _Tree, tops: Sequence[str]) -> Layout:
    known = _known_splits(tops)
    if len(known) == len(tops) and len(set(known.values())) > 1:
        return _splits(tree, known)
    if recurring := _recurring([tree.classes_of(top) for top in tops]):
        known = _known_splits(tops, abbreviated=True)
        if len(known) < len(tops):
            raise DataError(_either(root, [top for top in tops if top not in known], recurring))
        return _splits(tree, known)
    with_classes = [top for top in known if len(tree.classes_of(top)) > 1 and top not in tree.with_files]
    if not with_classes:
        return Layout()
    classes = set.union(*(tree.classes_of(top) for top in known))
    others = [top for top in tops if top not in known]
    if len(set(known.values())) == 1:
        raise DataError(_either(root, with_classes, classes, beside=others))
    if same := [top for top in others if top in classes or tree.classes_of(top) & classes]:
        raise DataError(_either(root, same, classes))
    return _splits(tree, known)


def _known_splits(tops: Sequence[str], *, abbreviated: bool = False) -> dict[str, SplitName]:
    everywhere = set.intersection(*(set(_words(top)) for top in tops)) if len(tops) > 1 else set()
    splits = {top: split_of(top, ignoring=everywhere, abbreviated=abbreviated) for top in tops}
    return {top: split for top, split in splits.items() if split is not None}


def _splits(tree: _Tree, known: Mapping[str, SplitName]) -> Layout:
    return Layout({top: (split, tree.classes_in(top)) for top, split in known.items()})


def _recurring(classes: Sequence[set[str]]) -> set[str]:
    """The folders that are below each of several folders, where these are two or more and most of all."""
    shared = set.intersection(*classes)
    return shared if len(shared) >= 2 and 2 * len(shared) >= len(set.union(*classes)) else set()


def _either(root: str, unclear: Sequence[str], classes: Iterable[str], *, beside: Sequence[str] = ()) -> str:
    """What is unclear, and what to do in either case."""
    names, inner = _listed(unclear), _listed(sorted(classes))
    what = f"the folder {names} holds" if len(unclear) == 1 else f"the folders {names} hold"
    if beside:
        way_out = f"give {root}/{unclear[0]} alone, or move {_listed(beside)} elsewhere"
    else:
        way_out = f"rename {names} to train, val or test, or move what is of no split elsewhere"
    return (
        f"{root}: {what} folders that may be classes ({inner}), or may lie within a class. If they are the classes, "
        f"{way_out}. If the top folders are the classes, set data.top_folders=classes (in study.toml, or by --set)"
    )


def _as_splits(root: str, tree: _Tree, tops: Sequence[str]) -> Layout:
    known = _known_splits(tops, abbreviated=True)
    if unknown := [top for top in tops if top not in known]:
        raise UsageError(
            f'data.top_folders = "splits": {root} has the top folders {_listed(tops)}, and {_listed(unknown)} '
            f"{'is' if len(unknown) == 1 else 'are'} of no split that is known: rename to train, val or test"
        )
    return _splits(tree, known)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def empty_folders(found: Sequence[Found], layout: Layout) -> list[str]:
    """The top folders, and the class folders of splits, in which no file can be an image."""
    return [path for path in _Tree(found).without_images if "/" not in path or _is_class(path, layout)]


def _is_class(folder: str, layout: Layout) -> bool:
    return bool(layout.place(f"{folder}/")[0]) and not layout.place(folder)[0]
