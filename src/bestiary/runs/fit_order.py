"""The order in which images are fitted: that of their contents, so that a renamed file changes nothing.

In: images of a study. Out: some of them, in order. Owns no file. No torch.
"""

import pandas as pd


def in_order(images: pd.DataFrame) -> pd.DataFrame:
    """The images to prepare, in an order that no file name changes; dropped ones only if they were drawn to score."""
    wanted = images[(images["split"] != "") | images["drawn"].isin(("val", "test"))]
    return wanted.sort_values(["sha256", "label", "image_id"], kind="stable").reset_index(drop=True)
