"""The photos of a folder as a study sees them, for benchmarks that call parts of bestiary.

In: a folder of class folders. Out: index rows, class numbers, the division of the default study, pixels in memory.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.schema import SPLITS, DataConfig, SplitConfig
from bestiary.data.geometry import Geometry
from bestiary.data.index import build_index, readable
from bestiary.data.pixels import PixelTable, pixel_table
from bestiary.data.splits.split_table import split_images

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Photos:
    """Photos of a folder.

    Attributes:
        root: the folder.
        images: index rows of those that can be read.
        labels: class numbers `(n,) int64`.
        class_count: how many classes.
        splits: positions in `images` by split, as the default study divides them.
    """

    root: Path
    images: pd.DataFrame
    labels: npt.NDArray[np.int64]
    class_count: int
    splits: Mapping[str, Positions]

    def some(self, count: int) -> Positions:
        """Positions of at most so many photos, evenly spread over the index and so over the classes."""
        return spread(len(self.images), count)

    def in_memory(self, geometry: Geometry, positions: Positions) -> PixelTable:
        """Decoded pixels of some photos in RAM, not mapped."""
        table = pixel_table(self.images.iloc[positions], self.root, geometry=geometry)
        rows = np.arange(len(table))
        return PixelTable(table.take(rows), rows, table.keys, geometry, 0, 0.0)


def spread(there: int, wanted: int) -> Positions:
    """At most so many of the positions 0 to `there` - 1, evenly spread."""
    return np.unique(np.linspace(0, there - 1, min(wanted, there)).astype(np.int64))


def read(data: Path) -> Photos:
    """Index and divide a folder of class folders."""
    index = build_index(DataConfig(path=str(data)))
    images = readable(index).reset_index(drop=True)
    split = split_images(index, SplitConfig())["split"].to_numpy()
    classes = pd.Categorical(images["label"])
    positions: dict[str, Positions] = {name: np.flatnonzero(split == name).astype(np.int64) for name in SPLITS}
    return Photos(data, images, classes.codes.astype(np.int64), len(classes.categories), positions)


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """bestiary's caches lie in this folder for as long as the context lasts."""
    with mock.patch.dict(os.environ, BESTIARY_CACHE=str(folder)):
        yield
