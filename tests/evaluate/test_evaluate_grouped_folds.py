"""Folds: scikit-learn's, dealt once for all who ask for the same."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from bestiary.evaluate import grouped_folds as room
from bestiary.evaluate.grouped_folds import grouped_folds

LABELS, GROUPS = np.repeat([0, 1, 2], 20), np.arange(60) // 2


def test_they_are_scikit_learns() -> None:
    expected = StratifiedGroupKFold(3, shuffle=True, random_state=1).split(LABELS, LABELS, GROUPS)
    for (fitted, held_out), (its_fitted, its_held_out) in zip(
        grouped_folds(LABELS, GROUPS, folds=3, seed=1), expected, strict=True
    ):
        np.testing.assert_array_equal(fitted, its_fitted)
        np.testing.assert_array_equal(held_out, its_held_out)


def test_the_same_are_dealt_once_and_others_anew() -> None:
    room._dealt.cache_clear()
    first = grouped_folds(LABELS, GROUPS, folds=3, seed=1)
    assert grouped_folds(LABELS.copy(), GROUPS.astype(np.int32), folds=3, seed=1)[0][0] is first[0][0]
    assert room._dealt.cache_info().misses == 1
    for labels, groups, folds, seed in (
        (LABELS, GROUPS, 4, 1),
        (LABELS, GROUPS, 3, 2),
        (LABELS, np.arange(60), 3, 1),
        (LABELS[::-1], GROUPS, 3, 1),
    ):
        assert grouped_folds(labels, groups, folds=folds, seed=seed)[0][0] is not first[0][0]
    assert room._dealt.cache_info().misses == 5


def test_what_is_shared_cannot_be_changed() -> None:
    fitted, _ = grouped_folds(LABELS, GROUPS, folds=3, seed=1)[0]
    with pytest.raises(ValueError, match="read-only"):
        fitted[0] = 1
