"""The one gradient loop.

In: a network, a source to train on and one to validate on; there is no third. Out: the network with the weights of
its best epoch, and the history. Writes the checkpoint that it is handed after every epoch (see `state`).

Nothing in an epoch depends on more than the weights, the optimizer's state, the history so far, the seed and the
epoch's number. So a run that is killed and resumed gives, on a CPU, the very weights of one that was not.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bestiary.config.schema import ModelConfig
from bestiary.errors import TrainingError
from bestiary.models.augment import mix
from bestiary.models.devices import autocast, seeded
from bestiary.models.training.average import MovingAverage, fresh_statistics
from bestiary.models.training.batches import Source
from bestiary.models.training.optimizers import make_optimizer
from bestiary.models.training.rates import rates_of
from bestiary.models.training.state import Epoch, Fit, TrainingState
from bestiary.progress import SILENT, Progress


@dataclass(frozen=True)
class Loop:
    """How to call the network.

    Attributes:
        logits: from a source's batch to logits.
        train_mode: puts the network into training behaviour.
        depths: by parameter, how many stages it is below the head; none: all learn at one rate.
    """

    network: nn.Module
    logits: Callable[[torch.Tensor], torch.Tensor]
    train_mode: Callable[[], object]
    depths: Mapping[nn.Parameter, int] = field(default_factory=dict)


def fit(
    loop: Loop,
    train: Source,
    val: Source,
    *,
    config: ModelConfig,
    device: torch.device,
    precision: Literal["fp32", "bf16"],
    class_weights: torch.Tensor | None = None,
    checkpoint: Path | None = None,
    checkpoint_key: str = "",
    label: str = "train",
    progress: Progress = SILENT,
) -> Fit:
    """Train until the epochs are used up or validation loss has not fallen for as long as the config allows.

    Args:
        loop: the network, on the device; parameters that require gradients are trained.
        train: what to learn from.
        val: what early stopping and the plateau schedule watch.
        config: epochs, batch size, optimizer, schedule, early stopping, seed.
        device: where.
        precision: of forward passes.
        class_weights: `(class_count,) float32` for the training loss.
        checkpoint: where to save after every epoch; None: nowhere.
        checkpoint_key: what the checkpoint belongs to; one with another key is ignored.
        label: for the progress bar.
        progress: told of every batch.

    Returns:
        The history; the network holds the weights of the epoch with the lowest validation loss.

    Raises:
        TrainingError: training diverged in its first epoch.
    """
    optimizer = make_optimizer(loop.network, config, depths=loop.depths)
    average = MovingAverage(loop.network, config.average.decay)
    state = TrainingState(loop.network, optimizer, average, checkpoint, checkpoint_key)
    state.resume()
    criterion = _criterion(config, class_weights, device)
    steps = _steps(train, config)
    with progress.track(label, config.epochs * len(train.labels), unit="images") as task:
        task.advance(len(state.history) * len(train.labels))
        for number in range(len(state.history) + 1, config.epochs + 1):
            if _is_over(state.history, config.early_stopping.patience_epochs):
                break
            start = time.perf_counter()
            with _epoch_seeded(config.seed, number, device) as generator:
                rates = rates_of(config, [past.val_loss for past in state.history], epoch=number, steps=steps)
                loop.train_mode()
                loss, accuracy = _train_epoch(
                    loop, train, criterion, optimizer, average, rates, steps_before=(number - 1) * steps,
                    config=config, device=device, precision=precision, generator=generator, task=task,
                )  # fmt: skip
            with average.in_place():
                if average.decay:
                    _measure_statistics(loop, train, config=config, device=device, precision=precision)
                val_loss, val_accuracy = _evaluate(loop, val, config=config, device=device, precision=precision)
                if math.isnan(val_loss) and not state.history:
                    raise TrainingError(
                        f"{label}: the loss is no number after the first epoch: lower optimizer.learning_rate, now "
                        f"{config.optimizer.learning_rate:g}"
                    )
                seconds = time.perf_counter() - start
                state.record(Epoch(number, rates[0], loss, accuracy, val_loss, val_accuracy, seconds))
            state.save()
            best = min(epoch.val_loss for epoch in state.history)
            task.advance(
                0, note=f"epoch {number}, val loss {val_loss:.4f} (best {best:.4f}), val accuracy {val_accuracy:.3f}"
            )
    return state.finish()


def train_again(
    loop: Loop,
    train: Source,
    history: Sequence[Epoch],
    *,
    config: ModelConfig,
    device: torch.device,
    precision: Literal["fp32", "bf16"],
    class_weights: torch.Tensor | None = None,
    label: str = "refit",
    progress: Progress = SILENT,
) -> None:
    """Train for as many epochs as an earlier fit kept, at its learning rates; the network holds the last weights.

    Args:
        loop: the network, on the device, with the weights that the earlier fit began with.
        train: what to learn from: other images than before, or more.
        history: of the earlier fit, up to its best epoch; its validation losses say when the rate fell.
        config: of the earlier fit.
        device: where.
        precision: of forward passes.
        class_weights: `(class_count,) float32` for the training loss.
        label: for the progress bar.
        progress: told of every batch.
    """
    optimizer = make_optimizer(loop.network, config, depths=loop.depths)
    criterion, average = _criterion(config, class_weights, device), MovingAverage(loop.network, config.average.decay)
    steps = _steps(train, config)
    with progress.track(label, len(history) * len(train.labels), unit="images") as task:
        for number in range(1, len(history) + 1):
            with _epoch_seeded(config.seed, number, device) as generator:
                losses = [past.val_loss for past in history[: number - 1]]
                rates = rates_of(config, losses, epoch=number, steps=steps)
                loop.train_mode()
                _train_epoch(
                    loop, train, criterion, optimizer, average, rates, steps_before=(number - 1) * steps,
                    config=config, device=device, precision=precision, generator=generator, task=task,
                )  # fmt: skip
    if history and average.decay:
        average.put_in()
        _measure_statistics(loop, train, config=config, device=device, precision=precision)
    loop.network.eval()


def _criterion(config: ModelConfig, class_weights: torch.Tensor | None, device: torch.device) -> nn.CrossEntropyLoss:
    weights = class_weights.to(device) if class_weights is not None else None
    return nn.CrossEntropyLoss(weight=weights, label_smoothing=config.label_smoothing)


def _steps(train: Source, config: ModelConfig) -> int:
    """Steps of an epoch. A single image left over joins the batch before it: a batch norm over one position cannot
    train on one image.
    """
    return max(1, math.ceil((len(train.labels) - 1) / config.batch_size))


def predict_logits(
    loop: Loop, source: Source, *, batch_size: int, device: torch.device, precision: Literal["fp32", "bf16"]
) -> npt.NDArray[np.float32]:
    """Logits of every image of a source, plain: `(n, class_count) float32`."""
    logits = _logits(loop, source, batch_size=batch_size, device=device, precision=precision)
    return np.asarray(logits.numpy(), dtype=np.float32)


def balanced_weights(labels: npt.NDArray[np.int64], class_count: int) -> torch.Tensor:
    """`n / (class_count * count of the class)`, as scikit-learn's "balanced": `(class_count,) float32`."""
    counts = np.bincount(labels, minlength=class_count)
    return torch.from_numpy((len(labels) / (class_count * counts)).astype(np.float32))


