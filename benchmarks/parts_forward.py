"""Frozen forward passes: ours against the engine alone and against eager torch; photos decoded and in RAM.

In: a folder of photos. Out: rows of seconds a 1,000 images, ratios, parity. Three ways, taking turns:

- `raw`: the same network converted as ours and compiled with the same batch size and precision, an `AsyncInferQueue` of
  its optimal number of requests, outputs thrown away: the floor.
- `ours`: `passes.fill` with a compiled forward pass into a fresh store: batches cut, outputs copied, encoded in half
  precision, written and flushed to disk.
- `eager`: torch in fp32, batches of 32, channels last, inference mode; over fewer photos, being slow.

Nothing is compiled, decoded or warmed up on the clock.
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.measure import SHORT_S, median, rounds, timed
from benchmarks.photos import Photos, cache_in, read, spread
from benchmarks.rows import OURS, Row, not_run, ratio
from bestiary.config.schema import ModelConfig
from bestiary.data.pixels import InOneGeometry, PixelTable
from bestiary.models.augment import PLAIN_VIEW
from bestiary.models.backbones import Backbone, build_backbone
from bestiary.models.devices import resolve_precision
from bestiary.models.extract.engines import Forward, _convert, compile_forward, pick_engine
from bestiary.models.extract.features import _to_half
from bestiary.models.extract.passes import FrozenNetwork, fill
from bestiary.models.linear_probe import fit_linear_probe
from bestiary.progress import SILENT
from bestiary.store.rows import RowStore
from bestiary.telemetry import import_openvino

IMAGES, EAGER_IMAGES, EAGER_BATCH = 1024, 128, 32
_CPU = torch.device("cpu")
_RANDOM_128 = {"weights": "random", "pixels": {"size_px": 128, "fit": "squash"}}
MODELS: dict[str, dict[str, Any]] = {
    "tf_efficientnet_lite2": {},
    "tf_efficientnet_lite0": {},
    "resnet50": _RANDOM_128,
    "vgg16": _RANDOM_128,
}
PROBED = "tf_efficientnet_lite0"
_WHAT = {
    "raw": "OpenVINO alone, outputs thrown away",
    OURS: "the same, with batching, half precision and writing to disk",
    "eager": f"torch fp32, batches of {EAGER_BATCH}",
}


def measure(
    data: Path, place: Path, repeats: int, *, images: int = IMAGES, eager_images: int = EAGER_IMAGES
) -> list[Row]:
    """All networks, one after the other.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: of every way.
        images: how many photos.
        eager_images: how many of them in eager torch; a multiple of 32 has no smaller batch.
    """
    engine = pick_engine(_CPU)
    if engine != "openvino":
        return [not_run("forward", "frozen passes", "OpenVINO is not installed")]
    with cache_in(place / "cache"):
        photos, rows = read(data), list[Row]()
        for name, changes in MODELS.items():
            backbone = build_backbone(ModelConfig.model_validate({"backbone": name, **changes})).eval()
            geometry = backbone.preprocessing.geometry
            forward = compile_forward(
                backbone,
                size_px=geometry.size_px,
                precision=resolve_precision("auto", _CPU),
                device=_CPU,
                engine=engine,
            )
            pixels = photos.in_memory(geometry, photos.some(images))
            rows += _speed(backbone, forward, pixels, place / name, repeats, eager_images=eager_images)
            if not changes:
                rows.append(_parity(backbone, forward, pixels.array[spread(len(pixels), eager_images)]))
            if name == PROBED:
                rows += _probes(backbone, forward, photos, images=images)
    return rows


def _speed(
    backbone: Backbone, forward: Forward, pixels: PixelTable, place: Path, repeats: int, *, eager_images: int
) -> list[Row]:
    size = forward.batch_size
    raw = _raw(backbone, forward.precision, size)
    batches = [np.array(batch) for batch in pixels.batches(np.arange(len(pixels)), size)]
    whole = [batch for batch in batches if len(batch) == size]
    few = pixels.array[spread(len(pixels), eager_images)]
    network = backbone.to(memory_format=torch.channels_last)
    for warm_up in (
        lambda: raw(whole[:4]),
        lambda: forward.run(pixels.array[: 4 * size]),
        lambda: _eager(network, few[:EAGER_BATCH]),
    ):
        warm_up()
    numbers = count()
    jobs: dict[str, tuple[int, Callable[[], object]]] = {
        "raw": (len(whole) * size, lambda: raw(whole)),
        OURS: (len(pixels), lambda: _fill(backbone, forward, pixels, place / str(next(numbers)))),
        "eager": (len(few), lambda: _eager(network, few)),
    }
    sides = {name: partial(timed, work) for name, (_, work) in jobs.items()}
    found = rounds(sides, repeats, again=lambda seconds: seconds < SHORT_S)
    seconds = {name: (median(found[name]) or 0.0) * 1000 / images for name, (images, _) in jobs.items()}
    size_px = pixels.geometry.size_px
    rows = [
        Row(
            f"{backbone.name} {name}",
            f"1,000 images of {size_px} px: {_WHAT[name]}" + ("" if name == "eager" else f", {forward.precision}"),
            seconds=seconds[name],
            repeats=len(found[name]),
            times_ours=ratio(seconds[name], seconds[OURS]),
            note=f"{1000 / seconds[name]:.0f} images/s, of {images:,}",
        )
        for name, (images, _) in jobs.items()
    ]
    note = ", ".join(f"over {name} {seconds[name] / seconds[OURS]:.2f}x" for name in ("raw", "eager"))
    return [*rows, Row(f"{backbone.name} ratios", "images/s of ours", note=f"ours {note}")]


def _raw(backbone: Backbone, precision: str, batch_size: int) -> Callable[[list[npt.NDArray[np.uint8]]], None]:
    openvino = import_openvino()
    size = backbone.preprocessing.geometry.size_px
    model = _convert(backbone, torch.zeros(2, size, size, 3, dtype=torch.uint8))
    model.reshape([batch_size, size, size, 3])
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    queue: Any = openvino.AsyncInferQueue(compiled, 0)

    def run(batches: list[npt.NDArray[np.uint8]]) -> None:
        for batch in batches:
            queue.start_async([batch], share_inputs=True)
        queue.wait_all()

    return run


def _fill(backbone: Backbone, forward: Forward, pixels: PixelTable, folder: Path) -> None:
    store = RowStore(folder, shape=(backbone.feature_count,), dtype=np.float16, about={})
    network = FrozenNetwork(
        [(PLAIN_VIEW, store)],
        pixels.geometry,
        forward.batch_size,
        compiled=lambda: forward,
        encode=_to_half,
        name=backbone.name,
    )
    fill([network], InOneGeometry(pixels), kind="features", progress=SILENT)


def _eager(network: torch.nn.Module, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(pixels), EAGER_BATCH)
        return np.concatenate([network(batch).numpy() for batch in batches])


def _parity(backbone: Backbone, forward: Forward, pixels: npt.NDArray[np.uint8]) -> Row:
    ours, eager = forward.run(pixels), _eager(backbone, pixels)
    cosine = np.sum(ours * eager, axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(eager, axis=1)
    note = f"cosine to eager fp32: mean {cosine.mean():.5f}, least {cosine.min():.5f}, of {len(pixels):,} photos"
    return Row(f"{backbone.name} parity", f"features of ours, {forward.precision}", note=note)


def _probes(backbone: Backbone, forward: Forward, photos: Photos, *, images: int) -> list[Row]:
    """The probe on ours and on eager fp32 features of all photos, or fewer where fewer are measured."""
    chosen = np.arange(len(photos.images)) if images >= IMAGES else photos.some(images)
    pixels = photos.in_memory(backbone.preprocessing.geometry, chosen).array
    parts = {name: np.isin(chosen, positions) for name, positions in photos.splits.items()}
    labels, rows = photos.labels[chosen], list[Row]()
    ways: dict[str, Callable[[], npt.NDArray[np.float32]]] = {
        OURS: lambda: forward.run(pixels).astype(np.float16).astype(np.float32),
        "eager": lambda: _eager(backbone, pixels),
    }
    for name, run in ways.items():
        features = run()
        train = features[parts["train"]]
        probe = fit_linear_probe([train], labels[parts["train"]], np.arange(len(train)), class_count=photos.class_count)
        with torch.inference_mode():
            guesses = probe.head(torch.from_numpy(features[parts["test"]])).argmax(1).numpy()
        accuracy = float(np.mean(guesses == labels[parts["test"]]))
        what = f"linear probe on these features, {parts['train'].sum():,} photos to train on"
        rows.append(Row(f"{backbone.name} probe {name}", what, accuracy=accuracy, note=f"C {probe.strength.c:g}"))
    return rows
