"""A sweep: many heads over one feature matrix, and the one with the lowest validation loss.

In: a model's config, and a `Matrix`: features and labels of train and val. Out: a `Sweep`: what each configuration came
to, and the chosen head. No file that stays.

Heads train in parallel, one thread each: this process fits some, `head_worker` processes the others. Each is fitted by
the one gradient loop or by L-BFGS, from its own config and seed alone, so that the result does not depend on how many
processes there are or which of them took what. Training the heads of one size as one network was measured too
(`benchmarks/parts_heads.py`, 40 heads, 10 epochs, two cores): 13.8 s against 15.3 s in batches of 32, 6.7 s against
8.1 s in batches of 256, three seconds of ours being the other process's start. It gains on linear heads, loses on large
ones, and would be a second loop. Threads of one process (20.6 s, 6.8 s) share one generator for dropout.

The choice is made on validation alone. The best of many validation figures is an optimistic figure: the more heads were
tried, the more of its lead is luck. The test figure is not affected, since nothing is chosen on test.
"""

import math
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from bestiary.config.schema import ModelConfig
from bestiary.errors import TrainingError
from bestiary.models.head_worker import Matrix, State, Trial, Worker, fit_trial
from bestiary.models.heads import Head
from bestiary.progress import SILENT, Progress, Task
from bestiary.store.files import cannot_write

T = TypeVar("T")

