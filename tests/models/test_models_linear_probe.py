"""The linear probe and the choice of its strength against scikit-learn, fitted independently."""

import inspect

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold

from bestiary.models.heads import Head
from bestiary.models.linear_probe import FALLBACK_C, PROBE_C, Strength, choose_strength, fit_linear_probe


def blobs(classes: int, count: int, *, seed: int, features: int = 12, spread: float = 1.5):
    """Overlapping clouds, off the origin, with features of unlike scale."""
    random = np.random.default_rng(7)
    centres = random.normal(0, 1, (classes, features))
    scales = random.uniform(0.5, 4, features)
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(0, classes, count - classes)])
    values = (centres[labels] + draw.normal(0, spread, (count, features))) * scales + 30
    return values.astype(np.float32), labels.astype(np.int64)


def alone(labels: np.ndarray) -> np.ndarray:
    return np.arange(len(labels))


def fitted(data, **options):
    features, labels = data
    return fit_linear_probe([features], labels, alone(labels), class_count=int(labels.max()) + 1, **options)


def probabilities(head: Head, features: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return torch.softmax(head.double()(torch.from_numpy(features).double()), 1).numpy()


def scaled(features: np.ndarray, by: np.ndarray) -> np.ndarray:
    centre = by.astype(np.float64).mean(axis=0)
    return (features.astype(np.float64) - centre) / np.sqrt(np.mean((by.astype(np.float64) - centre) ** 2))


def reference(data, *, c: float, balanced: bool = False):
    """scikit-learn's own solution to the last digit, on features divided by their overall standard deviation."""
    features, labels = data
    model = LogisticRegression(C=c, tol=1e-10, max_iter=20_000, class_weight="balanced" if balanced else None)
    model.fit(scaled(features, features), labels)
    return lambda values: model.predict_proba(scaled(values, features))


def softened(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_probe_is_scikit_learns_logistic_regression(classes, balanced):
    train, other = blobs(classes, 300, seed=1), blobs(classes, 150, seed=2)
    if balanced:  # half of the first class is taken out, so that balancing changes something
        keep = (train[1] != 0) | (np.arange(300) % 2 == 0)
        train = (train[0][keep], train[1][keep])
    probe = fitted(train, balanced=balanced)
    assert probe.converged
    found = probabilities(probe.head, other[0])
    assert found.shape == (150, classes)
    expected = softened(reference(train, c=probe.strength.c, balanced=balanced)(other[0]), probe.strength.temperature)
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize("count", [200, 1200])
@pytest.mark.parametrize("features", [12, 700])
def test_losses_are_those_of_scikit_learn_out_of_fold(count, features):
    """Also where there are far fewer images than features, and they are compared in fewer dimensions."""
    data, labels = blobs(3, count, seed=1, features=features, spread=6.0)
    groups = np.repeat(np.arange(count // 2), 2)  # pairs
    found = choose_strength([scaled(data, data).astype(np.float32)], labels, groups, class_count=3, seed=5)
    assert found.repeats == (5 if count == 200 else 1)
    c, said, true = found.c, [], []
    for repeat in range(found.repeats):
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=5 + repeat)
        for fit_on, held_out in splitter.split(data, labels, groups):
            model = LogisticRegression(C=c, tol=1e-8, max_iter=20_000)
            model.fit(scaled(data, data)[fit_on], labels[fit_on])
            said.append(model.predict_proba(scaled(data, data)[held_out]))
            true.append(labels[held_out])
    losses = {
        temperature: log_loss(np.concatenate(true), softened(np.concatenate(said), temperature))
        for temperature in np.geomspace(0.05, 20, 300)
    }
    assert found.tried[c] == pytest.approx(min(losses.values()), abs=5e-3)
    assert losses[min(losses, key=lambda one: abs(one - found.temperature))] == pytest.approx(
        min(losses.values()), abs=5e-3
    )


def test_the_strength_is_the_strongest_of_those_within_one_standard_error():
    data = blobs(3, 150, seed=1, spread=3.0)
    strength = fitted(data).strength
    best = min(strength.tried, key=strength.tried.get)
    assert strength.c == min(strength.as_good) <= best in strength.as_good
    assert set(strength.as_good) <= set(strength.tried) <= set(PROBE_C)
    assert list(strength.tried) == sorted(strength.tried)
    assert PROBE_C[0] < best < PROBE_C[-1], "data on which neither end of the grid is best"


@pytest.mark.parametrize("spread", [0.5, 1.5, 8.0, 30.0])
def test_the_search_finds_the_lowest_loss_of_the_whole_grid(spread):
    features, labels = blobs(3, 1000, seed=1, spread=spread)
    values = [scaled(features, features).astype(np.float32)]
    found = choose_strength(values, labels, alone(labels), class_count=3)
    losses = {}
    for c in PROBE_C:
        said, true = [], []
        for repeat in range(found.repeats):
            splitter = StratifiedGroupKFold(5, shuffle=True, random_state=repeat)
            for fit_on, held_out in splitter.split(features, labels, alone(labels)):
                model = LogisticRegression(C=c, max_iter=1000).fit(values[0][fit_on], labels[fit_on])
                said.append(model.predict_proba(values[0][held_out]))
                true.append(labels[held_out])
        losses[c] = min(
            log_loss(np.concatenate(true), softened(np.concatenate(said), temperature))
            for temperature in np.geomspace(0.05, 20, 60)
        )
    assert min(found.tried.values()) <= min(losses.values()) + 0.003


def test_copies_are_never_on_both_sides_of_a_fold():
    """Of noise nothing can be learned; who sees copies apart believes that it can be."""
    random = np.random.default_rng(0)
    noise = np.repeat(random.normal(0, 1, (60, 40)).astype(np.float32), 3, axis=0)
    labels = np.repeat(random.integers(0, 3, 60), 3)
    tied = choose_strength([noise], labels, np.repeat(np.arange(60), 3), class_count=3)
    untied = choose_strength([noise], labels, np.arange(180), class_count=3)
    assert min(tied.tried.values()) == pytest.approx(np.log(3), abs=0.05)
    assert min(untied.tried.values()) < 0.5


def test_noise_asks_for_the_strongest_probe():
    random = np.random.default_rng(0)
    noise, labels = random.normal(0, 1, (300, 20)).astype(np.float32), random.integers(0, 3, 300)
    strength = choose_strength([noise], labels, alone(labels), class_count=3)
    assert strength.c <= 0.01
    assert min(strength.tried.values()) == pytest.approx(np.log(3), abs=0.02)


def test_images_of_one_group_leave_nothing_to_choose_by():
    features, labels = blobs(3, 60, seed=1)
    probe = fit_linear_probe([features], labels, np.zeros(60, dtype=np.int64), class_count=3)
    assert (probe.strength.c, probe.strength.tried, probe.strength.folds) == (FALLBACK_C, {}, 0)


def test_a_class_of_one_group_is_judged_by_no_fold():
    features, labels = blobs(3, 90, seed=1)
    labels[:] = np.where(np.arange(90) < 3, 2, np.arange(90) % 2)
    groups = np.where(np.arange(90) < 3, 1000, np.arange(90))
    strength = choose_strength([features - features.mean(0)], labels, groups, class_count=3)
    assert strength.images == 87


@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (1e-3, 0.0), (1.0, 100.0), (20.0, -500.0)])
def test_scale_and_shift_of_the_features_change_no_prediction(factor, shift):
    train, other = blobs(3, 150, seed=1), blobs(3, 80, seed=2)
    plain = fitted(train)
    moved = [((x * factor + shift).astype(np.float32), y) for x, y in (train, other)]
    again = fitted(moved[0])
    assert again.strength.c == plain.strength.c
    np.testing.assert_allclose(probabilities(again.head, moved[1][0]), probabilities(plain.head, other[0]), atol=5e-3)


def test_constant_features_give_class_frequencies():
    labels = np.repeat([0, 1, 2], [30, 20, 10]).astype(np.int64)
    same = np.full((60, 4), 3.5, dtype=np.float32)
    found = probabilities(fitted((same, labels)).head, same[:1])[0]
    np.testing.assert_allclose(found, [0.5, 1 / 3, 1 / 6], atol=1e-3)


def test_balancing_lifts_the_rare_class():
    features, labels = blobs(2, 400, seed=1, spread=3.0)
    keep = (labels == 0) | (np.cumsum(labels == 1) <= 15)
    train, other = (features[keep], labels[keep]), blobs(2, 200, seed=2, spread=3.0)
    rare = [probabilities(fitted(train, balanced=b).head, other[0])[:, 1].mean() for b in (False, True)]
    assert rare[1] > rare[0] + 0.1


def test_a_known_strength_is_taken_and_nothing_is_tried():
    data = blobs(3, 100, seed=1)
    probe = fitted(data, strength=Strength(0.5))
    assert (probe.strength.c, probe.strength.tried) == (0.5, {})
    np.testing.assert_allclose(probabilities(probe.head, data[0]), reference(data, c=0.5)(data[0]), atol=5e-3)


def test_all_views_are_fitted_on():
    (features, labels), (others, _) = blobs(3, 120, seed=1), blobs(3, 120, seed=1)
    others = others + np.random.default_rng(3).normal(0, 2, others.shape).astype(np.float32)
    probe = fit_linear_probe([features, others], labels, alone(labels), class_count=3, strength=Strength(0.3))
    both = (np.concatenate([features, others]), np.tile(labels, 2))
    np.testing.assert_allclose(probabilities(probe.head, features), reference(both, c=0.3)(features), atol=5e-3)


def test_every_strength_is_told():
    told: list[str] = []
    probe = fitted(blobs(2, 40, seed=1), on_step=told.append)
    assert len(told) == len(probe.strength.tried)
    assert all("out-of-fold loss" in line for line in told)


def test_the_probe_takes_neither_validation_nor_test_data():
    names = inspect.signature(fit_linear_probe).parameters
    assert not [name for name in names if "test" in name or "val" in name]
