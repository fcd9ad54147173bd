"""Shares of images in groups: textbook's figures where groups are single images, coverage where they are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_groups import group_sizes, outcomes, unrolled
from statsmodels.genmod.cov_struct import Independence
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_estimating_equations import GEE

from bestiary.evaluate.intervals import wilson
from bestiary.evaluate.proportions import proportions

RIGHT = st.lists(st.booleans(), min_size=1, max_size=60).map(lambda flags: np.array(flags, dtype=bool))


def width(right: np.ndarray, groups: np.ndarray) -> float:
    found = proportions(right, groups)
    return float(found.high[0] - found.low[0])


@given(RIGHT, st.integers(-5, 5))
def test_of_single_images_it_is_wilsons(right, first):
    found = proportions(right, np.arange(len(right)) + first)
    expected = wilson(int(right.sum()), len(right))
    assert found.value[0] == expected.value
    assert (found.low[0], found.high[0]) == pytest.approx((expected.low, expected.high), abs=1e-14)


@given(RIGHT, st.integers(2, 7))
def test_copies_that_are_judged_alike_count_once(right, copies):
    found = proportions(np.repeat(right, copies), np.repeat(np.arange(len(right)), copies))
    expected = wilson(int(right.sum()), len(right))
    assert (found.value[0], found.low[0], found.high[0]) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-12
    )


@given(RIGHT, st.data())
def test_parts_are_shares_of_their_own(right, data):
    numbers = st.lists(st.integers(0, 3), min_size=len(right), max_size=len(right)).map(np.array)
    parts, groups = data.draw(numbers), data.draw(numbers)
    found = proportions(right, groups, parts=parts, part_count=5)
    for part in range(5):
        if not (parts == part).any():
            assert np.isnan(found.value[part])
            continue
        alone = proportions(right[parts == part], groups[parts == part])
        assert (found.value[part], found.low[part], found.high[part]) == (alone.value[0], alone.low[0], alone.high[0])


@given(RIGHT, st.data())
def test_wrong_and_right_are_mirror_images(right, data):
    groups = data.draw(st.lists(st.integers(0, 9), min_size=len(right), max_size=len(right)).map(np.array))
    found, mirrored = proportions(right, groups), proportions(~right, groups)
    assert (found.low[0], found.high[0]) == pytest.approx((1 - mirrored.high[0], 1 - mirrored.low[0]), abs=1e-12)
    assert 0 <= found.low[0] <= found.value[0] <= found.high[0] <= 1
    assert found.low[0] < found.high[0]


def test_with_many_groups_the_variance_is_that_of_estimating_equations():
    random = np.random.default_rng(0)
    sizes = group_sizes(random, (4000,), "1 to 20")
    right, groups = unrolled(sizes, outcomes(random, sizes, share=0.7, correlation=0.5))
    fitted = GEE(
        right.astype(float), np.ones((len(right), 1)), groups, family=Binomial(), cov_struct=Independence()
    ).fit()
    share = right.mean()
    # The standard error of the log odds, carried over to the share.
    expected = 2 * 1.959964 * fitted.standard_errors("robust")[0] * share * (1 - share)
    assert width(right, groups) == pytest.approx(expected, rel=0.01)


def test_groups_that_are_right_together_make_it_wider_and_others_no_narrower():
    right = np.repeat([True, False], [80, 20])
    together, across = np.arange(100) // 5, np.arange(100) % 20
    single = width(right, np.arange(100))
    assert width(right, together) == pytest.approx(wilson(16, 20).high - wilson(16, 20).low)
    assert width(right, together) > 1.8 * single
    assert width(right, across) == pytest.approx(single)


@pytest.mark.parametrize("value", [True, False])
def test_where_all_are_right_or_wrong_the_groups_set_the_width(value):
    right, groups = np.full(100, value), np.arange(100) // 5
    assert width(right, groups) == pytest.approx(wilson(20, 20).high - wilson(20, 20).low)
    # One large group tells little more than a few images.
    assert width(right, np.maximum(np.arange(100) - 90, 0)) > 0.6


def test_one_group_tells_less_than_two_images():
    right = np.arange(1000) % 2 == 0
    assert width(right, np.zeros(1000, dtype=np.int64)) > width(np.array([True, False]), np.arange(2))


def coverage(kind: str, *, groups: int, share: float, correlation: float, rounds: int) -> float:
    """How often the interval holds the truth. Each round is a part of its own."""
    random = np.random.default_rng([groups, round(share * 100), round(correlation * 10)])
    sizes = group_sizes(random, (rounds, groups), kind)
    right, place = unrolled(sizes, outcomes(random, sizes, share=share, correlation=correlation))
    found = proportions(right, place, parts=place // groups, part_count=rounds)
    return float(np.mean((found.low <= share) & (share <= found.high)))


SHARES = (0.5, 0.9, 0.97)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("groups", [30, 80, 250])
def test_intervals_cover_the_truth_with_groups_of_1_to_20(groups, share):
    found = coverage("1 to 20", groups=groups, share=share, correlation=0.8, rounds=2000)
    # Three standard errors of a share of 2,000 are 0.015.
    assert 0.925 < found < 0.985


def test_without_groups_they_would_not():
    random = np.random.default_rng(0)
    sizes = group_sizes(random, (2000, 80), "1 to 20")
    right, place = unrolled(sizes, outcomes(random, sizes, share=0.9, correlation=0.8))
    found = proportions(right, np.arange(len(right)), parts=place // 80, part_count=2000)
    assert np.mean((found.low <= 0.9) & (found.high >= 0.9)) < 0.55


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("correlation", [0.1, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("groups", [25, 60, 250])
@pytest.mark.parametrize("kind", ["single", "1 to 20", "skewed"])
def test_intervals_cover_the_truth_at_length(kind, groups, correlation, share):
    found = coverage(kind, groups=groups, share=share, correlation=correlation, rounds=8000)
    # Three standard errors of a share of 8,000 are 0.007.
    assert found > 0.913
