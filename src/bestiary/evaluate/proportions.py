"""Proportions: which images are right → shares with intervals, of all images or class by class.

In: per-image outcomes and groups. Out: `Proportions`. Owns no file.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.intervals import Reals, effective_images, score_bounds
from bestiary.evaluate.resampling import Groups


@dataclass(frozen=True)
class Proportions:
    """One share a part, with its 95 % interval: each `(part_count,) float64` in [0, 1].

    A part without images has a value of NaN and the interval [0, 1].
    """

    value: Reals
    low: Reals
    high: Reals


def proportions(
    right: npt.NDArray[np.bool_],
    groups: Groups,
    *,
    parts: npt.NDArray[np.int64] | None = None,
    part_count: int = 1,
) -> Proportions:
    """The share of images that are right, in each part.

    Wilson's score interval on the effective number of images (`intervals.effective_images`), with the variance of a
    ratio of sums over groups (Rao and Scott 1992, Biometrics 48:577). Where every group is one image it is Wilson's.

    Args:
        right: `(n,) bool`.
        groups: `(n,) int64`; images of a group may be right or wrong together, and may lie in several parts.
        parts: `(n,) int64`, the part that each image counts in, such as its class; None: all in one.
        part_count: how many parts there are.
    """
    parts = np.zeros(len(right), dtype=np.int64) if parts is None else parts
    cells, cell = np.unique(groups * part_count + parts, return_inverse=True)
    part = cells % part_count
    size = np.bincount(cell, minlength=len(cells))
    hits = np.bincount(cell[right], minlength=len(cells))
    n, x = (np.bincount(part, counts, part_count) for counts in (size, hits))
    # Of whole numbers, so that the design effect of single images is 1 without a rounding error.
    spread = np.bincount(part, (n[part] * hits - x[part] * size) ** 2, part_count)
    unit = n * x * (n - x)
    design_effect = np.divide(spread, unit, out=np.zeros(part_count), where=unit > 0)
    effective = effective_images(size, right=hits > 0, wrong=hits < size, design_effect=design_effect, parts=part)
    value = np.divide(x, n, out=np.full(part_count, np.nan), where=n > 0)
    low, high = score_bounds(np.nan_to_num(value), effective)
    return Proportions(value, low, high)
