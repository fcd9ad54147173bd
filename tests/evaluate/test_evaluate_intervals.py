import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from bestiary.evaluate.intervals import effective_images, percentile_interval, score_bounds, wilson

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_a_percentile_interval_is_of_quantiles_and_holds_its_figure():
    resampled = np.arange(1001) / 1000
    found = percentile_interval(0.4, resampled)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.025, 0.975))
    assert percentile_interval(0.99, resampled).high == pytest.approx(0.99)
    assert found.as_dict() == {"value": found.value, "low": found.low, "high": found.high}


def test_resamples_that_gave_no_number_do_not_count():
    resampled = np.append(np.arange(1001) / 1000, [np.nan] * 500)
    assert percentile_interval(0.4, resampled) == percentile_interval(0.4, np.arange(1001) / 1000)
    found = percentile_interval(0.4, np.array([np.nan]))
    assert found.value == 0.4
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@given(COUNTS)
def test_wilson_is_statsmodels(counts):
    successes, n = counts
    found = wilson(successes, n)
    low, high = proportion_confint(successes, n, method="wilson")
    assert found.value == successes / n
    assert (found.low, found.high) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("n", [40, 260])
def test_wilson_covers_the_truth_as_often_as_it_says(n):
    counts = np.arange(n + 1)
    intervals = [wilson(int(k), n) for k in counts]
    low, high = np.array([i.low for i in intervals]), np.array([i.high for i in intervals])
    truths = np.linspace(0.05, 0.95, 181)
    coverage = [binom.pmf(counts, n, p)[(low <= p) & (p <= high)].sum() for p in truths]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.01)
    assert min(coverage) > 0.91


def test_of_no_image_nothing_is_known():
    low, high = score_bounds(np.array([0.0, 1.0, 0.5]), np.zeros(3))
    assert (low.tolist(), high.tolist()) == ([0, 0, 0], [1, 1, 1])


def effective(sizes: list[int], wrong: list[int], *, design_effect: float) -> float:
    """Of groups with a right image each."""
    found = effective_images(
        np.array(sizes),
        right=np.ones(len(sizes), dtype=bool),
        wrong=np.isin(np.arange(len(sizes)), wrong),
        design_effect=np.array([design_effect]),
        parts=np.zeros(len(sizes), dtype=np.int64),
    )
    return float(found[0])


def test_the_design_effect_is_averaged_with_the_worst_case_as_if_that_were_two_groups():
    assert effective([1] * 100, [3, 5], design_effect=1) == 100
    # 20 groups of 5, two of them with an error.
    assert effective([5] * 20, [3, 5], design_effect=2) == pytest.approx(100 / ((2 * 2 + 2 * 5) / 4))
    # No group with an error: the worst case. Many: the estimate.
    assert effective([5] * 20, [], design_effect=0) == pytest.approx(20)
    assert effective([5] * 20_000, list(range(10_000)), design_effect=2) == pytest.approx(50_000, rel=1e-3)
    # Never more than there are, also where images of a group make up for one another.
    assert effective([5] * 20_000, list(range(10_000)), design_effect=0.1) == 100_000


def test_a_small_group_says_little_about_how_large_ones_behave():
    # 40 images in groups of 1 and 9: an image's group has 5 / (4 * 10) * (1 + 81) = 8.2 on average.
    sizes = [1, 9] * 4
    assert effective(sizes, [0], design_effect=1) == pytest.approx(40 / ((1 / 8.2 + 2 * 8.2) / (1 / 8.2 + 2)))
    assert effective(sizes, [1], design_effect=1) == pytest.approx(40 / ((1 + 2 * 8.2) / 3))


def test_parts_have_numbers_of_their_own():
    found = effective_images(
        np.array([1, 1, 4, 4]),
        right=np.ones(4, dtype=bool),
        wrong=np.zeros(4, dtype=bool),
        design_effect=np.zeros(3),
        parts=np.array([0, 0, 2, 2]),
    )
    assert found.tolist() == [2, 0, 2]
