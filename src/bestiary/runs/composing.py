"""Composing: fitted models and the labels of val → an ensemble, where one wins, as a run like any other. No torch.

In: the runs of a study, and images with labels, splits and groups. Out: the run's folder (see `record`).

The shares are chosen on val, which also ranks models. So the run's logits of a val image are those of an ensemble that
was chosen without the image's fold: its figures on val are of the procedure, not of the fit.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import load_file, save

from bestiary.config.ensemble_schema import (
    ComposedModel,
    EnsembleMember,
    common_precision,
    compose,
    member_prefix,
    read_model,
)
from bestiary.evaluate.greedy_selection import (
    CrossFitted,
    Selection,
    accuracy_of,
    cross_fit,
    mix,
    select_greedily,
    why_left_out,
)
from bestiary.runs.environment import package_versions
from bestiary.runs.evaluation import class_numbers, group_numbers, logits_of
from bestiary.runs.record import (
    MODEL,
    RUN,
    Logits,
    RunRecord,
    RunStatus,
    read_logits,
    write_results,
    write_status,
)
from bestiary.store.files import write_bytes
from bestiary.timing import now_utc

_NOT_PARAMETERS = (".running_mean", ".running_var", ".num_batches_tracked", "backbone.shift", "backbone.scale")


@dataclass(frozen=True)
class Candidates:
    """The models that an ensemble may have.

    Attributes:
        runs: by name.
        folders: of the runs.
        logits: of val and test.
        class_names: of all.
    """

    runs: Mapping[str, RunRecord]
    folders: Mapping[str, Path]
    logits: Mapping[str, Logits]
    class_names: tuple[str, ...]


def read_candidates(runs: Mapping[str, RunRecord], folders: Mapping[str, Path]) -> Candidates:
    """The models with what they say of val and test; of those with other classes than the first, none."""
    logits = {name: read_logits(folders[name]) for name in runs}
    names = next(iter(logits.values())).class_names
    kept = {name: run for name, run in runs.items() if logits[name].class_names == names}
    return Candidates(kept, folders, {name: logits[name] for name in kept}, names)


@dataclass(frozen=True)
class Found:
    """What greedy selection came to.

    Attributes:
        chosen: shares and temperatures in the order of the candidates, on all of val.
        judged: cross-fitted.
        accuracy: of the ensemble on val, cross-fitted.
        best_accuracy: the highest of a single model on val.
        reason: why the ensemble does not win; empty where it does.
    """

    chosen: Selection
    judged: CrossFitted
    accuracy: float
    best_accuracy: float
    reason: str

    @property
    def kept(self) -> bool:
        """Whether the ensemble wins."""
        return not self.reason


def choose_ensemble(candidates: Candidates, images: pd.DataFrame, *, rounds: int, seed: int = 0) -> Found | str:
    """Choose on val, and say whether the ensemble wins (see `greedy_selection.why_left_out`).

    Args:
        candidates: two or more.
        images: `image_id, label, split, group_id`.
        rounds: of greedy selection.
        seed: of the folds.

    Returns:
        What was found, or why nothing can be said.
    """
    val = images[(images["split"] == "val") & images["label"].isin(candidates.class_names)]
    labels = class_numbers(val["label"], candidates.class_names)
    said = [logits_of(logits, val["image_id"]) for logits in candidates.logits.values()]
    judged = cross_fit(said, labels, group_numbers(val), rounds=rounds, seed=seed) if len(labels) else None
    if judged is None:
        return "the validation images leave no two folds to choose by"
    chosen = select_greedily(said, labels, rounds=rounds)
    best = max(accuracy_of(one, labels) for one in said)
    reason = why_left_out(chosen, judged, said, labels)
    return Found(chosen, judged, accuracy_of(judged.ensemble, labels), best, reason)


def config_of(candidates: Candidates, chosen: Selection) -> ComposedModel:
    """The config of the ensemble; the largest share comes first."""
    order = [int(number) for number in np.argsort(-chosen.shares, kind="stable") if chosen.shares[number] > 0]
    names = list(candidates.runs)
    return compose(
        tuple(
            EnsembleMember(
                model=names[number],
                share=float(chosen.shares[number]),
                temperature=float(chosen.temperatures[number]),
                config=read_model(candidates.runs[names[number]].config),
            )
            for number in order
        )
    )


def write_run(
    folder: Path, candidates: Candidates, found: Found, config: ComposedModel, images: pd.DataFrame, *, key: str
) -> None:
    """Write the run of an ensemble.

    Args:
        folder: of the run.
        candidates: the models.
        found: that is kept.
        config: of the ensemble.
        images: `image_id, label, split`.
        key: of the ensemble.
    """
    started_at = now_utc()
    members = [candidates.runs[member.model] for member in config.ensemble]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).unlink(missing_ok=True)  # what is overwritten from here on is no longer its
    state, environment = _state(config, candidates.folders), _environment(config, members)
    write_bytes(folder / MODEL, save(state))
    write_results(
        folder,
        environment=environment,
        history=(),
        fit={
            "model": folder.name,
            "class_names": list(candidates.class_names),
            "geometries": [each["geometry"] for each in environment["preprocessings"]],
            **_fit(config, members, found, state),
        },
        logits=_logits(candidates, found, images),
    )
    status = RunStatus(
        folder.name, config.kind.name, "done", key, started_at, now_utc(), package_versions()["bestiary"] or ""
    )
    write_status(folder, status, config)


def _state(config: ComposedModel, folders: Mapping[str, Path]) -> dict[str, npt.NDArray[Any]]:
    """As `models.ensembled` takes it."""
    again = tuple(config.repeated)
    return {
        f"{member_prefix(number)}{name}": tensor
        for number, member in enumerate(config.ensemble)
        for name, tensor in load_file(folders[member.model] / MODEL).items()
        if not f"{member_prefix(number)}{name}".startswith(again)
    }


def _environment(config: ComposedModel, members: list[RunRecord]) -> dict[str, Any]:
    seen: dict[int, Any] = {}
    for run, own in zip(members, config.places, strict=True):
        seen |= dict(zip(own, run.environment["preprocessings"], strict=True))
    return {
        **members[0].environment,
        "engine": ", ".join(dict.fromkeys(str(run.environment["engine"]) for run in members)),
        "precision": common_precision(str(run.environment["precision"]) for run in members),
        "preprocessings": [seen[number] for number in range(len(seen))],
    }


def _fit(
    config: ComposedModel, members: list[RunRecord], found: Found, state: Mapping[str, npt.NDArray[Any]]
) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    for run in members:
        for stage, spent in run.fit["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    return {
        "parameters": {
            "total": sum(int(math.prod(one.shape)) for key, one in state.items() if not key.endswith(_NOT_PARAMETERS)),
            "trainable": sum(run.fit["parameters"]["trainable"] for run in members),
        },
        # What its members took together.
        "seconds": seconds,
        "images_per_s": {},
        "cached": {},
        "epochs": 0,
        "best_epoch": 0,
        "choices": {
            "members": [
                {
                    "model": member.model,
                    "share": member.share,
                    "temperature": member.temperature,
                    "best_epoch": run.fit["best_epoch"],
                    "choices": run.fit["choices"],
                    "history": run.history.iloc[: run.fit["best_epoch"]].to_dict("records"),
                }
                for member, run in zip(config.ensemble, members, strict=True)
            ],
            "gain": asdict(found.judged.gain),
        },
    }


def _logits(candidates: Candidates, found: Found, images: pd.DataFrame) -> Logits:
    """Of val images those of the cross-fit, of all others those of the ensemble."""
    ids = next(iter(candidates.logits.values())).image_ids
    values = mix([logits_of(logits, pd.Series(ids)) for logits in candidates.logits.values()], found.chosen)
    val = images[(images["split"] == "val") & images["label"].isin(candidates.class_names)]
    place = {image_id: number for number, image_id in enumerate(ids)}
    values[[place[image_id] for image_id in val["image_id"]]] = found.judged.ensemble
    return Logits(ids, candidates.class_names, values.astype(np.float32))
