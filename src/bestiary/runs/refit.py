"""Refit: a fitted model and its choices → the same model, fitted once more on all labelled images.

In: a run on disk, and images with labels. Out: `refit.safetensors` and `refit.json` in the run's folder, see `record`.

Figures are of the model before: no image is left to measure this one on. What is said of it is how far the two agree
on the test images, which the refitted one has seen.
"""

import time
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.config.ensemble_schema import read_model
from bestiary.config.schema import StudyConfig
from bestiary.errors import StudyError, TrainingError, WeightsError
from bestiary.models.devices import pick_device
from bestiary.models.learner import Outcome, build_learner
from bestiary.models.training.state import Epoch
from bestiary.plurals import counted
from bestiary.progress import SILENT, Progress
from bestiary.runs.evaluation import logits_of
from bestiary.runs.fit import labelled, write_weights
from bestiary.runs.fit_order import in_order
from bestiary.runs.keys import REFIT_SPLITS
from bestiary.runs.record import REFIT_WEIGHTS, RunRecord, read_logits, write_refit
from bestiary.timing import Clock


def refit_model(
    folder: Path,
    config: StudyConfig,
    images: pd.DataFrame,
    run: RunRecord,
    *,
    root: Path,
    which: str,
    key: str,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Fit a model once more, and write its record.

    Args:
        folder: the run's.
        config: the study's.
        images: as in `fit.fit_model`.
        run: whose choices are kept.
        root: the folder that paths are relative to.
        which: `all` or `train+val`.
        key: see `keys.refit_key`.
        progress: told of every stage.

    Raises:
        StudyError: the weights that it began with cannot be had again, or training diverged.
    """
    model, images, names = read_model(run.config), in_order(images), run.fit["class_names"]
    start = time.perf_counter()
    try:
        learner = build_learner(model, len(names), device=pick_device(config.device), label=folder.name)
        learner.prepare(images, root, clock=Clock(), progress=progress)
        used = labelled(images, REFIT_SPLITS[which], names)
        history = tuple(Epoch(**row) for row in run.history.to_dict("records"))
        learner.refit(used, Outcome(history, run.fit["best_epoch"], run.fit["choices"]), progress=progress)
    except (WeightsError, TrainingError) as error:
        raise StudyError(
            f'{folder.name} cannot be refitted: {error}. With export.refit = "none" it is exported as it was measured'
        ) from error
    seconds = time.perf_counter() - start
    write_weights(folder / REFIT_WEIGHTS, learner.state())
    test = labelled(images, ("test",), names)
    before = logits_of(read_logits(folder), images["image_id"].iloc[test.positions])
    agreed = int((learner.logits(test.positions).argmax(axis=1) == before.argmax(axis=1)).sum())
    fitted_before = int((images["split"] == "train").sum())
    content = {
        "which": which,
        "images": len(used.positions),
        "images_before": fitted_before,
        "test_images": len(test.positions),
        "test_agreed": agreed,
        "seconds": seconds,
    }
    write_refit(folder, content, key=key)
    share = agreed / max(len(test.positions), 1)
    fitted_on = counted(len(used.positions), "image")
    progress.say(f"  refit {folder.name} on {fitted_on}: it agrees with the measured one on {share:.1%} of test")
    return content
