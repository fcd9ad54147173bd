"""One head, fitted here or in a process of its own.

In: a config, and the features of train and val. Out: a `Trial` and the fitted `Head`. Owns, in a temporary folder that
it is handed, the arrays that the processes share and the weights that they hand back.

A process is started as `python -c`, so that nothing of the caller's own script is run again; requests and replies are
lines of JSON, arrays are `.npy` files mapped into memory, weights are safetensors. No pickle. It ends with
its standard input, that is, with the process that asks.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from bestiary.config.schema import ModelConfig
from bestiary.errors import BestiaryError, TrainingError
from bestiary.models.batches import FeatureSource
from bestiary.models.extract.features import FeatureTable
from bestiary.models.heads import Features, Head, Labels, fit_linear_probe
from bestiary.models.training import Epoch, Loop, balanced_weights, fit

State = dict[str, torch.Tensor]

_CPU = torch.device("cpu")
_LOG = "worker.log"
# The first line keeps Ctrl-C, which a terminal sends to all, for the process that asks; that one ends this one.
_START = """
import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)
import json, sys; sys.path[:] = json.loads(sys.argv[1])
from bestiary.learn.head_worker import serve; serve(sys.argv[2])
"""


@dataclass(frozen=True)
class Matrix:
    """What all heads are fitted on and chosen by.

    Attributes:
        views: of the training images, one `(n, feature_count) float32` a view, the plain one first.
        labels: class numbers of train `(n,) int64`, every class among them.
        val: plain features of validation `(m, feature_count) float32`.
        val_labels: class numbers of validation `(m,) int64`.
        class_count: how many classes.
    """

    views: tuple[Features, ...]
    labels: Labels
    val: Features
    val_labels: Labels
    class_count: int

    def write(self, folder: Path) -> None:
        """Write the arrays where `read` finds them."""
        for name, array in self._arrays().items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / "matrix.json").write_text(json.dumps([len(self.views), self.class_count]), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Matrix":
        """The arrays of a folder, mapped: processes that read the same folder share its memory."""
        view_count, class_count = json.loads((folder / "matrix.json").read_text(encoding="utf-8"))
        names = [*(f"view{number}" for number in range(view_count)), "labels", "val", "val_labels"]
        # Copy-on-write, since torch warns of arrays that cannot be written; nothing writes to them.
        *views, labels, val, val_labels = (
            np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in names
        )
        return cls(tuple(views), labels, val, val_labels, class_count)

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        views = {f"view{number}": view for number, view in enumerate(self.views)}
        return {**views, "labels": self.labels, "val": self.val, "val_labels": self.val_labels}


@dataclass(frozen=True)
class Trial:
    """What became of one configuration.

    Attributes:
        config: the configuration.
        val_loss: mean cross-entropy on validation in nats, unweighted; infinite where training diverged.
        val_accuracy: in [0, 1].
        history: one entry an epoch; empty for the L-BFGS probe.
        best_epoch: whose weights were kept; 0 for the probe.
        seconds: what fitting took, on one thread.
        probe: of the probe: `C`, `tried` and `converged`; else empty.
        failure: why there is no head; empty where there is one.
    """

    config: ModelConfig
    val_loss: float
    val_accuracy: float
    history: tuple[Epoch, ...]
    best_epoch: int
    seconds: float
    probe: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def fit_trial(config: ModelConfig, matrix: Matrix) -> tuple[Trial, Head | None]:
    """Fit one head on the CPU, on one thread: by L-BFGS where the optimizer is lbfgs, else by the gradient loop.

    Batches of 32 are too small to divide: with two threads a head of 256 units takes 2.2 s instead of 2.5 s, while two
    processes of one thread fit twice as many.

    Returns:
        The trial, and the head with the weights of its best epoch; no head where training diverged.
    """
    start = time.perf_counter()
    with _one_thread():
        if config.optimizer.name == "lbfgs":
            return _fit_probe(config, matrix, start)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            head = Head(matrix.val.shape[1], matrix.class_count, hidden=config.head.hidden, dropout=config.head.dropout)
        weights = balanced_weights(matrix.labels, matrix.class_count) if config.class_weights == "balanced" else None
        try:
            result = fit(
                Loop(head, head, head.train), _source(matrix.views, matrix.labels),
                _source((matrix.val,), matrix.val_labels),
                config=config, device=_CPU, precision="fp32", class_weights=weights, label="head",
            )  # fmt: skip
        except TrainingError as error:  # a learning rate too high: a result like others, and told as one
            return Trial(config, float("inf"), 0.0, (), 0, time.perf_counter() - start, failure=str(error)), None
    best = result.history[result.best_epoch - 1]
    seconds = time.perf_counter() - start
    return Trial(config, best.val_loss, best.val_accuracy, result.history, result.best_epoch, seconds), head


def _fit_probe(config: ModelConfig, matrix: Matrix, start: float) -> tuple[Trial, Head]:
    probe = fit_linear_probe(
        (np.concatenate(matrix.views), np.tile(matrix.labels, len(matrix.views))),
        (matrix.val, matrix.val_labels),
        class_count=matrix.class_count,
        balanced=config.class_weights == "balanced",
    )
    with torch.inference_mode():
        guesses = probe.head(torch.from_numpy(matrix.val)).argmax(1).numpy()
    about = {
        "C": probe.c,
        "tried": [{"C": c, "val_loss": loss} for c, loss in probe.tried.items()],
        "converged": probe.converged,
    }
    accuracy, seconds = float(np.mean(guesses == matrix.val_labels)), time.perf_counter() - start
    return Trial(config, probe.tried[probe.c], accuracy, (), 0, seconds, about), probe.head


def _source(views: tuple[Features, ...], labels: Labels) -> FeatureSource:
    return FeatureSource(FeatureTable(views, "torch", "fp32", 0, 0.0), labels)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Worker:
    """A process that fits heads, one after another; it is starting up when the constructor returns.

    Args:
        folder: where a `Matrix` is written.
        number: tells the workers of one folder apart.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._log, self._weights = folder / f"{number}-{_LOG}", folder / f"{number}.safetensors"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  its own interpreter and its own text
                [sys.executable, "-c", _START, json.dumps(sys.path), str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until torch is imported, about three seconds.

        Raises:
            BestiaryError: the process has ended.
        """
        self._reply()

    def fit(self, config: ModelConfig) -> tuple[Trial, State]:
        """As `fit_trial`, there; the weights are empty where training diverged.

        Raises:
            BestiaryError: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([config.model_dump(mode="json"), str(self._weights)]) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._death() from None
        found = self._reply()
        found["history"] = tuple(Epoch(**epoch) for epoch in found["history"])
        trial = Trial(**{**found, "config": config})
        return trial, {} if trial.failure else load_file(self._weights)

    def kill(self) -> None:
        """End the process at once, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # a request that it can no longer take
                stream.close()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise self._death()
        return json.loads(line)

    def _death(self) -> BestiaryError:
        code = self._process.wait()
        said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return BestiaryError(
            f"a process that trains heads ended with exit code {code}: {said[-1] if said else 'it said nothing'}. "
            "Where memory ran out, close other programs; then run the command again, or set sweep.configurations = 0."
        )


def serve(folder: str) -> None:
    """A worker's life: say ready, then answer each line with a trial. It ends with its standard input, at once."""
    # What a library prints must not come between the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    matrix = Matrix.read(Path(folder))
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    _answer(replies, "ready")
    while True:
        config, weights = json.loads(requests.get())
        trial, head = fit_trial(ModelConfig.model_validate(config), matrix)
        if head is not None:
            save_file(head.state_dict(), weights)
        _answer(replies, {**asdict(trial), "config": None})


def _listen(requests: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    # Whoever asked is gone, perhaps killed: nobody waits for the head under way.
    os._exit(0)


def _answer(stream: Any, value: Any) -> None:
    stream.write(json.dumps(value) + "\n")
    stream.flush()
