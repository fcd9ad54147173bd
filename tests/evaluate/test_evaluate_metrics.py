"""The registry, and every score of an image against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn import metrics as sk

from bestiary.evaluate import metrics
from bestiary.evaluate.metrics import METRICS, Metric, in_top_k, is_right, losses, metric, metrics_of


def test_every_metric_says_what_it_is():
    assert len({found.name for found in METRICS}) == len({found.title for found in METRICS}) == len(METRICS)
    for found in METRICS:
        assert found.name.isidentifier()
        assert found.meaning.endswith(".")
        assert found.unit in {"fraction", "nats"}
        assert (found.per_image is None) != (found.of_counts is None), found.name
        assert metric(found.name) is found


def test_among_three_classes_the_first_three_are_all():
    assert "top3_accuracy" not in {found.name for found in metrics_of(3)}
    assert metrics_of(4) == tuple(METRICS)
    assert {found.name for found in METRICS if not found.applies(2)} == {"top3_accuracy"}


def test_a_metric_that_is_registered_is_found(monkeypatch):
    toy = Metric("toy", "Toy", "fraction", higher_is_better=True, meaning="None.", per_image=is_right)
    with pytest.raises(KeyError):
        metric("toy")
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, toy))
    assert metric("toy") is toy
    assert metrics_of(2)[-1] is toy


@st.composite
def splits(draw):
    classes, count = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = random.normal(0, draw(st.sampled_from([0.5, 4, 40])), (count, classes)).astype(np.float32)
    return random.integers(0, classes, count), logits


@given(splits())
def test_right_is_scikit_learns_accuracy(split):
    y_true, logits = split
    assert is_right(y_true, logits).mean() == pytest.approx(sk.accuracy_score(y_true, logits.argmax(axis=1)))


@settings(deadline=None)
@given(splits())
def test_losses_are_scikit_learns(split):
    y_true, logits = split
    table = softmax(logits.astype(np.float64), axis=1)
    expected = sk.log_loss(y_true, table, labels=np.arange(logits.shape[1]))
    kept = np.clip(table[np.arange(len(y_true)), y_true], 1e-15, 1)
    assert losses(y_true, logits).mean() == pytest.approx(-np.log(kept).mean(), rel=1e-9, abs=1e-12)
    if table[np.arange(len(y_true)), y_true].min() > 1e-15:
        assert losses(y_true, logits).mean() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_large_logits_lose_no_digits():
    logits = np.array([[1000.0, 990.0], [-1000.0, -990.0]], dtype=np.float32)
    expected = -log_softmax(logits.astype(np.float64), axis=1)[:, 1]
    assert losses(np.array([1, 1]), logits) == pytest.approx(expected, rel=1e-12)


def test_a_probability_of_zero_gives_a_finite_loss():
    logits = np.array([[0.0, -np.inf], [-np.inf, 0.0]], dtype=np.float32)
    assert losses(np.array([1, 1]), logits) == pytest.approx([-np.log(1e-15), 0])


@given(splits(), st.integers(1, 5))
def test_top_k_is_scikit_learns_where_nothing_ties(split, k):
    y_true, logits = split
    right = in_top_k(y_true, logits, k=k)
    if k < logits.shape[1] and logits.shape[1] > 2:
        expected = sk.top_k_accuracy_score(y_true, logits, k=k, labels=np.arange(logits.shape[1]))
        assert right.mean() == pytest.approx(expected)
    assert in_top_k(y_true, logits, k=logits.shape[1]).all()


def test_of_equals_the_earlier_class_goes_first():
    table = np.full((5, 5), 0.2, dtype=np.float32)
    assert in_top_k(np.arange(5), table, k=3).tolist() == [True, True, True, False, False]


@given(splits(), st.integers(1, 5))
def test_with_ties_top_1_is_accuracy_and_more_is_never_less(split, k):
    y_true, logits = split
    coarse = np.round(logits)
    assert np.array_equal(in_top_k(y_true, coarse, k=1), is_right(y_true, coarse))
    assert np.all(in_top_k(y_true, coarse, k=k) <= in_top_k(y_true, coarse, k=k + 1))
