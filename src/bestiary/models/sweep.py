"""A sweep: many heads over one feature matrix, and the one with the lowest validation loss.

In: a model's config, and a `Matrix`: features and labels of train and val. Out: a `Sweep`: what each configuration came
to, and the chosen head. No file that stays.

Heads train in parallel, one process and one thread each. Each is fitted by the one gradient loop or by L-BFGS, from its
own config and seed alone, so that the result does not depend on how many processes there are. Training the heads of one
size as one network was measured too (`benchmarks/parts_heads.py`): it gains on linear heads, loses on large ones, and
would be a second loop. Threads of one process share one generator for dropout.

The choice is made on validation alone. The best of many validation figures is an optimistic figure: the more heads were
tried, the more of its lead is luck. The test figure is not affected, since nothing is chosen on test.
"""

import math
import re
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from bestiary.config.schema import ModelConfig
from bestiary.errors import BestiaryError, TrainingError
from bestiary.models.devices import one_thread, seeded
from bestiary.models.heads import Features, Head, Labels
from bestiary.models.linear_probe import fit_linear_probe
from bestiary.models.processes import default_process_count, own_processes
from bestiary.models.training.batches import FeatureSource
from bestiary.models.training.loop import Loop, balanced_weights, fit
from bestiary.models.training.state import Epoch
from bestiary.progress import SILENT, Progress
from bestiary.store.files import cannot_write

T = TypeVar("T")

# sgd moves less at the same rate than the others, which divide each step by the gradient's size.
SGD_FACTOR = 10.0
# A process has 0.5 GB of its own, the features not counted, which all share: one a core, but no more than this.
_MOST_WORKERS = 8
# Heads given to a process: one that it fits, one that waits for it.
_AHEAD = 2
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Matrix:
    """What all heads are fitted on and chosen by.

    Attributes:
        views: of the training images, one `(n, feature_count) float32` a view, the plain one first.
        labels: class numbers of train `(n,) int64`, every class among them.
        val: plain features of validation `(m, feature_count) float32`.
        val_labels: class numbers of validation `(m,) int64`.
        class_count: how many classes.
        groups: of train `(n,) int64`: images of one group are held out together where folds choose.
    """

    views: tuple[Features, ...]
    labels: Labels
    val: Features
    val_labels: Labels
    class_count: int
    groups: Labels


@dataclass(frozen=True)
class Trial:
    """What became of one configuration.

    Attributes:
        config: the configuration.
        val_loss: mean cross-entropy on validation in nats, unweighted; infinite where training diverged.
        val_accuracy: in [0, 1].
        history: one entry an epoch; empty for the L-BFGS probe.
        best_epoch: whose weights were kept; 0 for the probe.
        probe: of the probe: `C`, `tried` and `converged`; else empty.
        failure: why there is no head; empty where there is one.
    """

    config: ModelConfig
    val_loss: float
    val_accuracy: float
    history: tuple[Epoch, ...]
    best_epoch: int
    probe: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


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
        workers: processes; 1: this one alone; None: one a core, at most 8.
        label: for the progress bar and for messages.
        progress: told of every head.

    Raises:
        TrainingError: every head diverged.
        BestiaryError: a process died, or the features cannot be written for the others.
    """
    count = min(workers or min(default_process_count(), _MOST_WORKERS), len(configurations))
    trials: dict[int, Trial] = {}
    chosen, head = -1, None
    with (
        progress.track(label, len(configurations), unit="heads") as task,
        closing(_fitted(configurations, matrix, count)) as found,
    ):
        for number, trial, fitted in found:
            trials[number] = trial
            if fitted and (head is None or (trial.val_loss, number) < (trials[chosen].val_loss, chosen)):
                chosen, head = number, fitted
            task.advance(1, note=_note(trials[chosen]) if head else "")
    if head is None:
        raise TrainingError(f"{label}: all of {len(trials)} heads diverged; {trials[0].failure}")
    return Sweep(tuple(trials[number] for number in range(len(trials))), chosen, head)


def _note(best: Trial) -> str:
    kind = f"{best.config.head.hidden} hidden units" if best.config.head.hidden else "linear"
    return f"best val loss {best.val_loss:.4f} ({kind}, {best.config.optimizer.name})"


def _fitted(
    configurations: Sequence[ModelConfig], matrix: Matrix, count: int
) -> Generator[tuple[int, Trial, Head | None]]:
    """Each configuration's number, trial and head, as `count` processes finish them; this one is one of them."""
    # The longest first, so that none is left to wait for at the end. The probe has scikit-learn to import.
    left = deque(sorted(range(len(configurations)), key=lambda number: _length(configurations[number]), reverse=True))
    if count == 1:
        for number in left:
            yield number, *fit_trial(configurations[number], matrix)
        return
    with _shared(matrix) as file, own_processes(count - 1, _warm_up, file) as (pool, ready):
        running: dict[Future[tuple[Trial, Head | None]], int] = {}
        try:
            while left or running:
                # The others take seconds to import torch, and are given heads when they have.
                while left and len(running) < _AHEAD * sum(each.done() for each in ready):
                    number = left.popleft()
                    running[pool.submit(_fit_shared, configurations[number], file)] = number
                if left:
                    number = left.popleft()
                    yield number, *fit_trial(configurations[number], matrix)
                else:
                    wait(running, return_when=FIRST_COMPLETED)
                for future in [each for each in running if each.done()]:
                    yield running.pop(future), *future.result()
        except BrokenExecutor as error:
            codes = re.search(r"\{(.+)\}", str(error))
            raise BestiaryError(
                f"a process that fits heads ended early ({codes[1] if codes else 'no exit code'}). Where memory ran "
                "out, close other programs; then run the command again, or set sweep.configurations = 0."
            ) from error


