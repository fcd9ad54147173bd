"""Intervals: a figure and how sure it is. All are of 95 %.

In: a figure, and its values on resampled data. Out: `Interval`. Owns no file.
"""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A figure and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """`value`, `low`, `high`."""
        return asdict(self)


def percentile_interval(value: float, resampled: npt.NDArray[np.float64]) -> Interval:
    """A figure with the percentile bootstrap interval (Efron 1979) of its resampled values `(resamples,)`.

    Resamples that gave no number do not count; where none did, the interval is NaN.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [ALPHA / 2, 1 - ALPHA / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


def wilson(successes: int, count: int) -> Interval:
    """A proportion with Wilson's score interval (Wilson 1927, JASA 22:209).

    Args:
        successes: in [0, count].
        count: at least 1.
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, count, alpha=ALPHA, method="wilson")
    # At 0 and 1 the closed form misses the figure by a rounding error.
    value = successes / count
    return Interval(value, min(float(low), value), max(float(high), value))
