"""The baseline that every model should beat: class frequencies, whatever the image.

In: class numbers of train. Out: the same logits for every image. Sees no pixel.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bestiary.config.schema import ModelConfig
from bestiary.models.backbones import Preprocessing
from bestiary.models.learner import Description, Labelled, Logits, Outcome, Positions, State
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock


class MajorityLearner:
    """The logarithms of train's class frequencies as every image's logits."""

    classifier = None

    def __init__(self, class_count: int) -> None:
        self._logits = np.zeros(class_count, dtype=np.float32)

    @classmethod
    def build(
        cls,
        config: ModelConfig,
        class_count: int,
        *,
        device: torch.device,
        label: str,
        preprocessings: Sequence[Preprocessing] = (),
    ) -> "MajorityLearner":
        return cls(class_count)

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        return None

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        self._take(train)
        return Outcome()

    def _take(self, images: Labelled) -> None:
        counts = np.bincount(images.labels, minlength=len(self._logits))
        # A class that train lacks gets a probability that is next to nothing, and still a number.
        self._logits = np.log(np.maximum(counts, 1e-6) / counts.sum()).astype(np.float32)

    def refit(self, images: Labelled, found: Outcome, *, progress: Progress = SILENT) -> None:
        self._take(images)

    def logits(self, positions: Positions) -> Logits:
        return np.tile(self._logits, (len(positions), 1))

    def state(self) -> State:
        return {"logits": torch.from_numpy(self._logits)}

    def load(self, state: State) -> None:
        self._logits = state["logits"].numpy()

    def describe(self) -> Description:
        return {"device": "none", "engine": "none", "precision": "fp32", "deterministic": True}
