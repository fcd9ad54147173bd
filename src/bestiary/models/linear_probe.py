"""The linear probe: multinomial logistic regression on frozen features, its strength chosen within the training images.

In: features, class numbers and groups of train. Out: a `LinearProbe`. Owns no file.

No label of validation or test is seen here, so that both say what the whole recipe is worth, its choice included.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from bestiary.evaluate.calibration import best_temperature, log_losses
from bestiary.evaluate.grouped_folds import grouped_folds, possible_folds
from bestiary.evaluate.intervals import grouped_error
from bestiary.models.devices import seeded
from bestiary.models.folded_regression import FoldedRegression
from bestiary.models.heads import Features, Head, Labels

# Inverse L2 strengths, for features of unit variance, strongest first: three a decade, from 1e-5 to 100. The search
# begins in the middle and goes each way until the loss has risen twice: 7 to 9 of the 22 are fitted.
PROBE_C = tuple(float(f"{10 ** (exponent / 3):.2g}") for exponent in range(-15, 7))
_FIRST = PROBE_C.index(0.022)
# Where there is no second group to judge by: what is best, or nearly so, on most sets.
FALLBACK_C = 0.1
_FOLDS = 5
# Folds are dealt anew until so many judgements are made, so that a small set does not choose by one dealing.
_JUDGEMENTS = 1000
MOST_REPEATS = 5
_MAX_ITERATIONS = 300

Losses = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strength:
    """How the strength was chosen.

    Attributes:
        c: the strongest of those that are as good as the best.
        temperature: by which logits are divided, so that probabilities are neither too sure nor too unsure.
        tried: mean out-of-fold log loss in nats by strength, strongest first, each at its own best temperature; empty
            where nothing could be tried.
        as_good: strengths whose loss is within one standard error of the lowest (of the paired difference, by groups),
            strongest first.
        accuracy: out-of-fold, of the strength taken; in [0, 1].
        images: how many training images were judged.
        folds: how many folds; 0 where nothing could be tried.
        repeats: how often folds were dealt.
    """

    c: float = FALLBACK_C
    temperature: float = 1.0
    tried: dict[float, float] = field(default_factory=dict)
    as_good: tuple[float, ...] = ()
    accuracy: float = float("nan")
    images: int = 0
    folds: int = 0
    repeats: int = 0

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Strength":
        """The strength and temperature that a run's record holds, without how they were found."""
        return cls(c=record["C"], temperature=record["temperature"])

    def as_record(self) -> dict[str, Any]:
        """For the run's record: plain values."""
        return {
            "C": self.c,
            "temperature": self.temperature,
            "tried": [{"C": c, "loss": loss} for c, loss in self.tried.items()],
            "as_good": list(self.as_good),
            "accuracy": self.accuracy if self.tried else None,
            "chosen_on": {"images": self.images, "folds": self.folds, "repeats": self.repeats},
        }


@dataclass(frozen=True)
class OutOfFold:
    """What probes of the strength taken say of the training images that they were not fitted on.

    Attributes:
        strength: how it was chosen.
        judged: whether some fold judged the image, `(n,) bool`.
        losses: log loss in nats of the judged images, `(judged,) float64`, the mean over repeats.
        right: how often the judged images were right, `(judged,) float64` in [0, 1].
    """

    strength: Strength
    judged: npt.NDArray[np.bool_]
    losses: Losses
    right: npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear probe.

    Attributes:
        head: a linear `Head` that takes the features as they are.
        strength: how its regularisation was chosen.
        converged: whether L-BFGS came to an end.
    """

    head: Head
    strength: Strength
    converged: bool

    def choices(self) -> dict[str, Any]:
        """What was chosen, for the run's record."""
        return {**self.strength.as_record(), "converged": self.converged}


