"""One model's config → one run.

In: index, splits and a config. Out: the run's record on disk (see `runs`). Training sees the labels of train and val.
The test split is scored once, after the weights are fixed and saved, and the record says when. Labels are those of the
corrected index; where corrections touch the test split, the same probabilities give the figures on labels as given too.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import save

from bestiary.config.schema import ModelConfig, StudyConfig
from bestiary.data.datasets import data_root
from bestiary.data.index import class_names
from bestiary.errors import TrainingError, WeightsError
from bestiary.evaluate.metrics import as_given_metrics, split_metrics
from bestiary.models.classifier import Classifier
from bestiary.models.devices import pick_device
from bestiary.models.learners import Labelled, Learner, Outcome, Probabilities, build_learner
from bestiary.progress import SILENT, Progress
from bestiary.runs import record as runs
from bestiary.runs.environment import describe_environment, package_versions
from bestiary.store.files import write_bytes
from bestiary.timing import Clock, now_utc


def run_model(
    study_dir: Path,
    name: str,
    *,
    key: str,
    config: StudyConfig,
    index: pd.DataFrame,
    splits: pd.DataFrame,
    progress: Progress = SILENT,
) -> runs.RunStatus:
    """Train one model of a study, score it once on test, and write its record.

    A model whose weights cannot be had, or whose training diverges at once, is recorded as "not run", with the reason.

    Args:
        study_dir: the study's folder.
        name: one of `config.models`.
        key: the run's fingerprint, see `runs.run_fingerprints`.
        config: the study's.
        index: all files, with corrections.
        splits: which image is in which split; see `splits.without`.
        progress: told of every stage.

    Raises:
        ConfigError: no such architecture or device, or an impossible geometry.
        BestiaryError: the data changed, or a file cannot be written.
    """
    model, started_at = config.models[name], now_utc()
    version = package_versions()["bestiary"] or ""
    try:
        learner = build_learner(model, len(class_names(index)), device=pick_device(config.device), label=name)
        scored_at, settled = _fit_and_score(
            learner, study_dir, name, key=key, config=config, index=index, splits=splits, progress=progress
        )
    except (WeightsError, TrainingError) as error:
        progress.say(f"  {name}: not run. {error}")
        settled = model
        status = runs.RunStatus(name, "not run", key, started_at, now_utc(), version, reason=str(error))
    else:
        status = runs.RunStatus(name, "done", key, started_at, now_utc(), version, test_scored_at=scored_at)
    runs.write_status(study_dir, status, settled)
    # The record is whole: only now may the checkpoint go.
    (runs.run_dir(study_dir, name) / runs.CHECKPOINT).unlink(missing_ok=True)
    return status


def _fit_and_score(
    learner: Learner,
    study_dir: Path,
    name: str,
    *,
    key: str,
    config: StudyConfig,
    index: pd.DataFrame,
    splits: pd.DataFrame,
    progress: Progress,
) -> tuple[str, ModelConfig]:
    """When test was scored, and the config with what a sweep chose."""
    names, clock, folder = class_names(index), Clock(), runs.run_dir(study_dir, name)
    images = _images(index, splits)
    learner.prepare(images, data_root(config.data.path), clock=clock, progress=progress)

    start = time.perf_counter()
    outcome = learner.fit(
        _labelled(images, "train", names),
        _labelled(images, "val", names),
        checkpoint=folder / runs.CHECKPOINT,
        key=key,
        progress=progress,
    )
    clock.add("fit", time.perf_counter() - start, images=0)
    if learner.classifier is not None:
        save_classifier(folder / runs.MODEL, learner.classifier)
    val_table, val_metrics, _ = _score(learner, images, "val", names)

    scored_at = now_utc()
    start = time.perf_counter()
    test_table, test_metrics, as_given = _score(learner, images, "test", names)
    clock.add("score", time.perf_counter() - start, images=0)

    runs.write_results(
        study_dir,
        name,
        environment=describe_environment(learner.describe()),
        history=outcome.history,
        metrics={
            **_metrics(name, names, outcome, clock, learner, val=val_metrics, test=test_metrics, scored_at=scored_at),
            "test_as_given": as_given,
        },
        predictions=pd.concat([val_table, test_table], ignore_index=True),
    )
    return scored_at, outcome.settled or config.models[name]


def _images(index: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """The images to prepare: those of a split, and dropped ones that were drawn into test (their `split` is "")."""
    drawn = splits["drawn"] if "drawn" in splits else splits["split"]
    places = splits[["image_id", "split"]].assign(drawn=drawn)
    places = places[(places["split"] != "") | (drawn == "test")]
    images = places.merge(index, on="image_id", how="left", validate="one_to_one")
    return images if "label_given" in images else images.assign(label_given=images["label"])


def _labelled(images: pd.DataFrame, split: str, names: Sequence[str]) -> Labelled:
    positions = np.flatnonzero(images["split"] == split)
    return Labelled(positions, _class_numbers(images.iloc[positions]["label"], names))


def _class_numbers(labels: pd.Series, names: Sequence[str]) -> Any:
    return pd.Categorical(labels, categories=list(names)).codes.astype(np.int64)


def _score(
    learner: Learner, images: pd.DataFrame, split: str, names: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any] | None]:
    """Predictions and figures of one split, and those on labels as given where corrections touch it.

    The only place where a split's labels meet probabilities.
    """
    drawn = images[images["drawn"] == split]
    probabilities: Probabilities = learner.probabilities(drawn.index.to_numpy(dtype=np.int64))
    kept = (drawn["split"] == split).to_numpy()
    rows = drawn[kept]
    table = runs.predictions_table(rows, probabilities[kept], names)
    figures = split_metrics(_class_numbers(rows["label"], names), probabilities[kept], class_names=names)
    relabelled, dropped = int((rows["label"] != rows["label_given"]).sum()), int((~kept).sum())
    if not relabelled and not dropped:
        return table, figures, None
    given = _class_numbers(drawn["label_given"], names)
    return table, figures, as_given_metrics(given, probabilities, relabelled=relabelled, dropped=dropped)


def _metrics(
    name: str,
    names: Sequence[str],
    outcome: Outcome,
    clock: Clock,
    learner: Learner,
    *,
    val: dict[str, Any],
    test: dict[str, Any],
    scored_at: str,
) -> dict[str, Any]:
    preprocessing = learner.describe().get("preprocessing", {})
    return {
        "model": name,
        "class_names": list(names),
        "val": val,
        "test": test,
        "test_scored_at": scored_at,
        "parameters": outcome.parameters,
        "seconds": clock.seconds,
        "images_per_s": clock.images_per_s,
        "epochs": len(outcome.history),
        "best_epoch": outcome.best_epoch,
        "choices": outcome.choices,
        "geometry": preprocessing.get("geometry", {}),
    }


def save_classifier(path: Path, classifier: Classifier) -> None:
    """Write the weights as safetensors, atomically."""
    state = {key: value.detach().to("cpu").contiguous().clone() for key, value in classifier.state_dict().items()}
    write_bytes(path, save(state))
