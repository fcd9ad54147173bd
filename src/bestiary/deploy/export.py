"""Export: a run → the bundle, a folder that works without the study.

In: a study with a complete run. Out: `model/`, which this module owns: `model.safetensors`, `model.onnx` (uint8 pixels
in, probabilities out, normalisation included), `bundle.json` and a model card. The folder is put in place whole.

Where the network is that of the bundle in place, as after test images were relabelled, its ONNX file is taken over, and
torch is not imported (see `onnx_file`).
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from bestiary.config.ensemble_schema import read_model
from bestiary.deploy.bundle import BUNDLE, CARD, FOLDER, ONNX, WEIGHTS, input_names, read_bundle, write_bundle_file
from bestiary.deploy.card import write_card
from bestiary.deploy.card_facts import CardFacts, card_facts
from bestiary.errors import BundleError, StudyError, UsageError
from bestiary.runs.record import MODEL, REFIT_WEIGHTS, RunRecord
from bestiary.snapshot import Snapshot
from bestiary.store.files import cannot_write
from bestiary.store.hashing import fingerprint, sha256_file
from bestiary.timing import now_utc


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
    model = read_model(run.config)
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
        from bestiary.deploy import onnx_file

        preprocessings = onnx_file.preprocessings_from(seen)
        classifier = onnx_file.load_classifier(folder / WEIGHTS, model, preprocessings, class_count=len(names))
        difference = onnx_file.write_onnx(folder / ONNX, classifier)
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
