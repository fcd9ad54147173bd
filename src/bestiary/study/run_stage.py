"""Runs as stages of a study: models fitted where what they depend on changed, figures made where labels changed.

In: a study at work. Out: `runs/<model>/`, through `runs.fit` and `runs.evaluation`.
"""

from pathlib import Path
from typing import cast

import pandas as pd

from bestiary.config.schema import StudyConfig
from bestiary.errors import StudyError
from bestiary.runs.doubted import without_doubted
from bestiary.runs.evaluation import evaluate_run, lacking
from bestiary.runs.keys import figures_key, fit_keys, is_local, weights_digest
from bestiary.runs.record import is_older, is_whole, logits_digest, read_figures, read_scored_ids, read_status
from bestiary.store.hashing import fingerprint
from bestiary.study.work import Work


def images_to_fit(work: Work) -> pd.DataFrame:
    """The images of the study, without a split where `train.doubted_labels` leaves them out."""

    def compute() -> pd.DataFrame:
        snapshot = work.snapshot
        if snapshot.config.train.doubted_labels == "keep":
            return snapshot.images
        return without_doubted(snapshot.images, snapshot.findings)

    return cast(pd.DataFrame, work.remember("images to fit", compute))


def keys_of_fits(work: Work) -> dict[str, str]:
    """What each model's weights depend on, by model."""

    def compute() -> dict[str, str]:
        return fit_keys(work.snapshot.config, images_to_fit(work), digests=digests_of_weights(work))

    return cast(dict[str, str], work.remember("fit keys", compute))


def digests_of_weights(work: Work) -> dict[str, str]:
    """The content of each model's local weights file; where it is gone, what the run that it began says it was."""

    def compute() -> dict[str, str]:
        config: StudyConfig = work.snapshot.config
        found = {}
        for name, model in config.models.items():
            found[name] = weights_digest(model.weights) if is_local(model.weights) else ""
            if is_local(model.weights) and not found[name]:
                status = read_status(work.paths.run(name))
                found[name] = status.weights_sha256 if status else ""
        return found

    return cast(dict[str, str], work.remember("weights digests", compute))


def is_due(folder: Path, key: str) -> bool:
    """Whether a run is missing, of other inputs, or not whole."""
    status = read_status(folder)
    return status is None or status.key != key or (status.status == "done" and not is_whole(folder))


def fits_key(work: Work) -> str:
    """Of all models."""
    return fingerprint(keys_of_fits(work))


def has_fits(work: Work, key: str) -> bool:
    """Whether every model was fitted on these images with these settings, whole, or could not be.

    Raises:
        StudyError: one was not, or on other data or with other settings, or lacks files or images; names it.
    """
    folder = work.paths.folder
    for name, wanted in keys_of_fits(work).items():
        run, again = work.paths.run(name), f"run `bestiary train {folder}`"
        status = read_status(run)
        if status is None:
            why = "was trained by an older bestiary" if is_older(run) else "has not been trained"
            raise StudyError(f"model {name!r} {why}: {again}")
        if status.key != wanted:
            raise StudyError(f"model {name!r} is of other data or settings: {again}")
        if status.status == "done" and not is_whole(run):
            raise StudyError(f"the run of model {name!r} is incomplete or altered: {again}")
        if status.status == "done" and len(lacking(read_scored_ids(run), work.snapshot.images)):
            raise StudyError(f"model {name!r} has not seen images that came since: {again}")
    return True


def make_fits(work: Work, key: str) -> None:
    """Fit the models that are asked for and not complete; let the others see test images that came since."""
    snapshot, keys = work.snapshot, keys_of_fits(work)
    due, short = [], []
    for name in (name for name in work.models if name in keys):
        status = read_status(work.paths.run(name))
        if status is None or status.key != keys[name] or not is_whole(work.paths.run(name)):
            due.append(name)
        elif len(lacking(read_scored_ids(work.paths.run(name)), snapshot.images)):
            short.append(name)
    if not due and not short:
        return
    # torch and timm take seconds to import; a study with nothing to do is spared them.
    from bestiary.models.backbones import check_backbone
    from bestiary.models.partial.trainable import check_trainable
    from bestiary.runs.fit import add_logits, fit_model

    for name in due:
        for member in snapshot.config.models[name].members:
            check_backbone(member.backbone)
        check_trainable(snapshot.config.models[name])
    for name in due:
        fit_model(
            work.paths.run(name),
            snapshot.config,
            images_to_fit(work),
            root=snapshot.data_root,
            key=keys[name],
            weights_sha256=digests_of_weights(work)[name],
            progress=work.progress,
        )
        snapshot.forget_run(name)
    for name in short:
        add_logits(
            work.paths.run(name), snapshot.config, snapshot.images, root=snapshot.data_root, progress=work.progress
        )
        snapshot.forget_run(name)


def keys_of_figures(work: Work) -> dict[str, str]:
    """What each model's figures depend on, by model; models that could not be run have none."""

    def compute() -> dict[str, str]:
        keys = {}
        for name in work.snapshot.config.models:
            run = work.snapshot.run(name)
            if run.done:
                digest = logits_digest(work.paths.run(name))
                keys[name] = figures_key(run.status.key, digest, work.snapshot.images)
        return keys

    return cast(dict[str, str], work.remember("figure keys", compute))


def all_figures_key(work: Work) -> str:
    """Of all models."""
    return fingerprint(keys_of_figures(work))


def has_figures(work: Work, key: str) -> bool:
    """Whether the figures of every model are of these labels and groups."""
    return all(work.snapshot.run(name).figures.get("key") == own for name, own in keys_of_figures(work).items())


def make_figures(work: Work, key: str) -> None:
    """Evaluate the models whose logits, labels or groups changed."""
    for name, own in keys_of_figures(work).items():
        folder = work.paths.run(name)
        if read_figures(folder).get("key") != own:
            evaluate_run(folder, work.snapshot.images, key=own, fit_key=work.snapshot.run(name).status.key)
            work.snapshot.forget_run(name)