def fit_linear_probe(
    views: Sequence[Features],
    labels: Labels,
    groups: Labels,
    *,
    class_count: int,
    balanced: bool = False,
    strength: Strength | None = None,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda note: None,
) -> LinearProbe:
    """Multinomial logistic regression by L-BFGS (scikit-learn's).

    Features are divided by one number, their overall standard deviation, so that one grid of strengths serves every
    backbone.

    Args:
        views: features of the training images, one `(n, d) float32` a view, the plain one first; all are fitted on.
        labels: `(n,) int64` in [0, class_count); every class occurs.
        groups: `(n,) int64`; images of one group are never on two sides of a fold.
        class_count: how many classes.
        balanced: weigh classes by the inverse of their frequency.
        strength: where it is known; None: choose it, see `choose_strength`.
        seed: of the folds.
        on_step: told after each strength.
    """
    stacked = np.concatenate(views)
    mean = stacked.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.float32(np.sqrt(stacked.var(axis=0, dtype=np.float64).mean())) or np.float32(1.0)
    del stacked
    scaled = [(view - mean) / scale for view in views]
    strength = strength or choose_strength(
        scaled, labels, groups, class_count=class_count, balanced=balanced, seed=seed, on_step=on_step
    )
    model = _regression(balanced)
    model.set_params(C=strength.c)
    with _quiet_on_one_thread():
        model.fit(np.concatenate(scaled), np.tile(labels, len(scaled)))
    coefficients, intercept = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(coefficients) == 1:  # scikit-learn gives one row for two classes: the logit of the second
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    with seeded(0):  # its first weights are replaced: nothing of the caller's random numbers is used up for them
        head = Head(scaled[0].shape[1], class_count)
    weight, intercept = coefficients / scale / strength.temperature, intercept / strength.temperature
    with torch.no_grad():
        linear = head.layers[0]
        assert isinstance(linear, nn.Linear)
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(intercept - weight @ mean))
    return LinearProbe(head.eval(), strength, bool(np.max(model.n_iter_) < _MAX_ITERATIONS))


def choose_strength(
    views: Sequence[Features],
    labels: Labels,
    groups: Labels,
    *,
    class_count: int,
    balanced: bool = False,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda note: None,
) -> Strength:
    """The strength by out-of-fold log loss, from repeated, stratified, grouped cross-validation.

    Strengths are compared at the temperature that suits each best (Guo et al. 2017, "On calibration of modern neural
    networks"): else a strong probe, which ranks classes better and is too unsure of them, would lose to a weak one. Of
    those within one standard error of the lowest loss the strongest is taken (Breiman et al. 1984, "Classification and
    regression trees", the 1-SE rule).

    Each image is judged by probes that were fitted on other folds; only its plain view is. An image whose class its
    fold did not see is not judged. Where all images are of one group, `FALLBACK_C` stands.

    Args:
        views: centred and scaled, see `fit_linear_probe`.
        labels: `(n,) int64`.
        groups: `(n,) int64`.
        class_count: how many classes.
        balanced: weigh classes in fitting; the loss is that of images alike.
        seed: of the folds.
        on_step: told after each strength.
    """
    found = judge_out_of_fold(
        views, labels, groups, class_count=class_count, balanced=balanced, seed=seed, on_step=on_step
    )
    return found.strength if found else Strength()


