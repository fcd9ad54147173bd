"""Scoring: logits, true classes and groups → the figures of a split. `runs.evaluation` alone calls it on test labels.

In: arrays. Out: plain values for `figures.json`. No torch, no file here.

A figure is `{"value", "low", "high"}`: finite numbers, with the 95 % interval; or None where there is no such figure.
Images of a group (copies of one another; one patient, camera or burst) are taken as one observation that shows several
times. No figure depends on the order of images or on what the groups are called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bestiary.errors import TrainingError
from bestiary.evaluate.counts import ClassCounts, Labels, count_classes, sparse_confusion
from bestiary.evaluate.intervals import (
    RESAMPLES,
    Interval,
    Reals,
    effective_images,
    percentile_interval,
    score_bounds,
)
from bestiary.evaluate.metrics import Logits, Metric, Scores, metric, metrics_of
from bestiary.evaluate.proportions import Proportions, proportions
from bestiary.evaluate.resampling import Groups, blocks, content_order, group_draws

Figure = dict[str, float] | None


def split_figures(
    y_true: Labels,
    logits: Logits,
    *,
    class_names: Sequence[str],
    groups: Groups | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """All figures of one split.

    Shares of images carry Wilson's interval on the effective number of images; macro averages the same, with the
    variance of a bootstrap over groups; the log loss the percentile interval of that bootstrap (2,000 resamples).

    Args:
        y_true: class numbers `(n,) int64`, in [0, class_count).
        logits: `(n, class_count) float32`, or logarithms of probabilities; minus infinity is a probability of 0.
        class_names: in the order of the columns.
        groups: `(n,) int64`, any numbers; None: every image is a group of its own.
        seed: of the bootstrap.

    Returns:
        `n`; `groups`, how many; a figure for each metric of `metrics.METRICS` that applies, None where n is 0;
        `per_class`, in the order of `class_names`: `class_name`, `support`, and `precision`, `recall`, `f1`, where
        recall and F1 of a class without images are None, as is the precision of one that was not predicted either;
        `confusion`, see `counts.sparse_confusion`. Macro averages are over the classes that have images.

    Raises:
        TrainingError: logits are not numbers.
        ValueError: arrays do not fit together, or `y_true` has a number that is no class.
    """
    if len(class_names) != logits.shape[1]:
        raise ValueError(f"{len(class_names)} class names for {logits.shape[1]} columns of logits")
    if len(y_true) and y_true.max() >= len(class_names):
        raise ValueError(f"y_true has class {y_true.max()}, but there are {len(class_names)} classes from 0 on")
    metrics = metrics_of(len(class_names))
    scored = _score(y_true, logits, groups, metrics)
    return {
        "n": len(y_true),
        "groups": scored.group_count,
        **_figures(scored, metrics, seed=seed),
        "per_class": _per_class(scored, class_names),
        "confusion": sparse_confusion(scored.y_true, scored.y_pred),
    }


def as_given_figures(
    y_given: Labels,
    logits: Logits,
    *,
    relabelled: int,
    dropped: int,
    groups: Groups | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of a split on the labels as given, where corrections changed some: what other tools would report.

    Args:
        y_given: class numbers as found `(n,) int64`, of images that were relabelled or dropped too. Numbers from
            class_count on are classes that no model knows, because corrections left them without an image.
        logits: `(n, class_count) float32`.
        relabelled: how many of them have another class now.
        dropped: how many of them no longer count.
        groups: as in `split_figures`.
        seed: of the bootstrap.

    Returns:
        `n`, `n_relabelled`, `n_dropped`, and the figures `accuracy` and `macro_f1`.

    Raises:
        TrainingError: logits are not numbers.
        ValueError: arrays do not fit together.
    """
    metrics = (metric("accuracy"), metric("macro_f1"))
    figures = _figures(_score(y_given, logits, groups, metrics), metrics, seed=seed)
    return {"n": len(y_given), **figures, "n_relabelled": relabelled, "n_dropped": dropped}


