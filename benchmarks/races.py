"""What the race of backbones drops on a first sample, and what a search loses by it.

In: a folder of photos. Out: one row a backbone: in how many drawings of the first sample it lost; and one row for what
that costs: the out-of-fold log loss of the best join, on all photos, of the backbones that are left, less that of the
best join of all.

The three packaged backbones run, and a ResNet-18 with random weights, which should lose each time.
"""

import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.photos import cache_in
from benchmarks.repeated import Bench
from benchmarks.rows import Row
from bestiary.config.kinds import PACKAGED_BACKBONES
from bestiary.config.schema import ModelConfig
from bestiary.models.linear_probe import judge_out_of_fold
from bestiary.runs.search.judging import Blocks, block_name, views_for
from bestiary.runs.search.racing import sample_sizes, stand

_DRAWINGS = 12
_RANDOM = ModelConfig(backbone="resnet18", weights="random")


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All backbones.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: not looked at.
    """
    models = [*(ModelConfig(backbone=name) for name in PACKAGED_BACKBONES), _RANDOM]
    with cache_in(place / "cache"):
        bench = Bench(data, place)
        blocks = Blocks(
            {block_name(model.backbone, 1.0, flip=False): _standardised(bench, model) for model in models},
            bench.labels,
            bench.groups,
            np.zeros_like(bench.labels),
            int(bench.labels.max()) + 1,
        )
        size = sample_sizes(int(0.7 * len(bench.labels)), class_count=blocks.class_count)[0]
        losses = {names: _loss(blocks, names) for names in _joins(PACKAGED_BACKBONES)}
        start = time.perf_counter()
        lost = [_lost(blocks, models, size, seed) for seed in range(_DRAWINGS)]
        seconds = (time.perf_counter() - start) / _DRAWINGS
    rows = [
        Row(f"{data.name}, {model.backbone}", f"lost on {size} photos", repeats=_DRAWINGS, note=_times(lost, model))
        for model in models
    ]
    left = [tuple(name for name in PACKAGED_BACKBONES if name not in names) for names in lost]
    cost = np.array([min(losses[join] for join in _joins(names)) for names in left]) - min(losses.values())
    note = f"mean {cost.mean():.4f}, at most {cost.max():.4f} nats; the best join of all has {min(losses.values()):.4f}"
    rows.append(Row(f"{data.name}, what it costs", "log loss of the best join left", repeats=_DRAWINGS, note=note))
    return [replace(row, seconds=seconds) for row in rows]


def _standardised(bench: Bench, model: ModelConfig) -> np.ndarray:
    features = bench.learner(model)._known_features().plain  # type: ignore[attr-defined]
    spread = features.std(axis=0)
    scale = np.divide(1.0, spread, out=np.ones_like(spread), where=spread > 0)
    return np.asarray((features - features.mean(axis=0)) * scale, dtype=np.float32)


def _joins(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [join for count in range(1, len(names) + 1) for join in combinations(names, count)]


def _loss(blocks: Blocks, names: tuple[str, ...]) -> float:
    model = ModelConfig(backbone=names[0]) if len(names) == 1 else ModelConfig(backbones=names)
    found = judge_out_of_fold(
        views_for(model, blocks), blocks.labels, blocks.groups, class_count=blocks.class_count, repeats=1
    )
    assert found is not None
    return float(found.losses.mean())


def _lost(blocks: Blocks, models: list[ModelConfig], size: int, seed: int) -> set[str]:
    at = np.random.default_rng(seed).permutation(len(blocks.labels))[:size]
    sample = Blocks(
        {name: features[at] for name, features in blocks.features.items()},
        np.unique(blocks.labels[at], return_inverse=True)[1],
        blocks.groups[at],
        blocks.folds[at],
        len(np.unique(blocks.labels[at])),
    )
    return {standing.backbone for standing in stand(sample, models, joined=True) if standing.lost}


def _times(lost: list[set[str]], model: ModelConfig) -> str:
    return f"{sum(model.backbone in names for names in lost)} of {len(lost)} times"
