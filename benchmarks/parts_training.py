"""Training by gradients: ours on cached activations, through the whole network, and as torch does it plainly.

In: a folder of photos. Out: rows of seconds a 1,000 images. Every way trains the same stage of the same network on the
same photos, batches of 32, without augmentation, for two epochs of which the second is timed. The ways take turns.

- `ours`: on activations that the frozen stages computed once; computing them is not on the clock.
- `whole`: every step runs the whole network on pixels.
- `plain-bf16`, `plain-fp32`: the same with torch's own convolutions, under bf16 autocast and in fp32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.measure import SHORT_S, median, rounds
from benchmarks.photos import Photos, cache_in, read
from benchmarks.rows import OURS, Row, ratio
from bestiary.config.schema import ModelConfig
from bestiary.models import gradients
from bestiary.models.learner import Labelled, build_learner
from bestiary.timing import Clock

IMAGES, EPOCHS = 256, 2
# Validated after every epoch, on the clock: as few as there can be.
_VAL_IMAGES = 1
_LAST = {"trainable": "last:1 stages"}
_RANDOM_128 = {"weights": "random", "pixels": {"size_px": 128, "fit": "squash"}}
MODELS: dict[str, dict[str, Any]] = {
    "tf_efficientnet_lite2": _LAST,
    "resnet50": {**_LAST, **_RANDOM_128},
    "simple_cnn": {**_RANDOM_128, "trainable": "all"},
}
_WHOLE = {"activations": {"cache": "off"}}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: ("on cached activations", {}),
    "whole": ("whole network in every step", _WHOLE),
    "plain-bf16": ("the same, torch's convolutions under bf16 autocast", _WHOLE),
    "plain-fp32": ("the same, torch's convolutions in fp32", {**_WHOLE, "precision": "fp32"}),
}


def measure(data: Path, place: Path, repeats: int, *, images: int = IMAGES) -> list[Row]:
    """All networks and ways.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: of every way.
        images: how many photos to train on.
    """
    rows, numbers = list[Row](), count()
    with cache_in(place / "cache"):
        photos = read(data)
        for name, config in MODELS.items():
            ways = WAYS if "last" in config["trainable"] else {OURS: ("all of it trained", {})}
            jobs = {way: _job({"backbone": name, **config, **changes}, photos, place, numbers, plain="plain" in way,
                              images=images) for way, (_, changes) in ways.items()}  # fmt: skip
            found = rounds(jobs, repeats, again=lambda seconds: seconds < SHORT_S)
            seconds = {way: (median(times) or 0.0) * 1000 / images for way, times in found.items()}
            rows += [
                Row(
                    f"{name} {way}",
                    f"1,000 images of {_size(config)} px, {'all' if len(ways) == 1 else 'last stage'}: {what}",
                    seconds=seconds[way],
                    repeats=len(found[way]),
                    times_ours=ratio(seconds[way], seconds[OURS]),
                    note=f"{1000 / seconds[way]:.0f} images/s",
                )
                for way, (what, _) in ways.items()
            ]
    return rows


def _size(config: dict[str, Any]) -> int:
    return int(config.get("pixels", {}).get("size_px", 260))


def _job(
    config: dict[str, Any], photos: Photos, place: Path, numbers: Iterator[int], *, plain: bool, images: int
) -> Callable[[], float]:
    """Trains anew when called; returns the seconds of the last epoch."""
    settled = ModelConfig.model_validate({**config, "epochs": EPOCHS, "early_stopping": {"patience_epochs": 0}})
    chosen = photos.some(images + _VAL_IMAGES)
    labels = photos.labels[chosen]

    def run() -> float:
        learner = build_learner(settled, photos.class_count, device=torch.device("cpu"), label="train")
        learner.prepare(photos.images.iloc[chosen], photos.root, clock=Clock())
        val, train = np.split(np.arange(len(chosen)), [_VAL_IMAGES])
        with _torchs_convolutions() if plain else nullcontext():
            outcome = learner.fit(
                Labelled(train, labels[train]),
                Labelled(val, labels[val]),
                checkpoint=place / f"checkpoint-{next(numbers)}",
                key="",
            )
        return outcome.history[-1].seconds

    return run


@contextmanager
def _torchs_convolutions() -> Iterator[None]:
    with mock.patch.object(gradients, "fast_convolutions", side_effect=lambda network: nullcontext()):
        yield
