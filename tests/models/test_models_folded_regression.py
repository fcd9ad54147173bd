"""Regressions in many folds at once: each is what scikit-learn fits on the images of that fold alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from bestiary.models import folded_regression
from bestiary.models.folded_regression import FoldedRegression


def made(*, count: int, size: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, count - classes)])
    features = random.normal(size=(count, size)) + random.normal(size=(classes, size))[labels]
    return features.astype(np.float32), labels.astype(np.int64)


def folds_of(count: int, folds: int, *, seed: int) -> list[np.ndarray]:
    dealt = np.random.default_rng(seed).integers(0, folds, count)
    return [np.flatnonzero(dealt != number) for number in range(folds)]


def reference(features, labels, fitted, *, c: float, balanced: bool) -> LogisticRegression:
    model = LogisticRegression(C=c, tol=1e-7, max_iter=5000, class_weight="balanced" if balanced else None)
    return model.fit(features[fitted].astype(np.float64), labels[fitted])


def probabilities(logits: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(logits, axis=1))


@pytest.fixture
def to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded_regression, "_TOLERANCE", 1e-6)
    monkeypatch.setattr(folded_regression, "_MAX_ITERATIONS", 3000)


@pytest.mark.usefixtures("to_the_end")
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_every_fold_at_every_strength_is_scikit_learns(classes: int, balanced: bool) -> None:
    features, labels = made(count=120, size=9, classes=classes, seed=classes)
    fitted = folds_of(120, 4, seed=1)
    found = FoldedRegression(features, labels, fitted, class_count=classes, balanced=balanced)
    for c in (0.001, 0.1, 3.0, 0.02):  # up and down: from wherever the last strength ended
        found.fit(c)
        for number, part in enumerate(fitted):
            expected = reference(features, labels, part, c=c, balanced=balanced).predict_proba(features)
            said = probabilities(found.logits(number, np.arange(120)))
            np.testing.assert_allclose(said, expected, atol=2e-4)


def test_stopped_as_scikit_learn_stops_the_loss_is_as_low() -> None:
    features, labels = made(count=200, size=40, classes=5, seed=3)
    fitted = folds_of(200, 5, seed=2)
    found = FoldedRegression(features, labels, fitted, class_count=5)
    for c in (0.022, 0.1, 0.0046):
        found.fit(c)
        for number, part in enumerate(fitted):
            theirs = LogisticRegression(C=c, max_iter=300).fit(features[part], labels[part])

            def objective(coefficients, said, c=c, part=part):
                loss = -log_softmax(said, axis=1)[np.arange(len(part)), labels[part]].sum()
                return c * loss + (coefficients.astype(np.float64) ** 2).sum() / 2

            ours = objective(found._found[number, :, :-1], found.logits(number, part))
            best = objective(theirs.coef_, theirs.decision_function(features[part]))
            assert ours <= best * (1 + 1e-4)


@pytest.mark.usefixtures("to_the_end")
def test_a_class_that_a_fold_never_saw_has_no_part_in_it() -> None:
    features, labels = made(count=90, size=5, classes=3, seed=5)
    without = np.flatnonzero(labels != 1)
    found = FoldedRegression(features, labels, [without, np.arange(90)], class_count=3)
    found.fit(0.5)
    said = found.logits(0, np.arange(90))
    assert np.isneginf(said[:, 1]).all()
    # Two classes are left: scikit-learn has one vector of coefficients for them.
    expected = reference(features, labels, without, c=0.5, balanced=False).predict_proba(features)
    np.testing.assert_allclose(probabilities(said)[:, [0, 2]], expected, atol=2e-4)
    whole = reference(features, labels, np.arange(90), c=0.5, balanced=False).predict_proba(features)
    np.testing.assert_allclose(probabilities(found.logits(1, np.arange(90))), whole, atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 5), st.integers(1, 4))
def test_what_a_fold_holds_out_has_no_part_in_its_fit(seed: int, classes: int, folds: int) -> None:
    features, labels = made(count=40, size=6, classes=classes, seed=seed)
    fitted = [part for part in folds_of(40, folds + 1, seed=seed) if len(np.unique(labels[part])) > 1]
    assert fitted
    clean = FoldedRegression(features, labels, fitted, class_count=classes)
    clean.fit(0.1)
    out = np.setdiff1d(np.arange(40), fitted[0])
    poisoned, others = features.copy(), labels.copy()
    poisoned[out], others[out] = 100.0, (labels[out] + 1) % classes
    dirty = FoldedRegression(poisoned, others, fitted, class_count=classes)
    dirty.fit(0.1)
    np.testing.assert_array_equal(dirty.seen[0], clean.seen[0])
    np.testing.assert_allclose(dirty.logits(0, fitted[0]), clean.logits(0, fitted[0]), atol=1e-2)


def test_rows_taken_in_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = made(count=150, size=8, classes=3, seed=9)
    fitted = folds_of(150, 3, seed=4)
    said = []
    for at_once in (1 << 22, 9 * 40):
        monkeypatch.setattr(folded_regression, "_NUMBERS_AT_ONCE", at_once)
        found = FoldedRegression(features, labels, fitted, class_count=3)
        found.fit(0.05)
        said.append(found.logits(1, np.arange(150)))
    np.testing.assert_allclose(said[0], said[1], atol=5e-3)
