"""The refit as a stage of a study: the model that is exported, fitted once more where `export.refit` asks for it.

In: a study at work. Out: `refit.json` and `refit.safetensors` of the exported model's run, through `runs.refit`.
"""

from bestiary.config.ensemble_schema import read_model
from bestiary.runs.keys import refit_key, which_images
from bestiary.runs.record import RunRecord, read_refit
from bestiary.study.run_stage import images_to_fit
from bestiary.study.work import Work


def exported_model(work: Work) -> str:
    """The name of the model that `export.model` means; empty where there is none with a network."""
    asked = work.snapshot.config.export.model
    name = work.snapshot.comparison["winner"] if asked == "winner" else asked
    if name is None or work.snapshot.config.models[name].kind.is_baseline or not work.snapshot.run(name).done:
        return ""
    return str(name)


def _asked(work: Work) -> tuple[RunRecord, str] | None:
    """The run to refit, and on which images; None where nothing is refitted."""
    name = exported_model(work)
    if not name:
        return None
    run = work.snapshot.run(name)
    which = which_images(work.snapshot.config.export.refit, read_model(run.config))
    return None if which == "none" else (run, which)


def refit_stage_key(work: Work) -> str:
    """Of the refitted weights; empty where nothing is refitted."""
    asked = _asked(work)
    return refit_key(asked[0], images_to_fit(work), asked[1]) if asked else ""


def has_refit(work: Work, key: str) -> bool:
    """Whether it lies there, whole; it then is in the snapshot."""
    found = read_refit(work.paths.run(exported_model(work)), key=key) if key else {}
    work.snapshot.put(refit=found)
    return bool(found) or not key


def make_refit(work: Work, key: str) -> None:
    """Refit, where that is asked for."""
    asked = _asked(work)
    if asked is None:
        return
    # torch takes seconds to import; a study with nothing to do is spared it.
    from bestiary.runs.refit import refit_model

    run, which = asked
    snapshot, folder = work.snapshot, work.paths.run(run.status.model)
    refit_model(
        folder, snapshot.config, images_to_fit(work), run,
        root=snapshot.data_root, which=which, key=key, progress=work.progress,
    )  # fmt: skip
    snapshot.put(refit=read_refit(folder, key=key))
