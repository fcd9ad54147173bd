"""Learning rates: what each step of an epoch takes, by the schedule.

In: a model's config and the validation losses so far. Out: rates. No state, no file.
"""

import math

from bestiary.config.schema import ModelConfig, ScheduleConfig

_MIN_PROGRESS = 1e-4
_WARM_UP = 0.3


def rates_of(config: ModelConfig, val_losses: list[float], *, epoch: int, steps: int) -> list[float]:
    """The learning rate of each step of an epoch; a function of the history, so that there is no state to save."""
    base = config.optimizer.learning_rate
    if config.schedule.name == "constant":
        return [base] * steps
    if config.schedule.name == "plateau":
        return [plateau_rate(base, val_losses, config.schedule)] * steps
    total = config.epochs * steps
    return [one_cycle_rate(base, ((epoch - 1) * steps + step) / max(total - 1, 1)) for step in range(steps)]


def plateau_rate(base: float, val_losses: list[float], schedule: ScheduleConfig) -> float:
    """The rate after some epochs: times `factor` whenever `patience_epochs` in a row brought no progress of 1e-4."""
    rate, best, waited = base, math.inf, 0
    for loss in val_losses:
        if loss < best - _MIN_PROGRESS:
            best, waited = loss, 0
            continue
        waited += 1
        if waited == schedule.patience_epochs:
            rate, waited = rate * schedule.factor, 0
    return rate


def one_cycle_rate(peak: float, progress: float) -> float:
    """Smith's one cycle (2018) with cosine sides: from peak/25 up over the first 30 %, then down to peak/250,000.

    Args:
        peak: the highest rate.
        progress: share of all steps done, in [0, 1].
    """
    first, last = peak / 25, peak / 25 / 1e4
    if progress < _WARM_UP:
        return _cosine(first, peak, progress / _WARM_UP)
    return _cosine(peak, last, (progress - _WARM_UP) / (1 - _WARM_UP))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
