"""Judging a head: its out-of-fold log loss over cached features of the training images.

In: features by backbone, crop and view, with labels, groups and folds. Out: a `Judged`. No file that stays.

The same folds for every head, and the same images. A head with a hidden layer stops early on the fold that it is judged
on, so its loss is a little lower than it should be; what it is worth is measured on val and test, as of every model.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from bestiary.config.kinds import PACKAGED_BACKBONES
from bestiary.config.schema import ModelConfig
from bestiary.errors import TrainingError
from bestiary.evaluate.calibration import best_temperature, log_losses
from bestiary.models.devices import one_thread, seeded
from bestiary.models.heads import Features, Head, Labels
from bestiary.models.linear_probe import MOST_REPEATS, OutOfFold, judge_out_of_fold
from bestiary.models.training.batches import FeatureSource
from bestiary.models.training.loop import Loop, balanced_weights, fit, predict_logits
from bestiary.runs.search.trials import Judged

_CPU = torch.device("cpu")
_EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Blocks:
    """What all heads of a search are judged on.

    Attributes:
        features: of the training images `(n, d) float32`, by `block_name`; centred, each feature of unit variance.
        labels: `(n,) int64`.
        groups: `(n,) int64`.
        folds: which fold holds each image out, `(n,) int64`.
        class_count: how many classes.
    """

    features: Mapping[str, Features]
    labels: Labels
    groups: Labels
    folds: Labels
    class_count: int


@dataclass(frozen=True)
class _Views:
    """As `FeatureSource` takes them."""

    views: tuple[Features, ...]


def block_name(backbone: str, crop: object, *, flip: bool) -> str:
    """What the features of one backbone, crop and view are called."""
    return f"{backbone}|{crop}|{'flip' if flip else 'plain'}"


def views_for(model: ModelConfig, blocks: Blocks) -> tuple[Features, ...]:
    """The features that a model sees, one array `(n, d)` a view."""
    flips = (False, True) if model.augment.flip else (False,)
    crop = model.pixels.crop_fraction
    return tuple(
        np.concatenate(
            [blocks.features[block_name(member.backbone, crop, flip=flip)] for member in model.members], axis=1
        )
        for flip in flips
    )


def judge(model: ModelConfig, blocks: Blocks, *, bar: float) -> Judged:
    """Judge one head on one thread.

    Args:
        model: with a frozen backbone, or several.
        blocks: with the features of its backbones.
        bar: a loss of the first fold above which a head with a hidden layer is given up.
    """
    start = time.perf_counter()
    try:
        with one_thread():
            found = _judge_probe(model, blocks) if not model.head.hidden else _judge_trained(model, blocks, bar=bar)
    except TrainingError as error:
        found = Judged(np.inf, np.inf, 0.0, 0.0, error=str(error))
    return replace(found, seconds=time.perf_counter() - start)


def rehearse() -> None:
    """Judge two small heads on made features: what they import takes seconds, and is there for the next."""
    numbers, name = np.arange(40), PACKAGED_BACKBONES[0]
    features = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    blocks = Blocks({block_name(name, 1.0, flip=False): features}, numbers % 2, numbers, numbers % 4 // 2, 2)
    for hidden in (0, 4):
        model = {"backbone": name, "pixels": {"crop_fraction": 1.0}, "head": {"hidden": hidden}, "epochs": 1}
        judge(ModelConfig.model_validate(model), blocks, bar=np.inf)


def judge_probe(model: ModelConfig, blocks: Blocks, *, repeats: int, threads: int) -> OutOfFold | None:
    """What a linear probe says of each image out of fold; arguments as of `judge_out_of_fold`."""
    return judge_out_of_fold(
        views_for(model, blocks),
        blocks.labels,
        blocks.groups,
        class_count=blocks.class_count,
        balanced=model.class_weights == "balanced",
        seed=model.seed,
        repeats=repeats,
        threads=threads,
    )


def _judge_probe(model: ModelConfig, blocks: Blocks) -> Judged:
    found = judge_probe(model, blocks, repeats=MOST_REPEATS, threads=1)
    if found is None:
        raise TrainingError("the training images leave no two folds to choose by")
    return Judged(float(found.losses.mean()), np.nan, found.strength.accuracy, 0.0)


def _judge_trained(model: ModelConfig, blocks: Blocks, *, bar: float) -> Judged:
    views, first = views_for(model, blocks), np.nan
    logits = np.zeros((len(blocks.labels), blocks.class_count))
    numbers = np.unique(blocks.folds)
    for number in numbers:
        held_out = blocks.folds == number
        logits[held_out] = _fit_and_say(model, views, blocks, held_out)
        if number == numbers[0]:
            first = _loss(logits[held_out], blocks.labels[held_out])
            if first > bar:
                return Judged(first, first, _accuracy(logits[held_out], blocks.labels[held_out]), 0.0, pruned=True)
    return Judged(_loss(logits, blocks.labels), first, _accuracy(logits, blocks.labels), 0.0)


def _fit_and_say(
    model: ModelConfig, views: tuple[Features, ...], blocks: Blocks, held_out: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Logits of the images of one fold by a head that was fitted on the others."""
    labels = blocks.labels
    with seeded(model.seed):
        head = Head(views[0].shape[1], blocks.class_count, hidden=model.head.hidden, dropout=model.head.dropout)
    train = FeatureSource(_Views(tuple(view[~held_out] for view in views)), labels[~held_out])
    judged = FeatureSource(_Views((views[0][held_out],)), labels[held_out])
    balanced = model.class_weights == "balanced"
    loop = Loop(head, head, head.train)
    fit(
        loop, train, judged, config=model, device=_CPU, precision="fp32", label="head",
        class_weights=balanced_weights(labels[~held_out], blocks.class_count) if balanced else None,
    )  # fmt: skip
    return predict_logits(loop, judged, batch_size=_EVALUATION_BATCH, device=_CPU, precision="fp32")


def _loss(logits: npt.NDArray[np.floating], labels: Labels) -> float:
    return float(log_losses(logits / best_temperature(logits, labels), labels).mean())


def _accuracy(logits: npt.NDArray[np.floating], labels: Labels) -> float:
    return float((logits.argmax(axis=1) == labels).mean())
