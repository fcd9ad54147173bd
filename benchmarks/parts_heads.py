"""Many heads over one feature matrix: our sweep, and the other ways to train them.

In: nothing; the features are made up, 1,900 x 1,280 float32 of 10 classes. Out: one row a way and batch size.

Every way trains the same 40 heads for 10 epochs each, none stopped early, so that all do the same work: the head of 256
units, the L-BFGS probe, and 38 drawn from the ranges of `sweep` (0 to 512 hidden units). The floor is what the matrix
products of the hidden layers alone take, one after another on one thread, divided by the cores: forward and the
gradient of the weights, 4 x images x features x units operations an epoch.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from joblib import cpu_count
from torch import nn

from benchmarks.measure import timed
from benchmarks.rows import Row
from bestiary.config.schema import ModelConfig
from bestiary.models.sweep import Matrix, fit_heads, fit_trial, propose_heads
from bestiary.models.training.optimizers import make_optimizer

HEADS, EPOCHS, BATCHES = 40, 10, (32, 256)
_IMAGES, _VAL, _FEATURES, _CLASSES = 1900, 260, 1280, 10


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All ways at all batch sizes, in turn, `repeats` times; no photos are looked at."""
    matrix = made_up()
    jobs: dict[tuple[str, str], Callable[[], float]] = {}
    for batch in BATCHES:
        for name, (what, run) in _ways(propose_heads(_model(batch)), matrix).items():
            jobs[name, f"{what}, batches of {batch}"] = run
    found: dict[tuple[str, str], list[float]] = {job: [] for job in jobs}
    for _ in range(repeats):
        for job, run in jobs.items():
            found[job].append(run())
    return [_row(*job, statistics.median(seconds), repeats) for job, seconds in found.items()]


def _ways(heads: list[ModelConfig], matrix: Matrix) -> dict[str, tuple[str, Callable[[], float]]]:
    return {
        "floor": ("products alone", lambda: _floor(heads)),
        "ours": ("processes", partial(timed, lambda: fit_heads(heads, matrix))),
        "sequential": ("one process, one thread", partial(timed, lambda: fit_heads(heads, matrix, workers=1))),
        "threads": ("threads of one process", partial(timed, lambda: _threads(heads, matrix))),
        "batched": ("heads of one size as one network", partial(timed, lambda: _batched(heads, matrix))),
    }


def _row(name: str, what: str, seconds: float, repeats: int) -> Row:
    note = f"{HEADS / seconds * 60:.0f} heads a minute"
    return Row(name, what, seconds=round(seconds, 2), repeats=repeats, note=note)


def made_up() -> Matrix:
    """Clouds around class centres, rectified, as pooled features are."""
    random = np.random.default_rng(0)
    centres = random.normal(0, 0.3, (_CLASSES, _FEATURES))
    labels = [random.integers(0, _CLASSES, count) for count in (_IMAGES, _VAL)]
    train, val = (
        np.maximum(centres[each] + random.normal(0, 1, (len(each), _FEATURES)), 0).astype(np.float32) for each in labels
    )
    return Matrix((train,), labels[0], val, labels[1], _CLASSES, np.arange(len(train)))


def _model(batch_size: int) -> ModelConfig:
    values = {
        "backbone": "test_resnet", "weights": "random", "epochs": EPOCHS, "batch_size": batch_size,
        "head": {"hidden": 256, "dropout": 0.5}, "early_stopping": {"patience_epochs": 0},
        "sweep": {"configurations": HEADS},
    }  # fmt: skip
    return ModelConfig.model_validate(values)


def _floor(heads: list[ModelConfig]) -> float:
    threads, total = torch.get_num_threads(), 0.0
    torch.set_num_threads(1)
    for model in heads:
        if model.optimizer.name == "lbfgs":
            continue
        units, size = model.head.hidden or _CLASSES, min(model.batch_size, _IMAGES)
        inputs, weights, errors = torch.rand(size, _FEATURES), torch.rand(units, _FEATURES), torch.rand(size, units)
        gradient = torch.empty_like(weights)
        for times in (3, 20):  # the first ones warm up
            start = time.perf_counter()
            for _ in range(times):
                torch.mm(inputs, weights.t(), out=errors)
                torch.mm(errors.t(), inputs, out=gradient)
        total += (time.perf_counter() - start) / times * EPOCHS * _IMAGES / size
    torch.set_num_threads(threads)
    return total / cpu_count()


def _threads(heads: list[ModelConfig], matrix: Matrix) -> None:
    # For time only: dropout draws from one generator for all threads, so these heads are not reproducible.
    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(lambda head: fit_trial(head, matrix), heads))


def _batched(heads: list[ModelConfig], matrix: Matrix) -> None:
    def size(model: ModelConfig) -> int:
        return -1 if model.optimizer.name == "lbfgs" else model.head.hidden

    for hidden, group in groupby(sorted(heads, key=size), key=size):
        if hidden < 0:
            fit_trial(next(group), matrix)
        else:
            _train_stacked(hidden, list(group), matrix)


def _train_stacked(hidden: int, group: list[ModelConfig], matrix: Matrix) -> None:
    """Heads of one size on the same batches: one product for all first layers, a batched one for the second."""
    count, units = len(group), hidden or _CLASSES
    stacked = [torch.randn(count * units, _FEATURES) * 0.03, torch.zeros(count * units)]
    if hidden:
        stacked += [torch.randn(count, hidden, _CLASSES) * 0.1, torch.zeros(count, 1, _CLASSES)]
    gradients = [torch.zeros_like(each) for each in stacked]
    optimizers = []
    for number, model in enumerate(group):  # each head's weights are a part of the stack, with an optimizer of its own
        own = nn.ParameterList(nn.Parameter(each) for each in _part(stacked, number, units))
        for parameter, gradient in zip(own, _part(gradients, number, units), strict=True):
            parameter.grad = gradient
        optimizers.append(make_optimizer(own, model))
    for each in stacked:
        each.requires_grad_(True)
    features, labels = torch.from_numpy(matrix.views[0]), torch.from_numpy(matrix.labels)
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(labels)), group[0].batch_size):
            logits = _logits(features[batch], stacked, units, training=True)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels[batch].repeat(count), reduction="sum")
            for gradient, new in zip(gradients, torch.autograd.grad(loss / len(batch), stacked), strict=True):
                gradient.copy_(new)
            for optimizer in optimizers:
                optimizer.step()
        with torch.inference_mode():
            _logits(torch.from_numpy(matrix.val), stacked, units, training=False)


def _part(stacked: list[torch.Tensor], number: int, units: int) -> Iterator[torch.Tensor]:
    for place, each in enumerate(stacked):
        yield (each[number * units : (number + 1) * units] if place < 2 else each[number]).detach()


def _logits(inputs: torch.Tensor, stacked: list[torch.Tensor], units: int, *, training: bool) -> torch.Tensor:
    """`(heads, n, class_count)`."""
    first = torch.addmm(stacked[1], inputs, stacked[0].t())
    if len(stacked) == 2:
        return first.view(len(inputs), -1, units).transpose(0, 1)
    hidden = nn.functional.dropout(first.relu(), 0.3, training=training).view(len(inputs), -1, units)
    return torch.baddbmm(stacked[3], hidden.transpose(0, 1), stacked[2])