def judge_out_of_fold(
    views: Sequence[Features],
    labels: Labels,
    groups: Labels,
    *,
    class_count: int,
    balanced: bool = False,
    seed: int = 0,
    repeats: int = MOST_REPEATS,
    threads: int = 2,
    on_step: Callable[[str], None] = lambda note: None,
) -> OutOfFold | None:
    """As `choose_strength`, image by image; None where the images leave no two folds.

    Folds of few images are dealt anew, at most `repeats` times. Who has another process at work says `threads = 1`.
    """
    count = len(labels)
    folds = possible_folds(labels, groups, folds=_FOLDS)
    if folds < 2:
        return None
    repeats = min(repeats, math.ceil(_JUDGEMENTS / count))
    views = _compact(views)
    dealt = [
        fold
        for repeat in range(repeats)
        for fold in grouped_folds(labels, groups, folds=folds, seed=seed + repeat)
        if len(np.unique(labels[fold[0]])) > 1
    ]
    # Of the images that a fold holds out, those whose class it has seen.
    parts = [(fitted, held_out[np.isin(labels[held_out], labels[fitted])]) for fitted, held_out in dealt]
    parts = [(fitted, held_out) for fitted, held_out in parts if len(held_out)]
    if not parts:
        return None
    regression = FoldedRegression(
        np.concatenate(views),
        np.tile(labels, len(views)),
        [np.concatenate([fitted + number * count for number in range(len(views))]) for fitted, _ in parts],
        class_count=class_count,
        balanced=balanced,
    )
    judged = np.concatenate([held_out for _, held_out in parts])
    times = np.bincount(judged, minlength=count)
    known = times > 0

    def by_image(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(judged, weights=values, minlength=count)[known] / times[known])

    losses: dict[float, Losses] = {}
    temperatures: dict[float, float] = {}
    right: dict[float, npt.NDArray[np.float64]] = {}

    def judge(c: float) -> None:
        regression.fit(c)
        logits = np.concatenate([regression.logits(number, held_out) for number, (_, held_out) in enumerate(parts)])
        temperatures[c] = best_temperature(logits, labels[judged])
        right[c] = by_image(logits.argmax(axis=1) == labels[judged])
        losses[c] = by_image(log_losses(logits / temperatures[c], labels[judged]))
        on_step(f"C {c:g}, out-of-fold loss {losses[c].mean():.4f}")

    with threadpool_limits(threads):
        for way in (PROBE_C[_FIRST:], PROBE_C[_FIRST::-1]):
            for place, c in enumerate(way):
                if c not in losses:
                    judge(c)
                if _has_risen([float(losses[one].mean()) for one in way[: place + 1]]):
                    break
    best = min(losses, key=lambda c: float(losses[c].mean()))
    as_good = tuple(c for c in sorted(losses) if _is_as_good(losses[c] - losses[best], groups[known]))
    strength = Strength(
        c=as_good[0],
        temperature=temperatures[as_good[0]],
        tried={c: float(losses[c].mean()) for c in sorted(losses)},
        as_good=as_good,
        accuracy=float(right[as_good[0]] @ times[known] / len(judged)),
        images=int(known.sum()),
        folds=folds,
        repeats=repeats,
    )
    return OutOfFold(strength, known, losses[as_good[0]], right[as_good[0]])


def _compact(views: Sequence[Features]) -> Sequence[Features]:
    """The same images in fewer dimensions, where there are far fewer of them than features.

    They span no more dimensions than there are rows, and the penalised solution lies in that span: turned into it, all
    losses are the same (Hastie and Tibshirani 2004, "Efficient quadratic regularization for expression arrays").
    """
    rows = sum(map(len, views))
    if rows > views[0].shape[1] // 2:
        return views
    triangle: Features = np.asarray(np.linalg.qr(np.concatenate(views).T, mode="r"))
    return np.split(np.ascontiguousarray(triangle.T), np.cumsum([len(view) for view in views])[:-1])


def _has_risen(means: Sequence[float]) -> bool:
    """Whether the last two are worse than the best before them."""
    return len(means) > 2 and min(means[-2:]) > min(means[:-2])


def _is_as_good(difference: Losses, groups: Labels) -> bool:
    """Whether a mean difference is within its standard error, groups taken as the units."""
    return bool(difference.mean() <= grouped_error(difference, groups))


def _regression(balanced: bool) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=_MAX_ITERATIONS, class_weight="balanced" if balanced else None)


@contextmanager
def _quiet_on_one_thread() -> Iterator[None]:
    """For all fits within, also those in other threads of this process.

    The products of one fit are too small to divide: on two cores, 1,832 x 1,280 features took 0.4 s instead of 1.9 s
    with two threads that wait for one another. That a fit has not converged is told through `converged` instead.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
