"""The ensemble as a stage of a study: what was fitted anyway, put together where that wins on val.

In: a study at work. Out: `ensemble.json`, and `runs/ensemble/` where it is kept, through `runs.composing`.
"""

from pathlib import Path
from typing import Any

from bestiary.data.groups import least_of_group
from bestiary.runs.ensemble_record import NAME, is_asked, read_ensemble, with_ensemble, write_ensemble
from bestiary.runs.keys import content_id
from bestiary.runs.record import RunRecord, is_whole, logits_digest, read_status
from bestiary.store.hashing import fingerprint
from bestiary.study.work import Work

_RULES = "ensemble 2"


def _candidates(work: Work) -> tuple[dict[str, RunRecord], dict[str, Path]]:
    """The fitted models with a network of their own."""
    runs = {
        name: work.snapshot.run(name)
        for name, model in work.snapshot.config.models.items()
        if not model.kind.is_composed and not model.kind.is_baseline
    }
    runs = {name: run for name, run in runs.items() if run.done}
    return runs, {name: work.paths.run(name) for name in runs}


def ensemble_key(work: Work) -> str:
    """Of the models and of the labels and groups of val; empty where no ensemble is looked for."""
    if not is_asked(work.snapshot.config):
        return ""
    runs, folders = _candidates(work)
    models = [[name, run.status.key, logits_digest(folders[name])] for name, run in runs.items()]
    val = work.snapshot.images[work.snapshot.images["split"] == "val"]
    tied = least_of_group(val["image_id"], val["group_id"])
    rows = sorted(zip(map(content_id, val["image_id"]), val["label"], tied, strict=True))
    return fingerprint([models, rows, work.snapshot.config.ensemble.rounds, _RULES])


def has_ensemble(work: Work, key: str) -> bool:
    """Whether that of this key lies there, whole, or it is known that none wins."""
    found = read_ensemble(work.paths.ensemble) if key else {}
    if not key or (found.get("key") == key and not found["kept"]):
        return True
    status = read_status(work.paths.run(NAME))
    return found.get("key") == key and status is not None and status.key == key and is_whole(work.paths.run(NAME))


def make_ensemble(work: Work, key: str) -> None:
    """Choose, and write the run of the ensemble where it wins."""
    runs, folders = _candidates(work)
    content = _choose(work, runs, folders, key=key) if NAME not in runs else _not_kept(f"a model is named {NAME!r}")
    write_ensemble(work.paths.ensemble, content, key=key)
    work.snapshot.forget_run(NAME)
    config = with_ensemble(work.snapshot.config, content)
    if config != work.snapshot.config:
        work.adopt(config)


def _choose(work: Work, runs: dict[str, RunRecord], folders: dict[str, Path], *, key: str) -> dict[str, Any]:
    if len(runs) < 2:
        return _not_kept("there are no two models with a network")
    # Arrays and SciPy: a study with nothing to do is spared them.
    from bestiary.runs.composing import choose_ensemble, config_of, read_candidates, write_run

    candidates, images = read_candidates(runs, folders), work.snapshot.images
    if len(candidates.runs) < 2:
        return _not_kept("there are no two models of the same classes")
    found = choose_ensemble(candidates, images, rounds=work.snapshot.config.ensemble.rounds)
    if isinstance(found, str):
        return _not_kept(found)
    judged = {
        "gain": found.judged.gain.as_dict(),
        "accuracy": found.accuracy,
        "best_accuracy": found.best_accuracy,
        "images": int((images["split"] == "val").sum()),
        "tried": list(candidates.runs),
    }
    if not found.kept:
        return {**_not_kept(found.reason), **judged}
    config = config_of(candidates, found.chosen)
    write_run(work.paths.run(NAME), candidates, found, config, images, key=key)
    work.progress.say(f"  ensemble: {config.kind.describe(config.model_dump())}, kept")
    models = [member.model for member in config.ensemble]
    return {"kept": True, "reason": "", "models": models, "config": config.model_dump(mode="json"), **judged}


def _not_kept(reason: str) -> dict[str, Any]:
    return {"kept": False, "reason": reason, "models": [], "config": {}}
