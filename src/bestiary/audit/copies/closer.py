"""A closer look: whether the fine detail of two pictures is the same, once one is laid over the other.

In: pairs that small pictures say are copies, and larger pictures of them. Out: how alike their fine detail is. Owns no
file.

Two bottles on a table, two textures or two sunsets can agree in all that 64 pixels show. Here the placement that was
found there is refined on pictures of 96 and 192 pixels, and details of 1.5 to 4 pixels of these are compared. What was
encoded anew, resized, cropped or brightened keeps them; another photo of the same thing has grain, shadows and edges of
its own.
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
    """The correlation of fine detail of each pair: `(m,) float32` in [-1, 1].

    As wholes, and where that is not enough in the best window.

    Args:
        small: `(n, 64, 64) uint8`, luminance of whole images, squashed to a square.
        pairs: `(m, 2) int64`, places in `small`.
        load: gives larger pictures of places, `(k, 192, 192) uint8`.
    """
    blocks = [pairs[start : start + _PAIRS_AT_ONCE] for start in range(0, len(pairs), _PAIRS_AT_ONCE)]

    def compare(block: Pairs) -> Values:
        places, own = np.unique(block, return_inverse=True)
        here, large, within = small[places], load(places), own.reshape(block.shape)
        agree = _agree(here, large, within, as_wholes(here, within, side=_WHOLE_SIDE)[0])
        rest = agree < LEAST_CLOSE
        if rest.any():
            windows = best_windows(here, within[rest], side=_WINDOW_SIDE)[0]
            agree[rest] = np.maximum(agree[rest], _agree(here, large, within[rest], windows))
        return agree

    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate([np.zeros(0, dtype=np.float32), *pool.map(compare, blocks)])


def _agree(small: Pictures, large: Pictures, pairs: Pairs, placements: Placements) -> Values:
    windows = refined(*turned(small, pairs, placements.turn), placements.windows)
    whole, part = turned(large, pairs, placements.turn)
    window, inside = cut(whole, refined(whole, part, windows))
    return correlation_of_details(window, part, inside=inside, details=_DETAILS, around=_AROUND)