@contextmanager
def _epoch_seeded(seed: int, epoch: int, device: torch.device) -> Iterator[torch.Generator]:
    """A generator for order and augmentation, and torch's own for dropout, both from seed and epoch alone."""
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, dtype=np.uint64)[0] >> np.uint64(1))
    with seeded(mixed, device):
        yield torch.Generator().manual_seed(mixed)


def _is_over(history: list[Epoch], patience: int) -> bool:
    if not history or patience == 0:
        return False
    best = min(history, key=lambda epoch: epoch.val_loss)
    return len(history) - best.epoch >= patience


def _train_epoch(
    loop: Loop,
    train: Source,
    criterion: nn.CrossEntropyLoss,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    rates: list[float],
    *,
    steps_before: int,
    config: ModelConfig,
    device: torch.device,
    precision: Literal["fp32", "bf16"],
    generator: torch.Generator,
    task: Any,
) -> tuple[float, float]:
    order = torch.randperm(len(train.labels), generator=generator).numpy()
    loss_sum = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    classes, done = int(train.labels.max()) + 1, 0
    for step, (rate, positions) in enumerate(zip(rates, _batches(order, len(rates), config), strict=True)):
        inputs = train.batch(positions, device=device, generator=generator)
        labels = train.labels[torch.from_numpy(positions)].to(device)
        targets = labels
        if config.augment.mixup:
            inputs, targets = mix(inputs, labels, config.augment.mixup, class_count=classes, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        with autocast(precision, device):
            logits = loop.logits(inputs)
        if targets.ndim == 2:  # classes that no training image has were not mixed in
            targets = nn.functional.pad(targets, (0, logits.shape[1] - targets.shape[1]))
        loss = criterion(logits.float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update(steps_before + step)
        loss_sum += loss.detach() * len(positions)
        correct += (logits.detach().argmax(1) == labels).sum()
        done += len(positions)
        # Reading a sum waits for the device: not in every step.
        note = f"loss {float(loss_sum) / done:.4f}, accuracy {float(correct) / done:.3f}" if step % 10 == 9 else ""
        task.advance(len(positions), note=note)
    return float(loss_sum) / len(order), float(correct) / len(order)


def _batches(order: npt.NDArray[np.int64], steps: int, config: ModelConfig) -> Iterator[npt.NDArray[np.int64]]:
    """The positions of each step; the last takes what is left over."""
    for step in range(steps):
        end = (step + 1) * config.batch_size if step + 1 < steps else len(order)
        yield order[step * config.batch_size : end]


def _measure_statistics(
    loop: Loop, train: Source, *, config: ModelConfig, device: torch.device, precision: Literal["fp32", "bf16"]
) -> None:
    """Let trained batch norms take the statistics of plain training images anew: averaged weights have others."""
    loop.train_mode()
    with fresh_statistics(loop.network) as norms, torch.no_grad(), autocast(precision, device):
        if norms:
            for positions in _batches(np.arange(len(train.labels)), _steps(train, config), config):
                loop.logits(train.batch(positions, device=device, generator=None))


def _evaluate(
    loop: Loop, val: Source, *, config: ModelConfig, device: torch.device, precision: Literal["fp32", "bf16"]
) -> tuple[float, float]:
    logits = _logits(loop, val, batch_size=config.batch_size, device=device, precision=precision)
    loss = nn.functional.cross_entropy(logits, val.labels)
    return float(loss), float((logits.argmax(1) == val.labels).float().mean())


def _logits(
    loop: Loop, source: Source, *, batch_size: int, device: torch.device, precision: Literal["fp32", "bf16"]
) -> torch.Tensor:
    loop.network.eval()
    positions = np.arange(len(source.labels))
    with torch.inference_mode(), autocast(precision, device):
        parts = [
            loop.logits(source.batch(positions[start : start + batch_size], device=device, generator=None))
            .float()
            .cpu()
            for start in range(0, len(positions), batch_size)
        ]
    return torch.cat(parts)
