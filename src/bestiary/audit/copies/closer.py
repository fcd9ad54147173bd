"""A closer look: whether the fine detail of two pictures is the same, once one is laid over the other.

In: pairs that small pictures say are copies, and larger pictures of them. Out: how alike their fine detail is, and by
how much their luminance differs. Owns no file.

Two bottles on a table, two textures or two sunsets can agree in all that 64 pixels show. Here the placement that was
found there is refined on pictures of 96 and 192 pixels, and details of 1.5 to 4 pixels of these are compared. What was
encoded anew, resized, cropped or brightened keeps them; another photo of the same thing has grain, shadows and edges of
its own. A copy also has the tone of its original, where another exposure has not.
"""

import os
from collections.abc import Callable
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
    best_windows,
    blurred,
    cut,
    refined,
    turned,
)
from bestiary.audit.copies.similarity import correlation_of_details

SIDE = 192
# Of planted copies (encoded anew, resized, cropped by 5 %, mirrored, brightened) 1 % of those of flowers fall below,
# none of four other sets; photos of like things of one colour have 0.77 at most, second shots of flowers 0.80.
LEAST_CLOSE = 0.85
_DETAILS, _AROUND = (1.5, 4.0), 6.0
# To which small pictures are reduced to be placed, as wholes and in windows.
_WHOLE_SIDE, _WINDOW_SIDE = 32, 12
_PAIRS_AT_ONCE = 8

Loader = Callable[[npt.NDArray[np.int64]], Pictures]


def fine_agreement(small: Pictures, pairs: Pairs, load: Loader) -> Values:
    """The correlation of fine detail of each pair: `(m,) float32` in [-1, 1]; see `closer_look`."""
    return closer_look(small, pairs, load)[0]


def closer_look(small: Pictures, pairs: Pairs, load: Loader, *, enough: float = LEAST_CLOSE) -> tuple[Values, Values]:
    """The correlation of fine detail of each pair, in [-1, 1], and by how much tones differ, of 255: `(m,) float32`.

    As wholes, and where that is not enough in the best window.

    Args:
        small: `(n, 64, 64) uint8`, luminance of whole images, squashed to a square.
        pairs: `(m, 2) int64`, places in `small`.
        load: gives larger pictures of places, `(k, 192, 192) uint8`.
        enough: the correlation as wholes from which no window is looked for.
    """
    blocks = [pairs[start : start + _PAIRS_AT_ONCE] for start in range(0, len(pairs), _PAIRS_AT_ONCE)]

    def compare(block: Pairs) -> Values:
        places, own = np.unique(block, return_inverse=True)
        here, large, within = small[places], load(places), own.reshape(block.shape)
        found = _agree(here, large, within, as_wholes(here, within, side=_WHOLE_SIDE)[0])
        rest = np.flatnonzero(found[0] < enough)
        if len(rest):
            windows = best_windows(here, within[rest], side=_WINDOW_SIDE)[0]
            other = _agree(here, large, within[rest], windows)
            found[:, rest] = np.where(other[0] > found[0, rest], other, found[:, rest])
        return found

    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        agree, differ = np.concatenate([np.zeros((2, 0), dtype=np.float32), *pool.map(compare, blocks)], axis=1)
    return agree, differ


def _agree(small: Pictures, large: Pictures, pairs: Pairs, placements: Placements) -> Values:
    """Correlation and difference in tone of pairs that are placed: `(2, m)`."""
    windows = refined(*turned(small, pairs, placements.turn), placements.windows)
    whole, part = turned(large, pairs, placements.turn)
    window, inside = cut(whole, refined(whole, part, windows))
    agree = correlation_of_details(window, part, inside=inside, details=_DETAILS, around=_AROUND)
    squares = blurred(window - part, _DETAILS[0]) ** 2 * inside
    differ = np.sqrt(squares.sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1))
    return np.stack([agree, differ]).astype(np.float32)
