"""Blur: which pictures are soft, where the others of their class and set are not.

In: how soft the strongest edges are (`measures`), labels. Out: which are blurred. Owns no file.

A picture is blurred if its strongest edges are soft in themselves, and far softer than is usual both in its class and
in the set. What is soft by its nature, as a sky is, has a class whose pictures differ widely; what was enlarged is soft
throughout the set.
"""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Of 2,618 photos of animals as they are, the strongest edges of 99 % have at most 0.47, all edges 0.63; blurred by a
# Gaussian of 3 px at 225 px a side, 95 % have at least 0.59 and 0.75.
BLURRED_FROM, _ALL_FROM = 0.6, 0.68
# In units of the spread. Planted and natural blur of five sets: docs/audit.md.
_USUAL = 3.0
# With fewer images a class has no spread to speak of; the set stands for it.
_FEWEST_OF_CLASS = 20
# Of a normal distribution, the standard deviation over the distance from the lower quartile to the median.
_SIGMA = 1.4826


def blurred(softness: Values, of_all: Values, labels: npt.NDArray[np.int64]) -> Flags:
    """Which images are blurred: `(n,) bool`.

    Args:
        softness: `edge_blur` in [0, 1], `(n,)`; 0 where there is no edge to judge by, which says nothing of others.
        of_all: `blur_effect` in [0, 1], `(n,)`: a thin subject before a soft background has no part in the strongest
            edges.
        labels: `(n,) int64`.
    """
    limit = np.full(len(softness), _limit(softness))
    for label in np.unique(labels):
        own = labels == label
        if np.count_nonzero(softness[own]) >= _FEWEST_OF_CLASS:
            limit[own] = np.maximum(limit[own], _limit(softness[own]))
    return np.asarray((softness >= BLURRED_FROM) & (of_all >= _ALL_FROM) & (softness > limit))


def _limit(softness: Values) -> float:
    """Up to where softness is usual, by the spread below the median, which blurred pictures hardly move."""
    known = softness[softness > 0]
    if not len(known):
        return 1.0
    quartile, median = np.quantile(known, [0.25, 0.5])
    return float(median + _USUAL * _SIGMA * (median - quartile))
