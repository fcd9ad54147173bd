"""Fitting: the images and labels of train and val, and one model's config → weights, and logits of val and test.

In: images with their splits, and a config. Out: the run's record on disk (see `record`), without figures. No label of
the test split is read here; the logits are those of every image that was drawn into val or test, dropped ones too, so
that a label that changes later changes figures alone (see `evaluation`).
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from bestiary.config.ensemble_schema import read_model
from bestiary.config.schema import ModelConfig, StudyConfig
from bestiary.errors import StudyError, TrainingError, WeightsError
from bestiary.models.backbones import preprocessings_from
from bestiary.models.devices import pick_device
from bestiary.models.learner import Labelled, Learner, Outcome, State, build_learner
from bestiary.progress import SILENT, Progress
from bestiary.runs.environment import describe_environment, package_versions
from bestiary.runs.evaluation import lacking
from bestiary.runs.fit_order import in_order
from bestiary.runs.record import (
    CHECKPOINT,
    MODEL,
    RUN,
    Logits,
    RunStatus,
    read_logits,
    read_run,
    write_logits,
    write_results,
    write_status,
)
from bestiary.store.files import write_bytes
from bestiary.timing import Clock, now_utc


def fit_model(
    folder: Path,
    config: StudyConfig,
    images: pd.DataFrame,
    *,
    root: Path,
    key: str,
    name: str = "",
    weights_sha256: str = "",
    progress: Progress = SILENT,
) -> RunStatus:
    """Fit one model of a study and write its record.

    A model whose weights cannot be had, or whose training diverges at once, is recorded as "not run", with the reason.

    Args:
        folder: the run's, `runs/<name>`, or that of one fold.
        config: the study's.
        images: `image_id, path, sha256, label, split, drawn, group_id` of the images of the study.
        root: the folder that paths are relative to.
        key: of the weights, see `keys.fit_keys`.
        name: of the model in the config; "": that of the folder.
        weights_sha256: of the local weights file; empty where there is none.
        progress: told of every stage.

    Raises:
        ConfigError: no such architecture or device, or an impossible geometry.
        BestiaryError: the data changed, or a file cannot be written.
    """
    name = name or folder.name
    model, started_at = config.models[name], now_utc()
    names = class_names(images)
    status = RunStatus(
        name, model.kind.name, "done", key, started_at, "", package_versions()["bestiary"] or "", "", weights_sha256
    )
    chosen = model
    try:
        learner = build_learner(model, len(names), device=pick_device(config.device), label=name)
        chosen = _fit(learner, folder, images, names, name=name, root=root, key=key, progress=progress) or model
    except (WeightsError, TrainingError) as error:
        progress.say(f"  {name}: not run. {error}")
        status = replace(status, status="not run", reason=str(error))
    status = replace(status, finished_at=now_utc())
    write_status(folder, status, chosen)
    # The record is whole: only now may the checkpoint go.
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return status


def class_names(images: pd.DataFrame) -> list[str]:
    """The classes that a model is fitted on: those of train, in alphabetical order."""
    return sorted(images.loc[images["split"] == "train", "label"].unique())


def _fit(
    learner: Learner,
    folder: Path,
    images: pd.DataFrame,
    names: Sequence[str],
    *,
    name: str,
    root: Path,
    key: str,
    progress: Progress,
) -> ModelConfig | None:
    """Fit, save the weights, then see what they say of val and test; returns the config with what a sweep chose."""
    clock, images = Clock(), in_order(images)
    learner.prepare(images, root, clock=clock, progress=progress)
    start = time.perf_counter()
    outcome = learner.fit(
        labelled(images, ("train",), names),
        labelled(images, ("val",), names),
        checkpoint=folder / CHECKPOINT,
        key=key,
        progress=progress,
    )
    clock.add("fit", time.perf_counter() - start)
    (folder / RUN).unlink(missing_ok=True)  # what is overwritten from here on is no longer its
    write_weights(folder / MODEL, learner.state())

    start = time.perf_counter()
    positions = np.flatnonzero(images["drawn"].isin(("val", "test")))
    logits = Logits(tuple(images["image_id"].iloc[positions]), tuple(names), learner.logits(positions))
    clock.add("score", time.perf_counter() - start)
    write_results(
        folder,
        environment=describe_environment(learner.describe()),
        history=outcome.history,
        fit=_found(name, names, outcome, clock, learner),
        logits=logits,
    )
    return outcome.chosen


def labelled(images: pd.DataFrame, splits: Collection[str], names: Sequence[str]) -> Labelled:
    """Those of the images that are in some splits and of a known class.

    Args:
        images: in the order in which they were prepared.
        splits: such as `("train",)`.
        names: of the classes, in the order of their numbers.
    """
    positions = np.flatnonzero(images["split"].isin(splits) & images["label"].isin(names))
    labels = pd.Index(names).get_indexer(images["label"].iloc[positions])
    # Numbered in the order of the images, which is that of their contents.
    groups = pd.factorize(images["group_id"].iloc[positions])[0]
    return Labelled(positions, np.asarray(labels, dtype=np.int64), groups.astype(np.int64))


def _found(name: str, names: Sequence[str], outcome: Outcome, clock: Clock, learner: Learner) -> dict[str, Any]:
    return {
        "model": name,
        "class_names": list(names),
        "parameters": outcome.parameters,
        "seconds": clock.seconds,
        "images_per_s": clock.images_per_s,
        "cached": clock.cached,
        "epochs": len(outcome.history),
        "best_epoch": outcome.best_epoch,
        "choices": outcome.choices,
        "geometries": [each["geometry"] for each in learner.describe().get("preprocessings", [])],
    }


def write_weights(path: Path, state: State) -> None:
    """Write what a learner fitted as safetensors, atomically."""
    write_bytes(path, save(state))


def add_logits(
    folder: Path, config: StudyConfig, images: pd.DataFrame, *, root: Path, progress: Progress = SILENT
) -> None:
    """Let the saved weights say of newly drawn val and test images what they think; nothing is trained.

    Args:
        folder: of a whole run.
        config: the study's.
        images: as in `fit_model`.
        root: the folder that paths are relative to.
        progress: told of every stage.

    Raises:
        StudyError: the weights do not fit the run's config.
    """
    record, logits = read_run(folder), read_logits(folder)
    new = in_order(lacking(logits.image_ids, images))
    model = read_model(record.config)
    learner = build_learner(
        model,
        len(logits.class_names),
        device=pick_device(config.device),
        label=folder.name,
        preprocessings=preprocessings_from(record.environment.get("preprocessings", [])),
    )
    try:
        learner.load(load_file(folder / MODEL))
    except (RuntimeError, SafetensorError) as error:
        raise StudyError(
            f"{folder / MODEL} does not fit its config ({error}): delete {folder} and train again"
        ) from error
    learner.prepare(new, root, clock=Clock(), progress=progress)
    values = np.concatenate([logits.values, learner.logits(np.arange(len(new)))])
    write_logits(folder, Logits((*logits.image_ids, *new["image_id"]), logits.class_names, values))
    write_status(folder, record.status, model)
