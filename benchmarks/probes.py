"""Choosing a probe's strength: all folds in one product, and scikit-learn's fits one after another.

In: a folder of photos. Out: one row a way, for features of one backbone and of two joined. Both ways fit nine strengths
in the same five folds, each from what the strength before gave, on one thread.
"""

import statistics
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from benchmarks.measure import timed
from benchmarks.photos import cache_in
from benchmarks.repeated import JOINED, Bench
from benchmarks.rows import Row
from bestiary.config.schema import ModelConfig
from bestiary.evaluate.grouped_folds import grouped_folds
from bestiary.models.folded_regression import Features, FoldedRegression, Numbers

_STRENGTHS = (0.022, 0.046, 0.1, 0.01, 0.0046, 0.0022, 0.001, 0.00046, 0.00022)
_MODELS = {
    "Lite1": ModelConfig(backbone="tf_efficientnet_lite1"),
    "Lite1 and Lite2": ModelConfig.model_validate(JOINED),
}


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """Both ways, in turn.

    Args:
        data: a folder of class folders; seven tenths of its photos are fitted on.
        place: an empty folder to work in.
        repeats: of every way.
    """
    rows = []
    with cache_in(place / "cache"):
        bench = Bench(data, place)
        train = np.sort(bench.parts()[0].train)
        labels = np.unique(bench.labels[train], return_inverse=True)[1].astype(np.int64)
        fitted = [part for part, _ in grouped_folds(labels, bench.groups[train], folds=5, seed=0)]
        for name, model in _MODELS.items():
            features = bench.learner(model)._known_features().plain[train]  # type: ignore[attr-defined]
            features = ((features - features.mean(axis=0)) / features.std()).astype(np.float32)
            ways = {
                "scikit-learn": partial(_one_by_one, features, labels, fitted),
                "ours": partial(_at_once, features, labels, fitted),
            }
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(repeats):
                for way, run in ways.items():
                    seconds[way].append(timed(run))
            what = f"{name}, {len(train):,} photos, {features.shape[1]:,} features"
            rows += [
                Row(way, what, seconds=statistics.median(found), repeats=repeats) for way, found in seconds.items()
            ]
    return rows


def _at_once(features: Features, labels: Numbers, fitted: list[Numbers]) -> None:
    with threadpool_limits(1):
        regression = FoldedRegression(features, labels, fitted, class_count=int(labels.max()) + 1)
        for c in _STRENGTHS:
            regression.fit(c)


def _one_by_one(features: Features, labels: Numbers, fitted: list[Numbers]) -> None:
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for part in fitted:
            model = LogisticRegression(max_iter=300, warm_start=True)
            for c in _STRENGTHS:
                model.set_params(C=c).fit(features[part], labels[part])
