"""Frozen passes over the images that a cache lacks: the one way in which features and activations are computed.

In: images, and for each network a row store for each view. Out: stores in which no image is missing. Networks are
compiled while the first images are decoded; then images are decoded, batches turned, forward passes run and rows
written all at once. Each image is decoded once for all networks, and is in memory once for each geometry.

Several networks take turns, some hundred images at a time, and each sees the batches that it would see alone. On two
cores all at once are no faster: 832 photos through Lite1 and Lite2 take 12.1 to 13.4 s one network after the other,
12.4 to 13.5 s in turns, 12.3 to 12.5 s in a thread each.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bestiary.data.geometry import Geometry
from bestiary.data.parallel import appending
from bestiary.data.pixels import Arrangeable
from bestiary.models.augment import View, apply_view
from bestiary.models.backbones import Backbone
from bestiary.models.extract.engines import Engine, Forward
from bestiary.models.weights import state_hash
from bestiary.progress import Progress, Task
from bestiary.store.rows import RowStore

# Rows are written and recorded in blocks: a crash costs one block.
_BLOCK_IMAGES = 256
# Of pixels in a turn. At its end a network's last requests run alone, so that turns should not be short.
_TURN_BYTES = 64 << 20

Squares = Mapping[Geometry, npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class FrozenNetwork:
    """A network, and the rows that its passes are to fill.

    Attributes:
        stores: one for each view.
        geometry: of the pixels that it takes.
        batch_size: of the forward pass.
        compiled: compiles the forward pass; not called where nothing is missing.
        encode: from the pass's output `(n, ...) float32` to rows; an OverflowError ends this network's passes.
        name: for the progress bar.
    """

    stores: Sequence[tuple[View, RowStore]]
    geometry: Geometry
    batch_size: int
    compiled: Callable[[], Forward]
    encode: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
    name: str


@dataclass(frozen=True)
class Passes:
    """What became of one network.

    Attributes:
        computed: how many forward passes; none where all rows were there.
        failed: why not all rows are there: it could not be compiled, or its output could not be encoded.
    """

    computed: int
    failed: Exception | None = None


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


def fill(networks: Sequence[FrozenNetwork], images: Arrangeable, *, kind: str, progress: Progress) -> list[Passes]:
    """Compute the rows that stores lack; each image is asked for once, whatever the number of networks and views.

    Args:
        networks: no two with a store in common. One that fails does not keep the others from their rows.
        images: all of them; only those that some store lacks are asked for.
        kind: what rows are, for the progress bar.
        progress: told of each pass.

    Returns:
        For each network what became of it, in order.

    Raises:
        DataError: a file changed or became unreadable since it was indexed; names it.
        BestiaryError: the cache cannot be written.
    """
    lines = [_Line(network, images.keys) for network in networks]
    due = [line for line in lines if line.total]
    needed = np.flatnonzero(np.any([line.needed for line in due], axis=0)) if due else np.zeros(0, dtype=np.int64)
    geometries = [tuple({line.network.geometry: None for line in due if line.needed[position]}) for position in needed]
    if due:
        decoded = images.arranged(needed, geometries)
        with ThreadPoolExecutor(1) as aside:
            # Asking for the first image starts the decoding of others. Compiling stays in this thread: it filters
            # warnings.
            first = aside.submit(next, decoded)
            for line in due:
                line.compile(progress, kind)
            decoded = chain([first.result()], decoded)
        _run([line for line in due if not line.failed], zip(needed.tolist(), decoded, strict=True), kind, progress)
    return [Passes(0 if line.failed else line.total, line.failed) for line in lines]


def _run(lines: Sequence["_Line"], images: Iterator[tuple[int, Squares]], kind: str, progress: Progress) -> None:
    """Let networks take turns until there are no more images; a single one has all in one turn."""
    if not lines:
        return
    label = f"{kind} {' and '.join(line.network.name for line in lines)}"
    a_turn = max(1, _TURN_BYTES // sum(geometry.bytes for geometry in {line.network.geometry for line in lines}))
    with ExitStack() as stack:
        task = stack.enter_context(progress.track(label, sum(line.total for line in lines), unit="images"))
        for line in lines:
            line.open(stack)
        if len(lines) == 1:
            lines[0].run(images, task)
        else:
            while turn := list(islice(images, a_turn)):
                for line in lines:
                    if not line.failed:
                        line.run(turn, task)
        for line in lines:
            if not line.failed:
                line.finish(task)


class _Line:
    """The images that one network lacks, on their way through it into its stores.

    Attributes:
        network: which.
        needed: `(n,) bool`: which images.
        total: how many passes.
        failed: why it was given up.
    """

    def __init__(self, network: FrozenNetwork, keys: Sequence[str]) -> None:
        self.network = network
        self.failed: Exception | None = None
        self._keys = keys
        self._lacking = np.zeros((len(network.stores), len(keys)), dtype=np.bool_)
        for lacks, (_, store) in zip(self._lacking, network.stores, strict=True):
            lacks[store.missing(keys)] = True
        self.needed: npt.NDArray[np.bool_] = np.any(self._lacking, axis=0)
        self.total = int(self._lacking.sum())
        # Squares that do not make a batch yet, with their positions.
        self._waiting: list[tuple[int, npt.NDArray[np.uint8]]] = []
        # What goes in, and waits for its output: the number of the view, and keys.
        self._asked: deque[tuple[int, list[str]]] = deque()

    def compile(self, progress: Progress, kind: str) -> None:
        """Make the network ready; what keeps it from that is no matter of the other networks."""
        try:
            self._forward = self.network.compiled()
        except Exception as error:  # torch and OpenVINO raise whatever they like
            self.failed = error
            return
        if self._forward.notice:
            progress.say(f"  {kind} {self.network.name}: {self._forward.notice}")

    def open(self, stack: ExitStack) -> None:
        """Begin to write."""
        self._blocks = [
            _Block(stack.enter_context(appending(store)), self.network.encode) for _, store in self.network.stores
        ]

    def run(self, images: Iterable[tuple[int, Squares]], task: Task) -> None:
        """Pass images, by positions, as far as they make whole batches; the rest waits for the next ones."""
        with self._given_up_on_overflow():
            self._pass(self._whole_batches(images), task)

    def finish(self, task: Task) -> None:
        """Pass the rest, and write all."""
        with self._given_up_on_overflow():
            self._pass(self._views_of_batch(), task)
            for block in self._blocks:
                block.write()

    @contextmanager
    def _given_up_on_overflow(self) -> Iterator[None]:
        try:
            yield
        except OverflowError as error:
            self.failed = error

    def _pass(self, batches: Iterator[npt.NDArray[np.uint8]], task: Task) -> None:
        for output in self._forward.stream(batches):
            number, keys = self._asked.popleft()
            self._blocks[number].add(keys, output)
            task.advance(len(output))

    def _whole_batches(self, images: Iterable[tuple[int, Squares]]) -> Iterator[npt.NDArray[np.uint8]]:
        for position, squares in images:
            if self.needed[position]:
                self._waiting.append((position, squares[self.network.geometry]))
            if len(self._waiting) == self.network.batch_size:
                yield from self._views_of_batch()

    def _views_of_batch(self) -> Iterator[npt.NDArray[np.uint8]]:
        if not self._waiting:
            return
        positions = np.array([position for position, _ in self._waiting])
        batch = np.stack([square for _, square in self._waiting])
        self._waiting = []
        for number, (view, _) in enumerate(self.network.stores):
            lacks = self._lacking[number, positions]
            if lacks.any():
                keys = [self._keys[position] for position in positions[lacks]]
                self._asked.append((number, keys))
                yield apply_view(batch[lacks], keys, view)


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
