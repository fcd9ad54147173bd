import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from bestiary.audit.labels.probe import fit_probe
from tests.audit.made_features import clouds


@pytest.mark.parametrize("sizes", [(20, 20), (20, 30, 10)])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_probe_is_scikit_learns_over_scaled_features(sizes: tuple[int, ...], balanced: bool) -> None:
    made = clouds(*sizes, spread=1.5)
    centred = made.features.astype(float) - made.features.mean(axis=0)
    scaled = centred / np.sqrt(made.features.var(axis=0).mean())
    model = LogisticRegression(C=0.1 / 24, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=1000)
    expected = model.fit(scaled, made.labels).predict_proba(scaled)
    found = fit_probe(made.features, made.labels, c=0.1, balanced=balanced).probabilities(
        made.features, class_count=len(sizes)
    )
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_class_that_the_probe_never_saw_gets_nothing() -> None:
    made = clouds(20, 20)
    found = fit_probe(made.features, made.labels * 2, c=0.1).probabilities(made.features, class_count=4)
    assert np.all(found[:, [1, 3]] == 0)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert np.array_equal(found.argmax(axis=1), made.labels * 2)


def test_one_class_is_always_named() -> None:
    made = clouds(5)
    found = fit_probe(made.features, made.labels + 1, c=0.1).probabilities(made.features, class_count=3)
    assert np.array_equal(found, np.tile([0, 1, 0], (5, 1)))


def test_features_without_variance_do_no_harm() -> None:
    found = fit_probe(np.ones((6, 3), np.float32), np.array([0, 0, 0, 1, 1, 1]), c=1.0).probabilities(
        np.ones((2, 3), np.float32), class_count=2
    )
    np.testing.assert_allclose(found, 0.5, atol=1e-5)


@pytest.mark.parametrize(("c", "balanced"), [(1.28, True), (12.8, False)])
def test_columns_of_any_scale_lead_to_the_exact_solution_in_few_steps(
    c: float, balanced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = clouds(60, 80, 40, spread=1.2, width=48)
    features = (made.features * np.geomspace(0.01, 10, 48)).astype(np.float32)
    centred = features.astype(float) - features.mean(axis=0)
    scaled = centred / np.sqrt(features.var(axis=0).mean())
    weights = "balanced" if balanced else None
    exact = LogisticRegression(C=c / 48, class_weight=weights, tol=1e-10, max_iter=50_000).fit(scaled, made.labels)
    steps: list[int] = []

    def counting(*args: object, **kwargs: object) -> object:
        result = minimize(*args, **kwargs)  # type: ignore[call-overload]
        steps.append(result.nfev)
        return result

    monkeypatch.setattr("scipy.optimize.minimize", counting)
    found = fit_probe(features, made.labels, c=c, balanced=balanced).probabilities(features, class_count=3)
    np.testing.assert_allclose(found, exact.predict_proba(scaled), atol=3e-3)
    assert steps[0] < 80
