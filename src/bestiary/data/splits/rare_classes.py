"""Rare classes: those of fewer images than there are sides, and what `data.rare` makes of them.

In: the index as read. Out: the same with such classes left out, or merged into one. Owns no file.
"""

import pandas as pd

from bestiary.errors import DataError
from bestiary.plurals import counted

FEWEST_IMAGES = 3
# How the error of an image begins whose class is left out. The image itself is sound.
RARE = "left out with its class"
_MERGE = "merge:"


def apply_rare(index: pd.DataFrame, how: str) -> pd.DataFrame:
    """Leave classes of fewer than `FEWEST_IMAGES` readable images out, or merge them.

    A class that folders or a column give a val or test image is none: its sides are given.

    Args:
        index: as `build_index` gives it.
        how: `data.rare`: `leave_out`; `merge:NAME`, whose images become class NAME, which is left out where it is
            still too small; or `refuse`, with which the split names them.

    Returns:
        The same rows; of those left out, `error` says why.

    Raises:
        DataError: fewer than two classes are left.
    """
    if how == "refuse":
        return index
    table = index.copy()
    if how.startswith(_MERGE):
        table.loc[table["label"].isin(_rare(table)) & (table["error"] == ""), "label"] = how.removeprefix(_MERGE)
    sizes = _rare(table)
    rows = table["label"].isin(sizes) & (table["error"] == "")
    counts = table.loc[rows, "label"].map(lambda name: f"{RARE}, which has {counted(sizes[name], 'image')}")
    table.loc[rows, "error"] = counts
    left = table.loc[table["error"] == "", "label"].nunique()
    if rows.any() and left < 2:
        names = ", ".join(f"{name!r} ({counted(sizes[name], 'image')})" for name in sorted(sizes)[:5])
        raise DataError(
            f"{counted(left, 'class', 'classes')} {'has' if left == 1 else 'have'} {FEWEST_IMAGES} images or more, and "
            f"a classifier needs two. Too small: {names}{' ...' if len(sizes) > 5 else ''}. Add images, or merge "
            'classes with data.rename or data.rare = "merge:other"'
        )
    return table


def is_rare(index: pd.DataFrame) -> pd.Series:
    """Which rows are of sound images whose class was left out: booleans."""
    return index["error"].str.startswith(RARE)


def _rare(index: pd.DataFrame) -> dict[str, int]:
    """The size of each class that is too small."""
    images = index[index["error"] == ""]
    sizes = images["label"].value_counts()
    given = set(images.loc[images["split_given"].isin(("val", "test")), "label"])
    return {str(name): int(size) for name, size in sizes.items() if size < FEWEST_IMAGES and name not in given}
