import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bestiary.evaluate.intervals import Interval
from bestiary.evaluate.pooled import respecting_folds


def test_folds_that_differ_widen_the_interval_to_students() -> None:
    by_fold = np.array([0.84, 0.96, 0.88, 0.92, 0.88])
    low, high = stats.t.interval(0.95, 4, loc=by_fold.mean(), scale=stats.sem(by_fold))
    found = respecting_folds(Interval(by_fold.mean(), 0.87, 0.92), by_fold)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_folds_that_agree_leave_it_as_images_and_groups_make_it() -> None:
    pooled = Interval(0.9, 0.86, 0.93)
    assert respecting_folds(pooled, np.array([0.9, 0.9, 0.901, 0.899])) == pooled
    assert respecting_folds(pooled, np.array([0.9, np.nan])) == pooled


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_it_is_never_narrower_and_stays_in_bounds(values: list[float]) -> None:
    by_fold = np.array(values)
    pooled = Interval(float(by_fold.mean()), max(by_fold.mean() - 0.05, 0), min(by_fold.mean() + 0.05, 1))
    found = respecting_folds(pooled, by_fold)
    assert 0 <= found.low <= pooled.low <= found.value <= pooled.high <= found.high <= 1
