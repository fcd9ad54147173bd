"""Small networks and images that the tests of this folder share."""

from typing import Any

import numpy as np
import torch

from bestiary.config.schema import ModelConfig
from bestiary.data.geometry import Geometry
from bestiary.data.pixels import PixelTable
from bestiary.models.learner import Learner

CPU = torch.device("cpu")


def model(backbone: str = "simple_cnn", **changes: Any) -> ModelConfig:
    """A config with random weights and fp32 arithmetic, unless told otherwise."""
    values: dict[str, Any] = {"backbone": backbone, "weights": "random", "precision": "fp32"}
    return ModelConfig.model_validate(values | changes)


def photos(count: int, size_px: int, *, seed: int = 0) -> np.ndarray:
    """`(count, size_px, size_px, 3) uint8`: smooth gradients with a disc and a little noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    images = []
    for _ in range(count):
        base = random.uniform(40, 200, 3) + np.stack([x, y, x * y], axis=-1) * random.uniform(-80, 80, 3)
        centre, radius = random.uniform(0.25, 0.75, 2), random.uniform(0.1, 0.35)
        disc = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
        images.append(np.where(disc, random.uniform(0, 255, 3), base) + random.normal(0, 6, base.shape))
    return np.stack(images).clip(0, 255).astype(np.uint8)


def table(pixels: np.ndarray, *, keys: list[str] | None = None) -> PixelTable:
    """A pixel table held in memory."""
    names = keys or [f"{number:032x}" for number in range(len(pixels))]
    geometry = Geometry(size_px=pixels.shape[1], fit="squash")
    return PixelTable(pixels, np.arange(len(pixels)), tuple(names), geometry, 0, 0.0)


def probabilities(learner: Learner, positions: np.ndarray) -> np.ndarray:
    """Softmax of a learner's logits: `(n, class_count) float32`."""
    return torch.softmax(torch.from_numpy(learner.logits(positions)), 1).numpy()
