"""The learner with a frozen backbone: one pass an image, then heads over features.

In: images. Out: the fitted head on its backbone. Caches features; see `features`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bestiary.data.pixels import DecodedOnce
from bestiary.models.augment import views_of
from bestiary.models.backbones import Backbone
from bestiary.models.extract.features import FeatureRequest, FeatureTable, feature_tables
from bestiary.models.learner import Description, Labelled, Logits, NetworkLearner, Outcome, Positions
from bestiary.models.linear_probe import LinearProbe, Strength, fit_linear_probe
from bestiary.models.sweep import Matrix, describe_sweep, fit_heads, propose_heads
from bestiary.models.training.batches import FeatureSource, Source
from bestiary.models.training.loop import Loop, fit, predict_logits, train_again
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock

_EVALUATION_BATCH = 256


class FrozenLearner(NetworkLearner):
    """A head over cached features of a frozen backbone: by L-BFGS, by the gradient loop, or the best of a sweep."""

    _features: FeatureTable | None = None

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        (self._features,) = self._tables([self._backbone], images, root, progress)
        passes = self._features.passes
        cached = len(images) * len(self._features.views) - passes
        clock.add("features", self._features.seconds, images=passes, cached=cached)

    def _tables(
        self, backbones: Sequence[Backbone], images: pd.DataFrame, root: Path, progress: Progress
    ) -> list[FeatureTable]:
        """The features that each backbone sees; each image is decoded once."""
        views, precision = views_of(self._config.augment), self._config.precision
        requests = [FeatureRequest(backbone, views, precision) for backbone in backbones]
        return feature_tables(requests, DecodedOnce(images, root), device=self._device, progress=progress)

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        if self._config.sweep.configurations:
            return self._sweep(train, val, progress=progress)
        parameters = self.classifier.parameter_counts()
        if self._config.optimizer.name == "lbfgs":
            return self._fit_probe(train, parameters=parameters, progress=progress)
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

    def refit(self, images: Labelled, found: Outcome, *, progress: Progress = SILENT) -> None:
        if self._config.optimizer.name == "lbfgs":
            self.classifier.head = self._probe(images, Strength.from_record(found.choices)).head
            return
        train_again(
            self._loop(),
            self._source(images),
            found.history[: found.best_epoch],
            config=self._config,
            device=self._device,
            precision="fp32",
            class_weights=self._class_weights(images.labels),
            label=f"refit {self._label}",
            progress=progress,
        )
        self.classifier.to("cpu")

    def _sweep(self, train: Labelled, val: Labelled, *, progress: Progress) -> Outcome:
        features = self._known_features()
        views = tuple(view[train.positions] for view in features.views)
        sweep = fit_heads(
            propose_heads(self._config),
            Matrix(
                views, train.labels, features.plain[val.positions], val.labels, self._class_count, groups=train.tied
            ),
            label=f"heads {self._label}",
            progress=progress,
        )
        self.classifier.head, best = sweep.head, sweep.best
        counts = self.classifier.parameter_counts()
        return Outcome(best.history, best.best_epoch, describe_sweep(sweep), counts, chosen=best.config)

    def _fit_probe(self, train: Labelled, *, parameters: dict[str, int], progress: Progress) -> Outcome:
        start = time.perf_counter()
        probe = self._probe(train)
        seconds, strength = time.perf_counter() - start, probe.strength
        progress.say(
            f"  train {self._label}: L-BFGS in {seconds:.1f} s, C = {strength.c:g} chosen in {strength.folds} folds of "
            "train"
        )
        self.classifier.head = probe.head
        return Outcome((), 0, probe.choices(), parameters)

    def _probe(self, images: Labelled, strength: Strength | None = None) -> LinearProbe:
        return fit_linear_probe(
            [view[images.positions] for view in self._known_features().views],
            images.labels,
            images.tied,
            class_count=self._class_count,
            balanced=self._config.class_weights == "balanced",
            strength=strength,
            seed=self._config.seed,
        )

    def logits(self, positions: Positions) -> Logits:
        source = self._source(Labelled(positions, np.zeros(len(positions), dtype=np.int64)))
        cpu = torch.device("cpu")
        loop = Loop(self.classifier.head, self.classifier.head, self.classifier.head.train)
        return predict_logits(loop, source, batch_size=_EVALUATION_BATCH, device=cpu, precision="fp32")

    def describe(self) -> Description:
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
