"""Straddling: groups with images on more than one side, as splits that came with the data may have them.

In: rows of a split. Out: counts, and which test images have leaked. Owns no file.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd


def straddling_groups(splits: pd.DataFrame, *, with_side: str = "") -> int:
    """How many groups lie on more than one side: none, unless folders or a column gave them so.

    Args:
        splits: rows with `split` and `group_id`.
        with_side: count only those that have an image there.
    """
    kept = splits[splits["split"] != ""]
    if with_side:
        kept = kept[kept["group_id"].isin(kept.loc[kept["split"] == with_side, "group_id"])]
    return int((kept.groupby("group_id")["split"].nunique() > 1).sum())


def leaked(images: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which test images have another image of their group in train or val: `(n,) bool`.

    Args:
        images: `n` rows with `split` and `group_id`.
    """
    others = images.loc[images["split"].isin(("train", "val")), "group_id"]
    return ((images["split"] == "test") & images["group_id"].isin(others)).to_numpy(dtype=bool)
