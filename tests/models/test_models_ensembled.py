"""Ensembles as learners: the members' probabilities, one network, one file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax, logsumexp, softmax
from small_models import CPU, photos

from bestiary.config.ensemble_schema import ComposedModel, EnsembleMember, compose, read_model
from bestiary.config.schema import DataConfig, ModelConfig
from bestiary.data.index import build_index
from bestiary.data.pixels import pixel_table
from bestiary.deploy.onnx_file import write_onnx
from bestiary.errors import TrainingError
from bestiary.models.learner import Labelled, Learner, Outcome, build_learner
from bestiary.timing import Clock

COMMON = {"weights": "random", "precision": "fp32", "pixels": {"size_px": 32}}
SINGLE = ModelConfig.model_validate({"backbone": "resnet10t", **COMMON})
JOINED = ModelConfig.model_validate({"backbones": ["resnet10t", "tf_efficientnet_lite0"], **COMMON})
HIDDEN = ModelConfig.model_validate({"backbone": "tf_efficientnet_lite0", "head": {"hidden": 8}, "epochs": 2, **COMMON})
SHARES, TEMPERATURES = (0.5, 0.3, 0.2), (1.5, 0.7, 1.0)


def ensemble(*configs: ModelConfig) -> ComposedModel:
    return compose(
        tuple(
            EnsembleMember(model=f"m{number}", share=SHARES[number], temperature=TEMPERATURES[number], config=config)
            for number, config in enumerate(configs)
        )
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensembled")
    for kind, name in enumerate(("ant", "bat", "cat")):
        (folder / name).mkdir()
        for number, pixels in enumerate(photos(10, 32, seed=kind)):
            pixels[:8, :, kind] = 250 - 5 * number
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def images(root: Path) -> pd.DataFrame:
    return build_index(DataConfig(path=str(root)))


@pytest.fixture(scope="module")
def every(images: pd.DataFrame) -> Labelled:
    return Labelled(np.arange(len(images)), pd.factorize(images["label"])[0].astype(np.int64))


@pytest.fixture(scope="module")
def fitted(images: pd.DataFrame, root: Path, every: Labelled, tmp_path_factory) -> list[tuple[Learner, Outcome]]:
    found = []
    for config in (SINGLE, JOINED, HIDDEN):
        learner = build_learner(config, 3, device=CPU, label="member")
        learner.prepare(images, root, clock=Clock())
        outcome = learner.fit(every, every, checkpoint=tmp_path_factory.mktemp("fit") / "c", key="k")
        found.append((learner, outcome))
    return found


@pytest.fixture
def learner(fitted, images, root) -> Learner:
    config = ensemble(SINGLE, JOINED, HIDDEN)
    made = build_learner(config, 3, device=CPU, label="ensemble")
    state = {f"members.{number}.{name}": tensor for number, (one, _) in enumerate(fitted)
             for name, tensor in one.state().items()}  # fmt: skip
    again = tuple(config.repeated)
    made.load({name: tensor for name, tensor in state.items() if not name.startswith(again)})
    made.prepare(images, root, clock=Clock())
    return made


def test_it_says_what_its_members_say_weighted(learner, fitted) -> None:
    positions = np.arange(12)
    parts = [
        log_softmax(one.logits(positions) / temperature, axis=1) + np.log(share)
        for (one, _), temperature, share in zip(fitted, TEMPERATURES, SHARES, strict=True)
    ]
    np.testing.assert_allclose(learner.logits(positions), logsumexp(parts, axis=0), atol=1e-5)


def test_a_frozen_backbone_that_several_have_stands_once(learner) -> None:
    config = ensemble(SINGLE, JOINED, HIDDEN)
    assert config.places == ((0,), (0, 1), (1,))
    assert [trunk.backbone for trunk in config.trunks] == ["resnet10t", "tf_efficientnet_lite0"]
    assert len(learner.classifier.preprocessings) == 2
    state = learner.state()
    assert any(name.startswith("members.0.backbone.") for name in state)
    assert not any(name.startswith(("members.1.backbone.backbones.0.", "members.2.backbone.")) for name in state)


def test_a_trained_backbone_is_its_own_though_the_architecture_is_the_same() -> None:
    tuned = ModelConfig.model_validate({"backbone": "resnet10t", "trainable": "last:1 stage", **COMMON})
    assert ensemble(SINGLE, tuned).places == ((0,), (1,))
    other_size = ModelConfig.model_validate({"backbone": "resnet10t", **COMMON, "pixels": {"size_px": 48}})
    assert ensemble(SINGLE, other_size).places == ((0,), (1,))


def test_the_network_gives_the_learners_probabilities_from_pixels(learner, images, root, tmp_path) -> None:
    positions = np.arange(12)
    pixels = [
        torch.from_numpy(pixel_table(images, root, geometry=each.geometry).take(positions))
        for each in learner.classifier.preprocessings
    ]
    with torch.inference_mode():
        found = torch.softmax(learner.classifier.eval()(*pixels), 1).numpy()
    np.testing.assert_allclose(found, softmax(learner.logits(positions), axis=1), atol=1e-3)
    assert write_onnx(tmp_path / "model.onnx", learner.classifier) < 1e-3


def test_saved_and_rebuilt_without_weights_it_says_the_same(learner, images, root) -> None:
    config = read_model(ensemble(SINGLE, JOINED, HIDDEN).model_dump(mode="json"))
    other = build_learner(config, 3, device=CPU, label="again", preprocessings=learner.classifier.preprocessings)
    other.load(learner.state())
    other.prepare(images, root, clock=Clock())
    np.testing.assert_allclose(other.logits(np.arange(30)), learner.logits(np.arange(30)), atol=1e-5)


def test_a_tensor_that_is_missing_is_an_error(learner) -> None:
    state = learner.state()
    state.pop(next(name for name in state if name.startswith("members.0.backbone.")))
    with pytest.raises(RuntimeError, match="Missing key"):
        learner.load(state)


def test_refitted_each_member_is_what_it_is_refitted_alone(fitted, images, root, every) -> None:
    learner = build_learner(ensemble(SINGLE, JOINED, HIDDEN), 3, device=CPU, label="ensemble")
    learner.prepare(images, root, clock=Clock())
    kept = [{"choices": outcome.choices, "best_epoch": outcome.best_epoch,
             "history": [vars(epoch) for epoch in outcome.history]} for _, outcome in fitted]  # fmt: skip
    learner.refit(every, Outcome(choices={"members": kept}))
    parts = []
    for number, (config, (_, outcome)) in enumerate(zip((SINGLE, JOINED, HIDDEN), fitted, strict=True)):
        alone = build_learner(config, 3, device=CPU, label="alone")
        alone.prepare(images, root, clock=Clock())
        alone.refit(every, outcome)
        said = log_softmax(alone.logits(np.arange(30)) / TEMPERATURES[number], axis=1)
        parts.append(said + np.log(SHARES[number]))
    np.testing.assert_allclose(learner.logits(np.arange(30)), logsumexp(parts, axis=0), atol=1e-4)


def test_nothing_fits_it(learner, every, tmp_path) -> None:
    with pytest.raises(TrainingError, match="put together of fitted models"):
        learner.fit(every, every, checkpoint=tmp_path / "c", key="k")


def test_its_kind_and_its_summary() -> None:
    config = ensemble(SINGLE, JOINED)
    assert config.kind.name == "ensemble"
    assert config.kind.describe(config.model_dump()) == "50% m0 + 30% m1"
    assert config.fits_without_epochs
    assert not ensemble(SINGLE, HIDDEN).fits_without_epochs
    assert [member.backbone for member in config.members] == ["resnet10t", "resnet10t", "tf_efficientnet_lite0"]
