"""The search itself: propose, judge, store, until trials or time are used up.

In: blocks of features, a space, a store of trials. Out: what was found. Owns no file of its own; see `trials`.

Heads are judged two at a time where there are two cores. They are stored in the order of their proposals, whichever
ended first, and the next are proposed when both are stored: so the search is the same however it was interrupted.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from bestiary.config.schema import ModelConfig, SearchConfig
from bestiary.models.processes import default_process_count, own_processes
from bestiary.plurals import counted
from bestiary.progress import SILENT, Progress
from bestiary.runs.search.judging import Blocks, judge, rehearse
from bestiary.runs.search.space import distributions, model_of
from bestiary.runs.search.trials import Judged, TrialStore, proposals
from bestiary.store.files import cannot_write

# Judged at once; fixed, so that a search does not depend on the number of cores.
_AT_ONCE = 2
# A head is given up after its first fold where so large a share of those judged whole was better on it.
_KEPT_SHARE = 1 / 4
_JUDGED_FIRST = 4


@dataclass(frozen=True)
class Found:
    """One head that was tried to the end.

    Attributes:
        model: as it would be fitted.
        loss: out-of-fold log loss in nats.
        accuracy: out of fold, in [0, 1].
    """

    model: ModelConfig
    loss: float
    accuracy: float


def run_search(
    blocks: Blocks,
    search: SearchConfig,
    store: TrialStore,
    *,
    deadline: float | None,
    progress: Progress = SILENT,
) -> None:
    """Try heads until `search.trials` are there, the deadline has come, or the space is used up.

    Args:
        blocks: features, labels and folds of the training images.
        search: the space, the seed, and how many trials; 0: no limit.
        store: of finished trials; those that it has count.
        deadline: of `time.monotonic()`; None: none. A trial is not begun that would likely end after it.
        progress: told of every trial.
    """
    known, begun = distributions(search), time.monotonic()
    finished = store.finished()
    shown, unit = (search.trials, "heads") if search.trials else (max(1, round((deadline or begun) - begun)), "s")
    with _judges(blocks) as judges, progress.track("search", shown, unit=unit) as task:
        passed = 0

        def show() -> None:
            nonlocal passed
            now = len(finished) if search.trials else round(time.monotonic() - begun)
            task.advance(max(0, min(now, shown) - passed), note=_note(finished))
            passed = min(now, shown)

        show()
        while not search.trials or len(finished) < search.trials:
            left = search.trials - len(finished) if search.trials else _AT_ONCE
            if deadline is not None and time.monotonic() + _likely_s(finished) > deadline:
                break
            # A batch follows from what was stored when it began: of one that was cut off, the rest is judged.
            begun_with = finished[: len(finished) // _AT_ONCE * _AT_ONCE]
            batch = proposals(begun_with, search, count=_AT_ONCE)[len(finished) - len(begun_with) :][:left]
            if not batch:
                break
            bar = _bar(begun_with)
            for (params, _), judged in zip(batch, judges([model for _, model in batch], bar), strict=True):
                store.add(params, known, judged)
            finished = store.finished()
            show()


def best_heads(finished: Sequence[FrozenTrial], search: SearchConfig) -> list[Found]:
    """All heads that were tried to the end, the lowest loss first; equal losses in the order in which they came."""
    found = [
        (value, trial.number, Found(model_of(trial.params, seed=search.seed), value, trial.user_attrs["accuracy"]))
        for trial, value in _whole(finished)
    ]
    return [head for _, _, head in sorted(found, key=lambda one: one[:2])]


def best_after(finished: Sequence[FrozenTrial]) -> list[dict[str, float]]:
    """The lowest loss after 1, 2, 4 ... trials and after all, as `trials` and `loss`, once there is one."""
    counts = [2**power for power in range(len(finished).bit_length()) if 2**power < len(finished)]
    found = []
    for count in [*counts, len(finished)]:
        losses = [loss for _, loss in _whole(finished[:count])]
        if losses:
            found.append({"trials": count, "loss": min(losses)})
    return found


def _whole(finished: Sequence[FrozenTrial]) -> list[tuple[FrozenTrial, float]]:
    """Those that were judged on every fold, with their losses."""
    return [
        (trial, trial.value)
        for trial in finished
        if trial.state == TrialState.COMPLETE and trial.value is not None and np.isfinite(trial.value)
    ]


def _note(finished: Sequence[FrozenTrial]) -> str:
    losses = [loss for _, loss in _whole(finished)]
    best = f", best out-of-fold loss {min(losses):.4f}" if losses else ""
    return f"{counted(len(finished), 'head')} tried{best}"


def _likely_s(finished: Sequence[FrozenTrial]) -> float:
    """What a trial takes: as long as nine of ten of the last thirty did."""
    seconds = [trial.user_attrs["seconds"] for trial in finished[-30:]]
    return float(np.quantile(seconds, 0.9)) if seconds else 0.0


def _bar(finished: Sequence[FrozenTrial]) -> float:
    """The loss of the first fold that a head must reach to be judged on the others (successive halving over folds)."""
    first = [trial.user_attrs["first_loss"] for trial in finished if trial.state != TrialState.FAIL]
    known = np.array([loss for loss in first if np.isfinite(loss)])
    return float(np.quantile(known, _KEPT_SHARE)) if len(known) >= _JUDGED_FIRST else np.inf


_Judges = Callable[[Sequence[ModelConfig], float], list[Judged]]


@contextmanager
def _judges(blocks: Blocks) -> Iterator[_Judges]:
    """Judges some models at once: this process one, another the other, where there is a second core."""
    if default_process_count() < _AT_ONCE:
        yield lambda models, bar: [judge(model, blocks, bar=bar) for model in models]
        return
    import joblib

    with tempfile.TemporaryDirectory(prefix="bestiary-search-") as folder:
        file = Path(folder) / "blocks"
        try:
            joblib.dump(blocks, file)
        except OSError as error:
            raise cannot_write(file, error) from error
        with own_processes(_AT_ONCE - 1, _warm_up, str(file)) as (pool, ready):

            def judge_all(models: Sequence[ModelConfig], bar: float) -> list[Judged]:
                # The other process takes seconds to import torch: until then this one judges alone.
                if len(models) < _AT_ONCE or not ready[0].done():
                    return [judge(model, blocks, bar=bar) for model in models]
                other = pool.submit(_judge_shared, models[1], str(file), bar)
                return [judge(models[0], blocks, bar=bar), other.result()]

            yield judge_all


@cache
def _read_shared(file: str) -> Blocks:
    import joblib

    blocks: Blocks = joblib.load(file, mmap_mode="c")
    return blocks


def _warm_up(file: str) -> None:
    """Read the features, and import what judging imports on its way."""
    sum(float(features.sum()) for features in _read_shared(file).features.values())
    rehearse()


def _judge_shared(model: ModelConfig, file: str, bar: float) -> Judged:
    return judge(model, _read_shared(file), bar=bar)
