"""Export: a run → the bundle, a folder that works without the study.

In: a study with a complete run. Out: `model/`, which this module owns: `model.safetensors`, `model.onnx` (uint8 pixels
in, probabilities out, normalisation included), `bundle.json` and a model card. The folder is put in place whole.
"""

import importlib.util
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bestiary.config.schema import ModelConfig
from bestiary.deploy.bundle import BUNDLE, CARD, FOLDER, ONNX, WEIGHTS, input_names, read_bundle, write_bundle_file
from bestiary.deploy.card import write_card
from bestiary.deploy.card_facts import CardFacts, card_facts
from bestiary.errors import BundleError, StudyError, UsageError
from bestiary.models.backbones import Preprocessing, preprocessings_from
from bestiary.models.classifier import Classifier, Portable
from bestiary.models.learner import build_learner
from bestiary.runs.record import MODEL, REFIT_WEIGHTS, RunRecord
from bestiary.snapshot import Snapshot
from bestiary.store.files import cannot_write
from bestiary.store.hashing import fingerprint, sha256_file
from bestiary.telemetry import import_openvino
from bestiary.timing import now_utc

_OPSET = 17
_TOLERANCE = 1e-3


def export_model(snapshot: Snapshot, *, key: str = "") -> Path:
    """Write the bundle of the chosen run.

    Args:
        snapshot: of a compared study; its config's `export.model` names the run, or "winner".
        key: of the inputs, kept in `bundle.json`.

    Returns:
        The model folder.

    Raises:
        UsageError: the chosen model is a baseline, which has no network.
        StudyError: there is no winner, or the chosen model was not run.
        BundleError: the ONNX file does not give the network's probabilities.
    """
    config, place = snapshot.config, snapshot.paths.model
    name = snapshot.comparison["winner"] if config.export.model == "winner" else config.export.model
    if name is None:
        raise StudyError("no model to export: none but a baseline was run")
    if config.models[name].kind.is_baseline:
        raise UsageError(f"{name} is a baseline and has no network: set export.model to another model")
    run = snapshot.run(name)
    if not run.done:
        raise StudyError(f"{name} was not run and cannot be exported: {run.status.reason}")
    try:
        with tempfile.TemporaryDirectory(dir=snapshot.paths.folder, prefix=".model.") as temporary:
            folder = Path(temporary) / FOLDER
            folder.mkdir()
            facts = card_facts(
                run,
                config=config,
                comparison=snapshot.comparison,
                index=snapshot.corrected,
                splits=snapshot.splits,
                refit=snapshot.refit,
            )
            _fill(folder, snapshot, run, facts=facts, key=key)
            _put_in_place(folder, place, aside=Path(temporary) / "old")
    except OSError as error:
        raise cannot_write(place, error) from error
    return place


def _put_in_place(folder: Path, place: Path, *, aside: Path) -> None:
    replaces = place.exists()
    if replaces:
        place.rename(aside)
    try:
        folder.rename(place)
    except OSError:
        if replaces:
            aside.rename(place)
        raise


def _fill(folder: Path, snapshot: Snapshot, run: RunRecord, *, facts: CardFacts, key: str) -> None:
    # The run's own config, not the study's: it has the head that a sweep chose.
    model = ModelConfig.model_validate(run.config)
    weights = REFIT_WEIGHTS if snapshot.refit else MODEL
    shutil.copyfile(snapshot.paths.run(run.status.model) / weights, folder / WEIGHTS)
    seen = run.environment["preprocessings"]
    names = run.fit["class_names"]
    network = {
        "class_names": names,
        "inputs": [{"name": name, **each} for name, each in zip(input_names(len(seen)), seen, strict=True)],
        "config": model.model_dump(mode="json"),
        "bestiary_version": run.status.bestiary_version,
    }
    difference = _take_onnx(folder, snapshot.paths.model, network)
    if difference is None:
        classifier = load_classifier(folder / WEIGHTS, model, preprocessings_from(seen), class_count=len(names))
        difference = write_onnx(folder / ONNX, classifier)
    content = {
        **network,
        "model": run.status.model,
        "precision": run.environment["precision"],
        "onnx": {"input": "pixels", "output": "probabilities", "max_difference_to_torch": difference},
        "refit": _what_was_refitted(snapshot),
        "exported_at": now_utc(),
        "fingerprint": key,
    }
    write_bundle_file(folder, content)
    write_card(folder / CARD, facts)


def _what_was_refitted(snapshot: Snapshot) -> dict[str, Any] | None:
    """On what the weights were fitted after all figures were measured; None where they are those that were measured."""
    names = ("which", "images", "images_before", "test_images", "test_agreed")
    return {name: snapshot.refit[name] for name in names} if snapshot.refit else None


def _take_onnx(folder: Path, place: Path, network: dict[str, Any]) -> float | None:
    """Copy the ONNX file of the bundle in place where it is of this very network.

    Returns:
        How far it is from torch; None where nothing was copied.
    """
    if not (place / BUNDLE).exists():
        return None
    try:
        before = read_bundle(place).content
    except BundleError:  # a damaged bundle is made anew
        return None
    difference: float | None = before["onnx"]["max_difference_to_torch"]
    same = fingerprint({name: before.get(name) for name in network}) == fingerprint(network)
    if difference is None or not same or before["files"][WEIGHTS] != sha256_file(folder / WEIGHTS):
        return None
    shutil.copyfile(place / ONNX, folder / ONNX)
    return difference


def load_classifier(
    path: Path, model: ModelConfig, preprocessings: Sequence[Preprocessing], *, class_count: int
) -> Classifier:
    """The network of a run or a bundle, with its weights, in eval mode on the CPU.

    Raises:
        BundleError: the weights do not fit the config.
    """
    learner = build_learner(
        model, class_count, device=torch.device("cpu"), label=path.name, preprocessings=preprocessings
    )
    try:
        learner.load(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{path} is damaged or does not fit its config ({error}): train and export the model again"
        ) from error
    assert learner.classifier is not None  # of a baseline there is no bundle
    return learner.classifier.eval()


def write_onnx(path: Path, classifier: Classifier) -> float | None:
    """Write the network as ONNX and check it: pixels `(n, size, size, 3) uint8` for each of its inputs →
    `probabilities (n, classes)`.

    Returns:
        The largest difference between its probabilities and torch's on four random images; None, and no check, where
        OpenVINO is not installed to run the file.

    Raises:
        BundleError: that difference is above 0.001.
    """
    sizes = [each.geometry.size_px for each in classifier.backbone.preprocessings]
    portable, names = Portable(classifier).eval(), input_names(len(sizes))
    chance = torch.Generator().manual_seed(0)
    pixels = tuple(torch.randint(0, 256, (4, size, size, 3), generator=chance, dtype=torch.uint8) for size in sizes)
    with warnings.catch_warnings():
        # torch advises its newer exporter, which takes 9 s where this one takes 1.3 s for EfficientNet-Lite2.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            portable,
            pixels,
            str(path),
            input_names=names,
            output_names=["probabilities"],
            dynamic_axes={name: {0: "n"} for name in (*names, "probabilities")},
            opset_version=_OPSET,
            dynamo=False,
        )
    if importlib.util.find_spec("openvino") is None:
        return None
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.inference_mode():
        expected = portable(*pixels).numpy()
    difference = float(np.abs(compiled([each.numpy() for each in pixels])[0] - expected).max())
    if not difference <= _TOLERANCE:
        raise BundleError(
            f"the ONNX file differs from the network by {difference:g}: this architecture cannot be exported"
        )
    return difference
