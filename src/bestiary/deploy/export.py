"""Export: a run → the bundle, a folder that works without the study.

In: a study with a complete run. Out: `model/`, which this module owns: `model.safetensors`, `model.onnx` (uint8 pixels
in, probabilities out, normalisation included), `bundle.json` and a model card. The folder is put in place whole.
"""

import importlib.util
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bestiary.config.schema import MAJORITY, ModelConfig, StudyConfig
from bestiary.data.geometry import Geometry
from bestiary.deploy.bundle import CARD, FOLDER, ONNX, WEIGHTS, write_bundle_file
from bestiary.deploy.card import write_card
from bestiary.errors import BundleError, StudyError, UsageError
from bestiary.models.backbones import Preprocessing, rebuild_backbone
from bestiary.models.classifier import Classifier, Portable
from bestiary.models.heads import Head
from bestiary.runs.record import MODEL, RunRecord, read_run, run_dir
from bestiary.store.files import cannot_write
from bestiary.telemetry import import_openvino
from bestiary.timing import now_utc

_OPSET = 17
_TOLERANCE = 1e-3


def export_model(study_dir: Path, *, config: StudyConfig, comparison: dict[str, Any], fingerprint: str = "") -> Path:
    """Write the bundle of the chosen run.

    Args:
        study_dir: the study.
        config: `export.model` names the run, or "winner".
        comparison: for the winner, and for the card.
        fingerprint: of the inputs, kept in `bundle.json`.

    Returns:
        The model folder.

    Raises:
        UsageError: the chosen model is the majority dummy.
        StudyError: there is no winner, or the chosen model was not run.
        BundleError: the ONNX file does not give the network's probabilities.
    """
    name = comparison["winner"] if config.export.model == "winner" else config.export.model
    if name is None:
        raise StudyError("no model to export: none but the dummy was run")
    if config.models[name].backbone == MAJORITY:
        raise UsageError(f"{name} is the majority dummy and has no network: set export.model to another model")
    run = read_run(study_dir, name)
    if run.status.status != "done":
        raise StudyError(f"{name} was not run and cannot be exported: {run.status.reason}")
    try:
        with tempfile.TemporaryDirectory(dir=study_dir, prefix=".model.") as temporary:
            folder = Path(temporary) / FOLDER
            folder.mkdir()
            _fill(folder, study_dir, run, comparison=comparison, data=config.data.path, key=fingerprint)
            _put_in_place(folder, study_dir / FOLDER, aside=Path(temporary) / "old")
    except OSError as error:
        raise cannot_write(study_dir / FOLDER, error) from error
    return study_dir / FOLDER


def _put_in_place(folder: Path, place: Path, *, aside: Path) -> None:
    if place.exists():
        place.rename(aside)
    folder.rename(place)


def _fill(folder: Path, study_dir: Path, run: RunRecord, *, comparison: dict[str, Any], data: str, key: str) -> None:
    name = run.status.model
    # The run's own config, not the study's: it has the head that a sweep chose.
    model = ModelConfig.model_validate(run.config)
    shutil.copyfile(run_dir(study_dir, name) / MODEL, folder / WEIGHTS)
    preprocessing = preprocessing_from(run.environment["preprocessing"])
    class_names = run.metrics["class_names"]
    classifier = load_classifier(folder / WEIGHTS, model, preprocessing, class_count=len(class_names))
    difference = write_onnx(folder / ONNX, classifier)
    content = {
        "model": name,
        "class_names": class_names,
        "preprocessing": preprocessing.as_dict(),
        "config": model.model_dump(mode="json"),
        "precision": run.environment["precision"],
        "onnx": {"input": "pixels", "output": "probabilities", "max_difference_to_torch": difference},
        "exported_at": now_utc(),
        "bestiary_version": run.status.bestiary_version,
        "fingerprint": key,
    }
    write_bundle_file(folder, content)
    write_card(folder / CARD, run, comparison=comparison, data=data)


def preprocessing_from(values: dict[str, Any]) -> Preprocessing:
    """Preprocessing as a run's record or a bundle states it."""
    return Preprocessing(Geometry(**values["geometry"]), mean=tuple(values["mean"]), std=tuple(values["std"]))


def load_classifier(path: Path, model: ModelConfig, preprocessing: Preprocessing, *, class_count: int) -> Classifier:
    """The network of a run or a bundle, with its weights, in eval mode on the CPU.

    Raises:
        BundleError: the weights do not fit the config.
    """
    backbone = rebuild_backbone(model, preprocessing)
    head = Head(backbone.feature_count, class_count, hidden=model.head.hidden, dropout=model.head.dropout)
    classifier = Classifier(backbone, head)
    try:
        classifier.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{path} is damaged or does not fit its config ({error}): train and export the model again"
        ) from error
    return classifier.eval()


def write_onnx(path: Path, classifier: Classifier) -> float | None:
    """Write the network as ONNX and check it: `pixels (n, size, size, 3) uint8` → `probabilities (n, classes)`.

    Returns:
        The largest difference between its probabilities and torch's on four random images; None, and no check, where
        OpenVINO is not installed to run the file.

    Raises:
        BundleError: that difference is above 0.001.
    """
    size = classifier.backbone.preprocessing.geometry.size_px
    portable = Portable(classifier).eval()
    pixels = torch.randint(0, 256, (4, size, size, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with warnings.catch_warnings():
        # torch advises its newer exporter, which takes 9 s where this one takes 1.3 s for EfficientNet-Lite2.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            portable,
            (pixels,),
            str(path),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_axes={"pixels": {0: "n"}, "probabilities": {0: "n"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    if importlib.util.find_spec("openvino") is None:
        return None
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.inference_mode():
        expected = portable(pixels).numpy()
    difference = float(np.abs(compiled(pixels.numpy())[0] - expected).max())
    if not difference <= _TOLERANCE:
        raise BundleError(
            f"the ONNX file differs from the network by {difference:g}: this architecture cannot be exported"
        )
    return difference
