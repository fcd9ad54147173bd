"""How alike two pictures are: whether they show the same thing, and whether every detail of it is the same.

In: small grey pictures and pairs of them. Out: a similarity for each pair. Owns no file.

Two drawings of a disc, or two photos of dandelion clocks, correlate like copies: the large shape is most of what there
is. What tells copies is the rest. So the finest detail that survives re-encoding and resizing is compared (1 to 3 of
64 pixels), after each place was divided by its own contrast, so that a strong edge counts no more than grass
(local contrast normalisation; Jarrett et al. 2009, ICCV). Places where one of the pictures is black or white say
nothing, since brightening leaves no detail there.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from bestiary.audit.copies.alignment import (
    Pairs,
    Pictures,
    Placements,
    Values,
    as_wholes,
    band,
    best_windows,
    blurred,
    cut,
    direct_correlation,
    refined,
    standardised,
    turned,
)
from bestiary.progress import SILENT, Progress

# The steps by which most pairs are discarded, cheapest first: a side in pixels, and the least correlation.
_GLANCE, _COARSE, _WHOLE, _LEAST_ALIKE = (8, 0.6), (12, 0.8), (32, 0.97), 0.85
# As wholes so alike that no better placement is looked for.
_SURE = 0.98
DETAILS, AROUND = (1.0, 2.5), 4.0
# Of 255. A contrast of so little is noise of encoding, and counts less.
_NOISE = 2.0
_BLACK, _WHITE = 5, 250
_PAIRS_AT_ONCE = 32


def similarities(pictures: Pictures, pairs: Pairs, *, progress: Progress = SILENT) -> Values:
    """The correlation of all detail of each pair, laid over one another: `(m,) float32` in [-1, 1].

    0 where the pictures do not even show the same at large, in which case no detail is looked at.

    Args:
        pictures: `(n, 64, 64) uint8` luminance of whole images, squashed to a square.
        pairs: `(m, 2) int64`, places in `pictures`.
        progress: counts the pairs that are compared closely.
    """
    found = np.zeros(len(pairs), dtype=np.float32)
    side, least = _GLANCE
    close = np.flatnonzero(direct_correlation(pictures, pairs, side=side) >= least)
    side, least = _WHOLE
    placements, correlation = as_wholes(pictures, pairs[close], side=side)
    blocks = [slice(start, start + _PAIRS_AT_ONCE) for start in range(0, len(close), _PAIRS_AT_ONCE)]

    def compare(block: slice) -> Values:
        return _compared(pictures, pairs[close[block]], placements.subset(block), alike=correlation[block] >= least)

    # Threads of our own, each with one of BLAS: windows of 1,500 pairs take 0.3 s, where BLAS's own threads take 1.3 s.
    with (
        progress.track("comparing pictures", len(close), unit="pairs") as task,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        threadpool_limits(1),
    ):
        for block, values in zip(blocks, pool.map(compare, blocks), strict=True):
            found[close[block]] = values
            task.advance(len(values))
    return found


def _compared(pictures: Pictures, pairs: Pairs, whole: Placements, *, alike: npt.NDArray[np.bool_]) -> Values:
    """As wholes where these are alike, and that is enough; else in the best window, as long as that is alike."""
    found = np.zeros(len(pairs), dtype=np.float32)
    found[alike] = correlation_of_details(*turned(pictures, pairs[alike], whole.turn[alike]))
    rest = np.flatnonzero(found < _SURE)
    side, least = _COARSE
    placements, correlation = best_windows(pictures, pairs[rest], side=side)
    rest, placements = rest[correlation >= least], placements.subset(correlation >= least)
    found[rest] = np.maximum(found[rest], _in_windows(pictures, pairs[rest], placements))
    return found


def _in_windows(pictures: Pictures, pairs: Pairs, placements: Placements) -> Values:
    whole, part = turned(pictures, pairs, placements.turn)
    window, inside = cut(whole, refined(whole, part, placements.windows))
    at_large = [standardised(blurred(picture, DETAILS[1] / 2)) for picture in (window, part)]
    alike = (at_large[0] * at_large[1]).sum(axis=(1, 2)) >= _LEAST_ALIKE
    return np.where(alike, correlation_of_details(window, part, inside=inside), 0)


def correlation_of_details(
    first: Values,
    second: Values,
    *,
    inside: npt.NDArray[np.bool_] | None = None,
    details: tuple[float, float] = DETAILS,
    around: float = AROUND,
) -> Values:
    """The correlation of details of pictures about a middle grey, where both have any: `(m,) float32`.

    Args:
        first: `(m, side, side) float32`.
        second: the same, laid over the first.
        inside: which pixels both have; None: all.
        details: sigmas in pixels of the band of detail.
        around: sigma in pixels of the place by whose contrast detail is divided.
    """
    says = (np.maximum(first, second) < _WHITE - 128) & (np.minimum(first, second) > _BLACK - 128)
    if inside is not None:
        says &= inside
    one, other = (_by_contrast(band(picture, *details), around) * says for picture in (first, second))
    lengths = np.sqrt((one * one).sum(axis=(1, 2)) * (other * other).sum(axis=(1, 2)))
    return np.asarray((one * other).sum(axis=(1, 2)) / np.maximum(lengths, 1e-6), dtype=np.float32)


def _by_contrast(detail: Values, around: float) -> Values:
    return detail / (_contrasts_of(detail, around) + _NOISE)


def contrasts(pictures: Values) -> Values:
    """The contrast of the details around each place, of 255: `(m, side, side) float32`.

    Args:
        pictures: `(m, side, side) float32`, about a middle grey.
    """
    return _contrasts_of(band(pictures, *DETAILS), AROUND)


def _contrasts_of(detail: Values, around: float) -> Values:
    return np.sqrt(np.maximum(blurred(detail * detail, around), 0))
