"""The audit's pass makes the features that the models will ask for, and decodes no image again for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bestiary.config.schema import ModelConfig
from bestiary.models.augment import views_of
from bestiary.study.features_ahead import features_ahead
from bestiary.study.study import Study

SMALL = {"size_px": 32}
CONFIG: dict[str, Any] = {
    "audit": {"backbone": "tf_efficientnet_lite0", "pixels": SMALL},
    "split": {"test_fraction": 0.25, "val_fraction": 0.25},
    "models": {
        "majority": {"backbone": "majority"},
        "lite1": {"backbone": "tf_efficientnet_lite1", "pixels": SMALL},
        "unreachable": {"backbone": "resnet10t"},
    },
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("ahead") / "photos", each=12)


def cached(study: Study, model: str) -> int:
    return json.loads((study.path / "runs" / model / "fit.json").read_text())["cached"].get("features", 0)


def test_a_whole_study_finds_the_features_of_its_models_and_says_what_could_not_be_had(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    result = study.run()
    assert cached(study, "lite1") == 36
    assert set(result.not_run) == {"unreachable"}


def test_an_audit_alone_makes_its_own_and_no_more(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    study.index()
    study.audit()
    study.split()
    study.train(["lite1"])
    assert cached(study, "lite1") == 0


def model(backbone: str = "tf_efficientnet_lite0", **values: Any) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": backbone, "pixels": SMALL, **values})


def test_what_frozen_models_ask_for_is_asked_for_once_with_all_views() -> None:
    plain, flipped = model(), model(augment={"flip": True})
    joined = ModelConfig.model_validate(
        {"backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite1"], "pixels": SMALL}
    )
    found = features_ahead([plain, flipped, joined, model(head={"hidden": 8})])
    assert [request.backbone.name for request in found] == ["tf_efficientnet_lite0", "tf_efficientnet_lite1"]
    assert list(found[0].views) == list(views_of(flipped.augment))


def test_trained_stages_and_baselines_ask_for_none() -> None:
    trained = model(trainable="last:1 stage")
    baseline = ModelConfig(backbone="majority")
    assert features_ahead([trained, baseline]) == []


def test_backbones_that_cannot_be_had_are_left_to_their_models() -> None:
    found = features_ahead([ModelConfig(backbone="resnet10t"), ModelConfig(backbone="resnet18"), model()])
    assert [request.backbone.name for request in found] == ["tf_efficientnet_lite0"]
