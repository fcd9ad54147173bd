"""Features: what a frozen backbone sees in an image, and their cache. One pass an image and view, never one an epoch.

In: a backbone and pixels. Out: a `FeatureTable`. Owns `features/` in the cache home: one row store for each
combination of weights, preprocessing, pooling, view, precision, engine and the library versions that change the
numbers; keyed by the SHA-256 of the file. Changing labels, split, head or seed costs no pass.

Rows are float16: beside bf16 arithmetic its 11 bits lose nothing. Features beyond its range (65,504), which no
pretrained network has shown, are kept as float32.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from bestiary.data.pixels import Pixels
from bestiary.models.augment import PLAIN_VIEW, View, apply_view
from bestiary.models.backbones import Backbone
from bestiary.models.devices import Precision, resolve_precision
from bestiary.models.extract.engines import Engine, Forward, batch_size_on, compile_forward, pick_engine
from bestiary.models.extract.passes import Passes, describe_passes, fill
from bestiary.progress import SILENT, Progress
from bestiary.store.files import cache_home
from bestiary.store.hashing import fingerprint
from bestiary.store.rows import RowStore


@dataclass(frozen=True)
class FeatureTable:
    """The features of some images, in memory.

    Attributes:
        views: one array `(n, feature_count) float32` a view; the first is the image as it is.
        engine: what computed them.
        precision: of the arithmetic.
        passes: forward passes computed for this call; the others were in the cache.
        seconds: what the call took.
        store: the name of the store that the first view lies in (see `noted_features`).
    """

    views: tuple[npt.NDArray[np.float32], ...]
    engine: str
    precision: str
    passes: int
    seconds: float
    store: str = ""

    @property
    def plain(self) -> npt.NDArray[np.float32]:
        """The features of the images as they are: `(n, feature_count) float32`."""
        return self.views[0]

    def subset(self, positions: npt.NDArray[np.int64]) -> "FeatureTable":
        """Fewer or reordered images."""
        return FeatureTable(
            tuple(view[positions] for view in self.views), self.engine, self.precision, 0, 0.0, self.store
        )


def feature_table(
    backbone: Backbone,
    pixels: Pixels,
    *,
    views: Sequence[View] = (PLAIN_VIEW,),
    precision: Precision = "auto",
    device: torch.device | None = None,
    progress: Progress = SILENT,
) -> FeatureTable:
    """The features of images, computing those that the cache lacks.

    Args:
        backbone: in eval mode; its weights are part of the cache key.
        pixels: at the backbone's geometry; asked only for images that the cache lacks.
        views: which views; the first should be the plain one.
        precision: `auto` is bf16 where the device has it in hardware.
        device: default CPU.
        progress: told of each pass.

    Raises:
        BestiaryError: the cache cannot be written.
    """
    device = device or torch.device("cpu")
    resolved, engine, about = _described(backbone, precision, device)

    def compiled() -> Forward:
        size = backbone.preprocessing.geometry.size_px
        return compile_forward(backbone, size_px=size, precision=resolved, device=device, engine=engine)

    def filled(dtype: type[np.floating]) -> tuple[list[RowStore], Passes]:
        folders = [_folder(backbone, view, about, dtype) for view in views]
        stores = [RowStore(folder, shape=(backbone.feature_count,), dtype=dtype, about=about) for folder in folders]
        passes = fill(
            list(zip(views, stores, strict=True)),
            pixels,
            batch_size=batch_size_on(device),
            compiled=compiled,
            encode=_to_half if dtype is np.float16 else _as_it_is,
            label=f"features {backbone.name}",
            progress=progress,
        )
        return stores, passes

    try:
        known_wide = _folder(backbone, views[0], about, np.float32).exists()
        stores, passes = filled(np.float32 if known_wide else np.float16)
    except OverflowError:
        stores, passes = filled(np.float32)
    arrays = tuple(store.array()[store.find(pixels.keys)].astype(np.float32) for store in stores)
    return FeatureTable(arrays, engine, resolved, passes.computed, passes.seconds, stores[0].folder.name)


def missing_features(
    backbone: Backbone,
    pixels: Pixels,
    *,
    views: Sequence[View] = (PLAIN_VIEW,),
    precision: Precision = "auto",
    device: torch.device,
) -> npt.NDArray[np.int64]:
    """Positions in `pixels` of the images for which `feature_table` would have to compute anything, ascending."""
    _, _, about = _described(backbone, precision, device)
    dtype = np.float32 if _folder(backbone, views[0], about, np.float32).exists() else np.float16
    lacking = np.zeros(len(pixels.keys), dtype=np.bool_)
    for view in views:
        folder = _folder(backbone, view, about, dtype)
        store = RowStore(folder, shape=(backbone.feature_count,), dtype=dtype, about=about)
        lacking[store.missing(pixels.keys)] = True
    return np.flatnonzero(lacking)


def seconds_an_image(
    backbone: Backbone,
    pixels: Pixels,
    *,
    views: Sequence[View] = (PLAIN_VIEW,),
    precision: Precision = "auto",
    device: torch.device,
) -> float:
    """What decoding and passing an image takes, all views, without compilation; nothing is kept.

    Args:
        backbone: in eval mode.
        pixels: of at least two images, at the backbone's geometry.
        views: as of `feature_table`.
        precision: as of `feature_table`.
        device: where passes run.
    """
    resolved, engine, _ = _described(backbone, precision, device)
    size = backbone.preprocessing.geometry.size_px
    forward = compile_forward(backbone, size_px=size, precision=resolved, device=device, engine=engine)

    def batches() -> Iterator[npt.NDArray[np.uint8]]:
        done = 0
        for batch in pixels.batches(np.arange(len(pixels.keys)), batch_size_on(device)):
            keys = list(pixels.keys[done : done + len(batch)])
            done += len(batch)
            for view in views:
                yield apply_view(batch, keys, view)

    start = time.perf_counter()
    for _ in forward.stream(batches()):
        pass
    return (time.perf_counter() - start) / len(pixels.keys)


def _described(
    backbone: Backbone, precision: Precision, device: torch.device
) -> tuple[Literal["fp32", "bf16"], Engine, dict[str, Any]]:
    """The precision and engine of the passes, and all that the numbers depend on but image and view."""
    resolved, engine = resolve_precision(precision, device), pick_engine(device)
    about = {
        **describe_passes(backbone, precision=resolved, engine=engine, device=device),
        "pooling": backbone.pooling,
    }
    return resolved, engine, about


def _folder(backbone: Backbone, view: View, about: dict[str, Any], dtype: type[np.floating]) -> Path:
    # Names carry what a person looks for; the fingerprint carries everything.
    key = fingerprint({**about, "view": [view.number, view.flip, view.rotation_degrees], "dtype": dtype.__name__})
    return cache_home() / "features" / f"{backbone.name}-view{view.number}-{key}"


def _to_half(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = features.astype(np.float16)
    if np.any(np.isinf(half) & np.isfinite(features)):
        raise OverflowError("a feature is beyond the range of float16")
    return half


def _as_it_is(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return features
