"""Decoded pixels: each image decoded once a geometry, kept on disk as uint8.

In: index rows and a geometry. Out: a `PixelTable`, memory-mapped. Owns `pixels/` in the cache home: one row store a
geometry, keyed by the SHA-256 of the file, shared by all models and studies with that geometry.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from bestiary.data.geometry import Geometry, arrange
from bestiary.data.images import load_rgb, read_bytes
from bestiary.data.parallel import appending, in_order
from bestiary.errors import DataError, ImageError
from bestiary.progress import SILENT, Progress
from bestiary.store.files import cache_home
from bestiary.store.hashing import fingerprint, sha256_bytes
from bestiary.store.rows import RowStore

# Rows are written, flushed and recorded in blocks: a crash costs one block.
_BLOCK_BYTES = 32 << 20
# Decoded ahead of who asks for them, so that cores which wait for one thread (a network being compiled) have work.
_AHEAD_BYTES = 128 << 20
_FEWEST_AHEAD = 16
# Taken at once from pixels that lie there.
_TAKEN = 16


@dataclass(frozen=True)
class PixelTable:
    """The pixels of some images.

    Attributes:
        array: all rows of the store, memory-mapped: `(rows, size_px, size_px, 3) uint8, RGB`.
        rows: for each image asked for, its row in `array`: `(n,) int64`.
        keys: the SHA-256 key of each image.
        geometry: how the images were arranged.
        decoded: how many images were decoded for this call; the others were in the cache.
        seconds: what the call took.
    """

    array: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    geometry: Geometry
    decoded: int
    seconds: float

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """A copy of the pixels at positions 0 to n - 1: `(len(positions), size_px, size_px, 3) uint8`."""
        return self.array[self.rows[positions]]

    def batches(self, positions: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """As `Pixels.batches`."""
        for start in range(0, len(positions), size):
            yield self.take(positions[start : start + size])

    def subset(self, positions: npt.NDArray[np.int64]) -> "PixelTable":
        """The same store seen through fewer or reordered images."""
        keys = tuple(self.keys[position] for position in positions)
        return PixelTable(self.array, self.rows[positions], keys, self.geometry, 0, 0.0)


class Pixels(Protocol):
    """Pixels that are there, or will be when they are asked for."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The SHA-256 key of each image."""

    def batches(self, positions: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """The pixels of some images, by their positions in `keys`: `(size or fewer, size_px, size_px, 3) uint8`."""


class Arrangeable(Protocol):
    """Images that can be had in several geometries at once."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The SHA-256 key of each image."""

    def arranged(
        self, positions: npt.NDArray[np.int64], geometries: Sequence[Sequence[Geometry]]
    ) -> Iterator[Mapping[Geometry, npt.NDArray[np.uint8]]]:
        """Images in the order of positions, each `(size_px, size_px, 3) uint8` in the geometries that it is wanted in.

        Args:
            positions: in `keys`.
            geometries: of each position, one or more.
        """


class DecodedOnce:
    """Images of an index that are decoded as they are asked for, once for all geometries, and kept nowhere.

    For passes that see each image once: their results are cached, so that its pixels need not be.

    Args:
        images: index rows with `path` and `sha256`, all readable.
        root: the folder that paths are relative to.

    Attributes:
        keys: the SHA-256 key of each image.
    """

    def __init__(self, images: pd.DataFrame, root: str | Path) -> None:
        self.keys = tuple(content_key(digest) for digest in images["sha256"])
        self._files = list(zip(images["path"], images["sha256"], strict=True))
        self._root = Path(root)

    def arranged(
        self, positions: npt.NDArray[np.int64], geometries: Sequence[Sequence[Geometry]]
    ) -> Iterator[Mapping[Geometry, npt.NDArray[np.uint8]]]:
        """As `Arrangeable.arranged`; decodes ahead, in parallel, what no pixel store has.

        Raises:
            DataError: a file changed or became unreadable since it was indexed; names it.
        """
        keys = [self.keys[position] for position in positions]
        known = {
            geometry: (store.find(keys), store.array())
            for geometry in dict.fromkeys(chain.from_iterable(geometries))
            for store in [_store(geometry)]
        }

        def squares(number: int) -> dict[Geometry, npt.NDArray[np.uint8]]:
            found: dict[Geometry, npt.NDArray[np.uint8]] = {}
            image = None
            for geometry in geometries[number]:
                rows, array = known[geometry]
                if rows[number] >= 0:
                    found[geometry] = array[rows[number]]
                    continue
                if image is None:
                    image = load_as_indexed(self._root, *self._files[positions[number]])
                found[geometry] = arrange(image, geometry)
            return found

        ahead = max(_FEWEST_AHEAD, _AHEAD_BYTES // max(1, sum(geometry.bytes for geometry in known)))
        with ThreadPoolExecutor() as pool:
            yield from in_order(pool, squares, range(len(positions)), ahead=ahead)


class PixelsOnDemand:
    """Images of an index in one geometry, decoded as they are asked for, and kept nowhere; see `DecodedOnce`.

    Args:
        images: index rows with `path` and `sha256`, all readable.
        root: the folder that paths are relative to.
        geometry: how to arrange each image.

    Attributes:
        keys: the SHA-256 key of each image.
    """

    def __init__(self, images: pd.DataFrame, root: str | Path, *, geometry: Geometry) -> None:
        self._images = DecodedOnce(images, root)
        self.keys = self._images.keys
        self._geometry = geometry

    def batches(self, positions: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """As `Pixels.batches`; decodes ahead, in parallel.

        Raises:
            DataError: a file changed or became unreadable since it was indexed; names it.
        """
        arranged = self._images.arranged(positions, [(self._geometry,)] * len(positions))
        while batch := [squares[self._geometry] for squares in islice(arranged, size)]:
            yield np.stack(batch)


class InOneGeometry:
    """Pixels of one geometry, for who could take several.

    Args:
        pixels: at the one geometry that is asked for.

    Attributes:
        keys: the SHA-256 key of each image.
    """

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.keys = pixels.keys

    def arranged(
        self, positions: npt.NDArray[np.int64], geometries: Sequence[Sequence[Geometry]]
    ) -> Iterator[Mapping[Geometry, npt.NDArray[np.uint8]]]:
        """As `Arrangeable.arranged`."""
        squares = chain.from_iterable(self._pixels.batches(positions, _TAKEN))
        for wanted, square in zip(geometries, squares, strict=True):
            yield dict.fromkeys(wanted, square)


def content_key(sha256: str) -> str:
    """The key of a file's content in every cache: the first 32 characters of its SHA-256 (128 bits)."""
    return sha256[:32]


def pixel_table(
    images: pd.DataFrame, root: str | Path, *, geometry: Geometry, progress: Progress = SILENT
) -> PixelTable:
    """The pixels of index rows, decoding in parallel those that the cache lacks.

    Args:
        images: index rows with `path` and `sha256`, all readable.
        root: the folder that paths are relative to.
        geometry: how to arrange each image.
        progress: shows each image decoded.

    Raises:
        DataError: a file changed or became unreadable since it was indexed; names it.
        BestiaryError: the cache cannot be written.
    """
    start = time.perf_counter()
    store = _store(geometry)
    keys = [content_key(digest) for digest in images["sha256"]]
    missing = store.missing(keys)
    if missing:
        _decode_into(store, images.iloc[missing], Path(root), geometry=geometry, progress=progress)
    rows = store.find(keys)
    seconds = time.perf_counter() - start
    return PixelTable(store.array(), rows, tuple(keys), geometry, len(missing), seconds)


def _store(geometry: Geometry) -> RowStore:
    about = {"pixels": geometry.as_dict(), "pillow": version("pillow"), "rules": 1}
    folder = cache_home() / "pixels" / f"{geometry.size_px}px-{geometry.fit}-{fingerprint(about)}"
    return RowStore(folder, shape=(geometry.size_px, geometry.size_px, 3), dtype=np.uint8, about=about)


def _decode_into(store: RowStore, images: pd.DataFrame, root: Path, *, geometry: Geometry, progress: Progress) -> None:
    work = list(zip(images["path"], images["sha256"], strict=True))
    block_size = max(1, _BLOCK_BYTES // geometry.bytes)
    label = f"pixels {geometry.size_px} px"
    with (
        progress.track(label, len(work), unit="images") as task,
        ThreadPoolExecutor() as pool,
        appending(store) as append,
    ):
        keys: list[str] = []
        block: list[npt.NDArray[np.uint8]] = []
        decoded = in_order(pool, lambda item: _decode(root, item[0], item[1], geometry), work)
        for (_, digest), pixels in zip(work, decoded, strict=True):
            keys.append(content_key(digest))
            block.append(pixels)
            task.advance()
            if len(block) == block_size:
                append(keys, np.stack(block))
                keys, block = [], []
        if block:
            append(keys, np.stack(block))


def _decode(root: Path, path: str, digest: str, geometry: Geometry) -> npt.NDArray[np.uint8]:
    return arrange(load_as_indexed(root, path, digest), geometry)


def load_as_indexed(root: str | Path, path: str, digest: str) -> Image.Image:
    """Decode a file to RGB, if it is still what was indexed.

    Raises:
        DataError: it changed, or became unreadable, since then; names it.
    """
    file = Path(root) / path
    try:
        data = read_bytes(file)
        if sha256_bytes(data) != digest:
            raise ImageError("the file has changed")
        return load_rgb(data)
    except ImageError as error:
        raise DataError(f"{file}: {error} since it was indexed; run `bestiary index` again") from error
