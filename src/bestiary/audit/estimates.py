"""Estimates: a figure with its 95 % bootstrap interval over groups of copies.

In: groups, and a statistic of weighted images. Out: `Estimate`. Owns no file.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Estimate:
    """A figure and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """`value`, `low`, `high`."""
        return asdict(self)


def percentile_estimate(value: float, resampled: npt.NDArray[np.float64]) -> Estimate:
    """A figure with the percentile bootstrap interval (Efron 1979) of its resampled values `(resamples,)`.

    Resamples that gave no number do not count; where none did, the interval is NaN.
    """
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, min(float(low), value), max(float(high), value))


def group_weights(groups: npt.NDArray[np.int64], *, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw groups with replacement, as often as there are groups: how often each image was drawn, `(n,) int64`.

    Copies are drawn together: they are one observation.
    """
    random = np.random.default_rng(seed)
    place = np.unique(groups, return_inverse=True)[1]
    count = int(place.max()) + 1
    for _ in range(resamples):
        yield np.bincount(random.integers(0, count, count), minlength=count).astype(np.int64)[place]
