"""Counts: true and predicted classes → how many images of each class there are, were predicted, are right.

In: class numbers. Out: `ClassCounts`, and the confusion matrix as its non-zero cells. Owns no file. Nothing here but
`dense_confusion` grows with the square of the classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """Images by class, of one evaluation or of many resamples: each `(..., class_count) int64`.

    Attributes:
        true: images of the class.
        predicted: images that were taken for it.
        right: images of it that were taken for it.
    """

    true: Counts
    predicted: Counts
    right: Counts

    @property
    def precision(self) -> Fractions:
        """0 for a class that was never predicted, as scikit-learn has it with `zero_division=0`."""
        return _ratio(self.right, self.predicted)

    @property
    def recall(self) -> Fractions:
        """0 for a class without images, which `mean` leaves out."""
        return _ratio(self.right, self.true)

    @property
    def f1(self) -> Fractions:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self.right, self.true + self.predicted)

    def mean(self, values: Fractions) -> Fractions:
        """The mean of a value over the classes that have images, `(...)`; every class counts the same."""
        there = self.true > 0
        return np.asarray((values * there).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))


def count_classes(y_true: Labels, y_pred: Labels, class_count: int) -> ClassCounts:
    """Counts `(class_count,)` of true and predicted class numbers `(n,)`."""
    right = y_true[y_true == y_pred]
    return ClassCounts(*(np.bincount(classes, minlength=class_count) for classes in (y_true, y_pred, right)))


def sparse_confusion(y_true: Labels, y_pred: Labels) -> list[list[int]]:
    """The non-zero cells of the confusion matrix, sorted: `[true, predicted, images]`."""
    base = int(y_pred.max(initial=0)) + 1
    cells, images = np.unique(y_true * base + y_pred, return_counts=True)
    return np.stack([cells // base, cells % base, images], axis=1).tolist()


def dense_confusion(cells: Sequence[Sequence[int]], class_count: int) -> Counts:
    """The confusion matrix of its non-zero cells: `(class_count, class_count) int64`, rows true, columns predicted.

    1,000 classes make a million cells.
    """
    matrix = np.zeros((class_count, class_count), dtype=np.int64)
    for true, predicted, images in cells:
        matrix[true, predicted] = images
    return matrix


def _ratio(part: Counts, whole: Counts) -> Fractions:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
