"""Features: frozen forward passes and their cache. One pass an image and view, never one an epoch.

In: a backbone and pixels. Out: a `FeatureTable`. Owns `features/` in the cache home: one row store for each
combination of weights, preprocessing, pooling, view, precision, engine and the library versions that change the
numbers; keyed by the SHA-256 of the file. Changing labels, split, head or seed costs no pass.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bestiary.core.files import cache_home, fingerprint
from bestiary.core.progress import SILENT, Progress
from bestiary.core.rows import RowStore
from bestiary.data.pixels import PixelTable
from bestiary.learn.augment import PLAIN_VIEW, View, apply_view
from bestiary.learn.backbones import Backbone
from bestiary.learn.devices import Precision, settle_precision
from bestiary.learn.forward import BATCH_SIZE, Forward, compile_forward, pick_engine
from bestiary.learn.weights import state_hash

# Rows are written and recorded in blocks: a crash costs one block.
_BLOCK_IMAGES = 8 * BATCH_SIZE


@dataclass(frozen=True)
class FeatureTable:
    """The features of some images, in memory.

    Attributes:
        views: one array `(n, feature_count) float32` a view; the first is the image as it is.
        engine: what computed them.
        precision: of the arithmetic.
        passes: forward passes computed for this call; the others were in the cache.
        seconds: what the call took.
    """

    views: tuple[npt.NDArray[np.float32], ...]
    engine: str
    precision: str
    passes: int
    seconds: float

    @property
    def plain(self) -> npt.NDArray[np.float32]:
        """The features of the images as they are: `(n, feature_count) float32`."""
        return self.views[0]

    def subset(self, positions: npt.NDArray[np.int64]) -> "FeatureTable":
        """Fewer or reordered images."""
        return FeatureTable(tuple(view[positions] for view in self.views), self.engine, self.precision, 0, 0.0)


def feature_table(
    backbone: Backbone,
    pixels: PixelTable,
    *,
    views: Sequence[View] = (PLAIN_VIEW,),
    precision: Precision = "auto",
    device: torch.device | None = None,
    progress: Progress = SILENT,
) -> FeatureTable:
    """The features of images, computing those that the cache lacks.

    Args:
        backbone: in eval mode; its weights are part of the cache key.
        pixels: at the backbone's geometry.
        views: which views; the first should be the plain one.
        precision: `auto` is bf16 where the device has it in hardware.
        device: default CPU.
        progress: told of each pass.

    Raises:
        BestiaryError: the cache cannot be written.
    """
    start = time.perf_counter()
    device = device or torch.device("cpu")
    settled, engine = settle_precision(precision, device), pick_engine(device)
    about = _about(backbone, precision=settled, engine=engine, device=device)
    forward: Forward | None = None
    arrays, passes = [], 0
    for view in views:
        store = _store(backbone, view, about)
        missing = store.missing(pixels.keys)
        if missing:
            if forward is None:
                size = backbone.preprocessing.geometry.size_px
                forward = compile_forward(backbone, size_px=size, precision=settled, device=device, engine=engine)
            _compute_into(store, forward, pixels, np.array(missing), view=view, label=backbone.name, progress=progress)
            passes += len(missing)
        arrays.append(np.asarray(store.array()[store.find(pixels.keys)]))
    return FeatureTable(tuple(arrays), engine, settled, passes, time.perf_counter() - start)


def _about(backbone: Backbone, *, precision: str, engine: str, device: torch.device) -> dict[str, Any]:
    return {
        "backbone": backbone.name,
        "weights": state_hash(backbone.network.state_dict()),
        "preprocessing": backbone.preprocessing.as_dict(),
        "pooling": backbone.pooling,
        "precision": precision,
        "engine": engine,
        "device": device.type,
        "versions": {name: version(name) for name in ("pillow", "timm", engine)},
    }


def _store(backbone: Backbone, view: View, about: dict[str, Any]) -> RowStore:
    # Names carry what a person looks for in `doctor`; the fingerprint carries everything.
    described = {**about, "view": [view.number, view.flip, view.rotation_degrees]}
    folder = cache_home() / "features" / f"{backbone.name}-view{view.number}-{fingerprint(described)}"
    return RowStore(folder, shape=(backbone.feature_count,), dtype=np.float32, about=described)


def _compute_into(
    store: RowStore,
    forward: Forward,
    pixels: PixelTable,
    positions: npt.NDArray[np.int64],
    *,
    view: View,
    label: str,
    progress: Progress,
) -> None:
    name = f"features {label}" + (f" view {view.number}" if view.number else "")
    with progress.track(name, len(positions), unit="images") as task:
        for start in range(0, len(positions), _BLOCK_IMAGES):
            block = positions[start : start + _BLOCK_IMAGES]
            keys = [pixels.keys[position] for position in block]
            outputs = []
            for first in range(0, len(block), BATCH_SIZE):
                part = slice(first, first + BATCH_SIZE)
                batch = apply_view(pixels.take(block[part]), keys[part], view)
                outputs.append(forward.run(batch))
                task.advance(len(batch))
            store.append(keys, np.concatenate(outputs))
