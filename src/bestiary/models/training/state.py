"""What training has come to, and the checkpoint that holds it.

In: a network, its optimizer and the average of its weights. Out: the same as they were when a killed training last
saved. Owns the checkpoint, a safetensors file that is whole or absent.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from bestiary.models.training.average import MovingAverage
from bestiary.models.weights import state_hash
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


class TrainingState:
    """What training has come to: weights now and their average, weights of the best epoch, optimizer, history."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: MovingAverage,
        checkpoint: Path | None,
        key: str,
    ) -> None:
        self._network = network
        self._optimizer = optimizer
        self._average = average
        self._checkpoint = checkpoint
        self._key = key
        self.history: list[Epoch] = []
        self._best: dict[str, torch.Tensor] = {}

    def record(self, epoch: Epoch) -> None:
        """Add an epoch, and remember the weights that the network holds if they are the best."""
        if not self.history or epoch.val_loss < min(past.val_loss for past in self.history):
            self._best = {key: value.detach().cpu().clone() for key, value in self._network.state_dict().items()}
        self.history.append(epoch)

    def save(self) -> None:
        """Write the checkpoint, where there is to be one; the network holds the weights that go on being trained."""
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
        self._average.load(_under(tensors, "average/"))
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
        tensors |= {f"average/{key}": value for key, value in self._average.tensors.items()}
        for number, values in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{field}": value for field, value in values.items() if value is not None}
        # safetensors requires every tensor to be contiguous and in memory of its own.
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        history = json.dumps([asdict(epoch) for epoch in self.history])
        metadata = {"key": self._key, "history": history, "hash": fingerprint([state_hash(plain), history])}
        write_bytes(path, save(plain, metadata=metadata))


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
