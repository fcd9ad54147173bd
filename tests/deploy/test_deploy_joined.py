"""A model of joined backbones, exported: several inputs, and the same answers everywhere."""

import html
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bestiary import predict
from bestiary.deploy import predictor as predicting
from bestiary.deploy.bundle import Bundle, input_names, read_bundle
from bestiary.models.learner import build_learner
from bestiary.study.study import Study
from bestiary.timing import Clock
from tests.engines_here import needs_openvino

CONFIG = {
    "audit": {"backbone": "none"},
    "split": {"test_fraction": 0.25, "val_fraction": 0.25},
    "models": {
        "majority": {"backbone": "majority"},
        "join": {
            "backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite1"],
            "pixels": {"size_px": 48},
            "precision": "fp32",
        },
    },
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Study:
    photos = make_shapes(tmp_path_factory.mktemp("joined") / "photos", each=10)
    study = Study.create(photos, tmp_path_factory.mktemp("study") / "joined", config=CONFIG)
    study.run()
    return study


@pytest.fixture(scope="module")
def bundle(study: Study) -> Bundle:
    return read_bundle(study.path)


def some_pixels(bundle: Bundle, count: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    sizes = [each.geometry.size_px for each in bundle.inputs]
    return [random.integers(0, 256, (count, size, size, 3), dtype=np.uint8) for size in sizes]


def test_the_bundle_names_an_input_for_each_backbone(bundle: Bundle) -> None:
    assert [each.name for each in bundle.inputs] == ["pixels_1", "pixels_2"] == input_names(2)
    assert bundle.content["config"]["backbones"] == ["tf_efficientnet_lite0", "tf_efficientnet_lite1"]


@needs_openvino
def test_onnxruntime_openvino_and_torch_agree(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    pixels = some_pixels(bundle)
    session = onnxruntime.InferenceSession(str(bundle.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [each.name for each in bundle.inputs]
    (by_onnx,) = session.run(["probabilities"], dict(zip(names, pixels, strict=True)))
    (by_openvino,) = predicting.load_network(bundle, batch_size=8)([pixels])
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "openvino" else find(name))
    (by_torch,) = predicting.load_network(bundle, batch_size=8)([pixels])
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-4)
    np.testing.assert_allclose(by_openvino, by_torch, atol=1e-4)


def test_prediction_is_that_of_the_refitted_model(study: Study, bundle: Bundle) -> None:
    index = study.index_table
    run = study.read_run("join")
    model = study.config.models["join"]
    learner = build_learner(model, 3, device=torch.device("cpu"), label="join")
    learner.load(load_file(study.path / "runs" / "join" / "refit.safetensors"))
    learner.prepare(index, study.data_root, clock=Clock())
    logits = learner.logits(np.arange(len(index))).astype(np.float64)
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    found = predict(study.path, [study.data_root / path for path in index["path"]])
    names = run.fit["class_names"]
    assert found["label"].tolist() == [names[number] for number in expected.argmax(1)]
    np.testing.assert_allclose(found["probability"], expected.max(1), atol=1e-3)


def test_card_report_and_bundle_say_what_was_refitted(study: Study, bundle: Bundle) -> None:
    card = (bundle.folder / "README.md").read_text(encoding="utf-8")
    assert "`tf_efficientnet_lite0` and `tf_efficientnet_lite1`, joined" in card
    assert "Input `pixels_1`: `(n, 48, 48, 3)`" in card
    assert "fitted once more, with what had been chosen, on 30 images" in " ".join(card.split())
    refit = bundle.content["refit"]
    assert (refit["which"], refit["images"]) == ("all", 30)
    report = html.unescape((study.path / "report.html").read_text(encoding="utf-8")).replace("<wbr>", "")
    assert "It was fitted once more on 30 images" in " ".join(report.split())
    assert "tf_efficientnet_lite0 + tf_efficientnet_lite1" in report
