"""Pairs that are certainly one picture, in sets that are alike throughout.

In: pairs that are alike, and larger pictures. Out: those that are one picture. Owns no file.

Frames of one camera, or exposures of one object, agree at 64 pixels as well as copies do. Two things distinguish them
on larger pictures (see `closer`), and both are asked for: another frame has noise of its own, so that less of its fine
detail agrees; another exposure has another tone. A brightened copy is not distinguished from another exposure.

Pictures of few pixels have no finer detail than 64 of them show: there larger ones say nothing (see `shows_more`).
Larger pictures cost 10 ms a pair, so of each image only the nearest two others of its tone are looked at.
"""

import numpy as np
import numpy.typing as npt

from bestiary.audit.copies.alignment import Pairs, Pictures, Values
from bestiary.audit.copies.closer import Loader, closer_look

# Copies of frames of one camera have 0.987 or more, other frames 0.981 at most.
LEAST_CERTAIN = 0.985
# Of 255, root mean square. Copies that keep their tone differ by 2.3 at most, other exposures of a tile by 13 or more.
MOST_APART = 4.0
# Mean luminance of small pictures, of 255: a crop shows a little less, and so may be a little darker.
_MEANS_APART = 10.0
_NEAREST = 2
# Twice the side of small pictures.
_LEAST_SIDE_PX = 128


def shows_more(sides_px: npt.NDArray[np.int64]) -> bool:
    """Whether most images of a set, by their short sides `(n,)`, hold detail that small pictures do not show."""
    return bool(len(sides_px)) and float(np.median(sides_px)) >= _LEAST_SIDE_PX


def certain_pairs(pictures: Pictures, pairs: Pairs, similarity: Values, load: Loader) -> npt.NDArray[np.bool_]:
    """Which pairs are one picture: `(m,)`.

    Args:
        pictures: `(n, 64, 64) uint8`.
        pairs: `(m, 2) int64`, places in `pictures`, of at least `LEAST_SIMILARITY`.
        similarity: of each, `(m,) float32`.
        load: gives larger pictures of places.
    """
    means = pictures.mean(axis=(1, 2))
    toned = np.flatnonzero(np.abs(means[pairs[:, 0]] - means[pairs[:, 1]]) <= _MEANS_APART)
    due = toned[_among_nearest(pairs[toned], similarity[toned])]
    agree, differ = closer_look(pictures, pairs[due], load, enough=LEAST_CERTAIN)
    certain = np.zeros(len(pairs), dtype=np.bool_)
    certain[due[(agree >= LEAST_CERTAIN) & (differ <= MOST_APART)]] = True
    return certain


def _among_nearest(pairs: Pairs, similarity: Values) -> npt.NDArray[np.bool_]:
    """Which pairs are among the most alike ones of either of their ends."""
    near = np.zeros(len(pairs), dtype=np.bool_)
    ends, number = pairs.T.ravel(), np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((number, -similarity[number], ends))
    first = np.searchsorted(ends[order], ends[order])
    near[number[order][np.arange(len(order)) - first < _NEAREST]] = True
    return near
