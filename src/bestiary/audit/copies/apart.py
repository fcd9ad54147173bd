"""Setting apart: clusters of copies as a person has decided, who saw that images in them are no copies.

In: clusters as found, and the images that are set apart. Out: clusters. Owns no file: the decisions are rows of
`corrections.csv`, and `duplicates.parquet` keeps what was found.
"""

from collections.abc import Collection

import pandas as pd

from bestiary.audit.copies.kinds_of_copies import SAME_PICTURE


def set_apart(clusters: pd.DataFrame, image_ids: Collection[str]) -> pd.DataFrame:
    """Take images out of their clusters.

    Files with the same bytes are copies whatever is decided: they leave the cluster together, and stay one.

    Args:
        clusters: see `clusters`.
        image_ids: of the images that are no copies of the others in their cluster, nor of one another.

    Returns:
        The clusters that are left, in the same form; one of which one image is left is none.
    """
    contents = clusters["image_id"].str.replace("-.*", "", regex=True)
    alone = contents.isin({image_id.partition("-")[0] for image_id in image_ids})
    if not alone.any():
        return clusters
    own = clusters["cluster_id"] + "-" + contents.str[:8]
    left = clusters.assign(
        cluster_id=clusters["cluster_id"].where(~alone, own),
        picture_id=clusters["picture_id"].where(~alone, own),
        kind=clusters["kind"].where(~alone, SAME_PICTURE),
    )
    return left[left["cluster_id"].duplicated(keep=False)].reset_index(drop=True)
