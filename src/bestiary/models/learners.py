"""Learners: one model's config → fitted weights → probabilities.

In: a `ModelConfig` and images. Out: probabilities, and the `Classifier` behind them. Three kinds with one interface:
the majority dummy, a head over a frozen backbone's cached features, and a network trained by gradients.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bestiary.config.schema import MAJORITY, ModelConfig
from bestiary.models.backbones import build_backbone
from bestiary.models.classifier import Classifier
from bestiary.models.frozen import FrozenLearner
from bestiary.models.gradients import GradientLearner
from bestiary.models.heads import Head
from bestiary.models.learner import Labelled, Learner, Outcome, Positions, Probabilities
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock

__all__ = [
    "FrozenLearner",
    "GradientLearner",
    "Labelled",
    "Learner",
    "MajorityLearner",
    "Outcome",
    "Probabilities",
    "build_learner",
]


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