# sgd moves less at the same rate than the others, which divide each step by the gradient's size.
SGD_FACTOR = 10.0
# A process has 0.5 GB of its own, the features not counted, which all share: one a core, but no more than this.
_MOST_WORKERS = 8
_CHECK_EVERY_S = 0.2


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        trials: one a configuration, in the order given.
        chosen: the position of the one with the lowest validation loss, the first of equals.
        head: its head, with the weights of its best epoch, in eval mode on the CPU.
    """

    trials: tuple[Trial, ...]
    chosen: int
    head: Head

    @property
    def best(self) -> Trial:
        """The chosen trial."""
        return self.trials[self.chosen]


def propose_heads(model: ModelConfig) -> list[ModelConfig]:
    """The configurations that a model's `sweep` section asks for, from its seed alone.

    First the model's own head, second the L-BFGS linear probe, where it is not the first; then as many as are left,
    drawn from the section's ranges. A longer sweep begins with the heads of a shorter one. Points follow the additive
    recurrence of Roberts (2018), "The unreasonable effectiveness of quasirandom sequences", from a random start: they
    leave smaller gaps than independent draws. Rates and decays are drawn evenly in their logarithm, to three digits.
    """
    found = [model]
    if model.optimizer.name != "lbfgs":
        found.append(_with(model, hidden=0, dropout=0.0, optimizer={"name": "lbfgs"}))
    sweep, dimensions = model.sweep, 5
    root = 2.0
    for _ in range(100):  # x^(d+1) = x + 1, the generalised golden ratio
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    point = np.random.default_rng([model.seed, 5]).random(dimensions)
    while len(found) < sweep.configurations:
        point = (point + steps) % 1.0
        at = [float(value) for value in point]
        name, hidden = _pick(sweep.optimizers, at[0]), _pick(sweep.hidden, at[1])
        rate = _between(sweep.learning_rate, at[3]) * (SGD_FACTOR if name == "sgd" else 1.0)
        optimizer = {"name": name, "learning_rate": _short(rate), "weight_decay": _between(sweep.weight_decay, at[4])}
        found.append(_with(model, hidden=hidden, dropout=_pick(sweep.dropout, at[2]), optimizer=optimizer))
    return found[: sweep.configurations]


def _with(model: ModelConfig, *, hidden: int, dropout: float, optimizer: dict[str, Any]) -> ModelConfig:
    values = model.model_dump()
    values["head"] |= {"hidden": hidden, "dropout": dropout if hidden else 0.0}
    values["optimizer"] |= optimizer
    return ModelConfig.model_validate(values)


def _pick(choices: Sequence[T], at: float) -> T:
    return choices[int(at * len(choices))]


def _between(ends: Sequence[float], at: float) -> float:
    low, high = math.log(ends[0]), math.log(ends[1])
    return min(max(_short(math.exp(low + at * (high - low))), ends[0]), ends[1])


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def fit_heads(
    configurations: Sequence[ModelConfig],
    matrix: Matrix,
    *,
    workers: int | None = None,
    label: str = "heads",
    progress: Progress = SILENT,
) -> Sweep:
    """Fit every head on train, and choose one by its validation loss.

    Args:
        configurations: at least one; of each, `head`, `optimizer`, `schedule`, `epochs` and the like count.
        matrix: features and labels of train and val.
        workers: processes at work, this one among them; None: one a core, at most 8. 48 heads of at most 30 epochs in
            batches of 32 over 1,900 x 1,280 features take 24 s on two cores, and 46 s with one process.
        label: for the progress bar and for messages.
        progress: told of every head.

    Raises:
        TrainingError: every head diverged.
        BestiaryError: a process died, or the features cannot be written for the others.
    """
    count = min(workers or min(core_count(), _MOST_WORKERS), len(configurations))
    with progress.track(label, len(configurations), unit="heads") as task, _started(matrix, count - 1) as others:
        board = _Board(configurations, task)
        with ThreadPoolExecutor(max(len(others), 1)) as pool:
            lanes = [pool.submit(_fit_there, worker, board) for worker in others]
            try:
                while (number := board.take()) is not None:
                    trial, head = fit_trial(configurations[number], matrix)
                    board.add(number, trial, head.state_dict() if head else {})
                    _raise_from(lanes)
                while not board.complete.wait(_CHECK_EVERY_S):
                    _raise_from(lanes)
            finally:
                # What is under way is of no use now: the last heads are in, or something was raised.
                board.stop()
                for worker in others:
                    worker.kill()
    return board.result(matrix, label=label)


def core_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _started(matrix: Matrix, count: int) -> Iterator[list[Worker]]:
    """Processes that have the features, starting up while this one goes on."""
    if count < 1:
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="bestiary-heads-") as folder:
        try:
            matrix.write(Path(folder))
        except OSError as error:
            raise cannot_write(Path(folder), error) from error
        workers: list[Worker] = []
        try:
            workers += (Worker(Path(folder), number) for number in range(count))
            yield workers
        finally:
            for worker in workers:
                worker.kill()


def _fit_there(worker: Worker, board: "_Board") -> None:
    """Keep one process busy until no head is left. In a thread, which does nothing but wait."""
    worker.wait_until_ready()
    while (number := board.take()) is not None:
        trial, state = worker.fit(board.configurations[number])
        board.add(number, trial, state)


def _raise_from(lanes: list["Future[None]"]) -> None:
    for lane in lanes:
        if lane.done():
            lane.result()


class _Board:
    """What is left to fit, what was found, and the weights of the best so far; shared by the threads."""

    def __init__(self, configurations: Sequence[ModelConfig], task: Task) -> None:
        self.configurations = configurations
        self.complete = threading.Event()
        self._task = task
        self._lock = threading.Lock()
        # The longest first, so that none is left to wait for at the end.
        self._left = sorted(range(len(configurations)), key=lambda number: configurations[number].head.hidden)
        self._trials: dict[int, Trial] = {}
        self._chosen: int | None = None
        self._state: State = {}

    def take(self) -> int | None:
        """The next configuration's number; None where none is left."""
        with self._lock:
            return self._left.pop() if self._left else None

    def stop(self) -> None:
        """Hand out no more."""
        with self._lock:
            self._left.clear()

    def add(self, number: int, trial: Trial, state: State) -> None:
        """Note a result; its weights are kept as long as it is the best."""
        with self._lock:
            self._trials[number] = trial
            if not trial.failure and (self._chosen is None or self._rank(number) < self._rank(self._chosen)):
                self._chosen, self._state = number, state
            self._task.advance(1, note=self._note())
            if len(self._trials) == len(self.configurations):
                self.complete.set()

    def result(self, matrix: Matrix, *, label: str) -> Sweep:
        """Everything, and the chosen head rebuilt."""
        trials = tuple(self._trials[number] for number in range(len(self.configurations)))
        if self._chosen is None:
            raise TrainingError(f"{label}: all of {len(trials)} heads diverged; {trials[0].failure}")
        chosen = trials[self._chosen].config.head
        with torch.random.fork_rng():
            head = Head(matrix.val.shape[1], matrix.class_count, hidden=chosen.hidden, dropout=chosen.dropout)
        head.load_state_dict(self._state)
        return Sweep(trials, self._chosen, head.eval())

    def _rank(self, number: int) -> tuple[float, int]:
        return self._trials[number].val_loss, number

    def _note(self) -> str:
        if self._chosen is None:
            return ""
        best = self._trials[self._chosen]
        kind = f"{best.config.head.hidden} hidden units" if best.config.head.hidden else "linear"
        return f"best val loss {best.val_loss:.4f} ({kind}, {best.config.optimizer.name})"


def describe_sweep(sweep: Sweep) -> dict[str, Any]:
    """What was tried and chosen, for the run's record: plain values, the same from one call to the next."""
    return {
        "chosen_on": "val loss",
        "chosen": sweep.chosen,
        "heads": [_row(trial) for trial in sweep.trials],
        **sweep.best.probe,
    }


def _row(trial: Trial) -> dict[str, Any]:
    head, optimizer = trial.config.head, trial.config.optimizer
    how: dict[str, Any] = {"hidden": head.hidden, "dropout": head.dropout, "optimizer": optimizer.name}
    if trial.probe:
        how["C"] = trial.probe["C"]
    else:
        how |= {"learning_rate": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}
    if trial.failure:
        return {**how, "val_loss": None, "val_accuracy": None, "failure": trial.failure}
    found = {"val_loss": trial.val_loss, "val_accuracy": trial.val_accuracy}
    return {**how, **found, "epochs": len(trial.history), "best_epoch": trial.best_epoch}
