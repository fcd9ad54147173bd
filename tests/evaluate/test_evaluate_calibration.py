"""Temperature scaling: closed forms, and what it must leave alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from bestiary.evaluate.calibration import best_temperature, log_losses


def drawn(temperature: float, *, seed: int = 0, count: int = 20_000, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow the probabilities of logits; the logits come back `temperature` times too large."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_temperature_of_made_logits_is_found(temperature):
    logits, labels = drawn(temperature)
    assert best_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 6), st.integers(5, 60))
def test_no_other_temperature_has_a_lower_loss(seed, classes, count):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 3, (count, classes)), random.integers(0, classes, count)
    best = best_temperature(logits, labels)
    lowest = log_losses(logits / best, labels).mean()
    for other in np.geomspace(0.05, 20, 40):
        assert lowest <= log_losses(logits / other, labels).mean() + 1e-4


def test_losses_are_scikit_learns():
    logits, labels = drawn(1.0, count=300)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert log_losses(logits, labels).mean() == pytest.approx(log_loss(labels, probabilities))


def test_a_class_that_cannot_be_does_no_harm():
    logits, labels = drawn(2.0, count=2000, classes=3)
    wider = np.concatenate([logits, np.full((2000, 1), -np.inf)], axis=1)
    assert best_temperature(wider, labels) == pytest.approx(best_temperature(logits, labels), rel=1e-3)
