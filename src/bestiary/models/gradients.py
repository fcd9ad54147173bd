"""The learner that trains stages of the network by gradients.

In: images. Out: the trained network. Its head begins at random, or as the linear probe on the frozen features: LP-FT
(Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution").

Where only the last stages are trained, it trains them on cached activations (see `boundary` and `activations`); else,
and where that cannot be, it runs the whole network on pixels in every step.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from bestiary.data.pixels import PixelsOnDemand, PixelTable, pixel_table
from bestiary.errors import CannotCutError
from bestiary.models.augment import views_of
from bestiary.models.extract.activations import ActivationStores, ActivationTable
from bestiary.models.extract.features import FeatureTable, feature_table
from bestiary.models.learner import Description, Labelled, Logits, NetworkLearner, Outcome, Positions, State
from bestiary.models.linear_probe import Strength, fit_linear_probe
from bestiary.models.partial.boundary import Cut, cut
from bestiary.models.partial.convolutions import fast_convolutions
from bestiary.models.training.batches import ActivationSource, PixelSource, Source
from bestiary.models.training.loop import Loop, fit, predict_logits, train_again
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock


class GradientLearner(NetworkLearner):
    """A network of which some or all stages are trained."""

    _pixels: PixelTable | None = None
    _activations: ActivationTable | None = None
    _halves: Cut | None = None
    _features: FeatureTable | None = None
    _is_loaded = False
    _whole_because = ""

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        geometry = self._backbone.preprocessing.geometry
        if self._config.caches_activations:
            pixels = PixelsOnDemand(images, root, geometry=geometry)
            self._prepare_activations(pixels, clock=clock, progress=progress)
        if self._activations is None:
            self._pixels = pixel_table(images, root, geometry=geometry, progress=progress)
            decoded = self._pixels.decoded
            clock.add("pixels", self._pixels.seconds, images=decoded, cached=len(images) - decoded)
        if self._config.head.begin == "probe" and not self._is_loaded:
            self._prepare_features(PixelsOnDemand(images, root, geometry=geometry), clock=clock, progress=progress)

    def _prepare_features(self, pixels: PixelsOnDemand, *, clock: Clock, progress: Progress) -> None:
        """Features of the backbone as it begins, of the images as they are: what a frozen model of it has too."""
        self._features = feature_table(
            self._backbone, pixels, precision=self._config.precision, device=self._device, progress=progress
        )
        passes = self._features.passes
        clock.add("features", self._features.seconds, images=passes, cached=len(pixels.keys) - passes)

    def _prepare_activations(self, pixels: PixelsOnDemand, *, clock: Clock, progress: Progress) -> None:
        try:
            self._halves = cut(self._backbone)
        except CannotCutError as error:
            self._whole_because = f"{self._backbone.name} cannot be cut: {error}"
        else:
            stores = ActivationStores(
                self._backbone,
                self._halves,
                views=views_of(self._config.augment),
                precision=self._config.precision,
                device=self._device,
            )
            self._whole_because = stores.too_large(pixels.keys, max_gb=self._config.activations.max_gb)
            if not self._whole_because:
                self._activations = stores.table(pixels, progress=progress)
                passes = self._activations.passes
                cached = len(pixels.keys) * len(self._activations.arrays) - passes
                clock.add("activations", self._activations.seconds, images=passes, cached=cached)
                return
        progress.say(f"  {self._label}: {self._whole_because}: the whole network runs in every step, which is slower")

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        choices = self._begin(train, progress=progress)
        self.classifier.to(self._device).to(memory_format=torch.channels_last)
        with self._fast():
            result = fit(
                self._loop(),
                self._source(train),
                self._source(val),
                config=self._config,
                device=self._device,
                precision=self._precision,
                class_weights=self._class_weights(train.labels),
                checkpoint=checkpoint,
                # What the checkpoint holds depends on where the network was cut.
                checkpoint_key=key if self._activations is None else f"{key}/tail",
                label=f"train {self._label}",
                progress=progress,
            )
        return Outcome(result.history, result.best_epoch, choices, self.classifier.parameter_counts())

    def refit(self, images: Labelled, found: Outcome, *, progress: Progress = SILENT) -> None:
        if self._config.head.begin == "probe":
            self._begin(images, strength=Strength.from_record(found.choices), progress=progress)
        self.classifier.to(self._device).to(memory_format=torch.channels_last)
        with self._fast():
            train_again(
                self._loop(),
                self._source(images),
                found.history[: found.best_epoch],
                config=self._config,
                device=self._device,
                precision=self._precision,
                class_weights=self._class_weights(images.labels),
                label=f"refit {self._label}",
                progress=progress,
            )

    def _begin(self, images: Labelled, *, strength: Strength | None = None, progress: Progress) -> Description:
        """Give the head its first weights; returns what was chosen for that, with the probe's strength as a frozen
        model records it.
        """
        if self._config.head.begin == "random":
            return {}
        if self._features is None:
            raise ValueError("call prepare first")
        start = time.perf_counter()
        probe = fit_linear_probe(
            [self._features.plain[images.positions]],
            images.labels,
            images.tied,
            class_count=self._class_count,
            balanced=self._config.class_weights == "balanced",
            strength=strength,
            seed=self._config.seed,
        )
        seconds = time.perf_counter() - start
        progress.say(
            f"  {self._label}: the head begins as a linear probe, C = {probe.strength.c:g}, in {seconds:.1f} s"
        )
        # Into the parameters that there are, which an optimizer or a loop may hold.
        self.classifier.head.load_state_dict(probe.head.state_dict())
        self.classifier.head.requires_grad_(True)
        return probe.choices()

    def load(self, state: State) -> None:
        super().load(state)
        self._is_loaded = True

    def logits(self, positions: Positions) -> Logits:
        source = self._source(Labelled(positions, np.zeros(len(positions), dtype=np.int64)))
        # After `load` the network is still on the CPU.
        self.classifier.to(self._device).to(memory_format=torch.channels_last)
        with self._fast():
            return predict_logits(
                self._loop(), source, batch_size=self._config.batch_size, device=self._device, precision=self._precision
            )

    def describe(self) -> Description:
        said = super().describe()
        if not self._config.caches_activations:
            return said
        if self._activations is None:
            return {**said, "activations": f"not kept: {self._whole_because}"}
        table = self._activations
        kept = f"kept: {len(table.arrays)} views, computed by {table.engine} in {table.precision}"
        return {**said, "activations": kept}

    @contextmanager
    def _fast(self) -> Iterator[None]:
        if self._device.type == "cpu" and self._precision == "bf16":
            with fast_convolutions(self.classifier):
                yield
        else:
            yield

    def _loop(self) -> Loop:
        if self._activations is None or self._halves is None:
            return Loop(self.classifier, self.classifier.classify, self._train_mode, depths=self._depths())
        tail, head = self._halves.tail.to(self._device), self.classifier.head

        def logits(activations: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = head(tail(activations))
            return result

        network = nn.ModuleDict({"tail": tail, "head": head})
        return Loop(network, logits, self._train_mode, depths=self._depths())

    def _train_mode(self) -> None:
        self.classifier.train_mode(batch_norms=self._config.batch_norm == "train")

    def _depths(self) -> dict[nn.Parameter, int]:
        """By parameter, how many stages it is below the head: 1 for the last stage."""
        stages = self._backbone.stages()
        return {
            parameter: len(stages) - number
            for number, stage in enumerate(stages)
            for module in stage
            for parameter in module.parameters(recurse=False)
        }

    def _source(self, images: Labelled) -> Source:
        if self._activations is not None:
            return ActivationSource(self._activations.subset(images.positions), images.labels)
        if self._pixels is None:
            raise ValueError("call prepare first")
        pixels = self._pixels.subset(images.positions)
        return PixelSource(pixels, images.labels, backbone=self._backbone, changes=self._config.augment)
