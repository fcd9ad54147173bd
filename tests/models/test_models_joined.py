"""Joined backbones: features side by side, standardised, and one head on them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from small_models import CPU, photos, probabilities

from bestiary.config.schema import DataConfig, ModelConfig
from bestiary.data.index import build_index
from bestiary.data.pixels import pixel_table
from bestiary.models.extract.features import feature_table
from bestiary.models.joined import JoinedLearner
from bestiary.models.learner import Labelled, Outcome, build_learner
from bestiary.timing import Clock

BACKBONES = ("resnet10t", "tf_efficientnet_lite0")


def joined(**changes) -> ModelConfig:
    values = {"backbones": list(BACKBONES), "weights": "random", "precision": "fp32", "pixels": {"size_px": 32}}
    return ModelConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined")
    for kind, name in enumerate(("ant", "bat", "cat")):
        (folder / name).mkdir()
        for number, pixels in enumerate(photos(12, 32, seed=kind)):
            pixels[:8, :, kind] = 250 - 5 * number  # something to learn
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def images(root: Path) -> pd.DataFrame:
    return build_index(DataConfig(path=str(root)))


def prepared(config: ModelConfig, images: pd.DataFrame, root: Path) -> JoinedLearner:
    learner = build_learner(config, 3, device=CPU, label="join")
    assert isinstance(learner, JoinedLearner)
    learner.prepare(images, root, clock=Clock())
    return learner


def some(images: pd.DataFrame, keep: np.ndarray) -> Labelled:
    labels = pd.factorize(images["label"])[0].astype(np.int64)
    positions = np.flatnonzero(keep)
    return Labelled(positions, labels[positions])


@pytest.fixture
def parts(images: pd.DataFrame) -> tuple[Labelled, Labelled, Labelled]:
    number = np.arange(len(images)) % 6
    return some(images, number < 4), some(images, number == 4), some(images, number == 5)


def test_a_join_is_scikit_learn_on_standardised_features_side_by_side(images, root, parts):
    train, _, test = parts
    learner = prepared(joined(), images, root)
    learner.refit(train, Outcome(choices={"C": 0.1, "temperature": 2.0}))
    features = np.concatenate(
        [
            feature_table(
                member, pixel_table(images, root, geometry=member.preprocessing.geometry), precision="fp32"
            ).plain
            for member in learner.classifier.backbone.members
        ],
        axis=1,
    ).astype(np.float64)
    scaler = StandardScaler().fit(features[train.positions])
    seen = scaler.transform(features)
    overall = np.sqrt(seen[train.positions].var(axis=0).mean())
    fitted = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000)
    fitted.fit(seen[train.positions] / overall, train.labels)
    logits = fitted.decision_function(seen[test.positions] / overall) / 2.0
    expected = softmax(logits, axis=1)
    np.testing.assert_allclose(probabilities(learner, test.positions), expected, atol=1e-2)


def test_the_network_gives_the_learners_logits_from_pixels_of_each_geometry(images, root, parts, tmp_path):
    train, val, test = parts
    learner = prepared(joined(), images, root)
    learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    pixels = [
        torch.from_numpy(pixel_table(images, root, geometry=each.geometry).take(test.positions))
        for each in learner.classifier.backbone.preprocessings
    ]
    with torch.inference_mode():
        expected = torch.softmax(learner.classifier.eval()(*pixels), 1).numpy()
    np.testing.assert_allclose(probabilities(learner, test.positions), expected, atol=1e-3)


@pytest.mark.parametrize("head", [{}, {"hidden": 8}])
def test_saved_and_loaded_it_says_the_same(images, root, parts, tmp_path, head):
    train, val, test = parts
    config = joined(head=head, epochs=2, augment={"flip": True})
    learner = prepared(config, images, root)
    learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    other = build_learner(
        config, 3, device=CPU, label="again", preprocessings=learner.classifier.backbone.preprocessings
    )
    other.load(learner.state())
    other.prepare(images, root, clock=Clock())
    np.testing.assert_allclose(other.logits(test.positions), learner.logits(test.positions), atol=1e-5)


def test_no_feature_weighs_more_for_being_larger(images, root, parts, tmp_path):
    train, val, _ = parts
    learner = prepared(joined(), images, root)
    learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    seen = learner._known_features().plain[train.positions]
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-3)
    spread = seen.std(axis=0)
    np.testing.assert_allclose(spread[spread > 0], 1, atol=1e-2)


def test_refitted_it_takes_centre_and_spread_from_the_images_that_it_is_fitted_on(images, root, parts, tmp_path):
    train, val, test = parts
    learner = prepared(joined(), images, root)
    found = learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    every = some(images, np.ones(len(images), dtype=bool))
    learner.refit(every, found)
    np.testing.assert_allclose(learner._known_features().plain.mean(axis=0), 0, atol=1e-3)
    other = prepared(joined(), images, root)
    other.refit(every, found)
    np.testing.assert_allclose(other.logits(test.positions), learner.logits(test.positions), atol=1e-3)


def test_its_features_are_those_that_each_backbone_has_alone(images, root):
    clock = Clock()
    for name in BACKBONES:
        single = ModelConfig(backbone=name, weights="random", precision="fp32", pixels={"size_px": 32})
        build_learner(single, 3, device=CPU, label=name).prepare(images, root, clock=clock)
    join = build_learner(joined(), 3, device=CPU, label="join")
    join.prepare(images, root, clock=clock)
    assert join._features.passes == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbones": ["resnet10t"]}, "two or more different"),
        ({"backbones": ["resnet10t", "resnet10t"]}, "two or more different"),
        ({"backbones": ["resnet10t", "simple_cnn"]}, "no features of its own to join"),
        ({"backbones": ["resnet10t", "majority"]}, "no features of its own to join"),
        ({"backbone": "resnet10t"}, "give backbone, or two or more backbones"),
        ({"backbones": []}, "give backbone, or two or more backbones"),
        ({"trainable": "all"}, "stay frozen"),
        ({"weights": "some/file.safetensors"}, "cannot serve several"),
        ({"weights": "packaged"}, "no packaged weights for 'resnet10t'"),
        ({"head": {"hidden": 4}, "optimizer": {"name": "lbfgs"}}, "linear probe only"),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_fix(changes, message):
    with pytest.raises(ValidationError, match=message):
        joined(**changes)


def test_weights_of_each_backbone_are_its_own():
    both = ModelConfig(backbones=["tf_efficientnet_lite1", "tf_efficientnet_lite2"])
    assert both.weights == "packaged"
    mixed = ModelConfig(backbones=["tf_efficientnet_lite1", "resnet50"])
    assert mixed.weights == "auto"
    assert [member.weights for member in mixed.members] == ["packaged", "hub"]
