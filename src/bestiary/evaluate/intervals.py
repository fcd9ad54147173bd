"""Intervals: a figure and how sure it is. All are of 95 %.

In: a figure, and its variance or its values on resampled data. Out: `Interval`, or arrays of bounds. Owns no file.
"""

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
RESAMPLES = 2000
# The normal quantile of a two-sided interval: 1.96.
Z = NormalDist().inv_cdf(1 - ALPHA / 2)

Reals = npt.NDArray[np.float64]

# What the worst case weighs; see `effective_images`.
_WORST_CASE_GROUPS = 2


@dataclass(frozen=True)
class Interval:
    """A figure and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """`value`, `low`, `high`."""
        return asdict(self)


def grouped_error(values: Reals, groups: npt.NDArray[np.int64]) -> float:
    """The standard error of the mean of values `(n,)`, groups `(n,)` taken as the units (Liang and Zeger 1986)."""
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=values - values.mean())
    return float(np.sqrt((sums**2).sum()) / len(values))


def percentile_interval(value: float, resampled: Reals) -> Interval:
    """A figure with the percentile bootstrap interval (Efron 1979) of its resampled values `(resamples,)`.

    Resamples that gave no number do not count; where none did, the interval is NaN.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [ALPHA / 2, 1 - ALPHA / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


def wilson(successes: int, count: int) -> Interval:
    """A proportion of independent images with Wilson's score interval (Wilson 1927, JASA 22:209).

    Args:
        successes: in [0, count].
        count: at least 1.
    """
    value = successes / count
    low, high = score_bounds(np.array(value), np.array(count))
    return Interval(value, float(low), float(high))


def score_bounds(values: Reals, images: npt.NDArray[Any]) -> tuple[Reals, Reals]:
    """Wilson's score interval for fractions, element by element: lower and upper bounds, in [0, 1].

    Args:
        values: fractions in [0, 1]; NaN gives NaN.
        images: how many independent images each stands for, not necessarily whole. 0 gives [0, 1]: nothing is known.
    """
    centre = images * values + Z**2 / 2
    half = Z * np.sqrt(images * values * (1 - values) + Z**2 / 4)
    low, high = ((centre + sign * half) / (images + Z**2) for sign in (-1, 1))
    # At 0 and 1 the closed form misses the figure by a rounding error.
    return np.minimum(np.maximum(low, 0), values), np.maximum(np.minimum(high, 1), values)


def effective_images(
    sizes: npt.NDArray[Any],
    *,
    right: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
    design_effect: Reals,
    parts: npt.NDArray[np.int64],
) -> Reals:
    """How many independent images tell as much about a fraction as these, which come in groups.

    Wilson's interval on this number is what Franco, Little, Louis and Slud recommend for clustered samples (2019,
    Journal of Survey Statistics and Methodology 7:334; after Kish 1965 and Korn and Graubard 1998). They also find that
    a design effect estimated from few groups is too uncertain. So it is averaged with the worst case, that all images
    of a group behave alike. The worst case weighs as much as two groups, the estimate as much as there are groups
    with an error (or with a right image, where those are fewer); a small group counts in part. Without an error, or
    with all errors in few groups, an interval is then not too narrow. Two was chosen by simulation: 25 or more groups
    of 1 to 20 images, shares of 0.5, 0.9 and 0.97, and correlations of 0.05 to 1 within a group give coverages of
    93.9 % to 99.5 %. Where every group is one image, the result is how many there are.

    Args:
        sizes: images of each group `(groups,)`, or their weights, whose sum is the number of images.
        right: whether a group has a right image, `(groups,)`.
        wrong: whether it has a wrong one.
        design_effect: the variance of each fraction over that of as many independent images, `(part_count,)`.
        parts: the fraction that each group counts in, `(groups,)`.

    Returns:
        `(part_count,)`, never more than there are images.
    """
    images, squares = (np.bincount(parts, weights, len(design_effect)) for weights in (sizes, sizes**2))
    # The mean size of the group that an image is in.
    worst_case = np.divide(squares, images, out=np.ones(len(images)), where=images > 0)
    counted = np.minimum(sizes / worst_case[parts], 1)
    known = np.minimum(*(np.bincount(parts, counted * which, len(images)) for which in (right, wrong)))
    averaged = (known * design_effect + _WORST_CASE_GROUPS * worst_case) / (known + _WORST_CASE_GROUPS)
    return np.asarray(images / np.maximum(averaged, 1))
