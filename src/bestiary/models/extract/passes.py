"""Frozen passes over the images that a cache lacks: the one way in which features and activations are computed.

In: pixels, and a row store for each view. Out: stores in which no image is missing. The network is compiled while the
first images are decoded; then images are decoded, batches turned, forward passes run and rows written all at once, and
each image is in memory once.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bestiary.data.parallel import appending
from bestiary.data.pixels import Pixels
from bestiary.models.augment import View, apply_view
from bestiary.models.backbones import Backbone
from bestiary.models.extract.engines import Engine, Forward
from bestiary.models.weights import state_hash
from bestiary.progress import Progress
from bestiary.store.rows import RowStore

# Rows are written and recorded in blocks: a crash costs one block.
_BLOCK_IMAGES = 256


@dataclass(frozen=True)
class Passes:
    """How many forward passes were computed, and what that took, decoding and compiling included."""

    computed: int
    seconds: float


def describe_passes(backbone: Backbone, *, precision: str, engine: Engine, device: torch.device) -> dict[str, Any]:
    """All that changes the numbers of a frozen pass, but for the image and the view: part of every cache key."""
    return {
        "backbone": backbone.name,
        "weights": state_hash(backbone.network.state_dict()),
        "preprocessing": backbone.preprocessing.as_dict(),
        "precision": precision,
        "engine": engine,
        "device": device.type,
        "versions": {name: version(name) for name in ("pillow", "timm", engine)},
    }


def fill(
    stores: Sequence[tuple[View, RowStore]],
    pixels: Pixels,
    *,
    batch_size: int,
    compiled: Callable[[], Forward],
    encode: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    label: str,
    progress: Progress,
) -> Passes:
    """Compute the rows that the stores lack; each image is asked for once, whatever the number of views.

    Args:
        stores: one for each view.
        pixels: of all images; only those that some store lacks are asked for.
        batch_size: of the forward pass.
        compiled: compiles the forward pass; not called where nothing is missing.
        encode: from the pass's output `(n, ...) float32` to rows.
        label: for the progress bar.
        progress: told of each pass.

    Raises:
        BestiaryError: the cache cannot be written.
    """
    start = time.perf_counter()
    lacking = np.zeros((len(stores), len(pixels.keys)), dtype=np.bool_)
    for lacks, (_, store) in zip(lacking, stores, strict=True):
        lacks[store.missing(pixels.keys)] = True
    needed = np.flatnonzero(lacking.any(axis=0))
    if not len(needed):
        return Passes(0, time.perf_counter() - start)
    decoded = pixels.batches(needed, batch_size)
    with ThreadPoolExecutor(1) as aside:
        # Asking for the first batch starts the decoding of others. Compiling stays in this thread: it filters warnings.
        first = aside.submit(next, decoded)
        forward = compiled()
        decoded = chain([first.result()], decoded)
    if forward.notice:
        progress.say(f"  {label}: {forward.notice}")
    # What goes in, and waits for its output.
    asked: deque[tuple[int, list[str]]] = deque()

    def batches() -> Iterator[npt.NDArray[np.uint8]]:
        for offset, batch in zip(range(0, len(needed), batch_size), decoded, strict=True):
            positions = needed[offset : offset + batch_size]
            for number, (view, _) in enumerate(stores):
                lacks = lacking[number, positions]
                if lacks.any():
                    keys = [pixels.keys[position] for position in positions[lacks]]
                    asked.append((number, keys))
                    yield apply_view(batch[lacks], keys, view)

    with ExitStack() as stack:
        task = stack.enter_context(progress.track(label, int(lacking.sum()), unit="images"))
        blocks = [_Block(stack.enter_context(appending(store)), encode) for _, store in stores]
        for output in forward.stream(batches()):
            number, keys = asked.popleft()
            blocks[number].add(keys, output)
            task.advance(len(output))
        for block in blocks:
            block.write()
    return Passes(int(lacking.sum()), time.perf_counter() - start)


class _Block:
    """Rows that are collected and written together."""

    def __init__(
        self,
        append: Callable[[Sequence[str], npt.NDArray[Any]], None],
        encode: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    ) -> None:
        self._append = append
        self._encode = encode
        self._keys: list[str] = []
        self._outputs: list[npt.NDArray[np.float32]] = []

    def add(self, keys: list[str], output: npt.NDArray[np.float32]) -> None:
        self._keys += keys
        self._outputs.append(output)
        if len(self._keys) >= _BLOCK_IMAGES:
            self.write()

    def write(self) -> None:
        if self._keys:
            self._append(self._keys, self._encode(np.concatenate(self._outputs)))
            self._keys, self._outputs = [], []
