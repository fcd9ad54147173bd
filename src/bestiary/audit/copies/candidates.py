"""Which pairs of images may be copies: few enough to be compared closely, and no copy missing.

In: perceptual hashes, small grey pictures, features. Out: pairs. Owns no file.

Candidates are pairs with close hashes, mirrored or not, and near neighbours in feature space; of each image only so
many, so that time and memory grow with the images also where all are alike. Features only propose, and reject what is
quite different: the pictures decide (see `similarity`), and those do not depend on how features were computed.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bestiary.audit.copies.alignment import Pairs, Pictures, Values, wholes
from bestiary.audit.neighbours import Features, Neighbours, nearest, normalised

Hashes = npt.NDArray[np.uint64]

# Of 2,618 photos and 525 changed copies of them, every copy is a candidate: hashes differ by 10 of 64 bits at most, or
# cosines are 0.79 or more. In other sets copies go down to 0.70. bf16 moves a cosine by 0.01.
_HASH_BITS, _LEAST_COSINE = 10, 0.55
_NEIGHBOURS, _CLOSEST, _CLOSEST_SIDE = 10, 10, 16
_HASH_BLOCK_BYTES = 64 * 2**20
_PAIRS_AT_ONCE = 8192


def candidate_pairs(
    hashes: Hashes, pictures: Pictures, features: Features | None, *, neighbours: Neighbours | None = None
) -> Pairs:
    """Pairs that may be copies, the smaller place first, in ascending order: `(m, 2) int64`.

    Args:
        hashes: `(n,) uint64`.
        pictures: `(n, 64, 64) uint8`.
        features: `(n, d) float32`; without them only pairs with close hashes are candidates.
        neighbours: of the features, ten or more an image; found here where they are not given.
    """
    pairs = _by_hash(hashes, pictures)
    if features is not None:
        neighbours = nearest(features, count=_NEIGHBOURS) if neighbours is None else neighbours
        near = neighbours.indices[:, :_NEIGHBOURS]
        own = np.repeat(np.arange(len(near)), near.shape[1])
        pairs = np.concatenate([pairs, np.stack([own, near.ravel()], axis=1)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    return pairs if features is None else _agreeing(pairs, features)


def _agreeing(pairs: Pairs, features: Features) -> Pairs:
    """The pairs whose features are not quite different."""
    unit = normalised(features)
    agree = [pairs[:0]]
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        block = pairs[start : start + _PAIRS_AT_ONCE]
        first, second = block.T
        agree.append(block[np.einsum("pd,pd->p", unit[first], unit[second]) >= _LEAST_COSINE])
    return np.concatenate(agree)


def _by_hash(hashes: Hashes, pictures: Pictures) -> Pairs:
    """Pairs with close hashes: of each image the ten most alike of the later ones.

    All of a group of copies stay connected: each keeps a later one.
    """
    plain, mirrored = wholes(pictures, side=_CLOSEST_SIDE)
    found = [np.empty((0, 2), dtype=np.int64)]
    for start, close in _close_hashes(hashes):
        _keep_most_alike(close, start, plain, mirrored)
        found.append(np.argwhere(close) + start)
    return np.concatenate(found)


def _close_hashes(hashes: Hashes) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Which later hashes are within a few bits of each, as they are or mirrored: blocks, rows and columns from a start.

    Mirroring an image changes the sign of every other horizontal frequency, hence every other bit of its hash.
    """
    mirrored = hashes ^ np.uint64(0x5555555555555555)
    rows = max(1, _HASH_BLOCK_BYTES // (8 * max(len(hashes), 1)))
    for start in range(0, len(hashes), rows):
        block = hashes[start : start + rows, None]
        bits = (np.bitwise_count(block ^ others[None, start:]) for others in (hashes, mirrored))
        yield start, np.triu(np.minimum(*bits) <= _HASH_BITS, 1)


def _keep_most_alike(close: npt.NDArray[np.bool_], start: int, plain: Values, mirrored: Values) -> None:
    """Leave of each row, an image from `start` on, ten at most that are true: columns are images from `start` on."""
    many = np.flatnonzero(close.sum(axis=1) > _CLOSEST)
    if not len(many):
        return
    alike = np.maximum(plain[start + many] @ plain[start:].T, plain[start + many] @ mirrored[start:].T)
    alike[~close[many]] = -np.inf
    kept = np.argpartition(-alike, _CLOSEST, axis=1)[:, :_CLOSEST]
    close[many] = False
    close[many[:, None], kept] = True
