"""What every learner is: config and images in, fitted weights and probabilities out.

`prepare` sees images without labels; `fit` sees the labels of train and val alone. The learners themselves stand in
`learners` (the dummy), `frozen` and `gradients`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from bestiary.config.schema import ModelConfig
from bestiary.models.backbones import Backbone
from bestiary.models.classifier import Classifier
from bestiary.models.devices import describe_device, settle_precision
from bestiary.models.training import Epoch, balanced_weights
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock

Positions = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Labelled:
    """Some of the prepared images: positions `(n,) int64` among them, and class numbers `(n,) int64`."""

    positions: Positions
    labels: Labels


@dataclass(frozen=True)
class Outcome:
    """What fitting found.

    Attributes:
        history: one entry an epoch; empty where there are no epochs.
        best_epoch: whose weights were kept; 0 where there are no epochs.
        choices: what validation chose besides the epoch.
        parameters: `total` and `trainable`.
        settled: the config with the head that a sweep chose; None where there was no sweep.
    """

    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    choices: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=lambda: {"total": 0, "trainable": 0})
    settled: ModelConfig | None = None


class Learner(Protocol):
    """One model, from its config to probabilities. Call `prepare`, then `fit`, then `probabilities`."""

    @property
    def classifier(self) -> Classifier | None:
        """The fitted network, on the CPU; None for the dummy."""

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        """Decode the images, and run frozen passes over them. No labels are read."""

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        """Learn from train, choose on val."""

    def probabilities(self, positions: Positions) -> Probabilities:
        """`(n, class_count) float32` of prepared images."""

    def describe(self) -> dict[str, Any]:
        """Device, engine, precision, preprocessing: for the run's record."""


class NetworkLearner:
    """What the two learners with a network share."""

    def __init__(
        self, config: ModelConfig, classifier: Classifier, class_count: int, *, device: torch.device, label: str
    ) -> None:
        self.classifier = classifier
        self._config = config
        self._class_count = class_count
        self._device = device
        self._label = label
        self._precision: Literal["fp32", "bf16"] = settle_precision(config.precision, device)
        classifier.freeze_all_but(config.trainable_stages)

    @property
    def _backbone(self) -> Backbone:
        return self.classifier.backbone

    def describe(self) -> dict[str, Any]:
        return {
            **describe_device(self._device),
            "engine": "torch",
            "precision": self._precision,
            "preprocessing": self._backbone.preprocessing.as_dict(),
            "pooling": self._backbone.pooling,
            "weights": self._backbone.source,
        }

    def _class_weights(self, labels: Labels) -> torch.Tensor | None:
        return balanced_weights(labels, self._class_count) if self._config.class_weights == "balanced" else None
