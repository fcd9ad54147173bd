"""How alike two pictures are once one is laid over the other: mirrored or not, whole or cropped.

In: small grey pictures. Out: normalised cross-correlations. Owns no file.

Normalised cross-correlation (Lewis 1995, Fast Normalized Cross-Correlation) does not see brightness and contrast. For a
crop, the one picture is compared with windows of the other, in both directions.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from bestiary.progress import Task

Pictures = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]

# Sides of the windows as shares of the picture; each side has its own, so that a crop may change the aspect.
_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8)
_OFFSET = 0.05
_PAIRS_AT_ONCE = 32
# Of 255: below this a picture counts as flat. JPEG noise of a uniform picture stays under it.
_FLAT = 1.0


def direct_correlation(pictures: Pictures, pairs: Pairs, *, side: int) -> Values:
    """The correlation of each pair as wholes, mirrored or not, whichever is higher: `(m,) float32` in [-1, 1].

    Args:
        pictures: `(n, picture, picture) uint8` luminance of whole images, squashed to a square.
        pairs: `(m, 2) int64`, places in `pictures`.
        side: to which pictures are reduced first; a divisor of `picture`. Small sides forgive small shifts.
    """
    plain, mirrored = wholes(pictures, side=side)
    found = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), 8192):
        first, second = pairs[start : start + 8192].T
        both = [(plain[first] * other[second]).sum(axis=1) for other in (plain, mirrored)]
        found[start : start + len(first)] = np.maximum(*both)
    return found


def wholes(pictures: Pictures, *, side: int) -> tuple[Values, Values]:
    """Whole pictures as they are, and mirrored, as rows whose products are correlations: `(n, side**2) float32` each.

    Args:
        pictures: as above.
        side: as above.
    """
    step = pictures.shape[1] // side
    small = pictures.reshape(len(pictures), side, step, side, step).mean(axis=(2, 4), dtype=np.float32)
    plain = _standardised(small)
    return plain.reshape(len(small), -1), plain[:, :, ::-1].reshape(len(small), -1)


def best_correlation(pictures: Pictures, pairs: Pairs, *, side: int, task: Task | None = None) -> Values:
    """The highest correlation of each pair over mirroring and windows: `(m,) float32` in [-1, 1].

    Windows are 80 to 100 % of a picture wide and high. A flat picture correlates with nothing: 0.

    Args:
        pictures: as above.
        pairs: as above.
        side: to which windows are reduced. Time grows with its square.
        task: moved on by each pair.
    """
    blocks = [pairs[start : start + _PAIRS_AT_ONCE] for start in range(0, len(pairs), _PAIRS_AT_ONCE)]
    # Threads of our own, each with one of BLAS: 1,500 pairs at side 12 take 0.3 s, where BLAS's own threads take 1.3 s.
    with ThreadPoolExecutor(os.cpu_count()) as pool, threadpool_limits(1):
        found = []
        for values in pool.map(lambda block: _best(pictures, block, side), blocks):
            found.append(values)
            if task is not None:
                task.advance(len(values))
    return np.concatenate([np.empty(0, dtype=np.float32), *found])


def _best(pictures: Pictures, pairs: Pairs, side: int) -> Values:
    # About a middle grey, so that sums of squares keep their digits in float32.
    first, second = (pictures[pairs[:, column]].astype(np.float32) - 128 for column in (0, 1))
    mirrored = second[:, :, ::-1]
    turns = ((first, second), (second, first), (first, mirrored), (mirrored, first))
    return np.asarray(np.max([_inside(whole, part, side) for whole, part in turns], axis=0))


def _inside(whole: Values, part: Values, side: int) -> Values:
    """The highest correlation of `part`, entire, with any window of `whole`: `(m,) float32`."""
    sampling = _windows(whole.shape[1], side)
    count, _, width = sampling.shape
    wanted = _standardised(np.asarray(sampling[0] @ part @ sampling[0].T, dtype=np.float32))
    flat = sampling.reshape(count * side, width)
    cut = (flat @ whole @ flat.T).reshape(len(whole), count, side, count, side).transpose(0, 1, 3, 2, 4)
    windows = np.ascontiguousarray(cut).reshape(len(whole), count**2, side**2)
    axis = sampling.sum(axis=1)
    sums = (axis @ whole @ axis.T).reshape(len(whole), count**2)
    squares = np.einsum("mwp,mwp->mw", windows, windows)
    lengths = np.sqrt(np.maximum(squares - sums * sums / side**2, 0))
    # The wanted picture has no mean, so that of a window plays no part in the product.
    products = (windows @ wanted.reshape(len(part), side**2, 1))[:, :, 0]
    found = np.where(lengths < _FLAT * side, 0, products / np.maximum(lengths, 1e-6))
    return np.asarray(found.max(axis=1), dtype=np.float32)


def _standardised(pictures: Values) -> Values:
    """Pictures `(..., side, side)` less their mean, of length 1; a flat one becomes 0."""
    centred = pictures - pictures.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt((centred * centred).sum(axis=(-2, -1), keepdims=True))
    flat = length < _FLAT * pictures.shape[-1]
    return np.asarray(np.where(flat, 0, centred / np.maximum(length, 1e-6)), dtype=np.float32)


@cache
def _windows(picture: int, side: int) -> Values:
    """Sampling along one axis, a matrix `(side, picture)` for each window; the first is the whole."""
    windows = [
        _sampling(picture, side, offset, scale)
        for scale in _SCALES
        for offset in np.linspace(0, 1 - scale, 1 + round((1 - scale) / _OFFSET))
    ]
    return np.stack(windows).astype(np.float32)


def _sampling(picture: int, side: int, offset: float, scale: float) -> npt.NDArray[np.float64]:
    """Means over `side` equal stretches of `[offset, offset + scale]` of an axis of `picture` pixels."""
    edges = (offset + scale * np.arange(side + 1) / side) * picture
    pixels = np.arange(picture)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
