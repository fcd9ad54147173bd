"""Sources: where the gradient loop takes its batches from.

In: pixels, activations or features, and class numbers. Out: batches that are ready for the network, augmented where a
generator is given and plain where none is.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch

from bestiary.config.schema import AugmentConfig
from bestiary.models.augment import augment

if TYPE_CHECKING:
    # They import timm and pandas, which a process that fits heads does not need: 12 of the 16.6 s of its imports.
    from bestiary.data.pixels import PixelTable
    from bestiary.models.backbones import Backbone
    from bestiary.models.extract.activations import ActivationTable

Positions = npt.NDArray[np.int64]


class Source(Protocol):
    """Images with labels, in batches.

    Attributes:
        labels: class numbers `(n,) int64`, on the CPU.
    """

    labels: torch.Tensor

    def batch(self, positions: Positions, *, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
        """The network's input for some images; with a generator, as they are drawn for training."""


class Views(Protocol):
    """Features of images: one array `(n, feature_count) float32` a view, the plain one first."""

    @property
    def views(self) -> tuple[npt.NDArray[np.float32], ...]: ...


class PixelSource:
    """Batches of normalised images `(n, 3, h, w)`, sliced from the pixel cache, changed on the device."""

    def __init__(
        self, pixels: "PixelTable", labels: npt.NDArray[np.int64], *, backbone: "Backbone", changes: AugmentConfig
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
    """Batches of features `(n, feature_count)`; in training, a view of each image is drawn for each batch."""

    def __init__(self, features: Views, labels: npt.NDArray[np.int64]) -> None:
        self.labels = torch.from_numpy(labels)
        self._views = [torch.from_numpy(view) for view in features.views]

    def batch(self, positions: Positions, *, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
        return _one_view_each(self._take, len(self._views), positions, generator=generator).to(device)

    def _take(self, view: int, positions: Positions) -> torch.Tensor:
        return self._views[view][torch.from_numpy(positions)]


class ActivationSource:
    """Batches of activations `(n, activation_count)`; in training, a view of each image is drawn for each batch."""

    def __init__(self, activations: "ActivationTable", labels: npt.NDArray[np.int64]) -> None:
        self.labels = torch.from_numpy(labels)
        self._activations = activations

    def batch(self, positions: Positions, *, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
        table = self._activations
        return _one_view_each(table.take, len(table.arrays), positions, generator=generator).to(device).float()


def _one_view_each(
    take: Callable[[int, Positions], torch.Tensor],
    view_count: int,
    positions: Positions,
    *,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """Rows of images, each in a view drawn by the generator; without one, plain."""
    if generator is None or view_count == 1:
        return take(0, positions)
    numbers = torch.randint(view_count, (len(positions),), generator=generator)
    pieces = [take(view, positions[(numbers == view).numpy()]) for view in range(view_count)]
    batch = torch.empty((len(positions), pieces[0].shape[1]), dtype=pieces[0].dtype)
    for view, piece in enumerate(pieces):
        batch[numbers == view] = piece
    return batch
