"""The exported folder: other runtimes give its probabilities, and the hub reads its card."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from bestiary import predict
from bestiary.config.schema import ModelConfig
from bestiary.deploy import onnx_file
from bestiary.deploy import predictor as predicting
from bestiary.deploy.bundle import read_bundle
from bestiary.deploy.export import export_model
from bestiary.deploy.onnx_file import load_classifier
from bestiary.errors import BundleError
from bestiary.models.backbones import preprocessings_from
from bestiary.models.classifier import Portable
from bestiary.snapshot import Snapshot
from bestiary.store.hashing import sha256_bytes
from bestiary.study.study import Study
from tests.engines_here import needs_openvino


@pytest.fixture(params=["probe", "cnn"])
def bundle_folder(request: pytest.FixtureRequest, finished: Study, tmp_path: Path) -> Path:
    """Both kinds of network, exported from copies of the finished study's records."""
    import shutil

    study_dir = tmp_path / "study"
    shutil.copytree(finished.path, study_dir)
    config = finished.config.model_copy(
        update={"export": finished.config.export.model_copy(update={"model": request.param})}
    )
    return export_model(Snapshot(study_dir, config))


def random_pixels(size_px: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size_px, size_px, 3), dtype=np.uint8)


def test_onnxruntime_gives_the_probabilities_of_torch(bundle_folder: Path) -> None:
    import onnxruntime
    import torch

    bundle = read_bundle(bundle_folder)
    pixels = random_pixels(bundle.inputs[0].geometry.size_px)
    session = onnxruntime.InferenceSession(str(bundle_folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"pixels": pixels})
    model = ModelConfig.model_validate(bundle.content["config"])
    preprocessings = preprocessings_from(bundle.content["inputs"])
    classifier = load_classifier(
        bundle_folder / "model.safetensors", model, preprocessings, class_count=len(bundle.class_names)
    )
    with torch.inference_mode():
        expected = Portable(classifier)(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_without_openvino_torch_predicts_the_same(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(bundle_folder)
    pixels = random_pixels(bundle.inputs[0].geometry.size_px)
    (with_openvino,) = predicting.load_network(bundle, batch_size=len(pixels))([[pixels]])
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else find(name, *rest)
    )
    (without,) = predicting.load_network(bundle, batch_size=len(pixels))([[pixels]])
    np.testing.assert_allclose(with_openvino, without, atol=0.03 if bundle.precision == "bf16" else 1e-4)


def test_the_card_is_what_the_hub_reads(bundle_folder: Path, finished: Study) -> None:
    card = ModelCard.load(bundle_folder / "README.md")
    front = yaml.safe_load(card.data.to_yaml())
    assert front["pipeline_tag"] == "image-classification"
    name = json.loads((bundle_folder / "bundle.json").read_text())["model"]
    metrics = finished.read_run(name).figures
    result = front["model-index"][0]["results"][0]
    assert result["dataset"]["split"] == "test"
    assert result["metrics"][0]["value"] == round(metrics["test"]["accuracy"]["value"], 4)
    for words in ("Limits", "95 % intervals", "bar", "disc", "frame", metrics["test_scored_at"]):
        assert words in card.text
    assert "All copies that were found, exact and near, are in one split." in card.text
    assert "none was corrected" in card.text
    assert "Top-3" not in card.text


def test_another_format_is_refused(bundle_folder: Path) -> None:
    file = bundle_folder / "bundle.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 99'))
    with pytest.raises(BundleError, match="format 99"):
        read_bundle(bundle_folder)


def test_a_bundle_of_the_format_before_is_read_and_predicts_the_same(bundle_folder: Path, finished: Study) -> None:
    photo = next(finished.data_root.glob("*/*.png"))
    now = predict(bundle_folder, photo)
    file = bundle_folder / "bundle.json"
    content = json.loads(file.read_text())
    (only,) = content.pop("inputs")
    before = {**content, "format": 1, "preprocessing": {key: only[key] for key in ("geometry", "mean", "std")}}
    del before["sha256"], before["refit"]
    stated = sha256_bytes(json.dumps(before, sort_keys=True).encode())
    file.write_text(json.dumps({**before, "sha256": stated}))
    assert read_bundle(bundle_folder).inputs[0].name == "pixels"
    assert predict(bundle_folder, photo).equals(now)


def test_export_replaces_an_earlier_bundle_whole(bundle_folder: Path, finished: Study) -> None:
    (bundle_folder / "left-over.txt").write_text("old")
    export_model(Snapshot(bundle_folder.parent, finished.config))
    assert not (bundle_folder / "left-over.txt").exists()
    assert not list(bundle_folder.parent.glob(".model.*"))
    read_bundle(bundle_folder)


@needs_openvino
def test_the_network_is_converted_again_only_where_it_changed(
    bundle_folder: Path, finished: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = []
    real = onnx_file.write_onnx
    monkeypatch.setattr(onnx_file, "write_onnx", lambda *given: converted.append(given) or real(*given))
    name = read_bundle(bundle_folder).content["model"]
    config = finished.config.model_copy(update={"export": finished.config.export.model_copy(update={"model": name})})
    before = read_bundle(bundle_folder).content
    export_model(Snapshot(bundle_folder.parent, config), key="another card")
    after = read_bundle(bundle_folder).content
    assert converted == []
    assert after["fingerprint"] == "another card"
    assert (after["files"], after["onnx"]) == (before["files"], before["onnx"])
    (bundle_folder / "model.onnx").write_bytes(b"damaged")
    export_model(Snapshot(bundle_folder.parent, config))
    assert len(converted) == 1
    assert read_bundle(bundle_folder).content["onnx"] == before["onnx"]
