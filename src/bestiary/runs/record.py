"""The record of a run on disk.

In: what an experiment found. Out: `runs/<name>/`, which this module owns: `run.toml`, `environment.json`,
`history.parquet`, `metrics.json`, `predictions.parquet`, `model.safetensors`. No torch here, so that old studies stay
readable without it.

`run.toml` is written last and holds the hashes of the others: a run without it, of another fingerprint, or with a file
that is missing or altered is not complete, and is done again.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import tomli_w

from bestiary.config.schema import MAJORITY, ModelConfig, StudyConfig
from bestiary.data.index import index_fingerprint
from bestiary.errors import StudyError
from bestiary.store.files import read_json, write_json, write_text
from bestiary.store.hashing import fingerprint, sha256_file
from bestiary.store.tables import read_table, write_table

RUNS = "runs"
RUN, ENVIRONMENT, HISTORY, METRICS = "run.toml", "environment.json", "history.parquet", "metrics.json"
PREDICTIONS, MODEL, CHECKPOINT = "predictions.parquet", "model.safetensors", "checkpoint.safetensors"
PROBABILITY_PREFIX = "p:"

_RESULTS = (ENVIRONMENT, HISTORY, METRICS, PREDICTIONS, MODEL)

HISTORY_COLUMNS = ("epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


@dataclass(frozen=True)
class RunStatus:
    """What `run.toml` says of a run besides its config. Times are UTC."""

    model: str
    status: Literal["done", "not run"]
    fingerprint: str
    started_at: str
    finished_at: str
    bestiary_version: str
    reason: str = ""
    test_scored_at: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A complete run, read back. The tables are empty and `metrics` is {} where the model was not run."""

    status: RunStatus
    config: dict[str, Any]
    environment: dict[str, Any]
    history: pd.DataFrame
    metrics: dict[str, Any]
    predictions: pd.DataFrame


def run_dir(study_dir: Path, name: str) -> Path:
    """The folder of a run."""
    return study_dir / RUNS / name


def run_fingerprints(config: StudyConfig, *, index: pd.DataFrame, splits: pd.DataFrame) -> dict[str, str]:
    """What each model's run depends on: images, labels, splits and the model's own config, not the other models'."""
    # Dropped images of the test split count for the figures on labels as given.
    columns = ["image_id", "split"] + (["drawn"] if "drawn" in splits else [])
    data = fingerprint([index_fingerprint(index), splits[columns].to_numpy().tolist(), "rules 1"])
    return {
        name: fingerprint([data, config.device, model.model_dump(mode="json")]) for name, model in config.models.items()
    }


def write_status(study_dir: Path, status: RunStatus, config: ModelConfig) -> None:
    """Write `run.toml`, with the hash of every other file: from now on the run counts as complete.

    Args:
        study_dir: the study's folder.
        status: how the run ended.
        config: the model's, with the head that a sweep chose: what the saved weights belong to.
    """
    folder = run_dir(study_dir, status.model)
    files = {name: sha256_file(folder / name) for name in _RESULTS if (folder / name).exists()}
    record = {
        "run": status.__dict__,
        "files": files if status.status == "done" else {},
        "config": config.model_dump(mode="json"),
    }
    write_text(folder / RUN, tomli_w.dumps(record))


def write_results(
    study_dir: Path,
    name: str,
    *,
    environment: dict[str, Any],
    history: Sequence[Any],
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
) -> None:
    """Write everything of a run but its status and its model."""
    folder = run_dir(study_dir, name)
    write_json(folder / ENVIRONMENT, environment)
    write_table(folder / HISTORY, pd.DataFrame([row.__dict__ for row in history], columns=list(HISTORY_COLUMNS)))
    write_table(folder / PREDICTIONS, predictions)
    write_json(folder / METRICS, metrics)


def _read_record(study_dir: Path, name: str) -> dict[str, Any]:
    """All of `run.toml`."""
    return tomllib.loads((run_dir(study_dir, name) / RUN).read_text(encoding="utf-8"))


def read_status(study_dir: Path, name: str) -> RunStatus | None:
    """What `run.toml` says; None where there is none, or where it is damaged."""
    try:
        record = _read_record(study_dir, name)
        # A record without its config is cut off: `KeyError`.
        return RunStatus(**record["run"]) if record["config"]["backbone"] else None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None


def is_complete(study_dir: Path, name: str, *, key: str) -> bool:
    """Whether a run is done, of these inputs, and every file of it as it was written.

    A model that could not be run is never complete.
    """
    status = read_status(study_dir, name)
    if status is None or status.status != "done" or status.fingerprint != key:
        return False
    record, folder = _read_record(study_dir, name), run_dir(study_dir, name)
    hashes: dict[str, str] = record.get("files", {})
    needed = [file for file in _RESULTS if file != MODEL or record["config"]["backbone"] != MAJORITY]
    return all((folder / file).is_file() and sha256_file(folder / file) == hashes.get(file) for file in needed)


def read_run(study_dir: Path, name: str) -> RunRecord:
    """Read a run back.

    Raises:
        StudyError: it was never completed.
        BestiaryError: one of its files is damaged.
    """
    status = read_status(study_dir, name)
    if status is None:
        raise StudyError(f"model {name!r} has not been trained in {study_dir}: run `bestiary train {study_dir}`")
    folder = run_dir(study_dir, name)
    config = dict(_read_record(study_dir, name)["config"])
    if status.status == "not run":
        empty = pd.DataFrame(columns=["image_id", "split", "y_true", "y_pred"])
        return RunRecord(status, config, {}, pd.DataFrame(columns=list(HISTORY_COLUMNS)), {}, empty)
    try:
        return RunRecord(
            status=status,
            config=config,
            environment=read_json(folder / ENVIRONMENT),
            history=read_table(folder / HISTORY),
            metrics=read_json(folder / METRICS),
            predictions=read_table(folder / PREDICTIONS),
        )
    except OSError as error:
        raise StudyError(f"the run {folder} is incomplete ({error}): run `bestiary train {study_dir}`") from error


def predictions_table(
    images: pd.DataFrame, probabilities: npt.NDArray[np.float32], class_names: Sequence[str]
) -> pd.DataFrame:
    """`image_id, split, y_true, y_pred` and one column `p:<class>` a class.

    Args:
        images: rows with `image_id`, `split` and `label`.
        probabilities: `(n, class_count)`, in the order of rows and of `class_names`.
        class_names: the classes.
    """
    table = pd.DataFrame(
        {
            "image_id": images["image_id"].to_numpy(),
            "split": images["split"].to_numpy(),
            "y_true": images["label"].to_numpy(),
            "y_pred": np.asarray(class_names, dtype=object)[probabilities.argmax(axis=1)],
        }
    )
    columns = pd.DataFrame(probabilities, columns=[f"{PROBABILITY_PREFIX}{name}" for name in class_names])
    return pd.concat([table, columns], axis=1)
