"""What every learner is: config and images in, fitted weights and logits out.

`prepare` sees images without labels; `fit` sees the labels of train and val alone. Which learner a config has is
declared in `config.kinds`; the learners stand in `majority`, `frozen` and `gradients`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bestiary.config.schema import ModelConfig
from bestiary.models.backbones import Backbone, Preprocessing, build_backbone, rebuild_backbone
from bestiary.models.classifier import Classifier
from bestiary.models.devices import describe_device, resolve_precision, seeded
from bestiary.models.heads import Head
from bestiary.models.join import Join
from bestiary.models.mixture import Network
from bestiary.models.training.loop import balanced_weights
from bestiary.models.training.state import Epoch
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock

Positions = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
State = dict[str, torch.Tensor]
Description = dict[str, Any]


@dataclass(frozen=True)
class Labelled:
    """Some of the prepared images.

    Attributes:
        positions: among them, `(n,) int64`.
        labels: class numbers `(n,) int64`.
        groups: `(n,) int64`: images of one group are held out together where folds choose; None: each is its own.
    """

    positions: Positions
    labels: Labels
    groups: npt.NDArray[np.int64] | None = None

    @property
    def tied(self) -> npt.NDArray[np.int64]:
        """The groups, where nothing ties images together one for each."""
        return np.arange(len(self.positions)) if self.groups is None else self.groups


@dataclass(frozen=True)
class Outcome:
    """What fitting found.

    Attributes:
        history: one entry an epoch; empty where there are no epochs.
        best_epoch: whose weights were kept; 0 where there are no epochs.
        choices: what validation chose besides the epoch.
        parameters: `total` and `trainable`.
        chosen: the config with the head that a sweep chose; None where there was no sweep.
    """

    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    choices: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=lambda: {"total": 0, "trainable": 0})
    chosen: ModelConfig | None = None


class Learner(Protocol):
    """One model, from its config to logits. Call `prepare`, then `fit` or `load`, then `logits`."""

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        class_count: int,
        *,
        device: torch.device,
        label: str,
        preprocessings: Sequence[Preprocessing] = (),
    ) -> Self:
        """A learner with the weights that it begins with; see `build_learner`."""

    @property
    def classifier(self) -> Network | None:
        """The network; None for a baseline."""

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        """Decode the images, and run frozen passes over them. No labels are read."""

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        """Learn from train, choose on val."""

    def refit(self, images: Labelled, found: Outcome, *, progress: Progress = SILENT) -> None:
        """Learn once more, from other images, with what an earlier fit chose: nothing is chosen here."""

    def logits(self, positions: Positions) -> Logits:
        """`(n, class_count) float32` of prepared images: probabilities are their softmax."""

    def state(self) -> State:
        """What was fitted, as tensors on the CPU: `load` takes it."""

    def load(self, state: State) -> None:
        """Take up what an earlier learner of the same config had fitted.

        Raises:
            RuntimeError: it does not fit the config.
        """

    def describe(self) -> Description:
        """Device, engine, precision, preprocessing: for the run's record."""


def build_learner(
    config: ModelConfig,
    class_count: int,
    *,
    device: torch.device,
    label: str,
    preprocessings: Sequence[Preprocessing] = (),
) -> Learner:
    """The learner that a config asks for, with its weights.

    Args:
        config: the model.
        class_count: how many classes.
        device: where to compute.
        label: the model's name, for progress bars.
        preprocessings: of a saved run, an input each, whose weights replace all others: none are fetched.

    Raises:
        ConfigError: no such architecture, or an impossible geometry.
        WeightsError: the weights cannot be had.
    """
    module, _, name = config.kind.learner.partition(":")
    kind: type[Learner] = getattr(import_module(module), name)
    return kind.build(config, class_count, device=device, label=label, preprocessings=preprocessings)


class NetworkLearner:
    """What the learners with a network share."""

    def __init__(
        self, config: ModelConfig, classifier: Classifier, class_count: int, *, device: torch.device, label: str
    ) -> None:
        self.classifier = classifier
        self._config = config
        self._class_count = class_count
        self._device = device
        self._label = label
        self._precision: Literal["fp32", "bf16"] = resolve_precision(config.precision, device)
        classifier.freeze_all_but(config.trainable_stages, modules=config.trainable_modules)

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        class_count: int,
        *,
        device: torch.device,
        label: str,
        preprocessings: Sequence[Preprocessing] = (),
    ) -> Self:
        backbone = cls._network(config, preprocessings)
        with seeded(config.seed):
            head = Head(backbone.feature_count, class_count, hidden=config.head.hidden, dropout=config.head.dropout)
        return cls(config, Classifier(backbone, head), class_count, device=device, label=label)

    @classmethod
    def _network(cls, config: ModelConfig, preprocessings: Sequence[Preprocessing]) -> Backbone | Join:
        return rebuild_backbone(config, preprocessings[0]) if preprocessings else build_backbone(config)

    @property
    def _backbone(self) -> Backbone:
        assert isinstance(self.classifier.backbone, Backbone)
        return self.classifier.backbone

    def state(self) -> State:
        state = self.classifier.state_dict()
        return {key: value.detach().to("cpu").contiguous().clone() for key, value in state.items()}

    def load(self, state: State) -> None:
        self.classifier.load_state_dict(state)
        self.classifier.eval()

    def describe(self) -> Description:
        return {
            **describe_device(self._device),
            "engine": "torch",
            "precision": self._precision,
            "preprocessings": [each.as_dict() for each in self.classifier.backbone.preprocessings],
            "weights": self._config.weights,
        }

    def _class_weights(self, labels: Labels) -> torch.Tensor | None:
        return balanced_weights(labels, self._class_count) if self._config.class_weights == "balanced" else None
