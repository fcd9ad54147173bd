"""Learners: one model's config → fitted weights → probabilities.

In: a `ModelConfig` and images. Out: probabilities, and the `Classifier` behind them. Three kinds with one interface:
the majority dummy, a head over a frozen backbone's cached features, and a network trained by gradients.

`prepare` sees images without labels; `fit` sees the labels of train and val alone.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from bestiary.core.clock import Clock
from bestiary.core.config import MAJORITY, ModelConfig
from bestiary.core.progress import SILENT, Progress
from bestiary.data.pixels import PixelTable, pixel_table
from bestiary.learn.augment import views_of
from bestiary.learn.backbones import Backbone, build_backbone
from bestiary.learn.classifier import Classifier
from bestiary.learn.devices import describe_device, settle_precision
from bestiary.learn.features import FeatureTable, feature_table
from bestiary.learn.heads import Head, fit_linear_probe
from bestiary.learn.sources import FeatureSource, PixelSource, Source
from bestiary.learn.training import Epoch, Loop, balanced_weights, fit, predict_probabilities

Positions = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]

_EVALUATION_BATCH = 256


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
    """

    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    choices: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=lambda: {"total": 0, "trainable": 0})


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


def build_learner(config: ModelConfig, class_count: int, *, device: torch.device, label: str) -> Learner:
    """The learner that a config asks for, with its weights.

    Args:
        config: the model.
        class_count: how many classes.
        device: where to compute.
        label: the model's name, for progress bars.

    Raises:
        ConfigError: no such architecture, or an impossible geometry.
        WeightsError: the weights cannot be had.
    """
    if config.backbone == MAJORITY:
        return MajorityLearner(class_count)
    backbone = build_backbone(config)
    torch.manual_seed(config.seed)
    head = Head(backbone.feature_count, class_count, hidden=config.head.hidden, dropout=config.head.dropout)
    kind = FrozenLearner if config.frozen else GradientLearner
    return kind(config, Classifier(backbone, head), class_count, device=device, label=label)


class MajorityLearner:
    """The dummy that every model should beat: class frequencies of train as everybody's probabilities."""

    classifier = None

    def __init__(self, class_count: int) -> None:
        self._frequencies = np.full(class_count, 1 / class_count, dtype=np.float32)

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        return None

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        counts = np.bincount(train.labels, minlength=len(self._frequencies))
        self._frequencies = (counts / counts.sum()).astype(np.float32)
        return Outcome()

    def probabilities(self, positions: Positions) -> Probabilities:
        return np.tile(self._frequencies, (len(positions), 1))

    def describe(self) -> dict[str, Any]:
        return {"device": "none", "engine": "none", "precision": "fp32", "deterministic": True}


class _NetworkLearner:
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
        self._pixels: PixelTable | None = None
        classifier.freeze_all_but(config.trainable_stages)

    @property
    def _backbone(self) -> Backbone:
        return self.classifier.backbone

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        geometry = self._backbone.preprocessing.geometry
        self._pixels = pixel_table(images, root, geometry=geometry, progress=progress)
        clock.add("pixels", self._pixels.seconds, images=self._pixels.decoded)

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


