"""Every figure against scikit-learn, also where classes are absent or never predicted."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from bestiary.evaluate import metrics
from bestiary.evaluate.metrics import (
    accuracy_of,
    as_given_metrics,
    confusion_matrix,
    per_class,
    split_metrics,
    top_k_right,
)

FIGURES = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "log_loss", "top3_accuracy")


@st.composite
def splits(draw):
    """True classes and probabilities: few images, so that classes are often absent or never predicted."""
    classes, count = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y_true = random.integers(0, draw(st.integers(1, classes)), count)
    logits = random.normal(0, 2, (count, classes))
    logits[:, draw(st.integers(0, classes - 1))] -= draw(st.sampled_from([0, 20]))
    table = np.exp(logits - logits.max(axis=1, keepdims=True))
    return y_true.astype(np.int64), table / table.sum(axis=1, keepdims=True)


def names(table: np.ndarray) -> list[str]:
    return [f"class {number}" for number in range(table.shape[1])]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 100)


@settings(max_examples=120, deadline=None)
@given(splits())
def test_every_figure_is_scikit_learns(split):
    y_true, table = split
    y_pred, classes = table.argmax(axis=1), np.arange(table.shape[1])
    found = split_metrics(y_true, table, class_names=names(table))
    average = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sk.accuracy_score(y_true, y_pred),
        "balanced_accuracy": np.mean([np.mean(y_pred[y_true == c] == c) for c in np.unique(y_true)]),
        "macro_precision": sk.precision_score(y_true, y_pred, **average),
        "macro_recall": sk.recall_score(y_true, y_pred, **average),
        "macro_f1": sk.f1_score(y_true, y_pred, **average),
        "log_loss": sk.log_loss(y_true, table, labels=classes),
        "top3_accuracy": np.mean(
            [true in np.argsort(-row, kind="stable")[:3] for true, row in zip(y_true, table, strict=True)]
        ),
    }
    for figure, value in expected.items():
        assert found[figure]["value"] == pytest.approx(value, abs=1e-9), figure
        assert found[figure]["low"] <= found[figure]["value"] <= found[figure]["high"]
    if set(y_pred) <= set(y_true) and len(set(y_true)) > 1:
        assert expected["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y_true, y_pred))
    assert found["n"] == len(y_true)
    assert np.array_equal(found["confusion"], sk.confusion_matrix(y_true, y_pred, labels=classes))
    precision, recall, f1, support = sk.precision_recall_fscore_support(y_true, y_pred, labels=classes, zero_division=0)
    for number, row in enumerate(found["per_class"]):
        assert row["class_name"] == f"class {number}"
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            (precision[number], recall[number], f1[number])
        )
        assert row["support"] == support[number]
    json.dumps(found, allow_nan=False)


@given(splits(), st.integers(1, 5))
def test_top_k_is_scikit_learns_where_nothing_ties(split, k):
    y_true, table = split
    right = top_k_right(y_true, table, k=k)
    if k < table.shape[1] and table.shape[1] > 2:
        expected = sk.top_k_accuracy_score(y_true, table, k=k, labels=np.arange(table.shape[1]))
        assert right.mean() == pytest.approx(expected)
    assert top_k_right(y_true, table, k=table.shape[1]).all()


def test_of_equals_the_earlier_class_goes_first():
    table = np.full((5, 5), 0.2)
    assert top_k_right(np.arange(5), table, k=3).tolist() == [True, True, True, False, False]


@given(splits(), st.integers(1, 5))
def test_with_ties_top_1_is_accuracy_and_more_is_never_less(split, k):
    y_true, table = split
    coarse = np.round(table, 1)
    assert np.array_equal(top_k_right(y_true, coarse, k=1), coarse.argmax(axis=1) == y_true)
    assert np.all(top_k_right(y_true, coarse, k=k) <= top_k_right(y_true, coarse, k=k + 1))


def test_a_probability_of_zero_gives_a_finite_loss():
    table = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    found = split_metrics(np.array([1, 1]), table, class_names=["a", "b"])
    assert found["log_loss"]["value"] == pytest.approx(-np.log(1e-15) / 2, rel=1e-6)


def test_float32_probabilities_do_not_change_the_figures():
    random = np.random.default_rng(3)
    table = random.dirichlet(np.ones(4), 50)
    y_true = random.integers(0, 4, 50)
    exact, single = (split_metrics(y_true, t, class_names=names(table)) for t in (table, table.astype(np.float32)))
    for figure in FIGURES:
        assert single[figure]["value"] == pytest.approx(exact[figure]["value"], abs=1e-5)


def sample(count: int, *, seed: int = 0):
    random = np.random.default_rng(seed)
    y_true = random.integers(0, 4, count)
    logits = random.normal(0, 1, (count, 4))
    logits[np.arange(count), y_true] += 1.5
    table = np.exp(logits)
    return y_true, table / table.sum(axis=1, keepdims=True)


def test_intervals_shrink_with_the_square_root_of_the_number_of_images(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 600)
    widths = {}
    for count in (100, 1600):
        found = split_metrics(*sample(count), class_names=list("abcd"))
        widths[count] = {figure: found[figure]["high"] - found[figure]["low"] for figure in FIGURES}
    for figure in FIGURES:
        assert 2.5 < widths[100][figure] / widths[1600][figure] < 6.5, figure


def test_bootstrap_intervals_cover_the_truth(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 200)
    truth = split_metrics(*sample(40_000, seed=99), class_names=list("abcd"))
    rounds = [split_metrics(*sample(150, seed=seed), class_names=list("abcd")) for seed in range(150)]
    for figure in ("balanced_accuracy", "macro_f1", "log_loss"):
        hits = np.mean([r[figure]["low"] <= truth[figure]["value"] <= r[figure]["high"] for r in rounds])
        assert hits > 0.87, figure


def test_the_bootstrap_is_seeded_and_its_width_does_not_hang_on_the_seed():
    y_true, table = sample(120)
    first, again, other = (split_metrics(y_true, table, class_names=list("abcd"), seed=s) for s in (0, 0, 1))
    assert first == again
    assert other["macro_f1"] != first["macro_f1"]
    assert other["macro_f1"]["value"] == first["macro_f1"]["value"]


def test_the_order_of_images_changes_no_figure():
    y_true, table = sample(80)
    order = np.random.default_rng(0).permutation(80)
    first = split_metrics(y_true, table, class_names=list("abcd"))
    shuffled = split_metrics(y_true[order], table[order], class_names=list("abcd"))
    assert first["confusion"] == shuffled["confusion"]
    assert all(first[f]["value"] == pytest.approx(shuffled[f]["value"]) for f in FIGURES)


def test_rows_of_the_confusion_are_true_and_columns_predicted():
    found = confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3)
    assert found.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]
    rows = per_class(found, ["a", "b", "c"])
    assert [row["support"] for row in rows] == [2, 0, 1]
    assert [row["precision"] for row in rows] == [0, 0, 1]


def test_accuracy_of_a_split_reads_back_its_interval():
    found = split_metrics(*sample(50), class_names=list("abcd"))
    assert accuracy_of(found).as_dict() == found["accuracy"]


@settings(max_examples=40, deadline=None)
@given(splits())
def test_figures_on_labels_as_given_are_those_of_the_same_labels(split):
    y_true, table = split
    found = as_given_metrics(y_true, table, relabelled=2, dropped=1)
    whole = split_metrics(y_true, table, class_names=names(table))
    assert found["accuracy"] == whole["accuracy"]
    assert found["macro_f1"]["value"] == pytest.approx(
        sk.f1_score(y_true, table.argmax(axis=1), average="macro", zero_division=0)
    )
    assert 0 <= found["macro_f1"]["low"] <= found["macro_f1"]["high"] <= 1
    assert (found["n"], found["n_relabelled"], found["n_dropped"]) == (len(y_true), 2, 1)
