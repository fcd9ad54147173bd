"""Joined backbones: several frozen networks as one, which gives their features side by side.

In: uint8 pixels, once for each backbone, each in the geometry of its own. Out: standardised features.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bestiary.models.backbones import Backbone, Preprocessing


class Join(nn.Module):
    """uint8 pixels `(n, height, width, 3)` for each backbone in; features `(n, feature_count) float32` out.

    Each feature is centred and divided by its standard deviation over the training images, so that no backbone speaks
    louder than another because its features are larger.

    Attributes:
        backbones: in the order of the config.
        feature_count: of all together.
        shift: what is subtracted `(feature_count,)`; zeros until `standardise`.
        scale: what is multiplied by, after that `(feature_count,)`; ones until `standardise`.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, backbones: Sequence[Backbone]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self._members = tuple(backbones)
        self.feature_count = sum(backbone.feature_count for backbone in backbones)
        self.register_buffer("shift", torch.zeros(self.feature_count))
        self.register_buffer("scale", torch.ones(self.feature_count))

    @property
    def members(self) -> tuple[Backbone, ...]:
        """The backbones, typed."""
        return self._members

    @property
    def name(self) -> str:
        """The architectures."""
        return " + ".join(backbone.name for backbone in self._members)

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """What belongs to the weights, for each input."""
        return tuple(backbone.preprocessing for backbone in self._members)

    def standardise(self, features: npt.NDArray[np.float32]) -> None:
        """Take centre and spread from the features of the training images, `(n, feature_count)`, side by side."""
        spread = features.std(axis=0, dtype=np.float64)
        scale = np.divide(1.0, spread, out=np.ones_like(spread), where=spread > 0)
        self.shift.copy_(torch.from_numpy(features.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(scale))

    def finish(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Features side by side, as the backbones give them, → standardised `(n, feature_count) float32`."""
        standardised: npt.NDArray[np.float32] = (features - self.shift.numpy()) * self.scale.numpy()
        return standardised

    def forward(self, *pixels: torch.Tensor) -> torch.Tensor:
        return self.combine([backbone(images) for backbone, images in zip(self._members, pixels, strict=True)])

    def combine(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """The features of each backbone `(n, d)` → standardised `(n, feature_count)`."""
        return (torch.cat(list(features), dim=1) - self.shift) * self.scale