def leak_free_figures(
    y_true: Labels, logits: Logits, *, leaked: npt.NDArray[np.bool_], groups: Groups, seed: int = 0
) -> dict[str, Any]:
    """Figures of a split without the images that have a copy where the model was fitted or chosen, and of those alone.

    Args:
        y_true: class numbers `(n,) int64`.
        logits: `(n, class_count) float32`.
        leaked: `(n,) bool`.
        groups: `(n,) int64`, as in `split_figures`.
        seed: of the bootstrap.

    Returns:
        `n` and `accuracy`, `macro_f1` of the images that are left; `n_leaked` and `accuracy_leaked` of the others. A
        figure is None where no image is left.

    Raises:
        TrainingError: logits are not numbers.
    """
    metrics = (metric("accuracy"), metric("macro_f1"))
    left = _figures(_score(y_true[~leaked], logits[~leaked], groups[~leaked], metrics), metrics, seed=seed)
    others = _figures(_score(y_true[leaked], logits[leaked], groups[leaked], metrics[:1]), metrics[:1], seed=seed)
    counts = {"n": int((~leaked).sum()), "n_leaked": int(leaked.sum())}
    return {**counts, **left, "accuracy_leaked": others["accuracy"]}


@dataclass(frozen=True)
class _Scored:
    """Images in the order of `resampling.content_order`, with their scores for each metric that has one an image."""

    y_true: Labels
    y_pred: Labels
    groups: Groups
    scores: Mapping[str, Scores]
    class_count: int

    @property
    def group_count(self) -> int:
        return int(self.groups.max(initial=-1)) + 1

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.y_true == self.y_pred)


def _score(y_true: Labels, logits: Logits, groups: Groups | None, metrics: Sequence[Metric]) -> _Scored:
    count, columns = logits.shape
    groups = np.arange(count) if groups is None else groups
    if y_true.shape != (count,) or groups.shape != (count,):
        raise ValueError(f"{count} rows of logits, but y_true {y_true.shape} and groups {groups.shape}")
    if y_true.min(initial=0) < 0:
        raise ValueError(f"y_true has class {y_true.min()}: class numbers count from 0")
    logits = np.asarray(logits, dtype=np.float32)
    _refuse_no_numbers(logits)
    order, groups = content_order(y_true, logits, groups)
    y_pred = np.zeros(count, dtype=np.int64)
    parts: dict[str, list[Scores]] = {found.name: [] for found in metrics if found.per_image is not None}
    for rows in blocks(count, columns):
        y_pred[rows] = logits[rows].argmax(axis=1)
        for found in metrics:
            if found.per_image is not None:
                parts[found.name].append(found.per_image(y_true[rows], logits[rows]))
    scores = {name: np.concatenate(part)[order] for name, part in parts.items() if part}
    class_count = max(columns, int(y_true.max(initial=0)) + 1)
    return _Scored(y_true[order], y_pred[order], groups, scores, class_count)


def _refuse_no_numbers(logits: Logits) -> None:
    # The largest of a row is NaN where any is; all may not be minus infinity.
    bad = np.flatnonzero(~np.isfinite(logits.max(axis=1, initial=-np.inf)))
    if len(bad):
        raise TrainingError(
            f"the logits of {len(bad)} of {len(logits)} images are not numbers (the first in row {bad[0]}): the model "
            "diverged. Train it again with a lower learning rate."
        )


def _figures(scored: _Scored, metrics: Sequence[Metric], *, seed: int) -> dict[str, Figure]:
    if not len(scored.y_true):
        return {found.name: None for found in metrics}
    counts = count_classes(scored.y_true, scored.y_pred, scored.class_count)
    resampled = _resample(scored, metrics, seed=seed)
    figures: dict[str, Figure] = {}
    for found in metrics:
        if found.name not in resampled:
            figures[found.name] = _figure(proportions(scored.scores[found.name], scored.groups), 0)
            continue
        value = float(found.of_counts(counts) if found.of_counts else scored.scores[found.name].mean())
        if found.of_counts and found.unit == "fraction":
            interval = _macro_interval(value, resampled[found.name], counts, scored)
        else:
            interval = percentile_interval(value, resampled[found.name])
        figures[found.name] = interval.as_dict()
    return figures