def _length(config: ModelConfig) -> float:
    return math.inf if config.optimizer.name == "lbfgs" else config.head.hidden


@contextmanager
def _shared(matrix: Matrix) -> Iterator[str]:
    """A file in which other processes find the features."""
    import joblib

    with tempfile.TemporaryDirectory(prefix="bestiary-heads-") as folder:
        file = Path(folder) / "matrix"
        try:
            joblib.dump(matrix, file)
        except OSError as error:
            raise cannot_write(file, error) from error
        yield str(file)


@cache
def _read_shared(file: str) -> Matrix:
    """The features, in memory that all processes share; copy-on-write, since torch warns of read-only arrays."""
    import joblib

    return joblib.load(file, mmap_mode="c")


def _warm_up(file: str) -> float:
    return sum(float(view.sum()) for view in _read_shared(file).views)


def _fit_shared(config: ModelConfig, file: str) -> tuple[Trial, Head | None]:
    return fit_trial(config, _read_shared(file))


def fit_trial(config: ModelConfig, matrix: Matrix) -> tuple[Trial, Head | None]:
    """Fit one head on the CPU, on one thread: by L-BFGS where the optimizer is lbfgs, else by the gradient loop.

    Batches of 32 are too small to divide: with two threads a head of 256 units takes 2.2 s instead of 2.5 s, while two
    processes of one thread fit twice as many.

    Returns:
        The trial, and the head with the weights of its best epoch; no head where training diverged.
    """
    with one_thread():
        if config.optimizer.name == "lbfgs":
            return _fit_probe(config, matrix)
        with seeded(config.seed):
            head = Head(matrix.val.shape[1], matrix.class_count, hidden=config.head.hidden, dropout=config.head.dropout)
        weights = balanced_weights(matrix.labels, matrix.class_count) if config.class_weights == "balanced" else None
        val = replace(matrix, views=(matrix.val,), labels=matrix.val_labels)
        try:
            result = fit(
                Loop(head, head, head.train), FeatureSource(matrix, matrix.labels), FeatureSource(val, val.labels),
                config=config, device=_CPU, precision="fp32", class_weights=weights, label="head",
            )  # fmt: skip
        except TrainingError as error:  # a learning rate too high: a result like others, and told as one
            return Trial(config, math.inf, 0.0, (), 0, failure=str(error)), None
    best = result.history[result.best_epoch - 1]
    return Trial(config, best.val_loss, best.val_accuracy, result.history, result.best_epoch), head


def _fit_probe(config: ModelConfig, matrix: Matrix) -> tuple[Trial, Head]:
    probe = fit_linear_probe(
        matrix.views,
        matrix.labels,
        matrix.groups,
        class_count=matrix.class_count,
        balanced=config.class_weights == "balanced",
        seed=config.seed,
    )
    with torch.inference_mode():
        logits = probe.head(torch.from_numpy(matrix.val))
        loss = float(nn.functional.cross_entropy(logits.double(), torch.from_numpy(matrix.val_labels)))
    accuracy = float(np.mean(logits.argmax(1).numpy() == matrix.val_labels))
    return Trial(config, loss, accuracy, (), 0, probe.choices()), probe.head


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
