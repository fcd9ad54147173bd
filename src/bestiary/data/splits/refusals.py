"""What a split refuses, in words that name every class it is about.

In: images, with the sides that they have or got. Out: nothing, or a `SplitError`. Owns no file.
"""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.schema import SPLITS
from bestiary.data.groups import group_ids
from bestiary.errors import SplitError
from bestiary.plurals import counted

_NAMED = 10
_REDRAW = "draw all images anew with `bestiary split STUDY --redraw`"


def refuse_too_small(images: pd.DataFrame, order: Sequence[str], *, known: Collection[str]) -> None:
    """Refuse classes that have fewer images than there are sides to draw.

    Args:
        images: those that are drawn, or were.
        order: the sides, train among them.
        known: classes that have a side already. One that shrank is reported, not refused; see `splits.missing_classes`.
    """
    sizes = images["label"].value_counts().sort_index()
    small = sizes[(sizes < len(order)) & ~sizes.index.isin(known)]
    if small.empty:
        return
    sides = [side for side in SPLITS if side in order]
    raise SplitError(
        f"too small to split: {_listed(small)}. {', '.join(sides[:-1]).capitalize()} and {sides[-1]} need an image of "
        f"every class each. Add images, join classes with data.rename, or take {_these(small)} out of the data: "
        f"{_where(images, small)}"
    )


def refuse_lacking(
    images: pd.DataFrame,
    sides: npt.NDArray[np.object_],
    groups: npt.NDArray[np.int64],
    *,
    given: npt.NDArray[np.bool_],
    known: Collection[str],
) -> None:
    """Refuse a side that has no image, and a class with none to train on.

    A class of too few groups may lack val, or val and test: see `split_table.missing_classes`.

    Args:
        images: all readable ones.
        sides: of each, `(n,)` strings.
        groups: of each, `(n,) int64`.
        given: whether a folder or column put it, or a copy of it, into val or test, `(n,) bool`.
        known: classes that had a side before.
    """
    labels = images["label"].to_numpy(dtype=object)
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    counts = pd.DataFrame({side: np.bincount(codes[sides == side], minlength=len(names)) for side in SPLITS}, names)
    sizes = counts.sum(axis=1)
    untrained = sizes[counts["train"] == 0]
    only_given = untrained[~untrained.index.isin(labels[~given])]
    if len(only_given):
        raise SplitError(
            f"nothing to train on: {_listed(only_given)}. Folders or the split column put every image of "
            f"{_these(only_given)} into val or test. Put some into train, take {_these(only_given)} out of the data, "
            f"or set split.use_given = false to draw all sides: {_where(images, only_given)}"
        )
    moved = untrained[untrained.index.isin(known)]
    if len(moved):
        raise SplitError(
            f"nothing left to train on: {_listed(moved)}. Every image of {_these(moved)} is in val or test, and stays "
            f"there with its copies. Add images, or {_REDRAW}"
        )
    if len(untrained):
        _refuse_groups(images, groups, labels, untrained)
    for side in SPLITS:
        if not (sides == side).any():
            raise SplitError(
                f"no image is left in {side}: those that were there are gone, or folders or a column gave them another "
                f"split. Add images, or {_REDRAW}"
            )


def _refuse_groups(
    images: pd.DataFrame,
    groups: npt.NDArray[np.int64],
    labels: npt.NDArray[np.object_],
    lacking: pd.Series,
) -> None:
    of_class = labels == lacking.index[0]
    largest = np.unique(groups[of_class], return_counts=True)[1]
    fix = f"Add images, or take {_these(lacking)} out of the data: {_where(images, lacking)}"
    if (exact := len(np.unique(group_ids(images)[of_class]))) > len(largest):
        fix += (
            '. Or set split.group_duplicates = "exact": near duplicates may then lie on two sides, and there are '
            f"{exact} groups of {str(lacking.index[0])!r}"
        )
    raise SplitError(
        f"no train image of {_listed(lacking)}: copies, and images of one group value, stay on one side, and "
        f"{_these(lacking)} {'has' if len(lacking) == 1 else 'have'} too few groups of them. Those of "
        f"{str(lacking.index[0])!r} are {counted(len(largest), 'group')}, the largest of "
        f"{counted(int(largest.max()), 'image')}. {fix}"
    )


def _these(classes: pd.Series) -> str:
    return "this class" if len(classes) == 1 else "these classes"


def _listed(classes: pd.Series) -> str:
    """Class names with their sizes, up to ten."""
    shown = [f"{str(name)!r} ({counted(int(size), 'image')})" for name, size in classes.iloc[:_NAMED].items()]
    more = len(classes) - len(shown)
    return ("class " if len(classes) == 1 else "classes ") + ", ".join(shown) + (f" and {more} more" if more else "")


def _where(images: pd.DataFrame, classes: pd.Series) -> str:
    """Where the first of these classes lies: a path says which folder, or which rows of a table."""
    of_class = images.loc[images["label"] == classes.index[0], "path"]
    return f"the first image of {str(classes.index[0])!r} is {of_class.iloc[0]!r}"
