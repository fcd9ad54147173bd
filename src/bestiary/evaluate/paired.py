"""Intervals and paired tests: how sure a figure is.

In: counts and per-image outcomes. Out: `Interval`s and p values. No torch, no file here. All intervals are 95 %.

statsmodels takes most of a second to import and a study with nothing to do needs none of it, so it is imported where
used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.intervals import ALPHA, Interval


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same images.

    Attributes:
        difference: accuracy of the first less that of the second, with Agresti and Min's interval.
        p_value: of McNemar's exact test that both err equally often.
        only_first: images that only the first has right.
        only_second: images that only the second has right.
    """

    difference: Interval
    p_value: float
    only_first: int
    only_second: int


def compare_paired(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> PairedComparison:
    """Compare two models image by image.

    The test is McNemar's, exact (McNemar 1947, Psychometrika 12:153). The interval of the difference adds one half to
    each cell (Agresti and Min 2005, Statistics in Medicine 24:729).

    Args:
        first_right: `(n,) bool`, whether the first model has each image right.
        second_right: the same images in the same order.
    """
    from scipy.stats import norm
    from statsmodels.stats.contingency_tables import mcnemar

    if first_right.shape != second_right.shape:
        raise ValueError("both models must be compared on the same images")
    count = len(first_right)
    only_first = int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(~first_right & second_right))
    table = [[0, only_first], [only_second, 0]]
    p_value = float(mcnemar(table, exact=True).pvalue) if only_first + only_second else 1.0
    b, c, n = only_first + 0.5, only_second + 0.5, count + 2
    centre = (b - c) / n
    half = float(norm.ppf(1 - ALPHA / 2)) * np.sqrt(b + c - (b - c) ** 2 / n) / n
    value = (only_first - only_second) / count
    low, high = max(centre - half, -1.0), min(centre + half, 1.0)
    return PairedComparison(
        Interval(value, min(low, value), max(high, value)), min(p_value, 1.0), only_first, only_second
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for being several, by Holm's step-down method (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    return [float(p) for p in multipletests(list(p_values), alpha=ALPHA, method="holm")[1]]