def _resample(scored: _Scored, metrics: Sequence[Metric], *, seed: int) -> dict[str, Reals]:
    """Each metric that is no proportion, with its values on resampled groups, `(RESAMPLES,)`.

    Counts by class come from a sparse product of draws and the classes of each group, without a matrix of classes by
    classes.
    """
    from scipy.sparse import csr_array

    groups, classes, group_count = scored.groups, scored.class_count, scored.group_count
    means = {name: scores for name, scores in scored.scores.items() if scores.dtype != np.bool_}
    from_counts = [found for found in metrics if found.of_counts is not None]
    if not means and not from_counts:
        return {}
    sizes = np.bincount(groups)
    sums = {name: np.bincount(groups, scores) for name, scores in means.items()}
    right = scored.right
    rows = np.concatenate([scored.y_true, scored.y_pred + classes, scored.y_true[right] + 2 * classes])
    columns = np.concatenate([groups, groups, groups[right]])
    table = csr_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), shape=(3 * classes, group_count))
    table.sum_duplicates()
    resampled: dict[str, list[Reals]] = {name: [] for name in [*means, *(found.name for found in from_counts)]}
    for drawn in group_draws(group_count, resamples=RESAMPLES, seed=seed):
        images = drawn @ sizes
        for name, values in sums.items():
            resampled[name].append(drawn @ values / images)
        true, predicted, found_right = (table @ drawn.T).reshape(3, classes, -1).transpose(0, 2, 1)
        counts = ClassCounts(true, predicted, found_right)
        for found in from_counts:
            assert found.of_counts is not None
            resampled[found.name].append(found.of_counts(counts))
    return {name: np.concatenate(values) for name, values in resampled.items()}


def _macro_interval(value: float, resampled: Reals, counts: ClassCounts, scored: _Scored) -> Interval:
    """Wilson's interval on the effective number of images, the variance being that of the resamples.

    A percentile interval has no width where all images are right, and covers too seldom where nearly all are:
    simulated with 10 classes, 40 images and an accuracy of 0.93, 86 % (balanced accuracy) against 94 % of this one.
    """
    count, groups = len(scored.y_true), np.arange(scored.group_count)
    # Every class counts the same, so an image of a small one counts more.
    weights = count / ((counts.true > 0).sum() * counts.true[scored.y_true])
    # At 0 and 1 resamples say nothing of the variance: the worst case stands alone.
    spread, varies = value * (1 - value), 0 < value < 1
    effective = effective_images(
        np.bincount(scored.groups, weights),
        right=np.isin(groups, scored.groups[scored.right]) & varies,
        wrong=np.isin(groups, scored.groups[~scored.right]) & varies,
        design_effect=np.array([resampled.var() * count / spread if varies else 0.0]),
        parts=np.zeros_like(groups),
    )[0]
    low, high = score_bounds(np.array(value), effective)
    return Interval(value, float(low), float(high))


def _per_class(scored: _Scored, class_names: Sequence[str]) -> list[dict[str, Any]]:
    right, groups, classes = scored.right, scored.groups, len(class_names)
    precision = proportions(right, groups, parts=scored.y_pred, part_count=classes)
    recall = proportions(right, groups, parts=scored.y_true, part_count=classes)
    f1 = _f1(scored, classes)
    counts = count_classes(scored.y_true, scored.y_pred, classes)
    return [
        {
            "class_name": name,
            "support": int(counts.true[number]),
            "precision": _figure(precision, number) if counts.true[number] or counts.predicted[number] else None,
            "recall": _figure(recall, number) if counts.true[number] else None,
            "f1": _figure(f1, number) if counts.true[number] else None,
        }
        for number, name in enumerate(class_names)
    ]


def _f1(scored: _Scored, class_count: int) -> Proportions:
    """F1 of each class, from the share that is right of the images that are of the class or were taken for it.

    F1 is 2s / (1 + s) of that share s, so the bounds of one give those of the other: the indirect Wilson method of Lam,
    Gopal and Qian (2023, arXiv:2309.14621).
    """
    wrong = ~scored.right
    # A wrong image counts in two classes.
    share = proportions(
        np.concatenate([scored.right, np.zeros(wrong.sum(), dtype=bool)]),
        np.concatenate([scored.groups, scored.groups[wrong]]),
        parts=np.concatenate([scored.y_true, scored.y_pred[wrong]]),
        part_count=class_count,
    )
    return Proportions(*(2 * bound / (1 + bound) for bound in (share.value, share.low, share.high)))


def _figure(found: Proportions, part: int) -> Figure:
    """A class that was never predicted has the precision 0, as in scikit-learn, and the interval [0, 1]."""
    value, low, high = (float(bound[part]) for bound in (found.value, found.low, found.high))
    return {"value": 0.0 if np.isnan(value) else value, "low": low, "high": high}
