"""What each part of the default is worth: photos that no study has seen, over repeated splits.

In: a folder of photos. Out: one row a way: mean accuracy over all repeats, and its difference to the first way.

A third of the photos is held out, by turns and four times over, copies together; the rest is what a study is given, and
is split as the default study does: 70 % train, 10 % val, 20 % test. Every way is fitted on the same photos and scored
on the same held-out ones. `before` is the default of bestiary 0.1: Lite2, its crop of 0.89, one of five strengths by
validation loss, fitted on train. Each further way adds one thing.

Repeats share photos, so their differences are not independent: the interval is that of the corrected resampled t-test
(Nadeau and Bengio 2003, "Inference for the generalization error").
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import t as student

from benchmarks.photos import cache_in
from benchmarks.rows import Row
from bestiary import Study
from bestiary.config.schema import ModelConfig
from bestiary.evaluate.grouped_folds import grouped_folds
from bestiary.models.learner import Labelled, Learner, build_learner
from bestiary.models.linear_probe import Strength, fit_linear_probe
from bestiary.timing import Clock

SEEDS, HELD_OUT_FOLDS = 4, 3
_BEFORE_C = (0.001, 0.01, 0.1, 1.0, 10.0)
_LITE2: dict[str, Any] = {"backbone": "tf_efficientnet_lite2"}
JOINED: dict[str, Any] = {"backbones": ["tf_efficientnet_lite1", "tf_efficientnet_lite2"]}
_ALL: dict[str, Any] = {"backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2"]}
_OLD_CROP: dict[str, Any] = {"pixels": {"crop_fraction": "weights"}}

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Positions of one repeat."""

    train: Positions
    val: Positions
    test: Positions
    held_out: Positions

    @property
    def given(self) -> Positions:
        """All that the study is given."""
        return np.sort(np.concatenate([self.train, self.val, self.test]))


@dataclass(frozen=True)
class Way:
    """A model, and how it is fitted: `(prepared learner, photos of a repeat) -> fitted learner`."""

    name: str
    what: str
    model: ModelConfig
    fit: Callable[["Bench", Learner, Parts], None]


class Bench:
    """Photos of a folder, their classes and groups, and a prepared learner for each model."""

    def __init__(self, data: Path, place: Path) -> None:
        study = Study.create(data, place / "study", models=["majority"])
        study.index()
        study.audit()
        study.split()
        self.images: pd.DataFrame = study.images.sort_values(["sha256", "image_id"]).reset_index(drop=True)
        self.labels = pd.factorize(self.images["label"], sort=True)[0].astype(np.int64)
        self.groups = pd.factorize(self.images["group_id"])[0].astype(np.int64)
        self.root, self.place = study.data_root, place
        self._learners: dict[str, Learner] = {}

    def learner(self, model: ModelConfig) -> Learner:
        """With features of all photos."""
        key = model.model_dump_json()
        if key not in self._learners:
            count = int(self.labels.max()) + 1
            found = build_learner(model, count, device=torch.device("cpu"), label="")
            found.prepare(self.images, self.root, clock=Clock())
            self._learners[key] = found
        return self._learners[key]

    def some(self, positions: Positions) -> Labelled:
        """With classes and groups."""
        return Labelled(positions, self.labels[positions], self.groups[positions])

    def parts(self) -> list[Parts]:
        """Of all repeats."""
        found = []
        for seed in range(SEEDS):
            for given, held_out in grouped_folds(self.labels, self.groups, folds=HELD_OUT_FOLDS, seed=seed):
                tenths = [
                    given[held]
                    for _, held in grouped_folds(self.labels[given], self.groups[given], folds=10, seed=100 + seed)
                ]
                found.append(Parts(np.concatenate(tenths[3:]), tenths[0], np.concatenate(tenths[1:3]), held_out))
        return found


def fit_as_before(bench: Bench, learner: Learner, parts: Parts) -> None:
    """One of five strengths, by validation loss."""
    views = learner._known_features().views  # type: ignore[attr-defined]
    tried = []
    for c in _BEFORE_C:
        probe = fit_linear_probe(
            [view[parts.train] for view in views], bench.labels[parts.train], bench.groups[parts.train],
            class_count=int(bench.labels.max()) + 1, strength=Strength(c),
        )  # fmt: skip
        learner.classifier.head = probe.head  # type: ignore[union-attr]
        logits, labels = torch.from_numpy(learner.logits(parts.val)), torch.from_numpy(bench.labels[parts.val])
        tried.append((float(torch.nn.functional.cross_entropy(logits, labels)), probe))
    learner.classifier.head = min(tried, key=lambda one: one[0])[1].head  # type: ignore[union-attr]


def fit_now(bench: Bench, learner: Learner, parts: Parts) -> None:
    """The strength in folds of train."""
    learner.fit(bench.some(parts.train), bench.some(parts.val), checkpoint=Path(), key="")


def refit_now(bench: Bench, learner: Learner, parts: Parts) -> None:
    """And fitted once more, on all that the study was given."""
    found = learner.fit(bench.some(parts.train), bench.some(parts.val), checkpoint=Path(), key="")
    learner.refit(bench.some(parts.given), found)


WAYS = (
    Way("before", "Lite2, crop of 0.89, C by val", ModelConfig.model_validate(_LITE2 | _OLD_CROP), fit_as_before),
    Way("whole side", "and the whole short side", ModelConfig.model_validate(_LITE2), fit_as_before),
    Way("in folds", "and C in folds of train", ModelConfig.model_validate(_LITE2), fit_now),
    Way("joined", "and Lite1 joined", ModelConfig.model_validate(JOINED), fit_now),
    Way("default", "and refitted on all: what the default exports", ModelConfig.model_validate(JOINED), refit_now),
    Way("three joined", "the same of Lite0, Lite1 and Lite2", ModelConfig.model_validate(_ALL), refit_now),
)


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All ways.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: not looked at: `SEEDS` times `HELD_OUT_FOLDS`.
    """
    with cache_in(place / "cache"):
        bench = Bench(data, place)
        repeated = bench.parts()
        rows, first = [], np.zeros(0)
        for way in WAYS:
            learner, start = bench.learner(way.model), time.perf_counter()
            accuracy = np.array([_accuracy(bench, way, learner, parts) for parts in repeated])
            row = Row(way.name, way.what, seconds=(time.perf_counter() - start) / len(repeated), repeats=len(repeated))
            first = first if len(first) else accuracy
            rows.append(replace(row, accuracy=float(accuracy.mean()), note=difference(accuracy - first)))
    return rows


def _accuracy(bench: Bench, way: Way, learner: Learner, parts: Parts) -> float:
    way.fit(bench, learner, parts)
    return float((learner.logits(parts.held_out).argmax(axis=1) == bench.labels[parts.held_out]).mean())


def difference(differences: npt.NDArray[np.float64]) -> str:
    """The mean of paired differences in points, with its corrected 95 % interval; empty where all are zero."""
    if not differences.any():
        return ""
    count, held_out = len(differences), 1 / HELD_OUT_FOLDS
    variance = differences.var(ddof=1) * (1 / count + held_out / (1 - held_out))
    wide = float(student.ppf(0.975, count - 1) * np.sqrt(variance))
    mean = float(differences.mean())
    return f"{100 * mean:+.2f} points ({100 * (mean - wide):+.2f} to {100 * (mean + wide):+.2f})"
