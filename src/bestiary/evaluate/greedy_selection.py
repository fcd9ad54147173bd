"""Greedy selection of an ensemble: logits of several models, and labels → shares, and what they are worth.

In: logits of images that no model was fitted on. Out: shares, temperatures, cross-fitted probabilities. No torch.

Caruana et al. 2004, "Ensemble selection from libraries of models": models are added one at a time, with replacement,
each time the one that lowers the loss of the mean probability most. Each model is first brought to its best
temperature, so that none speaks louder than another because it is too sure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.calibration import best_temperature, log_losses
from bestiary.evaluate.grouped_folds import grouped_folds, possible_folds
from bestiary.evaluate.intervals import Interval, Z, grouped_error

Logits = npt.NDArray[np.floating]
LogProbabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_FOLDS = 5


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        shares: of each model, `(m,) float64`, >= 0, adding up to 1.
        temperatures: of each model, `(m,) float64`.
    """

    shares: npt.NDArray[np.float64]
    temperatures: npt.NDArray[np.float64]


@dataclass(frozen=True)
class CrossFitted:
    """What a selection says of images that had no part in it, beside the best single model chosen in the same way.

    Attributes:
        ensemble: log probabilities `(n, class_count)`.
        single: the same, of the model with the lowest log loss on the other images, at its best temperature there.
        gain: by how much the log loss of the ensemble is lower, in nats, with its 95 % interval.
        error: standard error of the gain, groups taken as the units.
    """

    ensemble: LogProbabilities
    single: LogProbabilities
    gain: Interval
    error: float


def select_greedily(said: Sequence[Logits], labels: Labels, *, rounds: int) -> Selection:
    """Choose shares on these images.

    Args:
        said: logits `(n, class_count)` of each model.
        labels: `(n,) int64`.
        rounds: how often a model is added; the shares of the best round count.
    """
    temperatures = np.array([best_temperature(logits, labels) for logits in said])
    # Only the probability of the true class has a part in the loss.
    true = np.stack([np.exp(-log_losses(one / t, labels)) for one, t in zip(said, temperatures, strict=True)])
    counts, total = np.zeros(len(said)), np.zeros(len(labels))
    best_loss, best_counts = np.inf, counts
    for size in range(1, rounds + 1):
        losses = [_loss((total + one) / size) for one in true]
        added = int(np.argmin(losses))
        counts[added] += 1
        total += true[added]
        if losses[added] < best_loss:
            best_loss, best_counts = losses[added], counts.copy()
    return Selection(best_counts / best_counts.sum(), temperatures)


def _loss(true: npt.NDArray[np.float64]) -> float:
    return float(-np.log(np.maximum(true, np.finfo(np.float64).tiny)).mean())


def mix(said: Sequence[Logits], chosen: Selection) -> LogProbabilities:
    """The log probabilities of an ensemble, `(n, class_count)`.

    Args:
        said: logits `(n, class_count)` of each model.
        chosen: shares and temperatures, in the same order.
    """
    from scipy.special import log_softmax, logsumexp

    used = np.flatnonzero(chosen.shares)
    parts = [
        log_softmax(np.asarray(said[number], dtype=np.float64) / chosen.temperatures[number], axis=1)
        + np.log(chosen.shares[number])
        for number in map(int, used)
    ]
    return np.asarray(logsumexp(np.stack(parts), axis=0))


def why_left_out(chosen: Selection, judged: CrossFitted, said: Sequence[Logits], labels: Labels) -> str:
    """Why an ensemble does not win; empty where it does.

    It wins where its log loss is lower than that of the best single model, chosen in the same folds, by more than one
    standard error, and where it ranks before every model: by accuracy, then by log loss.

    Args:
        chosen: on all of the images.
        judged: cross-fitted on them.
        said: logits `(n, class_count)` of each model.
        labels: `(n,) int64`.
    """
    if int((chosen.shares > 0).sum()) < 2:
        return "one model alone has the lowest log loss on val"
    if not judged.gain.value > judged.error:
        than = f"{abs(judged.gain.value):.4f} {'lower' if judged.gain.value > 0 else 'higher'}"
        return (
            f"its log loss on val, cross-fitted, is {than} than that of the best single model, and the standard error "
            f"is {judged.error:.4f}"
        )
    own, best = _rank(judged.ensemble, labels), min(_rank(one, labels) for one in said)
    if own < best:
        return ""
    return (
        f"on val, cross-fitted, its accuracy is {-own[0]:.4f} and its log loss {own[1]:.4f}; of one model they are "
        f"{-best[0]:.4f} and {best[1]:.4f}"
    )


def accuracy_of(said: Logits, labels: Labels) -> float:
    """The share of images whose most probable class is theirs."""
    return float((said.argmax(axis=1) == labels).mean())


def _rank(said: Logits, labels: Labels) -> tuple[float, float]:
    """As models are ranked: the lower the better."""
    return -accuracy_of(said, labels), float(log_losses(said, labels).mean())


def cross_fit(said: Sequence[Logits], labels: Labels, groups: Labels, *, rounds: int, seed: int) -> CrossFitted | None:
    """Choose on some of the images, say it of the others, in stratified folds that keep groups together.

    Args:
        said: logits `(n, class_count)` of each model.
        labels: `(n,) int64`.
        groups: `(n,) int64`.
        rounds: see `select_greedily`.
        seed: of the folds.

    Returns:
        None where the images leave no two folds.
    """
    count = possible_folds(labels, groups, folds=_FOLDS)
    if count < 2:
        return None
    ensemble = np.full(said[0].shape, np.nan)
    single = np.full(said[0].shape, np.nan)
    for others, held_out in grouped_folds(labels, groups, folds=count, seed=seed):
        chosen = select_greedily([one[others] for one in said], labels[others], rounds=rounds)
        losses = [
            log_losses(one[others] / t, labels[others]).mean() for one, t in zip(said, chosen.temperatures, strict=True)
        ]
        best = np.zeros(len(said))
        best[int(np.argmin(losses))] = 1.0
        parts = [one[held_out] for one in said]
        ensemble[held_out] = mix(parts, chosen)
        single[held_out] = mix(parts, Selection(best, chosen.temperatures))
    difference = log_losses(single, labels) - log_losses(ensemble, labels)
    mean, error = float(difference.mean()), grouped_error(difference, groups)
    return CrossFitted(ensemble, single, Interval(mean, mean - Z * error, mean + Z * error), error)
