"""Learners: three kinds with one interface; `prepare` sees no labels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from small_models import CPU, model, probabilities

from bestiary.config.schema import DataConfig
from bestiary.data import pixels as decoding
from bestiary.data.index import build_index
from bestiary.data.pixels import pixel_table
from bestiary.models import frozen, gradients
from bestiary.models.extract.features import feature_table
from bestiary.models.frozen import FrozenLearner
from bestiary.models.gradients import GradientLearner
from bestiary.models.learner import Labelled, build_learner
from bestiary.models.majority import MajorityLearner
from bestiary.models.training import loop
from bestiary.timing import Clock

SIZE = {"size_px": 24, "interpolation": "bilinear"}
CONFIGS = {
    "majority": {"backbone": "majority"},
    "probe": {"pixels": SIZE},
    "head": {"pixels": SIZE, "head": {"hidden": 16}, "epochs": 4, "augment": {"flip": True}},
    "trained": {"pixels": SIZE, "trainable": "all", "epochs": 2},
}
KINDS = {"majority": MajorityLearner, "probe": FrozenLearner, "head": FrozenLearner, "trained": GradientLearner}


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("learners"), each=12)


@pytest.fixture(scope="module")
def images(root) -> pd.DataFrame:
    return build_index(DataConfig(path=str(root)))


def parts(images):
    labels = pd.Categorical(images["label"]).codes.astype(np.int64)
    number = np.arange(len(images)) % 3
    return [Labelled(np.flatnonzero(number == part), labels[number == part]) for part in range(3)]


def prepared(kind, images, root):
    learner = build_learner(model(**CONFIGS[kind]), 3, device=CPU, label=kind)
    learner.prepare(images.drop(columns=["label"]), root, clock=Clock())
    return learner


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_gives_probabilities_of_any_images_in_the_order_asked(kind, images, root, tmp_path):
    learner = prepared(kind, images, root)
    assert isinstance(learner, KINDS[kind])
    train, val, test = parts(images)
    outcome = learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    found = probabilities(learner, test.positions)
    assert found.shape == (len(test.positions), 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities(learner, test.positions[::-1])[::-1], found, atol=1e-5)
    assert outcome.best_epoch <= len(outcome.history) <= model(**CONFIGS[kind]).epochs
    said = learner.describe()
    assert {"device", "engine", "precision", "deterministic"} <= said.keys()


@pytest.mark.parametrize("kind", ["probe", "head", "trained"])
def test_the_classifier_behind_the_probabilities_gives_them(kind, images, root, tmp_path):
    learner = prepared(kind, images, root)
    train, val, test = parts(images)
    learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    geometry = learner.classifier.backbone.preprocessing.geometry
    pixels = torch.from_numpy(pixel_table(images, root, geometry=geometry).take(test.positions))
    with torch.inference_mode():
        expected = torch.softmax(learner.classifier.eval()(pixels), 1).numpy()
    np.testing.assert_allclose(probabilities(learner, test.positions), expected, atol=1e-3)


def test_the_majority_dummy_gives_the_class_frequencies_of_train(images, root, tmp_path):
    learner = prepared("majority", images, root)
    labels = np.array([0, 0, 0, 2, 2, 1, 0, 0], dtype=np.int64)
    learner.fit(Labelled(np.arange(8), labels), Labelled(np.arange(2), labels[:2]), checkpoint=tmp_path / "c", key="")
    np.testing.assert_allclose(probabilities(learner, np.arange(5)), [[5 / 8, 1 / 8, 2 / 8]] * 5)
    assert learner.classifier is None


def test_the_probe_is_fitted_on_all_views_of_train(images, root, tmp_path, monkeypatch):
    given = {}
    real = frozen.fit_linear_probe

    def spy(views, labels, groups, **options):
        given.update(views=views, labels=labels, groups=groups)
        return real(views, labels, groups, **options)

    monkeypatch.setattr(frozen, "fit_linear_probe", spy)
    config = model(pixels=SIZE, augment={"flip": True, "views": 2})
    learner = build_learner(config, 3, device=CPU, label="p")
    learner.prepare(images, root, clock=Clock())
    train, val, _ = parts(images)
    train = replace(train, groups=np.arange(len(train.labels)) // 2)
    learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    pixels = pixel_table(images, root, geometry=learner.classifier.backbone.preprocessing.geometry)
    table = feature_table(learner.classifier.backbone, pixels, precision="fp32")
    plain, flipped = given["views"]
    assert np.array_equal(plain, table.plain[train.positions])
    assert flipped.shape == plain.shape
    assert not np.array_equal(flipped, plain)
    assert np.array_equal(given["labels"], train.labels)
    assert np.array_equal(given["groups"], train.groups)


def test_relabelling_costs_no_pass_and_no_decoding(images, root, monkeypatch):
    prepared("probe", images, root)
    monkeypatch.setattr(decoding, "_decode", lambda *_: pytest.fail("decoded"))
    clock = Clock()
    learner = build_learner(model(**CONFIGS["probe"], seed=0), 3, device=CPU, label="p")
    learner.prepare(images.assign(label="other"), root, clock=clock)
    assert learner._features.passes == 0
    assert clock.images_per_s == {}


def test_a_probe_is_scikit_learns_on_the_cached_features(images, root, tmp_path):
    learner = prepared("probe", images, root)
    train, val, test = parts(images)
    outcome = learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    assert {entry["C"] for entry in outcome.choices["tried"]} >= {outcome.choices["C"]}
    learner.refit(train, replace(outcome, choices={"C": 0.1, "temperature": 2.0}))
    features = learner._features.plain.astype(np.float64)
    mean = features[train.positions].mean(axis=0)
    scale = features[train.positions].std(axis=0)
    scale = np.sqrt(np.mean(scale**2))
    fitted = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8)
    fitted.fit((features[train.positions] - mean) / scale, train.labels)
    logits = fitted.decision_function((features[test.positions] - mean) / scale) / 2.0
    expected = softmax(logits, axis=1)
    np.testing.assert_allclose(probabilities(learner, test.positions), expected, atol=1e-2)


def test_class_weights_reach_the_loss(images, root, tmp_path, monkeypatch):
    given = {}
    real = loop.fit
    for room in (frozen, gradients):
        monkeypatch.setattr(room, "fit", lambda *a, **options: given.update(options) or real(*a, **options))
    labels = np.array([0] * 6 + [1] * 3 + [2], dtype=np.int64)
    for kind in ("head", "trained"):
        learner = build_learner(model(**CONFIGS[kind], class_weights="balanced"), 3, device=CPU, label="x")
        learner.prepare(images, root, clock=Clock())
        train = Labelled(np.arange(10), labels)
        learner.fit(train, train, checkpoint=tmp_path / kind, key="k")
        np.testing.assert_allclose(given["class_weights"].numpy(), [10 / 18, 10 / 9, 10 / 3], rtol=1e-6)


@pytest.mark.parametrize("kind", ["probe", "head", "trained"])
def test_nothing_is_fitted_before_the_images_are_prepared(kind, images, tmp_path):
    learner = build_learner(model(**CONFIGS[kind]), 3, device=CPU, label="x")
    train, val, _ = parts(images)
    with pytest.raises(ValueError, match="prepare"):
        learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
