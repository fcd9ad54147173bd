"""The linear probe against scikit-learn, fitted independently."""

import inspect

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from bestiary.models.heads import PROBE_C, Head, fit_linear_probe


def blobs(classes: int, count: int, *, seed: int, features: int = 12, spread: float = 1.5):
    """Overlapping clouds, off the origin, with features of unlike scale."""
    random = np.random.default_rng(7)
    centres = random.normal(0, 1, (classes, features))
    scales = random.uniform(0.5, 4, features)
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(0, classes, count - classes)])
    values = (centres[labels] + draw.normal(0, spread, (count, features))) * scales + 30
    return values.astype(np.float32), labels.astype(np.int64)


def probabilities(head: Head, features: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return torch.softmax(head(torch.from_numpy(features).double()), 1).numpy()


def in_double(probe):
    probe.head.double()
    return probe


def reference(train, *, c: float, balanced: bool = False):
    """scikit-learn's own solution to the last digit, on features divided by their overall standard deviation."""
    features = train[0].astype(np.float64)
    centre = features.mean(axis=0)
    scale = np.sqrt(np.mean((features - centre) ** 2))
    fitted = LogisticRegression(C=c, tol=1e-10, max_iter=20_000, class_weight="balanced" if balanced else None)
    fitted.fit((features - centre) / scale, train[1])
    return lambda values: fitted.predict_proba((values.astype(np.float64) - centre) / scale)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_probe_is_scikit_learns_logistic_regression(classes, balanced):
    train, val = blobs(classes, 300, seed=1), blobs(classes, 150, seed=2)
    if balanced:  # half of the first class is taken out, so that balancing changes something
        keep = (train[1] != 0) | (np.arange(300) % 2 == 0)
        train = (train[0][keep], train[1][keep])
    probe = in_double(fit_linear_probe(train, val, class_count=classes, balanced=balanced))
    losses = {}
    for c in PROBE_C:
        expected = reference(train, c=c, balanced=balanced)(val[0])
        losses[c] = log_loss(val[1], expected, labels=np.arange(classes))
        assert probe.tried[c] == pytest.approx(losses[c], abs=2e-3)
    assert probe.c == min(losses, key=losses.get)
    assert probe.converged
    found = probabilities(probe.head, val[0])
    assert found.shape == (len(val[1]), classes)
    np.testing.assert_allclose(found, reference(train, c=probe.c, balanced=balanced)(val[0]), atol=5e-3)


def test_the_strength_chosen_has_the_lowest_validation_loss_of_those_recorded():
    probe = fit_linear_probe(blobs(3, 60, seed=1), blobs(3, 90, seed=2), class_count=3)
    assert tuple(probe.tried) == PROBE_C
    assert probe.c == min(probe.tried, key=probe.tried.get)
    assert PROBE_C[0] < probe.c < PROBE_C[-1], "data on which neither end of the grid is best"


def test_the_recorded_loss_is_that_of_the_head_that_comes_back():
    train, val = blobs(4, 200, seed=1), blobs(4, 100, seed=2)
    probe = in_double(fit_linear_probe(train, val, class_count=4))
    assert log_loss(val[1], probabilities(probe.head, val[0])) == pytest.approx(probe.tried[probe.c], abs=1e-4)


@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (1e-3, 0.0), (1.0, 100.0), (20.0, -500.0)])
def test_scale_and_shift_of_the_features_change_no_prediction(factor, shift):
    train, val = blobs(3, 150, seed=1), blobs(3, 80, seed=2)
    plain = in_double(fit_linear_probe(train, val, class_count=3))
    moved = [((x * factor + shift).astype(np.float32), y) for x, y in (train, val)]
    other = in_double(fit_linear_probe(moved[0], moved[1], class_count=3))
    assert other.c == plain.c
    np.testing.assert_allclose(probabilities(other.head, moved[1][0]), probabilities(plain.head, val[0]), atol=5e-3)


def test_constant_features_give_class_frequencies():
    labels = np.repeat([0, 1, 2], [30, 20, 10]).astype(np.int64)
    same = np.full((60, 4), 3.5, dtype=np.float32)
    probe = fit_linear_probe((same, labels), (same, labels), class_count=3)
    with torch.inference_mode():
        found = torch.softmax(probe.head(torch.from_numpy(same[:1])), 1).numpy()[0]
    np.testing.assert_allclose(found, [0.5, 1 / 3, 1 / 6], atol=1e-3)


def test_balancing_lifts_the_rare_class():
    features, labels = blobs(2, 400, seed=1, spread=3.0)
    keep = (labels == 0) | (np.cumsum(labels == 1) <= 15)
    train, val = (features[keep], labels[keep]), blobs(2, 200, seed=2, spread=3.0)
    plain, balanced = (fit_linear_probe(train, val, class_count=2, balanced=b) for b in (False, True))
    rare = [probabilities(in_double(probe).head, val[0])[:, 1].mean() for probe in (plain, balanced)]
    assert rare[1] > rare[0] + 0.1


def test_every_strength_is_told():
    told = []
    fit_linear_probe(blobs(2, 40, seed=1), blobs(2, 40, seed=2), class_count=2, on_step=told.append)
    assert len(told) == len(PROBE_C)
    assert all("val loss" in line for line in told)


def test_the_probe_takes_no_test_data():
    assert not [name for name in inspect.signature(fit_linear_probe).parameters if "test" in name]


def test_a_head_is_linear_or_has_one_hidden_layer():
    assert sum(p.numel() for p in Head(20, 3).parameters()) == 20 * 3 + 3
    head = Head(20, 3, hidden=8, dropout=0.5)
    assert sum(p.numel() for p in head.parameters()) == 20 * 8 + 8 + 8 * 3 + 3
    first = head.layers[0]
    assert not first.bias.any()
    assert float(first.weight.detach().abs().max()) <= np.sqrt(6 / 28)
    inputs = torch.ones(1, 20)
    assert torch.equal(head.eval()(inputs), head(inputs)), "no dropout outside training"
    torch.manual_seed(0)
    head.train()
    assert len({tuple(head(inputs).tolist()[0]) for _ in range(8)}) > 1
