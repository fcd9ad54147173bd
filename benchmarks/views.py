"""What fixed views lose: a head on K cached views of each photo, against one on photos drawn anew in every epoch.

In: a folder of photos. Out: one row a way: seconds, mean test accuracy of the heads, its difference to fresh draws.

The same split, backbone (frozen EfficientNet-Lite2 at 260 px), head (256 units, dropout 0.5) and 10 epochs each, the
weights of the best epoch by validation loss; three seeds. `fresh` flips and turns every training photo anew in each of
the 10 epochs and passes it through the backbone; all seeds train on the same draws. `views-K` are the fixed views of
bestiary (flips, turns of up to 20 degrees), views-1 being the photo as it is.

The difference is between means over the seeds, on the same photos; its 95 % interval is the percentile bootstrap's over
test photos. It says nothing of other splits.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.photos import Photos, Positions, cache_in, read
from benchmarks.rows import Row
from bestiary.config.schema import AugmentConfig, ModelConfig
from bestiary.data.pixels import PixelTable
from bestiary.evaluate.intervals import RESAMPLES, percentile_interval
from bestiary.models.augment import augment, views_of
from bestiary.models.backbones import Backbone, build_backbone
from bestiary.models.devices import resolve_precision
from bestiary.models.extract.engines import Forward, compile_forward, pick_engine
from bestiary.models.extract.features import FeatureTable, feature_table
from bestiary.models.heads import Head
from bestiary.models.training.batches import FeatureSource, Source
from bestiary.models.training.loop import Loop, fit

VIEWS, SEEDS, EPOCHS = (1, 2, 4, 8), 3, 10
_CPU = torch.device("cpu")
_CHANGES = AugmentConfig(flip=True, rotation_degrees=20, views=max(VIEWS))
_MODEL: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite2",
    "epochs": EPOCHS,
    "head": {"hidden": 256, "dropout": 0.5},
    "early_stopping": {"patience_epochs": 0},
}

Right = npt.NDArray[np.bool_]


class FreshSource:
    """Training batches from features that were drawn anew for every epoch.

    Args:
        epochs: features `(n, feature_count)` of each epoch.
        labels: class numbers `(n,) int64`.
    """

    def __init__(self, epochs: list[npt.NDArray[np.float32]], labels: npt.NDArray[np.int64]) -> None:
        self.labels = torch.from_numpy(labels)
        self._epochs = [torch.from_numpy(features) for features in epochs]
        self._seen = 0

    def batch(self, positions: Positions, *, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
        features = self._epochs[self._seen // len(self.labels)]
        self._seen += len(positions)
        return features[torch.from_numpy(positions)].to(device)


def measure(data: Path, place: Path, repeats: int, *, images: int | None = None) -> list[Row]:
    """All ways.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: not looked at: `SEEDS` heads of each way.
        images: of how many photos; None: all.
    """
    with cache_in(place / "cache"):
        photos = read(data)
        backbone = build_backbone(ModelConfig.model_validate(_MODEL)).eval()
        chosen = np.arange(len(photos.images)) if images is None else photos.some(images)
        parts = {name: np.flatnonzero(np.isin(chosen, there)) for name, there in photos.splits.items()}
        pixels, labels = photos.in_memory(backbone.preprocessing.geometry, chosen), photos.labels[chosen]
        return _Bench(backbone, pixels, labels, parts, photos).rows()


class _Bench:
    def __init__(
        self,
        backbone: Backbone,
        pixels: PixelTable,
        labels: npt.NDArray[np.int64],
        parts: dict[str, Positions],
        photos: Photos,
    ) -> None:
        self._labels = {name: labels[positions] for name, positions in parts.items()}
        self._pixels = {name: pixels.subset(positions) for name, positions in parts.items()}
        self._class_count = photos.class_count
        self._backbone = backbone
        plain = {name: feature_table(backbone, self._pixels[name]).plain for name in ("val", "test")}
        self._val = _source((plain["val"],), self._labels["val"])
        self._test = torch.from_numpy(plain["test"])

    def rows(self) -> list[Row]:
        views, passes_s = self._views()
        draws, draws_s = self._draws()
        found: dict[str, tuple[str, float, int, Right, float]] = {}
        for count in VIEWS:
            heads = [self._train(_source(tuple(views[:count]), self._labels["train"]), seed) for seed in range(SEEDS)]
            what = "no augmentation" if count == 1 else f"{count} fixed views a photo"
            found[f"views-{count}"] = (what, sum(passes_s[:count]), count, *_together(heads))
        heads = [self._train(FreshSource(draws, self._labels["train"]), seed) for seed in range(SEEDS)]
        found["fresh"] = ("drawn anew in every epoch", draws_s, EPOCHS, *_together(heads))
        fresh = found["fresh"][3]
        return [
            Row(
                name,
                f"{what}: {passes} passes a photo, {EPOCHS} epochs of one head",
                seconds=seconds + head_s,
                repeats=SEEDS,
                accuracy=float(right.mean()),
                note=f"passes {seconds:.1f} s, a head {head_s:.1f} s" + _over(right, fresh, name),
            )
            for name, (what, seconds, passes, right, head_s) in found.items()
        ]

    def _views(self) -> tuple[list[npt.NDArray[np.float32]], list[float]]:
        """Features of every fixed view of the training photos, and the seconds of each."""
        found, seconds = list[npt.NDArray[np.float32]](), list[float]()
        for view in views_of(_CHANGES):
            table = feature_table(self._backbone, self._pixels["train"], views=[view])
            found.append(table.plain)
            seconds.append(table.seconds)
        return found, seconds

    def _draws(self) -> tuple[list[npt.NDArray[np.float32]], float]:
        """Features of training photos drawn anew for every epoch, and the seconds of all."""
        start = time.perf_counter()
        size = self._backbone.preprocessing.geometry.size_px
        precision, engine = resolve_precision("auto", _CPU), pick_engine(_CPU)
        forward = compile_forward(self._backbone, size_px=size, precision=precision, device=_CPU, engine=engine)
        draws = [_draw(forward, self._pixels["train"], torch.Generator().manual_seed(epoch)) for epoch in range(EPOCHS)]
        return draws, time.perf_counter() - start

    def _train(self, train: Source, seed: int) -> tuple[Right, float]:
        """Which test photos the head has right, and the seconds of training it."""
        config = ModelConfig.model_validate({**_MODEL, "seed": seed})
        torch.manual_seed(seed)
        head = Head(self._test.shape[1], self._class_count, hidden=config.head.hidden, dropout=config.head.dropout)
        start = time.perf_counter()
        fit(Loop(head, head, head.train), train, self._val, config=config, device=_CPU, precision="fp32")
        seconds = time.perf_counter() - start
        with torch.inference_mode():
            return head.eval()(self._test).argmax(1).numpy() == self._labels["test"], seconds


def _source(views: tuple[npt.NDArray[np.float32], ...], labels: npt.NDArray[np.int64]) -> FeatureSource:
    return FeatureSource(FeatureTable(views, "", "", 0, 0.0), labels)


def _draw(forward: Forward, pixels: PixelTable, generator: torch.Generator) -> npt.NDArray[np.float32]:
    def batches() -> Any:
        for batch in pixels.batches(np.arange(len(pixels)), forward.batch_size):
            images = augment(torch.from_numpy(batch).permute(0, 3, 1, 2).float(), _CHANGES, generator=generator)
            yield images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()

    # In half precision, as the views are kept.
    return np.concatenate(list(forward.stream(batches()))).astype(np.float16).astype(np.float32)


def _together(heads: list[tuple[Right, float]]) -> tuple[Right, float]:
    """`(seeds, n) bool`, and mean seconds."""
    return np.stack([right for right, _ in heads]), float(np.mean([seconds for _, seconds in heads]))


def _over(right: Right, fresh: Right, name: str) -> str:
    """The difference to fresh draws in points, with its interval."""
    if name == "fresh":
        return ""
    gaps = (right.mean(axis=0) - fresh.mean(axis=0)) * 100
    drawn = np.random.default_rng(0).integers(0, len(gaps), (RESAMPLES, len(gaps)))
    found = percentile_interval(float(gaps.mean()), gaps[drawn].mean(axis=1))
    return f"; {found.value:+.2f} points [{found.low:+.2f}, {found.high:+.2f}] to fresh"
