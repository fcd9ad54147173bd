"""Trials: what was tried and what it came to, kept where Optuna keeps it; and what to try next.

In: a storage: a journal in the study's folder, or any that Optuna has a URL for. Out: finished trials, in order, and
proposals. Owns `search.journal`.

Only finished trials are stored, each in one step. A proposal depends on the finished trials and the seed alone, so a
search that was killed at any moment goes on as if it had not been.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from bestiary.config.schema import ModelConfig, SearchConfig
from bestiary.errors import BestiaryError
from bestiary.runs.search.space import distributions, first_proposals, model_of

_TPE_TRIES, _TRIES = 10, 200


@dataclass(frozen=True)
class Judged:
    """What became of one head.

    Attributes:
        loss: out-of-fold log loss in nats, at its best temperature; that of the first fold alone where it was pruned.
        first_loss: of the first fold alone.
        accuracy: out of fold, in [0, 1].
        seconds: what judging it took.
        pruned: whether it was given up after the first fold.
        error: why there is no loss; empty where there is one.
    """

    loss: float
    first_loss: float
    accuracy: float
    seconds: float
    pruned: bool = False
    error: str = ""


class TrialStore:
    """The finished trials of one search.

    Args:
        journal: the file to keep them in, where no storage is named.
        storage: an Optuna storage URL, or "".
        key: of the images and the space: trials of another search in the same storage are not seen.

    Raises:
        BestiaryError: the storage does not answer.
    """

    def __init__(self, journal: Path, storage: str, *, key: str) -> None:
        self._where = storage or str(journal)
        try:
            with _quiet():
                self._study = optuna.create_study(
                    storage=storage or _journal(journal), study_name=f"bestiary-{key}", load_if_exists=True
                )
        except Exception as error:  # SQLAlchemy, its drivers and Redis raise errors of their own kinds
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> BestiaryError:
        reason = " ".join(str(error).split())[:200]
        return BestiaryError(
            f'search.storage {self._where}: {reason}. Start that storage, or set search.storage = "" for a journal in '
            "the study's folder"
        )

    def finished(self) -> list[FrozenTrial]:
        """All that are finished, in their order."""
        try:
            return self._study.get_trials(deepcopy=False)
        except Exception as error:
            raise self._unreachable(error) from error

    def add(self, params: Mapping[str, Any], known: Mapping[str, BaseDistribution], judged: Judged) -> None:
        """Store a finished trial."""
        state = TrialState.FAIL if judged.error else TrialState.PRUNED if judged.pruned else TrialState.COMPLETE
        trial = create_trial(
            state=state,
            params=dict(params),
            distributions=dict(known),
            value=None if judged.error else judged.loss,
            user_attrs={
                "accuracy": judged.accuracy,
                "first_loss": judged.first_loss,
                "seconds": judged.seconds,
                "error": judged.error,
            },
        )
        try:
            self._study.add_trial(trial)
        except Exception as error:
            raise self._unreachable(error) from error


def _journal(file: Path) -> optuna.storages.JournalStorage:
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(str(file)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs every study that it makes; the process around keeps the verbosity that it has."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def proposals(
    finished: Sequence[FrozenTrial], search: SearchConfig, *, count: int
) -> list[tuple[dict[str, Any], ModelConfig]]:
    """What to try next, and the model that each means: the fixed first ones, then what Optuna's TPE proposes.

    Bergstra et al. 2011, "Algorithms for hyper-parameter optimization". A function of its arguments alone. Nothing is
    proposed twice; there are fewer than asked for where the space is used up.

    Args:
        finished: trials so far.
        search: the space and the seed.
        count: how many.
    """
    known, first = distributions(search), first_proposals(search)
    tried = {model_of(trial.params, seed=search.seed) for trial in finished}
    found: list[tuple[dict[str, Any], ModelConfig]] = []
    with _quiet():
        for number in range(len(finished), len(finished) + count):
            candidates = (
                [first[number]] if number < len(first) else _drawn(finished, known, seed=search.seed, number=number)
            )
            for params in candidates:
                model = model_of(params, seed=search.seed)
                if model not in tried:
                    tried.add(model)
                    found.append((params, model))
                    break
    return found


def _drawn(
    finished: Sequence[FrozenTrial], known: Mapping[str, BaseDistribution], *, seed: int, number: int
) -> Iterator[dict[str, Any]]:
    mixed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    # Where TPE keeps to what has been tried, chance leads away from it.
    samplers = (optuna.samplers.TPESampler(seed=mixed), _TPE_TRIES), (optuna.samplers.RandomSampler(seed=mixed), _TRIES)
    for sampler, tries in samplers:
        study = optuna.create_study(sampler=sampler)
        study.add_trials([trial for trial in finished if trial.state != TrialState.FAIL])
        for _ in range(tries):
            yield dict(study.ask(dict(known)).params)
