"""The near-duplicate threshold of a set: how alike two of its pictures have to be, to be copies.

In: the pictures of a set, and its pairs that are alike. Out: a similarity (see `similarity`). Owns no file.

In most sets pictures that are no copies have no detail in common, and one threshold serves all. In some they have:
scans of one form, digits, frames of one camera. So the look-alikes of the set are measured: of each image one that is
near to it, but behind its copies. A copy differs from its original by less than a fifth of what look-alikes do.

In sets where each photo stands in many versions, what is near to a photo are its versions, which are no look-alikes.
Two things distinguish versions from look-alikes: there are few of one photo, and some of them are as like one another
as only re-encodings are.
"""

import numpy as np
import numpy.typing as npt

from bestiary.audit.copies.alignment import Pairs, Pictures, direct_correlation, wholes
from bestiary.audit.copies.similarity import similarities
from bestiary.data.groups import connected

Groups = npt.NDArray[np.int64]

# Enough for copies in a set of different photos; docs/audit.md has what lies on both sides of it.
LEAST_SIMILARITY = 0.83

# The distance of copies to 1, as a share of that of look-alikes: of the quarter of these that are most alike, so that
# one class that is alike throughout counts.
_SHARE, _QUANTILE = 0.2, 0.25
_SAMPLE, _RANK, _RANK_SHARE, _SIDE = 400, 6, 0.02, 16
_ROWS_AT_ONCE = 50
# So many images at most, and of the set at most half, are versions of one photo. In sets of more than 2,500 images the
# 2 % rank lies behind them anyway. Three of them at least, and a quarter, correlate as wholes as after re-encoding,
# resizing or mirroring (0.9998 in the median; scans that differ in a twentieth of their contrast, 0.998).
_VERSIONS, _VERSIONS_SHARE = 50, 0.5
_REENCODED, _REENCODED_SIDE, _CORE, _CORE_SHARE = 0.999, 32, 3, 0.25


def near_duplicate_threshold(pictures: Pictures, alike: Pairs) -> float:
    """The least similarity of copies: `LEAST_SIMILARITY`, or more where pictures that are no copies come near to it.

    Args:
        pictures: `(n, 64, 64) uint8`.
        alike: `(m, 2)`, the pairs of at least `LEAST_SIMILARITY`.
    """
    pairs = _look_alikes(pictures, _versions(pictures, alike))
    if not len(pairs):
        return LEAST_SIMILARITY
    distance = 1 - float(np.quantile(similarities(pictures, pairs), 1 - _QUANTILE))
    return max(LEAST_SIMILARITY, 1 - _SHARE * distance)


def _versions(pictures: Pictures, alike: Pairs) -> Groups:
    """Of each image a number that it shares with other versions of it, if it is one of several: `(n,) int64`."""
    count = len(pictures)
    reencoded = direct_correlation(pictures, alike, side=_REENCODED_SIDE) >= _REENCODED
    group, core = connected(count, alike), connected(count, alike[reencoded])
    size, core_size = np.bincount(group, minlength=count), np.bincount(core, minlength=count)[core]
    largest_core = np.zeros(count, dtype=np.int64)
    np.maximum.at(largest_core, group, core_size)
    few = size <= min(_VERSIONS, _VERSIONS_SHARE * count)
    are_versions = few & (largest_core >= _CORE) & (largest_core >= _CORE_SHARE * size)
    return np.where(are_versions[group], group, count + np.arange(count))


def _look_alikes(pictures: Pictures, versions: Groups) -> Pairs:
    """Images of a sample, each with a look-alike: the 2 % rank, or the sixth, by correlation as wholes.

    Versions of an image are left out. None where there are too few images.
    """
    count = len(pictures)
    rank = max(_RANK, round(_RANK_SHARE * count))
    if count <= rank:
        return np.empty((0, 2), dtype=np.int64)
    plain, mirrored = wholes(pictures, side=_SIDE)
    sample = np.unique(np.linspace(0, count - 1, _SAMPLE).astype(np.int64))
    near = []
    for start in range(0, len(sample), _ROWS_AT_ONCE):
        rows = sample[start : start + _ROWS_AT_ONCE]
        distance = -np.maximum(plain[rows] @ plain.T, plain[rows] @ mirrored.T)
        own = versions[rows, None] == versions[None]
        distance[own] = np.inf
        # Where there are not so many others, the farthest of them.
        place = np.minimum(rank, count - own.sum(axis=1)) - 1
        near.append(np.argsort(distance, axis=1, kind="stable")[np.arange(len(rows)), place])
    return np.stack([sample, np.concatenate(near)], axis=1)
