"""The one gradient loop.

In: a network, a source to train on and one to validate on; there is no third. Out: the network with the weights of
its best epoch, and the history. Owns the checkpoint file that it is handed, a safetensors file written after every
epoch.

Nothing in an epoch depends on more than the weights, the optimizer's state, the history so far, the seed and the
epoch's number. So a run that is killed and resumed gives, on a CPU, the very weights of one that was not.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from bestiary.config.schema import ModelConfig
from bestiary.errors import TrainingError
from bestiary.models.devices import autocast, seeded
from bestiary.models.training.batches import Source
from bestiary.models.training.rates import rates_of
from bestiary.models.weights import state_hash
from bestiary.progress import SILENT, Progress
from bestiary.store.files import write_bytes
from bestiary.store.hashing import fingerprint


@dataclass(frozen=True)
class Epoch:
    """One line of the history. Accuracies are in [0, 1]; losses are mean cross-entropy in nats, unweighted for val."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Fit:
    """What training found: all epochs, and the number of the one whose weights were restored."""

    history: tuple[Epoch, ...]
    best_epoch: int


@dataclass(frozen=True)
class Loop:
    """How to call the network.

    Attributes:
        logits: from a source's batch to logits.
        train_mode: puts the network into training behaviour.
    """

    network: nn.Module
    logits: Callable[[torch.Tensor], torch.Tensor]
    train_mode: Callable[[], object]


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
    optimizer = _optimizer(loop.network, config)
    state = _State(loop.network, optimizer, checkpoint, checkpoint_key)
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
                    loop, train, criterion, optimizer, rates,
                    config=config, device=device, precision=precision, generator=generator, task=task,
                )  # fmt: skip
            val_loss, val_accuracy = _evaluate(loop, val, config=config, device=device, precision=precision)
            if math.isnan(val_loss) and not state.history:
                raise TrainingError(
                    f"{label}: the loss is no number after the first epoch: lower optimizer.learning_rate, now "
                    f"{config.optimizer.learning_rate:g}"
                )
            seconds = time.perf_counter() - start
            state.record(Epoch(number, rates[0], loss, accuracy, val_loss, val_accuracy, seconds))
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
    optimizer, criterion = _optimizer(loop.network, config), _criterion(config, class_weights, device)
    steps = _steps(train, config)
    with progress.track(label, len(history) * len(train.labels), unit="images") as task:
        for number in range(1, len(history) + 1):
            with _epoch_seeded(config.seed, number, device) as generator:
                losses = [past.val_loss for past in history[: number - 1]]
                rates = rates_of(config, losses, epoch=number, steps=steps)
                loop.train_mode()
                _train_epoch(
                    loop, train, criterion, optimizer, rates,
                    config=config, device=device, precision=precision, generator=generator, task=task,
                )  # fmt: skip
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


def _optimizer(network: nn.Module, config: ModelConfig) -> torch.optim.Optimizer:
    # Fused: one pass over the weights, 10 ms instead of 64 ms a step for Adam on the 14.8 M of the baseline CNN.
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    chosen = config.optimizer
    if chosen.name == "adam":
        return torch.optim.Adam(parameters, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True)
    if chosen.name == "adamw":
        return torch.optim.AdamW(parameters, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True)
    if chosen.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, momentum=chosen.momentum, fused=True
        )
    raise ValueError(f"{chosen.name} is no gradient-loop optimizer")


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
    rates: list[float],
    *,
    config: ModelConfig,
    device: torch.device,
    precision: Literal["fp32", "bf16"],
    generator: torch.Generator,
    task: Any,
) -> tuple[float, float]:
    order = torch.randperm(len(train.labels), generator=generator).numpy()
    loss_sum = torch.zeros((), device=device)
    correct = torch.zeros((), device=device)
    done = 0
    for step, rate in enumerate(rates):
        end = (step + 1) * config.batch_size if step + 1 < len(rates) else len(order)
        positions = order[step * config.batch_size : end]
        inputs = train.batch(positions, device=device, generator=generator)
        labels = train.labels[torch.from_numpy(positions)].to(device)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with autocast(precision, device):
            logits = loop.logits(inputs)
        loss = criterion(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach() * len(positions)
        correct += (logits.detach().argmax(1) == labels).sum()
        done += len(positions)
        # Reading a sum waits for the device: not in every step.
        note = f"loss {float(loss_sum) / done:.4f}, accuracy {float(correct) / done:.3f}" if step % 10 == 9 else ""
        task.advance(len(positions), note=note)
    return float(loss_sum) / len(order), float(correct) / len(order)


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


class _State:
    """What training has come to: weights now, weights of the best epoch, optimizer state, history."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path | None, key: str) -> None:
        self._network = network
        self._optimizer = optimizer
        self._checkpoint = checkpoint
        self._key = key
        self.history: list[Epoch] = []
        self._best: dict[str, torch.Tensor] = {}

    def record(self, epoch: Epoch) -> None:
        """Add an epoch, remember its weights if they are the best, save."""
        if not self.history or epoch.val_loss < min(past.val_loss for past in self.history):
            self._best = {key: value.detach().cpu().clone() for key, value in self._network.state_dict().items()}
        self.history.append(epoch)
        if self._checkpoint is not None:
            self._save(self._checkpoint)

    def finish(self) -> Fit:
        """Restore the best weights."""
        self._network.load_state_dict(self._best)
        self._network.eval()
        best = min(self.history, key=lambda epoch: epoch.val_loss)
        return Fit(tuple(self.history), best.epoch)

    def resume(self) -> None:
        """Take up a checkpoint of the same key; a damaged or foreign one counts as none."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        try:
            with safe_open(self._checkpoint, framework="pt") as stored:
                metadata = stored.metadata() or {}
                if metadata.get("key") != self._key:
                    return
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            if metadata["hash"] != fingerprint([state_hash(tensors), metadata["history"]]):
                return
        except (SafetensorError, OSError, KeyError):
            return
        self.history = [Epoch(**row) for row in json.loads(metadata["history"])]
        self._network.load_state_dict(_under(tensors, "now/"))
        self._best = _under(tensors, "best/")
        state = self._optimizer.state_dict()
        state["state"] = {}
        for name, value in _under(tensors, "optimizer/").items():
            number, field = name.split("/")
            state["state"].setdefault(int(number), {})[field] = value
        self._optimizer.load_state_dict(state)
        # Fused optimizers walk weights and moments side by side in memory: both must lie there alike.
        for parameter, moments in self._optimizer.state.items():
            for field, value in moments.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    moments[field] = torch.empty_like(parameter, dtype=value.dtype).detach().copy_(value)

    def _save(self, path: Path) -> None:
        tensors = {f"now/{key}": value for key, value in self._network.state_dict().items()}
        tensors |= {f"best/{key}": value for key, value in self._best.items()}
        for number, values in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{field}": value for field, value in values.items() if value is not None}
        # safetensors requires every tensor to be contiguous and in memory of its own.
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        history = json.dumps([asdict(epoch) for epoch in self.history])
        metadata = {"key": self._key, "history": history, "hash": fingerprint([state_hash(plain), history])}
        write_bytes(path, save(plain, metadata=metadata))


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
