"""Sources: where the gradient loop takes its batches from.

In: pixels or features, and class numbers. Out: batches that are ready for the network, augmented where a generator is
given and plain where none is.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from bestiary.core.config import AugmentConfig
from bestiary.data.pixels import PixelTable
from bestiary.learn.augment import augment
from bestiary.learn.backbones import Backbone
from bestiary.learn.features import FeatureTable

Positions = npt.NDArray[np.int64]


class Source(Protocol):
    """Images with labels, in batches.

    Attributes:
        labels: class numbers `(n,) int64`, on the CPU.
    """

    labels: torch.Tensor

    def batch(self, positions: Positions, *, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
        """The network's input for some images; with a generator, as they are drawn for training."""


class PixelSource:
    """Batches of normalised images `(n, 3, h, w)`, sliced from the pixel cache, changed on the device."""

    def __init__(
        self, pixels: PixelTable, labels: npt.NDArray[np.int64], *, backbone: Backbone, changes: AugmentConfig
    ) -> None:
        self.labels = torch.from_numpy(labels)
        self._pixels = pixels
        self._backbone = backbone
        self._changes = changes

    def batch(self, positions: Positions, *, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
        images = self._backbone.normalise(torch.from_numpy(self._pixels.take(positions)).to(device))
        if generator is not None:
            images = augment(images, self._changes, generator=generator)
        return images.contiguous(memory_format=torch.channels_last)


class FeatureSource:
    """Batches of features `(n, feature_count)`; for training, each image is seen in one of its views, drawn anew."""

    def __init__(self, features: FeatureTable, labels: npt.NDArray[np.int64]) -> None:
        self.labels = torch.from_numpy(labels)
        self._views = [torch.from_numpy(view) for view in features.views]

    def batch(self, positions: Positions, *, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
        chosen = torch.from_numpy(positions)
        if generator is None or len(self._views) == 1:
            return self._views[0][chosen].to(device)
        numbers = torch.randint(len(self._views), (len(positions),), generator=generator)
        batch = torch.empty((len(positions), self._views[0].shape[1]))
        for number, view in enumerate(self._views):
            batch[numbers == number] = view[chosen[numbers == number]]
        return batch.to(device)
