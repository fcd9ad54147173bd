"""Intervals and paired tests against closed forms, scipy, and the coverage that they promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from bestiary.evaluate.intervals import wilson
from bestiary.evaluate.paired import compare_paired, holm

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_wilson_is_the_closed_form(counts):
    successes, n = counts
    found = wilson(successes, n)
    z, p = norm.ppf(0.975), successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert found.value == p
    assert found.low == pytest.approx(max(centre - half, 0), abs=1e-9)
    assert found.high == pytest.approx(min(centre + half, 1), abs=1e-9)
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


def outcomes(both: int, only_first: int, only_second: int, neither: int):
    pairs = [(1, 1)] * both + [(1, 0)] * only_first + [(0, 1)] * only_second + [(0, 0)] * neither
    table = np.random.default_rng(0).permutation(np.array(pairs, dtype=bool))
    return table[:, 0], table[:, 1]


CELLS = st.tuples(*[st.integers(0, 40)] * 4).filter(any)


@given(CELLS)
def test_mcnemar_is_the_exact_binomial_test(cells):
    found = compare_paired(*outcomes(*cells))
    _, b, c, _ = cells
    assert (found.only_first, found.only_second) == (b, c)
    assert found.p_value == pytest.approx(binomtest(b, b + c, 0.5).pvalue if b + c else 1.0, abs=1e-9)
    assert 0 <= found.p_value <= 1


@given(CELLS)
def test_the_difference_is_that_of_accuracies_and_lies_in_its_interval(cells):
    first, second = outcomes(*cells)
    found = compare_paired(first, second).difference
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert -1 <= found.low <= found.value <= found.high <= 1
    swapped = compare_paired(second, first).difference
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_the_interval_is_agresti_and_mins():
    # n = 100, b = 12, c = 5: (7 / 102) +- 1.96 sqrt(18 - 49 / 102) / 102, with half an image added to each cell.
    found = compare_paired(*outcomes(60, 12, 5, 23)).difference
    assert found.value == pytest.approx(0.07)
    assert found.low == pytest.approx(7 / 102 - 1.959964 * np.sqrt(18 - 49 / 102) / 102, abs=1e-6)
    assert found.high == pytest.approx(7 / 102 + 1.959964 * np.sqrt(18 - 49 / 102) / 102, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "cells"), [(60, (0.7, 0.15, 0.05, 0.1)), (300, (0.9, 0.04, 0.03, 0.03)), (520, (0.9, 0.02, 0.06, 0.02))]
)
def test_the_difference_interval_covers_the_truth_as_often_as_it_says(n, cells):
    random, truth, rounds = np.random.default_rng(1), cells[1] - cells[2], 1500
    hits = 0
    for both, b, c, neither in random.multinomial(n, cells, size=rounds):
        first = np.repeat([True, True, False, False], [both, b, c, neither])
        second = np.repeat([True, False, True, False], [both, b, c, neither])
        interval = compare_paired(first, second).difference
        hits += interval.low <= truth <= interval.high
    # Three standard errors of a share of 1,500 are 0.017.
    assert 0.93 < hits / rounds < 0.985


def test_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="same images"):
        compare_paired(np.array([True]), np.array([True, False]))


def test_holm_by_hand():
    # Sorted: 0.01 x 4 = 0.04; 0.02 x 3 = 0.06; 0.03 x 2 = 0.06; 0.5 x 1.
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.04]) == pytest.approx([0.04])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@settings(max_examples=15, deadline=None)  # statsmodels collects garbage in every call: 0.1 s
@given(st.lists(st.integers(1, 1000).map(lambda n: n / 1000), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= q + 1e-12 <= 1 + 1e-9 for p, q in zip(p_values, adjusted, strict=True))
    by_original = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(by_original))
    assert min(adjusted) == pytest.approx(min(1, min(p_values) * len(p_values)))
