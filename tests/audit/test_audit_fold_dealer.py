import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from bestiary.audit import fold_dealer
from bestiary.audit.fold_dealer import FoldDealer


def test_folds_are_scikit_learns_and_the_same_are_dealt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = fold_dealer.grouped_folds
    monkeypatch.setattr(
        fold_dealer, "grouped_folds", lambda *args, **given: asked.append(given) or real(*args, **given)
    )
    labels, groups = np.repeat([0, 1, 2], 20), np.arange(60) // 2
    dealer = FoldDealer()
    found = dealer.deal(labels, groups, folds=3, seed=1)
    expected = StratifiedGroupKFold(3, shuffle=True, random_state=1).split(labels, labels, groups)
    for (train, test), (its_train, its_test) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(train, its_train)
        np.testing.assert_array_equal(test, its_test)
    assert dealer.deal(labels.copy(), groups.copy(), folds=3, seed=1) is found
    assert len(asked) == 1
    for other in (
        dealer.deal(labels, groups, folds=4, seed=1),
        dealer.deal(labels, groups, folds=3, seed=2),
        dealer.deal(labels, np.arange(60), folds=3, seed=1),
        dealer.deal(labels[::-1], groups, folds=3, seed=1),
    ):
        assert other is not found
    assert len(asked) == 5
