"""Activations at the freeze boundary, and their cache: where only the last stages are trained, the others run once.

In: a cut backbone and pixels. Out: an `ActivationTable`, memory-mapped. Owns `activations/` in the cache home: one row
store for each combination of frozen weights, boundary, preprocessing, view, precision, engine and library versions;
keyed by the SHA-256 of the file.

Rows are bfloat16, in the bits of int16: what the frozen stages compute in bf16 is kept as they compute it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bestiary.data.pixels import InOneGeometry, Pixels
from bestiary.models.augment import View
from bestiary.models.backbones import Backbone
from bestiary.models.devices import Precision, resolve_precision
from bestiary.models.extract.engines import Forward, batch_size_on, compile_forward, pick_engine
from bestiary.models.extract.passes import FrozenNetwork, describe_passes, fill
from bestiary.models.partial.boundary import Cut
from bestiary.progress import SILENT, Progress
from bestiary.store.caches import free_bytes
from bestiary.store.files import cache_home
from bestiary.store.hashing import fingerprint
from bestiary.store.rows import RowStore

_BYTES = 2
# Of the free disk, this much is left to others.
_SPARE = 0.1


@dataclass(frozen=True)
class ActivationTable:
    """The activations of some images.

    Attributes:
        arrays: for each view, all rows of its store: `(rows, activation_count) int16`, the bits of bfloat16.
        rows: for each view, the row of each image asked for: `(n,) int64`.
        engine: what computed them.
        precision: of the arithmetic.
        passes: forward passes computed for this call; the others were in the cache.
        seconds: what the call took, decoding included.
    """

    arrays: tuple[npt.NDArray[np.int16], ...]
    rows: tuple[npt.NDArray[np.int64], ...]
    engine: str
    precision: str
    passes: int
    seconds: float

    def take(self, view: int, positions: npt.NDArray[np.int64]) -> torch.Tensor:
        """A copy of one view of some images: `(len(positions), activation_count) bfloat16`."""
        return torch.from_numpy(self.arrays[view][self.rows[view][positions]]).view(torch.bfloat16)

    def subset(self, positions: npt.NDArray[np.int64]) -> "ActivationTable":
        """Fewer or reordered images."""
        rows = tuple(rows[positions] for rows in self.rows)
        return ActivationTable(self.arrays, rows, self.engine, self.precision, 0, 0.0)


class ActivationStores:
    """The stores of one boundary, a view each.

    Args:
        backbone: whole; its weights and preprocessing are part of the key.
        halves: the same backbone, cut.
        views: which views; the first should be the plain one.
        precision: `auto` is bf16 where the device has it in hardware.
        device: where to compute.
    """

    def __init__(
        self,
        backbone: Backbone,
        halves: Cut,
        *,
        views: Sequence[View],
        precision: Precision = "auto",
        device: torch.device,
    ) -> None:
        self._backbone = backbone
        self._halves = halves
        self._device = device
        self._precision = resolve_precision(precision, device)
        self._engine = pick_engine(device)
        about = {
            **describe_passes(backbone, precision=self._precision, engine=self._engine, device=device),
            "boundary": halves.boundary,
            "operations": fingerprint(halves.operations),
        }
        self._stores = [(view, self._open(view, about)) for view in views]

    def _open(self, view: View, about: dict[str, Any]) -> RowStore:
        described = {**about, "view": [view.number, view.flip, view.rotation_degrees]}
        folder = self._home / f"{self._backbone.name}-view{view.number}-{fingerprint(described)}"
        return RowStore(folder, shape=(self._halves.activation_count,), dtype=np.int16, about=described)

    @property
    def _home(self) -> Path:
        return cache_home() / "activations"

    def too_large(self, keys: Sequence[str], *, max_gb: float) -> str:
        """Why these images should not be kept: beyond the budget, or beyond the free disk; empty where they may.

        Args:
            keys: of the images; copies count once.
            max_gb: the budget in 10^9 bytes, for all views together.
        """
        row_bytes = self._halves.activation_count * _BYTES
        wanted_gb = len(set(keys)) * len(self._stores) * row_bytes / 1e9
        if wanted_gb > max_gb:
            return f"its activations would take {wanted_gb:.1f} GB, more than activations.max_gb = {max_gb:g}"
        missing_gb = sum(len(store.missing(keys)) for _, store in self._stores) * row_bytes / 1e9
        free_gb = free_bytes(self._home) * (1 - _SPARE) / 1e9
        if missing_gb > free_gb:
            return f"its activations would take {missing_gb:.1f} GB more, and the disk has {free_gb:.1f} GB left"
        return ""

    def table(self, pixels: Pixels, *, progress: Progress = SILENT) -> ActivationTable:
        """The activations of images, computing those that the cache lacks.

        Args:
            pixels: at the backbone's geometry; asked only for images that the cache lacks.
            progress: told of each pass.

        Raises:
            BestiaryError: the cache cannot be written.
        """
        start = time.perf_counter()
        network = FrozenNetwork(
            self._stores,
            self._backbone.preprocessing.geometry,
            batch_size_on(self._device),
            self._compiled,
            encode=_to_bits,
            name=self._backbone.name,
        )
        (passes,) = fill([network], InOneGeometry(pixels), kind="activations", progress=progress)
        if passes.failed:
            raise passes.failed
        seconds = time.perf_counter() - start
        rows = tuple(store.find(pixels.keys) for _, store in self._stores)
        arrays = tuple(store.array() for _, store in self._stores)
        return ActivationTable(arrays, rows, self._engine, self._precision, passes.computed, seconds)

    def _compiled(self) -> Forward:
        return compile_forward(
            self._halves.trunk,
            size_px=self._backbone.preprocessing.geometry.size_px,
            precision=self._precision,
            device=self._device,
            engine=self._engine,
        )


def _to_bits(activations: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    return torch.from_numpy(activations).to(torch.bfloat16).view(torch.int16).numpy()
