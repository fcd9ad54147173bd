"""Made-up features: a cloud a class, with labels, groups and an index of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

NAMES = ["ant", "bee", "cow", "dog"]


@dataclass(frozen=True)
class Made:
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    @property
    def images(self) -> pd.DataFrame:
        return images_of(self.labels)


def images_of(labels: npt.NDArray[np.int64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": [f"id{number:04d}" for number in range(len(labels))],
            "path": [f"{NAMES[label]}/{number:04d}.png" for number, label in enumerate(labels)],
            "label": [NAMES[label] for label in labels],
        }
    )


def clouds(*sizes: int, spread: float = 0.35, width: int = 24, seed: int = 0) -> Made:
    """`sizes[k]` rows of class k, none negative as features after a ReLU; every row a group of its own."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    centres = np.random.default_rng(99).uniform(0, 2, (len(NAMES), width))
    features = np.abs(centres[labels] + random.normal(0, spread, (len(labels), width))).astype(np.float32)
    return Made(features, labels, np.arange(len(labels), dtype=np.int64))


def swap(labels: npt.NDArray[np.int64], share: float, *, class_count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Some labels changed to another class, at random."""
    random = np.random.default_rng(seed)
    wrong = random.choice(len(labels), round(share * len(labels)), replace=False)
    swapped = labels.copy()
    swapped[wrong] = (labels[wrong] + random.integers(1, class_count, len(wrong))) % class_count
    return swapped
