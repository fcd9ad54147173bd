"""How alike two pictures of a set have to be, to be copies: far more than near neighbours of that set usually are.

In: pictures, hashes and features of a set, and its pairs that are alike at first look. Out: a correlation. Owns no
file.

Some sets are alike throughout (scans, digits, frames of one scene), and in some every photo stands in many versions. In
both, the nearest others of an image are very like it. Two things tell versions: there are few of one photo, and a good
part of them are as like one another as only re-encodings are. On photos the nearest of four or more versions differs by
0.0002 (median), on made scans that differ in a twentieth of their contrast by 0.002. Versions are passed over.
"""

import numpy as np
import numpy.typing as npt

from bestiary.audit.copies.alignment import Pairs, Pictures, Values, best_correlation
from bestiary.audit.neighbours import Features, normalised
from bestiary.data.groups import connected

Hashes = npt.NDArray[np.uint64]
Groups = npt.NDArray[np.int64]

# Enough for copies in a set of different photos; see docs/audit.md.
LEAST = 0.92

_SHARE = 0.16
_SAMPLE, _RANK, _RANK_SHARE = 400, 6, 0.02
# So many images at most, and of the set at most half, are versions of one photo. In sets of more than 2,500 images the
# 2 % rank lies behind them anyway. Three of them at least, and a quarter, hang together by differences as after
# re-encoding, resizing or mirroring; the others may be cropped, or brightened until they clip.
_VERSIONS, _VERSIONS_SHARE = 50, 0.5
_REENCODED, _CORE, _CORE_SHARE = 0.999, 3, 0.25
_SIDE = 12


def needed_correlation(
    pictures: Pictures, hashes: Hashes, features: Features | None, alike: Pairs, similarity: Values
) -> float:
    """The least correlation of copies: 0.92, or more where images are usually like those near to them.

    Args:
        pictures: `(n, picture, picture) uint8`.
        hashes: `(n,) uint64`.
        features: `(n, d) float32`; without them hashes say what is near.
        alike: `(m, 2)`, the pairs that 0.92 would make copies, or nearly so.
        similarity: `(m,)`, their correlation as wholes.
    """
    usual = _usual_pairs(hashes, features, _versions(len(hashes), alike, similarity))
    if not len(usual):
        return LEAST
    found = best_correlation(pictures, usual, side=_SIDE)
    return max(LEAST, 1 - _SHARE * (1 - float(np.median(found))))


def _versions(count: int, alike: Pairs, similarity: Values) -> Groups:
    """Of each image a number that it shares with other versions of it, if it is one of several: `(n,) int64`."""
    group, core = connected(count, alike), connected(count, alike[similarity >= _REENCODED])
    size, core_size = np.bincount(group, minlength=count), np.bincount(core, minlength=count)[core]
    largest = np.zeros(count, dtype=np.int64)
    np.maximum.at(largest, group, core_size)
    few = size <= min(_VERSIONS, _VERSIONS_SHARE * count)
    is_version = (few & (largest >= _CORE) & (largest >= _CORE_SHARE * size))[group]
    return np.where(is_version, group, count + np.arange(count))


def _usual_pairs(hashes: Hashes, features: Features | None, versions: Groups) -> Pairs:
    """Images of a sample, each with one that is near to it, but behind its copies; none where there are too few.

    Near is the 2 % rank, or the sixth, of all but its versions: by features, or else by perceptual hash.
    """
    count = len(hashes)
    rank = max(_RANK, round(_RANK_SHARE * count))
    if count <= rank:
        return np.empty((0, 2), dtype=np.int64)
    sample = np.unique(np.linspace(0, count - 1, _SAMPLE).astype(np.int64))
    if features is None:
        far = np.bitwise_count(hashes[sample, None] ^ hashes[None]).astype(np.float32)
    else:
        unit = normalised(features)
        far = -(unit[sample] @ unit.T)
    own = versions[sample, None] == versions[None]
    far[own] = np.inf
    far[np.arange(len(sample)), sample] = -np.inf
    # Where there are not so many others, the farthest of them.
    place = np.minimum(rank, count - own.sum(axis=1))
    near = np.argsort(far, axis=1, kind="stable")[np.arange(len(sample)), place]
    return np.stack([sample, near], axis=1)
