"""Paired tests: whether one model is better than another on the same images.

In: per-image outcomes and groups, p values. Out: `PairedComparison`, adjusted p values. No torch, no file here. All
intervals are of 95 %.

scipy.stats and statsmodels take most of a second to import and a study with nothing to do needs neither, so they are
imported where used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.intervals import ALPHA, Interval, Z
from bestiary.evaluate.resampling import Groups

_POWER = 0.8


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same images.

    Attributes:
        difference: accuracy of the first less that of the second, with its interval.
        p_value: of the exact test that both are right equally often.
        only_first: images that only the first has right.
        only_second: images that only the second has right.
        images_needed: test images of which a difference as large as the one seen would be significant in 4 of 5 sets,
            see `images_needed`; None where none was seen.
    """

    difference: Interval
    p_value: float
    only_first: int
    only_second: int
    images_needed: int | None = None


def compare_paired(
    first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_], *, groups: Groups | None = None
) -> PairedComparison:
    """Compare two models image by image, or group by group.

    The test exchanges the two models' outcomes in whole groups, as if it did not matter which model is which (Fisher
    1935, The Design of Experiments, section 21). Its p value is the share of exchanges that give a difference at least
    as large. The interval is that of Agresti and Min (2005, Statistics in Medicine 24:729), with the variance between
    groups, and half a group added to each cell where they add half an image. Where every group is one image, the test
    is McNemar's exact one (1947, Psychometrika 12:153), and the interval is theirs.

    Args:
        first_right: `(n,) bool`, whether the first model has each image right; at least one image.
        second_right: the same images in the same order.
        groups: `(n,) int64`, any numbers; images of a group may be right or wrong together. None: every image is a
            group of its own.

    Raises:
        ValueError: arrays do not fit together, or are empty.
    """
    groups = np.arange(len(first_right)) if groups is None else groups
    if first_right.shape != second_right.shape or first_right.shape != groups.shape:
        raise ValueError("both models must be compared on the same images, with a group for each")
    if not len(first_right):
        raise ValueError("two models cannot be compared on no images")
    place = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(place)
    only_first, only_second = first_right & ~second_right, ~first_right & second_right
    differences = np.bincount(place[only_first], minlength=len(sizes)) - np.bincount(
        place[only_second], minlength=len(sizes)
    )
    return PairedComparison(
        _difference(differences, sizes),
        _p_value(differences),
        int(only_first.sum()),
        int(only_second.sum()),
        images_needed(differences, sizes),
    )


def images_needed(differences: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> int | None:
    """How many test images would show a difference as large as the one seen, at 5 % and with a power of 80 %.

    Connor's sample size for McNemar's test (1987, Biometrics 43:207), with the variance between groups in place of that
    between images. The difference seen is itself uncertain: the number says of what order it is.

    Args:
        differences: of each group, images that only the first model has right less those that only the second has.
        sizes: images of each group.

    Returns:
        Images in groups like these; None where the models do not differ.
    """
    from scipy.stats import norm

    count = int(sizes.sum())
    difference = float(differences.sum()) / count
    if difference == 0:
        return None
    # Of an image on average: the variance of the difference if there were none, and as it is.
    equal = float((differences.astype(np.float64) ** 2).sum()) / count
    as_seen = float(((differences - difference * sizes) ** 2).sum()) / count
    wanted = (Z * np.sqrt(equal) + norm.ppf(_POWER) * np.sqrt(as_seen)) / difference
    return int(np.ceil(wanted**2))


def _difference(differences: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Interval:
    """The mean difference of groups with these sums of differences, in [-1, 1].

    The added groups are as large as the group that an image is in on average, so that the interval has a width even
    where no group differs.
    """
    count = int(sizes.sum())
    added = float((sizes**2).sum()) / count
    images = count + 2 * added
    centre = differences.sum() / images
    # Of the two groups added, half of one differs by its whole size, half of one by as much the other way.
    spread = ((differences - centre * sizes) ** 2).sum() + added**2 * (1 + 2 * centre**2)
    half = Z * np.sqrt(spread) / images
    value = float(differences.sum() / count)
    return Interval(value, min(max(float(centre - half), -1.0), value), max(min(float(centre + half), 1.0), value))


def _p_value(differences: npt.NDArray[np.int64]) -> float:
    """The share of all exchanges of signs whose sum is at least as far from 0.

    Exact for any number of groups: the distribution of the sum is built group size by group size (Pagano and Tritchler
    1983, JASA 78:435) instead of listing or drawing exchanges.
    """
    from scipy.stats import binom

    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    reach = int(sizes @ counts)
    # Element s is the chance of the sum s - reach.
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        before, chances = chances, np.zeros_like(chances)
        for plus, chance in enumerate(binom.pmf(np.arange(count + 1), count, 0.5)):
            shift = size * (2 * plus - count)
            if shift >= 0:
                chances[shift:] += chance * before[: len(before) - shift]
            else:
                chances[:shift] += chance * before[-shift:]
    total = abs(int(differences.sum()))
    if total == 0:
        return 1.0
    return min(float(chances[: reach - total + 1].sum() + chances[reach + total :].sum()), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for being several, by Holm's step-down method (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    return [float(p) for p in multipletests(list(p_values), alpha=ALPHA, method="holm")[1]]
