"""Fine-tuning: is a last stage that is trained better than the probe it could begin from, and which setting helps?

In: a folder of photos. Out: one row a way: mean accuracy over three repeats on photos that no study has seen, its
paired difference to the probe, and the seconds of one fit.

A third of the photos is held out, by turns, copies together, as `repeated` does; of a larger folder every so-manyth
photo of each class is taken, at most `MOST`. All ways see Lite2's whole short side, so that they share features and
activations, which are made before the seconds are counted. Fine-tuned ways are those of the recipe `thorough` as it
was: the last stage, five epochs, AdamW, one cycle, flips and turns in four fixed views. Ways on pixels draw anew in
every step.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.photos import cache_in
from benchmarks.repeated import Bench, Parts, difference
from benchmarks.rows import Row
from bestiary.config.schema import ModelConfig
from bestiary.models.learner import Learner, build_learner
from bestiary.timing import Clock

MOST, REPEATS = 1000, 3
_PROBE: dict[str, Any] = {"backbone": "tf_efficientnet_lite2"}
_STAGE: dict[str, Any] = {
    **_PROBE,
    "trainable": "last:1 stage",
    "pixels": {"crop_fraction": 1.0},
    "epochs": 5,
    "optimizer": {"name": "adamw", "learning_rate": 1e-4, "weight_decay": 0.01},
    "schedule": {"name": "one_cycle"},
    "augment": {"flip": True, "rotation_degrees": 10},
    "head": {"begin": "probe"},
}
_FASTER = {"optimizer": {**_STAGE["optimizer"], "learning_rate": 3e-4}}
_DECAY = {"optimizer": {**_FASTER["optimizer"], "stage_decay": 0.3}}
_FROZEN: dict[str, Any] = {**_STAGE, "batch_norm": "frozen"}
_PIXELS: dict[str, Any] = {"activations": {"cache": "off"}}
_CHANGES: dict[str, Any] = _STAGE["augment"]

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "probe": ("linear probe, frozen backbone", _PROBE),
    "as it was": ("last stage and a random head, rate 3e-4", {**_STAGE, **_FASTER, "head": {}}),
    "from the probe": ("head begins as the probe, rate 3e-4", {**_STAGE, **_FASTER}),
    "stage decay": ("from the probe, 3e-4, the stage at 0.3 of it", {**_STAGE, **_DECAY}),
    "slower": ("from the probe, rate 1e-4", _STAGE),
    "frozen norms": ("from the probe, 1e-4, batch norms keep their statistics", _FROZEN),
    "frozen, faster": ("the same, rate 3e-4", {**_FROZEN, **_FASTER}),
    "frozen, averaged": (
        "the same, constant 1e-4, weights averaged at 0.98",
        {**_FROZEN, "schedule": {"name": "constant"}, "average": {"decay": 0.98}},
    ),
    "averaged": (
        "from the probe, constant 1e-4, weights averaged at 0.98",
        {**_STAGE, "schedule": {"name": "constant"}, "average": {"decay": 0.98}},
    ),
    "smoothed": ("from the probe, 1e-4, label smoothing 0.1", {**_STAGE, "label_smoothing": 0.1}),
}
ON_PIXELS: dict[str, tuple[str, dict[str, Any]]] = {
    "pixels": ("from the probe, 1e-4, drawn anew in every step", {**_FROZEN, **_PIXELS}),
    "crops": (
        "the same with crops of 0.5 to 1",
        {**_FROZEN, **_PIXELS, "augment": {**_CHANGES, "crop_scale": [0.5, 1.0]}},
    ),
    "mixup": ("the same with MixUp of 0.2", {**_FROZEN, **_PIXELS, "augment": {**_CHANGES, "mixup": 0.2}}),
}


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All ways on kept activations.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: not looked at: `REPEATS`.
    """
    return _measure(data, place, WAYS)


def measure_on_pixels(data: Path, place: Path, repeats: int) -> list[Row]:
    """The probe, and all ways that run the whole network in every step; arguments as `measure`."""
    return _measure(data, place, {name: WAYS[name] for name in ("probe", "frozen norms")} | ON_PIXELS)


def _measure(data: Path, place: Path, ways: dict[str, tuple[str, dict[str, Any]]]) -> list[Row]:
    with cache_in(place / "cache"):
        bench = Bench(_some(data, place / "photos"), place)
        rows, first = [], np.zeros(0)
        for name, (what, values) in ways.items():
            model = ModelConfig.model_validate(values)
            found = [_fit(bench, model, parts) for parts in bench.parts()[:REPEATS]]
            accuracy, seconds = (np.array(column) for column in zip(*found, strict=True))
            first = first if len(first) else accuracy
            rows.append(
                Row(name, what, seconds=float(seconds.mean()), repeats=len(found), accuracy=float(accuracy.mean()),
                    note=difference(accuracy - first))
            )  # fmt: skip
            print(rows[-1], flush=True)
        return rows


def _fit(bench: Bench, model: ModelConfig, parts: Parts) -> tuple[float, float]:
    """Accuracy on the photos held out, and the seconds of fitting."""
    learner = _prepared(bench, model)
    start = time.perf_counter()
    learner.fit(bench.some(parts.train), bench.some(parts.val), checkpoint=bench.place / "checkpoint", key="")
    seconds = time.perf_counter() - start
    (bench.place / "checkpoint").unlink(missing_ok=True)
    right = learner.logits(parts.held_out).argmax(axis=1) == bench.labels[parts.held_out]
    return float(right.mean()), seconds


def _prepared(bench: Bench, model: ModelConfig) -> Learner:
    """A learner of its own for every fit, since training changes the backbone."""
    learner = build_learner(model, int(bench.labels.max()) + 1, device=torch.device("cpu"), label="")
    learner.prepare(bench.images, bench.root, clock=Clock())
    return learner


def _some(data: Path, place: Path) -> Path:
    """At most `MOST` photos of a folder: every so-manyth of each class, as links."""
    classes = {folder.name: sorted(_files(folder)) for folder in sorted(data.iterdir()) if folder.is_dir()}
    step = max(1, -(-sum(map(len, classes.values())) // MOST))
    for name, files in classes.items():
        (place / name).mkdir(parents=True)
        for file in files[::step]:
            (place / name / file.name).symlink_to(file)
    return place


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())
