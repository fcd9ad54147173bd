"""Metrics: true and predicted classes and probabilities → figures with intervals.

In: arrays. Out: plain numbers for `metrics.json`. No torch, no file here. Fractions are in [0, 1], losses in nats.

A class that was never predicted has precision 0, as scikit-learn has it with `zero_division=0`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.intervals import RESAMPLES, Interval, percentile_interval, wilson

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.floating[Any]]
Confusion = npt.NDArray[np.int64]

_SMALLEST = 1e-15


def split_metrics(
    y_true: Labels, probabilities: Probabilities, *, class_names: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """All figures of one split.

    Accuracy and top-3 accuracy carry Wilson's interval, the others that of a bootstrap over images (2,000 resamples).

    Args:
        y_true: class numbers `(n,) int64`.
        probabilities: `(n, class_count)`, rows sum to 1.
        class_names: in the order of the columns.
        seed: of the bootstrap.

    Returns:
        `n`, the figures as `value, low, high`, `per_class` and `confusion` (rows true, columns predicted).
    """
    count, class_count = probabilities.shape
    y_pred = probabilities.argmax(axis=1)
    confusion = confusion_matrix(y_true, y_pred, class_count)
    losses = -np.log(np.maximum(probabilities[np.arange(count), y_true].astype(np.float64), _SMALLEST))
    random = np.random.default_rng(seed)
    resampled = _averages(_resample(confusion, random))
    figures = {
        name: percentile_interval(float(value[0]), resampled[name])
        for name, value in _averages(confusion[None]).items()
    }
    figures["log_loss"] = percentile_interval(float(losses.mean()), _resampled_means(losses, random))
    figures["accuracy"] = wilson(int(np.trace(confusion)), count)
    figures["top3_accuracy"] = wilson(int(top_k_right(y_true, probabilities, k=3).sum()), count)
    return {
        "n": count,
        **{name: figure.as_dict() for name, figure in figures.items()},
        "per_class": per_class(confusion, class_names),
        "confusion": confusion.tolist(),
    }


def as_given_metrics(
    y_given: Labels, probabilities: Probabilities, *, relabelled: int, dropped: int, seed: int = 0
) -> dict[str, Any]:
    """Figures of a split on the labels as given, where corrections changed some: what other tools would report.

    Args:
        y_given: class numbers as found `(n,) int64`, of images that were relabelled or dropped too.
        probabilities: `(n, class_count)`.
        relabelled: how many of them have another class now.
        dropped: how many of them no longer count.
        seed: of the bootstrap.

    Returns:
        `n`, `accuracy` and `macro_f1` with `value, low, high`, `n_relabelled`, `n_dropped`.
    """
    confusion = confusion_matrix(y_given, probabilities.argmax(axis=1), probabilities.shape[1])
    resampled = _averages(_resample(confusion, np.random.default_rng(seed)))["macro_f1"]
    macro_f1 = percentile_interval(float(_averages(confusion[None])["macro_f1"][0]), resampled)
    return {
        "n": len(y_given),
        "accuracy": wilson(int(np.trace(confusion)), len(y_given)).as_dict(),
        "macro_f1": macro_f1.as_dict(),
        "n_relabelled": relabelled,
        "n_dropped": dropped,
    }


def accuracy_of(metrics: dict[str, Any]) -> Interval:
    """The accuracy in a split's figures."""
    return Interval(**metrics["accuracy"])


def confusion_matrix(y_true: Labels, y_pred: Labels, class_count: int) -> Confusion:
    """Counts `(class_count, class_count) int64`: rows true, columns predicted."""
    cells = np.bincount(y_true * class_count + y_pred, minlength=class_count**2)
    return cells.reshape(class_count, class_count).astype(np.int64)


def top_k_right(y_true: Labels, probabilities: Probabilities, *, k: int) -> npt.NDArray[np.bool_]:
    """Whether the true class is among the k most probable: `(n,) bool`; of equals the earlier class goes first.

    That is how `argmax` breaks ties, so top-1 is accuracy, and no top-k is below it.
    """
    own = probabilities[np.arange(len(y_true)), y_true][:, None]
    earlier = np.arange(probabilities.shape[1])[None, :] < y_true[:, None]
    better = ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)
    return np.asarray(better < min(k, probabilities.shape[1]))


def per_class(confusion: Confusion, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class, in the order of `class_names`."""
    precision, recall, f1 = _precision_recall_f1(confusion[None].astype(np.float64))
    return [
        {
            "class_name": name,
            "precision": float(precision[0, number]),
            "recall": float(recall[0, number]),
            "f1": float(f1[0, number]),
            "support": int(confusion[number].sum()),
        }
        for number, name in enumerate(class_names)
    ]


def _precision_recall_f1(
    confusions: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of a stack of confusion matrices `(m, c, c)`: three arrays `(m, c)`."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    predicted, true = confusions.sum(axis=1), confusions.sum(axis=2)
    precision = np.divide(right, predicted, out=np.zeros_like(right), where=predicted > 0)
    recall = np.divide(right, true, out=np.zeros_like(right), where=true > 0)
    total = predicted + true
    f1 = np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0)
    return precision, recall, f1


def _averages(confusions: npt.NDArray[np.integer[Any]]) -> dict[str, npt.NDArray[np.float64]]:
    """Averages over the classes that occur as true or predicted: one value a matrix of the stack."""
    stack = confusions.astype(np.float64)
    precision, recall, f1 = _precision_recall_f1(stack)
    true = stack.sum(axis=2) > 0
    occurs = true | (stack.sum(axis=1) > 0)

    def mean(values: npt.NDArray[np.float64], where: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        return np.asarray((values * where).sum(axis=1) / where.sum(axis=1))

    return {
        "balanced_accuracy": mean(recall, true),
        "macro_precision": mean(precision, occurs),
        "macro_recall": mean(recall, occurs),
        "macro_f1": mean(f1, occurs),
    }


def _resample(confusion: Confusion, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Confusion matrices of images drawn with replacement: a multinomial over the cells, `(resamples, c, c)`."""
    cells = confusion.ravel()
    filled = np.flatnonzero(cells)
    drawn = random.multinomial(int(cells.sum()), cells[filled] / cells.sum(), size=RESAMPLES)
    stack = np.zeros((RESAMPLES, cells.size), dtype=np.int64)
    stack[:, filled] = drawn
    return stack.reshape(RESAMPLES, *confusion.shape)


def _resampled_means(values: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    # Row by row, so that 26,000 images do not need 2,000 x 26,000 numbers at once.
    return np.array([values[random.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)])
