"""Features: what a frozen backbone sees in an image, and their cache. One pass an image and view, never one an epoch.

In: backbones and images. Out: a `FeatureTable` each. Owns `features/` in the cache home: one row store for each
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

from bestiary.data.pixels import Arrangeable, InOneGeometry, Pixels
from bestiary.models.augment import PLAIN_VIEW, View, apply_view
from bestiary.models.backbones import Backbone
from bestiary.models.devices import Precision, resolve_precision
from bestiary.models.extract.engines import Engine, Forward, batch_size_on, compile_forward, pick_engine
from bestiary.models.extract.passes import FrozenNetwork, describe_passes, fill
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
        seconds: what the call took that computed them, all of its backbones together.
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


@dataclass(frozen=True)
class FeatureRequest:
    """Features of one backbone that somebody needs.

    Attributes:
        backbone: in eval mode; its weights are part of the cache key.
        views: which views; the first should be the plain one.
        precision: `auto` is bf16 where the device has it in hardware.
    """

    backbone: Backbone
    views: Sequence[View] = (PLAIN_VIEW,)
    precision: Precision = "auto"


def feature_table(
    backbone: Backbone,
    pixels: Pixels,
    *,
    views: Sequence[View] = (PLAIN_VIEW,),
    precision: Precision = "auto",
    device: torch.device | None = None,
    progress: Progress = SILENT,
) -> FeatureTable:
    """The features of images for one backbone, computing those that the cache lacks; see `feature_tables`.

    Args:
        backbone: in eval mode.
        pixels: at the backbone's geometry; asked only for images that the cache lacks.
        views: as of `FeatureRequest`.
        precision: as of `FeatureRequest`.
        device: default CPU.
        progress: told of each pass.

    Raises:
        BestiaryError: the cache cannot be written.
    """
    request = FeatureRequest(backbone, views, precision)
    (table,) = feature_tables([request], InOneGeometry(pixels), device=device or torch.device("cpu"), progress=progress)
    return table


def feature_tables(
    requests: Sequence[FeatureRequest],
    images: Arrangeable,
    *,
    ahead: Sequence[FeatureRequest] = (),
    device: torch.device,
    progress: Progress = SILENT,
) -> list[FeatureTable]:
    """The features of images for several backbones, computing those that the cache lacks; each image is decoded once.

    What is cached, and under which keys, is as if each backbone had been asked for alone.

    Args:
        requests: what is wanted; several may be of one backbone.
        images: asked only for those that the cache lacks for some backbone.
        ahead: cached too, since somebody will ask for it. Where such a network cannot be compiled, it is said, and left
            to who asks for it.
        device: where passes run.
        progress: told of each pass.

    Returns:
        For each of `requests` its features; their `seconds` are those of the whole call.

    Raises:
        BestiaryError: the cache cannot be written.
        Exception: a network that was requested cannot be compiled; what the others give is cached by then.
    """
    found: dict[str, _Caches] = {}
    wanted: list[_Caches] = []
    for number, request in enumerate((*requests, *ahead)):
        caches = _Caches(request, device)
        caches = found.setdefault(caches.identity, caches)
        caches.want(request.views)
        if number < len(requests):
            wanted.append(caches)
    start = time.perf_counter()
    due, failed = list(found.values()), []
    while due:
        passes = fill([each.network() for each in due], images, kind="features", progress=progress)
        overflown = []
        for each, its in zip(due, passes, strict=True):
            each.passes = its.computed
            if isinstance(its.failed, OverflowError):
                each.dtype = np.float32
                overflown.append(each)
            elif its.failed and each in wanted:
                failed.append(its.failed)
            elif its.failed:
                progress.say(f"  features {each.name}: not made ahead: {its.failed}")
        due = overflown
    if failed:
        raise failed[0]
    seconds = time.perf_counter() - start
    return [
        each.table(request.views, images.keys, seconds=seconds) for each, request in zip(wanted, requests, strict=True)
    ]


class _Caches:
    """The stores of one backbone, a view each, and how they are filled.

    Attributes:
        identity: the same for requests whose features lie in the same stores.
        name: the architecture.
        dtype: of the rows: float16, or float32 where a feature was beyond its range.
        passes: how many were computed.
    """

    def __init__(self, request: FeatureRequest, device: torch.device) -> None:
        self._backbone, self._device = request.backbone, device
        self._precision, self._engine, self._about = _described(request.backbone, request.precision, device)
        self._views: list[View] = []
        self.identity = fingerprint(self._about)
        self.name = request.backbone.name
        wide = _folder(self._backbone, request.views[0], self._about, np.float32)
        self.dtype: type[np.floating] = np.float32 if wide.exists() else np.float16
        self.passes = 0

    def want(self, views: Sequence[View]) -> None:
        """Fill the stores of these views, too."""
        self._views += [view for view in views if view not in self._views]

    def network(self) -> FrozenNetwork:
        """What fills the stores."""
        self._stores = {view: self._store(view) for view in self._views}
        return FrozenNetwork(
            list(self._stores.items()),
            self._backbone.preprocessing.geometry,
            batch_size_on(self._device),
            self._compiled,
            encode=_to_half if self.dtype is np.float16 else _as_it_is,
            name=self.name,
        )

    def table(self, views: Sequence[View], keys: Sequence[str], *, seconds: float) -> FeatureTable:
        """The features of images, all of which the stores have."""
        stores = [self._stores[view] for view in views]
        arrays = tuple(store.array()[store.find(keys)].astype(np.float32) for store in stores)
        return FeatureTable(arrays, self._engine, self._precision, self.passes, seconds, stores[0].folder.name)

    def _store(self, view: View) -> RowStore:
        folder = _folder(self._backbone, view, self._about, self.dtype)
        return RowStore(folder, shape=(self._backbone.feature_count,), dtype=self.dtype, about=self._about)

    def _compiled(self) -> Forward:
        return compile_forward(
            self._backbone,
            size_px=self._backbone.preprocessing.geometry.size_px,
            precision=self._precision,
            device=self._device,
            engine=self._engine,
        )


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
