"""Whether a cluster is one picture, or pictures of one object or scene.

In: small grey pictures, and how alike the members of clusters are. Out: a kind for each cluster. Owns no file.

Of *the same picture* one is to be kept; pictures of *the same scene* (a burst, exposures of one object, or only
pictures that are very much alike) stay on one side of a split, and all are to be kept. What is said to be one picture
needs evidence:

- All details agree as after re-encoding (`SURE`), or they agree as after cropping and there is detail nearly
  everywhere: two photos of bottles on a table agree where there is an edge, and have few of them.
- In a set that is alike throughout, where the near-duplicate threshold had to be raised (see `threshold`), details of
  different pictures agree as well. There the distance to 1 may be a fifth of that of the threshold, at most; where
  larger pictures can be had, these decide (see `certain`).
- Fine detail agrees, too, where larger pictures can be had (see `closer`): textures, and photos of like things.
- Details are compared in grey. Where members of a cluster are coloured, their colours have to agree, too: a blue bucket
  is no copy of a green one.
"""

import numpy as np
import numpy.typing as npt

from bestiary.audit.copies.alignment import Pairs, Pictures, Values
from bestiary.audit.copies.closer import LEAST_CLOSE, Loader, fine_agreement
from bestiary.audit.copies.similarity import contrasts
from bestiary.audit.copies.threshold import LEAST_SIMILARITY

Colours = npt.NDArray[np.float64]

SAME_PICTURE, SAME_SCENE = "same_picture", "same_scene"

# By eye, of 52 clusters of photos of rubbish: of the 9 below 0.95 none is one picture, of the 43 above all but one. Of
# 17 of flowers and 23 of animals all are, down to 0.83, with detail in 0.80 to 1.00 of the picture.
SURE = 0.965
_DETAILED_SHARE = 0.85
# Of 255. Contrasts below are noise of encoding.
_LEAST_CONTRAST = 2.0
_ALIKE_SHARE = 0.2
# Copies (encoded anew, resized, cropped by 5 %, mirrored, brightened by 30 %) of 240 pictures of three sets differ by
# 0.076 at most; of 85 clusters of three sets two differ by more than 0.03, by 0.56 and 0.6: other colours.
_TINTS_AGREE = 0.12
# Mean saturation below which a picture has no tint to speak of.
_COLOURED = 0.03


def kinds(
    pictures: Pictures,
    cluster: npt.NDArray[np.int64],
    most_like: Values,
    *,
    least: float,
    colours: Colours | None = None,
    pairs: Pairs | None = None,
    load: Loader | None = None,
) -> npt.NDArray[np.object_]:
    """`same_picture` or `same_scene` for each picture, the same within a cluster: `(n,)`.

    Args:
        pictures: `(n, 64, 64) uint8`.
        cluster: of each, `(n,) int64` from 0.
        most_like: the similarity to the member that it is most like, `(n,) float32`; 0 of one that stands alone.
        colours: `(n, 3)`: `tint_red`, `tint_green` and `saturation` (see `measures`); None: grey pictures.
        least: the near-duplicate threshold of the set.
        pairs: `(m, 2) int64`, those of one cluster that are most alike: each member stands in one at least.
        load: gives larger pictures; None: there are none.
    """
    count = int(cluster.max(initial=-1)) + 1
    similarity = np.ones(count, dtype=np.float32)
    np.minimum.at(similarity, cluster, most_like)
    detailed = np.ones(count)
    several = np.flatnonzero(most_like > 0)
    share = (contrasts(pictures[several].astype(np.float32) - 128) > _LEAST_CONTRAST).mean(axis=(1, 2))
    np.minimum.at(detailed, cluster[several], share)
    if least > LEAST_SIMILARITY:
        same = similarity >= max(SURE, 1 - _ALIKE_SHARE * (1 - least))
    else:
        same = (similarity >= SURE) | (detailed >= _DETAILED_SHARE)
    if colours is not None:
        same &= colours_agree(colours, cluster, count)
    if pairs is not None and load is not None:
        due = pairs[same[cluster[pairs[:, 0]]]]
        np.logical_and.at(same, cluster[due[:, 0]], fine_agreement(pictures, due, load) >= LEAST_CLOSE)
    return np.where(same, SAME_PICTURE, SAME_SCENE).astype(object)[cluster]


def colours_agree(colours: Colours, cluster: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    """Whether the tints of the coloured members of each cluster lie close together: `(count,)`."""
    coloured = colours[:, 2] >= _COLOURED
    red, green = colours[coloured, 0], colours[coloured, 1]
    spread = np.zeros(count)
    for tint in (red, green, 1 - red - green):
        lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(lowest, cluster[coloured], tint)
        np.maximum.at(highest, cluster[coloured], tint)
        spread = np.maximum(spread, np.where(highest >= lowest, highest - lowest, 0))
    return spread <= _TINTS_AGREE
