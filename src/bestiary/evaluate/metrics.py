"""The metrics: one declaration each, from which figures, tables, pages and docs follow.

In: class numbers and logits, or counts of classes. Out: `METRICS`, in the order of tables. Owns no file. To add a
metric, add it to `METRICS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.counts import ClassCounts, Fractions, Labels

Logits = npt.NDArray[np.float32]
Scores = npt.NDArray[Any]

# No probability counts as less, so that one image cannot make a loss infinite.
_SMALLEST = 1e-15


@dataclass(frozen=True)
class Metric:
    """A figure of a split: what it is called, what it means, how it is computed. One of the two functions is given.

    Attributes:
        name: in tables and JSON.
        title: on pages.
        unit: a "fraction" lies in [0, 1].
        higher_is_better: whether a larger value is the better one.
        meaning: in one sentence, for pages and docs.
        per_image: class numbers `(n,) int64` and logits `(n, class_count) float32` → a score an image, `(n,)`, whose
            mean is the figure. Booleans make a proportion with Wilson's interval, others a mean with a bootstrap's.
            It is called with a part of the images at a time.
        of_counts: counts `(..., class_count)` → the figure `(...)`; it must do without the other axes.
        least_classes: with fewer it says nothing.
        in_tables: whether tables of models and the model card show it; `comparison.csv` has all.
    """

    name: str
    title: str
    unit: Literal["fraction", "nats"]
    higher_is_better: bool
    meaning: str
    per_image: Callable[[Labels, Logits], Scores] | None = None
    of_counts: Callable[[ClassCounts], Fractions] | None = None
    least_classes: int = 2
    in_tables: bool = True

    def applies(self, class_count: int) -> bool:
        """Whether the figure says something about a model of so many classes."""
        return class_count >= self.least_classes


def is_right(y_true: Labels, logits: Logits) -> npt.NDArray[np.bool_]:
    """Whether the most probable class is the true one, `(n,)`; of equals the earlier class goes first."""
    return np.asarray(logits.argmax(axis=1) == y_true)


def in_top_k(y_true: Labels, logits: Logits, *, k: int) -> npt.NDArray[np.bool_]:
    """Whether the true class is among the k most probable: `(n,) bool`; of equals the earlier class goes first.

    That is how `argmax` breaks ties, so top-1 is accuracy, and no top-k is below it.
    """
    own = np.take_along_axis(logits, y_true[:, None], axis=1)
    earlier = np.arange(logits.shape[1])[None, :] < y_true[:, None]
    better = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return np.asarray(better < k)


def losses(y_true: Labels, logits: Logits) -> npt.NDArray[np.float64]:
    """The negative logarithm of the probability given to the true class, `(n,)`, in nats, at most 34.5."""
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    own = np.take_along_axis(exact, y_true[:, None], axis=1)[:, 0]
    return np.asarray(np.minimum(np.log(np.exp(exact).sum(axis=1)) - own, -np.log(_SMALLEST)))


METRICS: list[Metric] = [
    Metric(
        "accuracy",
        "Accuracy",
        "fraction",
        higher_is_better=True,
        meaning="The share of images whose most probable class is the true one.",
        per_image=is_right,
    ),
    Metric(
        "balanced_accuracy",
        "Balanced accuracy",
        "fraction",
        higher_is_better=True,
        meaning="The mean of the classes' recalls: every class counts the same, however many images it has.",
        of_counts=lambda counts: counts.mean(counts.recall),
    ),
    Metric(
        "macro_precision",
        "Macro precision",
        "fraction",
        higher_is_better=True,
        meaning="The mean over the classes of the share of images taken for the class that belong to it.",
        of_counts=lambda counts: counts.mean(counts.precision),
        in_tables=False,
    ),
    Metric(
        "macro_recall",
        "Macro recall",
        "fraction",
        higher_is_better=True,
        meaning="The mean over the classes of the share of its images that were found: the same as balanced accuracy.",
        of_counts=lambda counts: counts.mean(counts.recall),
        in_tables=False,
    ),
    Metric(
        "macro_f1",
        "Macro F1",
        "fraction",
        higher_is_better=True,
        meaning="The mean over the classes of the harmonic mean of precision and recall.",
        of_counts=lambda counts: counts.mean(counts.f1),
    ),
    Metric(
        "log_loss",
        "Log loss",
        "nats",
        higher_is_better=False,
        meaning="The mean of the negative natural logarithm of the probability given to the true class.",
        per_image=losses,
    ),
    Metric(
        "top3_accuracy",
        "Top-3 accuracy",
        "fraction",
        higher_is_better=True,
        meaning="The share of images whose true class is among the three most probable.",
        per_image=lambda y_true, logits: in_top_k(y_true, logits, k=3),
        least_classes=4,  # among three classes the first three are all
    ),
]


def metric(name: str) -> Metric:
    """The metric of that name.

    Raises:
        KeyError: there is none.
    """
    return {found.name: found for found in METRICS}[name]


def metrics_of(class_count: int) -> tuple[Metric, ...]:
    """The metrics that say something about a model of so many classes, in the order of tables."""
    return tuple(found for found in METRICS if found.applies(class_count))
