"""Image statistics: each image in numbers, and a small grey picture of it; measured once, kept on disk.

In: index rows. Out: `ImageStatistics`. Owns `image_statistics/` in the cache home: one row store for each version of
the measures, keyed by the SHA-256 of the file. A row is the grey picture followed by the numbers, so that an image has
both or neither.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.quality.measures import COLUMNS, GREY_PX, VERSION, Sketch, measure, sketch
from bestiary.data.parallel import appending, in_order
from bestiary.data.pixels import content_key, load_as_indexed
from bestiary.progress import SILENT, Progress, Task
from bestiary.store.files import cache_home
from bestiary.store.hashing import fingerprint
from bestiary.store.rows import RowStore

_GREY_BYTES = GREY_PX**2
_ROW_BYTES = _GREY_BYTES + 4 * len(COLUMNS)
# Rows are written, flushed and recorded in blocks: a crash costs one block.
_BLOCK_ROWS = 2048
_BATCH = 64


@dataclass(frozen=True)
class ImageStatistics:
    """Some images in numbers, and each as a small grey picture.

    Attributes:
        values: one row an image, in their order, with a RangeIndex; the columns are `measures.COLUMNS`, and
            `aspect_ratio` (short side to long, in (0, 1]) and `size` (the root of width times height, in pixels), as
            CleanVision has them, from the index. All float64.
        grey: the whole image squashed to a square, luminance, antialiased: `(n, 64, 64) uint8`.
        measured: how many images were decoded and measured for this call; the others were in the cache.
        seconds: what the call took.
    """

    values: pd.DataFrame
    grey: npt.NDArray[np.uint8]
    measured: int
    seconds: float

    @property
    def colours(self) -> npt.NDArray[np.float64]:
        """`tint_red`, `tint_green` and `saturation`: `(n, 3)`."""
        return self.values[["tint_red", "tint_green", "saturation"]].to_numpy(np.float64)

    def subset(self, positions: npt.NDArray[np.int64]) -> "ImageStatistics":
        """Fewer or reordered images."""
        return ImageStatistics(self.values.iloc[positions].reset_index(drop=True), self.grey[positions], 0, 0.0)


def measure_images(images: pd.DataFrame, root: Path, *, progress: Progress = SILENT) -> ImageStatistics:
    """Measure images; those that the cache lacks in parallel.

    Args:
        images: index rows with `path`, `sha256`, `width_px` and `height_px`, all readable.
        root: the folder that paths are relative to.
        progress: counts the images measured.

    Raises:
        DataError: a file changed or became unreadable since it was indexed; names it.
        BestiaryError: the cache cannot be written.
    """
    start = time.perf_counter()
    store = _store()
    keys = [content_key(digest) for digest in images["sha256"]]
    missing = store.missing(keys)
    if missing:
        _measure_into(store, images.iloc[missing], root, progress)
    rows = store.array()[store.find(keys)]
    grey = rows[:, :_GREY_BYTES].reshape(-1, GREY_PX, GREY_PX)
    numbers = np.ascontiguousarray(rows[:, _GREY_BYTES:]).view("<f4").astype(np.float64)
    values = pd.DataFrame(numbers, columns=list(COLUMNS))
    width, height = images["width_px"].to_numpy(np.float64), images["height_px"].to_numpy(np.float64)
    values["aspect_ratio"] = np.minimum(width / height, height / width)
    values["size"] = np.sqrt(width * height)
    return ImageStatistics(values, grey, len(missing), time.perf_counter() - start)


def _store() -> RowStore:
    about = {
        "measures": list(COLUMNS),
        "grey_px": GREY_PX,
        "version": VERSION,
        "pillow": version("pillow"),
    }
    folder = cache_home() / "image_statistics" / f"v{VERSION}-{fingerprint(about)}"
    return RowStore(folder, shape=(_ROW_BYTES,), dtype=np.uint8, about=about)


def _measure_into(store: RowStore, images: pd.DataFrame, root: Path, progress: Progress) -> None:
    work = list(zip(images["path"], images["sha256"], strict=True))
    with (
        progress.track("image statistics", len(work), unit="images") as task,
        # More threads than cores only wait for the interpreter's lock: 6 take 3.3 s where 2 take 2.9 s.
        ThreadPoolExecutor(os.cpu_count()) as pool,
        appending(store) as append,
    ):
        sketches = in_order(pool, lambda item: sketch(load_as_indexed(root, *item)), work)
        for start in range(0, len(work), _BLOCK_ROWS):
            keys = [content_key(digest) for _, digest in work[start : start + _BLOCK_ROWS]]
            block = [_packed(batch, task) for batch in _batches(sketches, len(keys))]
            append(keys, np.concatenate(block))


def _batches(sketches: Iterator[Sketch], count: int) -> Iterator[list[Sketch]]:
    """The next `count` sketches, in batches: as numpy works fastest, and few enough to be held."""
    for start in range(0, count, _BATCH):
        yield list(islice(sketches, min(_BATCH, count - start)))


def _packed(sketches: list[Sketch], task: Task) -> npt.NDArray[np.uint8]:
    numbers, grey = measure(sketches)
    task.advance(len(sketches))
    return np.hstack([grey.reshape(len(grey), -1), numbers.astype("<f4").view(np.uint8)])