class FrozenLearner(_NetworkLearner):
    """A head over cached features of a frozen backbone: by L-BFGS, or by the gradient loop over features."""

    _features: FeatureTable | None = None

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        super().prepare(images, root, clock=clock, progress=progress)
        assert self._pixels is not None
        self._features = feature_table(
            self._backbone,
            self._pixels,
            views=views_of(self._config.augment),
            precision=self._config.precision,
            device=self._device,
            progress=progress,
        )
        clock.add("features", self._features.seconds, images=self._features.passes)

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        parameters = self.classifier.parameter_counts()
        if self._config.optimizer.name == "lbfgs":
            return self._fit_probe(train, val, parameters=parameters, progress=progress)
        # A head trains in seconds: it starts anew after a kill, and needs no checkpoint.
        result = fit(
            self._loop(),
            self._source(train),
            self._source(val),
            config=self._config,
            device=self._device,
            precision="fp32",
            class_weights=self._class_weights(train.labels),
            label=f"train {self._label}",
            progress=progress,
        )
        self.classifier.to("cpu")
        return Outcome(result.history, result.best_epoch, {}, parameters)

    def _fit_probe(self, train: Labelled, val: Labelled, *, parameters: dict[str, int], progress: Progress) -> Outcome:
        features = self._known_features()
        start = time.perf_counter()
        probe = fit_linear_probe(
            (
                np.concatenate([view[train.positions] for view in features.views]),
                np.tile(train.labels, len(features.views)),
            ),
            (features.plain[val.positions], val.labels),
            class_count=self._class_count,
            balanced=self._config.class_weights == "balanced",
        )
        progress.say(
            f"  train {self._label}: L-BFGS in {time.perf_counter() - start:.1f} s, C = {probe.c:g} chosen on val"
        )
        self.classifier.head = probe.head
        choices = {
            "C": probe.c,
            "tried": [{"C": c, "val_loss": loss} for c, loss in probe.tried.items()],
            "converged": probe.converged,
        }
        return Outcome((), 0, choices, parameters)

    def probabilities(self, positions: Positions) -> Probabilities:
        source = self._source(Labelled(positions, np.zeros(len(positions), dtype=np.int64)))
        cpu = torch.device("cpu")
        loop = Loop(self.classifier.head, self.classifier.head, self.classifier.head.train)
        return predict_probabilities(loop, source, batch_size=_EVALUATION_BATCH, device=cpu, precision="fp32")

    def describe(self) -> dict[str, Any]:
        features = self._known_features()
        return {**super().describe(), "engine": features.engine, "precision": features.precision}

    def _loop(self) -> Loop:
        head = self.classifier.head.to(self._device)
        return Loop(head, head, head.train)

    def _source(self, images: Labelled) -> Source:
        return FeatureSource(self._known_features().subset(images.positions), images.labels)

    def _known_features(self) -> FeatureTable:
        if self._features is None:
            raise ValueError("call prepare first")
        return self._features


class GradientLearner(_NetworkLearner):
    """A network of which some or all stages are trained, on pixels."""

    def __init__(
        self, config: ModelConfig, classifier: Classifier, class_count: int, *, device: torch.device, label: str
    ) -> None:
        super().__init__(config, classifier, class_count, device=device, label=label)
        # torch has no fast backward pass for depthwise convolutions in bf16 on CPUs: the last stage of
        # EfficientNet-Lite2 at 128 px trains 84 images/s in bf16 and 118 in fp32; ResNet18's 240 and 119.
        if config.precision == "auto" and device.type == "cpu" and _trains_depthwise(classifier):
            self._precision = "fp32"

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        self.classifier.to(self._device).to(memory_format=torch.channels_last)
        result = fit(
            self._loop(),
            self._source(train),
            self._source(val),
            config=self._config,
            device=self._device,
            precision=self._precision,
            class_weights=self._class_weights(train.labels),
            checkpoint=checkpoint,
            checkpoint_key=key,
            label=f"train {self._label}",
            progress=progress,
        )
        return Outcome(result.history, result.best_epoch, {}, self.classifier.parameter_counts())

    def probabilities(self, positions: Positions) -> Probabilities:
        source = self._source(Labelled(positions, np.zeros(len(positions), dtype=np.int64)))
        return predict_probabilities(
            self._loop(), source, batch_size=self._config.batch_size, device=self._device, precision=self._precision
        )

    def _loop(self) -> Loop:
        return Loop(self.classifier, self.classifier.classify, self.classifier.train_mode)

    def _source(self, images: Labelled) -> Source:
        if self._pixels is None:
            raise ValueError("call prepare first")
        pixels = self._pixels.subset(images.positions)
        return PixelSource(pixels, images.labels, backbone=self._backbone, changes=self._config.augment)


def _trains_depthwise(classifier: Classifier) -> bool:
    return any(
        isinstance(module, nn.Conv2d) and module.groups > 1 and module.weight.requires_grad
        for module in classifier.modules()
    )
