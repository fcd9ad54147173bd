"""Nearest neighbours among images by the cosine of their features: exact, block by block.

In: features. Out: `Neighbours`. Owns no file.

Memory grows with the images, not with their square: a block of rows is compared with all others, and only its nearest
are kept. Time does grow with the square: n^2 d multiplications.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]

# How many the audit looks at: enough for copies (10), for the nearest shown (8) and for outliers (10 of other groups).
COUNT = 16
_BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Neighbours:
    """The nearest other images of each image, nearest first.

    Attributes:
        indices: `(n, k) int64`.
        cosines: `(n, k) float32`, in [-1, 1].
    """

    indices: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]


def nearest(features: Features, *, count: int = COUNT) -> Neighbours:
    """The nearest others of each image, by cosine.

    Args:
        features: `(n, d) float32`; a row of zeros is as near to all.
        count: how many; fewer where there are fewer other images.
    """
    unit = normalised(features)
    n = len(unit)
    k = max(min(count, n - 1), 0)
    indices, cosines = np.empty((n, k), dtype=np.int64), np.empty((n, k), dtype=np.float32)
    if k == 0:
        return Neighbours(indices, cosines)
    rows = max(1, _BLOCK_BYTES // (4 * n))
    for start in range(0, n, rows):
        block = unit[start : start + rows] @ unit.T
        own = np.arange(len(block))
        block[own, start + own] = -np.inf
        found = np.argpartition(-block, k - 1, axis=1)[:, :k] if k < n - 1 else np.argsort(-block, axis=1)[:, :k]
        near = np.take_along_axis(block, found, axis=1)
        # Equal cosines in the order of rows, so that the same features give the same table.
        order = np.lexsort((found, -near), axis=1)
        indices[start : start + rows] = np.take_along_axis(found, order, axis=1)
        cosines[start : start + rows] = np.take_along_axis(near, order, axis=1)
    return Neighbours(indices, np.clip(cosines, -1.0, 1.0))


def normalised(features: Features) -> Features:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(lengths > 0, lengths, 1), dtype=np.float32)
