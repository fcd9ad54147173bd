"""Leakage: what a plain random split would have let through, and what that does to test accuracy.

In: features, labels, groups of copies. Out: `Leakage`. Owns no file.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bestiary.audit.labels.probe import Features, Labels, fit_probe
from bestiary.evaluate.intervals import Interval, percentile_interval
from bestiary.evaluate.resampling import group_weights
from bestiary.progress import SILENT, Progress

Groups = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Inverse L2 strength: near that which validation chooses for probes on frozen features (10 to 40).
_C = 12.8
_RESAMPLES = 2000


@dataclass(frozen=True)
class Leakage:
    """A plain random split, measured. Accuracies are means over the draws, NaN where nothing leaked.

    Attributes:
        images: how many there are.
        images_with_copies: how many have a copy among them.
        draws: how many random splits were drawn.
        test_images: in each.
        leaked_images: test images with a copy in train, mean over the draws.
        train_images: on which both probes were fitted, mean over the draws.
        leaky_accuracy: on test, fitted with the copies of test images.
        honest_accuracy: the same test images, fitted without; as many other images instead.
        difference: the first less the second; None where nothing leaked and nothing was fitted.
        leaky_on_leaked: the first on the leaked images alone.
        honest_on_leaked: the second on them.
    """

    images: int
    images_with_copies: int
    draws: int
    test_images: int
    leaked_images: float
    train_images: float
    leaky_accuracy: float
    honest_accuracy: float
    difference: Interval | None
    leaky_on_leaked: float
    honest_on_leaked: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Draw:
    test: Groups
    leaked: Flags
    leaky_right: Flags
    honest_right: Flags
    train_images: int


def measure_leakage(
    features: Features,
    labels: Labels,
    groups: Groups,
    *,
    class_count: int,
    test_fraction: float,
    seeds: int = 5,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Leakage:
    """Draw plain random splits and score each test part twice, with and without its copies in train.

    Splits are scikit-learn's `train_test_split`, stratified where every class has two images and both parts room for
    all classes. The honest probe is fitted on train less every image whose group is in test; the leaky one on train
    less as many images whose group is not, of the same classes as far as there are any, so that both see equally many;
    where train has not so many others, on a random part of its images.
    The interval of the difference draws groups of copies again with each image's mean over the draws (percentile
    bootstrap): it holds for other photos of this kind, and does not treat overlapping test parts as independent.
    Draws in which nothing leaks count as no difference; where none leaks, nothing is fitted.

    Args:
        features: `(n, d) float32`.
        labels: `(n,) int64` in [0, class_count).
        groups: `(n,) int64`; images of one group are copies.
        class_count: how many classes.
        test_fraction: in (0, 1).
        seeds: how many splits.
        seed: of the first.
        progress: counts the splits.
    """
    sizes = np.bincount(np.unique(groups, return_inverse=True)[1])
    copies = int(sizes[sizes > 1].sum())
    nan = float("nan")
    if len(labels) < 2:
        return Leakage(len(labels), 0, 0, 0, 0.0, nan, nan, nan, None, nan, nan)
    splits = [_split(labels, test_fraction, class_count, seed=seed + number) for number in range(seeds)]
    leaked = [np.isin(groups[test], groups[train]) for train, test in splits]
    count = float(np.mean([found.sum() for found in leaked]))
    if count == 0:
        return Leakage(len(labels), copies, seeds, len(splits[0][1]), 0.0, nan, nan, nan, None, nan, nan)
    draws = []
    with progress.track("random splits", seeds, unit="splits") as task:
        for number, (train, test) in enumerate(splits):
            draws.append(_measure(features, labels, groups, train, test, class_count=class_count, seed=seed + number))
            task.advance()
    on_leaked = np.concatenate(
        [np.stack([draw.leaky_right, draw.honest_right])[:, draw.leaked] for draw in draws], axis=1
    )
    leaky, honest = (
        float(np.mean([right.mean() for right in rights]))
        for rights in zip(*[(draw.leaky_right, draw.honest_right) for draw in draws], strict=True)
    )
    return Leakage(
        images=len(labels),
        images_with_copies=copies,
        draws=seeds,
        test_images=len(splits[0][1]),
        leaked_images=count,
        train_images=float(np.mean([draw.train_images for draw in draws])),
        leaky_accuracy=leaky,
        honest_accuracy=honest,
        difference=_difference(draws, groups, seed=seed),
        leaky_on_leaked=float(on_leaked[0].mean()),
        honest_on_leaked=float(on_leaked[1].mean()),
    )


def _split(labels: Labels, test_fraction: float, class_count: int, *, seed: int) -> tuple[Groups, Groups]:
    from sklearn.model_selection import train_test_split

    counts = np.bincount(labels, minlength=class_count)
    present = int((counts > 0).sum())
    tested = min(max(math.ceil(test_fraction * len(labels) - 1e-9), 1), len(labels) - 1)
    room = min(tested, len(labels) - tested)
    stratify = labels if counts[counts > 0].min() > 1 and room >= present else None
    train, test = train_test_split(np.arange(len(labels)), test_size=tested, random_state=seed, stratify=stratify)
    return train, test


def _measure(
    features: Features, labels: Labels, groups: Groups, train: Groups, test: Groups, *, class_count: int, seed: int
) -> _Draw:
    in_test = np.isin(groups[train], groups[test])
    honest = train[~in_test]
    others = _as_many(labels[train[in_test]], labels[honest], np.random.default_rng(seed))
    leaky = np.concatenate([train[in_test], np.delete(honest, others)])
    if 0 < len(honest) < len(leaky):
        leaky = np.random.default_rng(seed).choice(leaky, len(honest), replace=False)
    leaked = np.isin(groups[test], groups[train])

    def right(fitted_on: Groups) -> Flags:
        if not len(fitted_on):  # every training image has a copy in test
            return np.zeros(len(test), dtype=bool)
        # In the order of rows, so that the same images give the same probe.
        fitted_on = np.sort(fitted_on)
        probe = fit_probe(features[fitted_on], labels[fitted_on], c=_C)
        found = probe.probabilities(features[test], class_count=class_count)
        return np.asarray(found.argmax(axis=1) == labels[test])

    honest_right = right(honest)
    return _Draw(test, leaked, right(leaky) if leaked.any() else honest_right, honest_right, len(honest))


def _as_many(wanted: Labels, available: Labels, random: np.random.Generator) -> Groups:
    """Positions in `available` of as many images as are wanted, of the same classes as far as there are any."""
    order = random.permutation(len(available))
    needs = np.bincount(wanted)
    taken = [order[available[order] == label][: needs[label]] for label in np.flatnonzero(needs)]
    same = np.concatenate([*taken, np.array([], dtype=np.int64)]).astype(np.int64)
    rest = order[~np.isin(order, same)]
    return np.concatenate([same, rest[: len(wanted) - len(same)]])


def _difference(draws: list[_Draw], groups: Groups, *, seed: int) -> Interval:
    """Leaky less honest accuracy over all draws, with its interval over groups."""
    gained, scored = np.zeros(len(groups)), np.zeros(len(groups))
    for draw in draws:
        gained[draw.test] += draw.leaky_right.astype(float) - draw.honest_right
        scored[draw.test] += 1
    resampled = []
    for drawn in group_weights(groups, resamples=_RESAMPLES, seed=seed):
        total = float(drawn @ scored)
        resampled.append(float(drawn @ gained) / total if total else float("nan"))
    return percentile_interval(float(gained.sum() / scored.sum()), np.array(resampled))
