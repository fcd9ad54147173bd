import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from bestiary.evaluate.counts import ClassCounts, count_classes, dense_confusion, sparse_confusion

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60).map(
    lambda pairs: tuple(np.array(pairs).T)
)


@given(PAIRS)
def test_precision_recall_and_f1_are_scikit_learns(pairs):
    y_true, y_pred = pairs
    counts = count_classes(y_true, y_pred, 6)
    expected = sk.precision_recall_fscore_support(y_true, y_pred, labels=np.arange(6), zero_division=0)
    for found, figure in zip((counts.precision, counts.recall, counts.f1, counts.true), expected, strict=True):
        assert found == pytest.approx(figure)


@given(PAIRS)
def test_a_mean_is_over_the_classes_that_have_images(pairs):
    y_true, y_pred = pairs
    counts = count_classes(y_true, y_pred, 6)
    labels = np.unique(y_true)
    expected = sk.precision_recall_fscore_support(y_true, y_pred, labels=labels, zero_division=0, average="macro")
    for values, figure in zip((counts.precision, counts.recall, counts.f1), expected[:3], strict=True):
        assert counts.mean(values) == pytest.approx(figure)


@given(PAIRS)
def test_confusion_is_scikit_learns_and_holds_no_empty_cell(pairs):
    y_true, y_pred = pairs
    cells = sparse_confusion(y_true, y_pred)
    assert np.array_equal(dense_confusion(cells, 6), sk.confusion_matrix(y_true, y_pred, labels=np.arange(6)))
    assert all(images > 0 for _, _, images in cells)
    assert cells == sorted(cells)


def test_rows_of_the_confusion_are_true_and_columns_predicted():
    cells = sparse_confusion(np.array([0, 0, 2]), np.array([1, 1, 2]))
    assert cells == [[0, 1, 2], [2, 2, 1]]
    assert dense_confusion(cells, 3).tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_no_image_has_no_cells():
    nothing = np.zeros(0, dtype=np.int64)
    assert sparse_confusion(nothing, nothing) == []
    assert count_classes(nothing, nothing, 3).true.tolist() == [0, 0, 0]


def test_counts_of_many_resamples_are_taken_at_once():
    one, other = (count_classes(*np.random.default_rng(seed).integers(0, 4, (2, 30)), 4) for seed in (0, 1))
    both = ClassCounts(*(np.stack(pair) for pair in zip(vars(one).values(), vars(other).values(), strict=True)))
    assert both.mean(both.f1).tolist() == [one.mean(one.f1), other.mean(other.f1)]
