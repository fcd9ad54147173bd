"""The stages of a study, each declared once, in their order.

In: a study at work. Out: `STAGES`, from which `Study.run`, the single commands, their "run X first" errors and what is
up to date all follow.

To add a stage: an entry here, and the module with the functions that it names.
"""

import pandas as pd

from bestiary.data.bursts.notes import burst_notes
from bestiary.data.corrections.overlay import corrections_fingerprint
from bestiary.data.index import build_index, class_names, index_fingerprint, read_index, write_index
from bestiary.data.listing import read_listing
from bestiary.data.splits.rare_classes import FEWEST_IMAGES, apply_rare, is_rare
from bestiary.deploy.bundle import is_whole as is_whole_bundle
from bestiary.plurals import counted
from bestiary.report.stamp import report_fingerprint
from bestiary.runs.environment import bestiary_version
from bestiary.store.hashing import fingerprint
from bestiary.store.tables import table_fingerprint
from bestiary.study.audit_stage import (
    clusters_key,
    findings_key,
    has_clusters,
    has_findings,
    make_clusters,
    make_findings,
)
from bestiary.study.budget import refuse_short_budget
from bestiary.study.comparison import compare_runs, has_comparison, write_comparison
from bestiary.study.ensemble_stage import ensemble_key, has_ensemble, make_ensemble
from bestiary.study.folds_stage import (
    folds_key,
    has_folds,
    has_pooled,
    make_folds,
    make_pooled,
    pooled_key,
)
from bestiary.study.race_stage import has_race, make_race, race_key
from bestiary.study.refit_stage import has_refit, make_refit, refit_stage_key
from bestiary.study.run_stage import (
    all_figures_key,
    fits_key,
    has_figures,
    has_fits,
    keys_of_figures,
    make_figures,
    make_fits,
)
from bestiary.study.search_stage import has_search, make_search, search_key
from bestiary.study.seeds_stage import has_seeds, make_seeds, seeds_key
from bestiary.study.split_stage import has_splits, make_splits, splits_key
from bestiary.study.work import Stage, Work


def _make_index(work: Work, key: str) -> None:
    file = work.paths.index
    previous = read_index(work.paths.folder) if table_fingerprint(file) else None
    data = work.snapshot.config.data
    listing = read_listing(data)
    index = apply_rare(build_index(data, listing=listing, previous=previous, progress=work.progress), data.rare)
    if table_fingerprint(file) != index_fingerprint(index):
        write_index(work.paths.folder, index)
        _say_index(work, index, previous, notes=listing.notes)
    work.snapshot.put(index=index)


def _say_index(work: Work, index: pd.DataFrame, previous: pd.DataFrame | None, *, notes: list[str]) -> None:
    left_out = int((index["error"] != "").sum())
    names = class_names(index)
    for note in notes:
        work.progress.say(f"  {note}")
    work.progress.say(f"  {len(index) - left_out:,} images of {len(names)} classes; {left_out:,} files left out")
    for line in burst_notes(index):
        work.progress.say(f"  {line}")
    for label, size in index.loc[is_rare(index), "label"].value_counts().sort_index().items():
        few = counted(int(size), "image")
        work.progress.say(f"  class {label!r} is left out: {few} of {FEWEST_IMAGES} that a split needs (data.rare)")
    if previous is not None:
        known, now = set(previous["image_id"]), set(index["image_id"])
        work.progress.say(f"  the data changed: {len(now - known):,} files new, {len(known - now):,} gone")


def _comparison_key(work: Work) -> str:
    runs = {name: work.snapshot.run(name).status for name in work.snapshot.config.models}
    keys = keys_of_figures(work)
    ended = [[name, keys.get(name, [run.status, run.reason])] for name, run in runs.items()]
    return fingerprint([ended, work.key("pooled"), work.key("seeds"), "comparison 5"])


def _make_comparison(work: Work, key: str) -> None:
    comparison = compare_runs(work.snapshot)
    work.snapshot.put(comparison=write_comparison(work.paths, comparison, key=key))


def _report_key(work: Work) -> str:
    snapshot = work.snapshot
    # Where there is no audit, or an outdated one, the report says so.
    audit = [table_fingerprint(work.paths.findings), work.key("audit")]
    corrections = corrections_fingerprint(snapshot.corrections)
    settings = snapshot.config.report.model_dump(mode="json")
    made_from = [work.key("compare"), index_fingerprint(snapshot.index), audit, corrections, settings]
    return fingerprint([made_from, *map(work.key, ("refit", "race", "search")), bestiary_version()])


def _make_report(work: Work, key: str) -> None:
    from bestiary.report.page import write_report

    work.progress.say("  report")
    write_report(work.snapshot, fingerprint=key, audit_key=work.key("audit"))


def _export_key(work: Work) -> str:
    settings = work.snapshot.config.export.model_dump(mode="json")
    # The card says how images were split.
    keys = [work.key(stage) for stage in ("compare", "split", "refit")]
    return fingerprint([keys, settings, bestiary_version()])


def _make_export(work: Work, key: str) -> None:
    from bestiary.deploy.export import export_model

    work.progress.say(f"  export {work.snapshot.config.export.model} to {work.paths.model.name}/")
    export_model(work.snapshot, key=key)


_ALL = (
    Stage(
        name="index",
        command="index",
        makes="index",
        needs=lambda work: (),
        key=lambda work: "",
        is_there=lambda paths: paths.index.exists(),
        # What changed in the data since is looked for by its own command.
        is_current=lambda work, key: True,
        make=_make_index,
        always=True,
    ),
    Stage(
        name="budget",
        command="study",
        makes="budget",
        needs=lambda work: ("index",),
        key=lambda work: "",
        is_there=lambda paths: paths.index.exists(),
        is_current=lambda work, key: work.paths.findings.exists(),
        make=refuse_short_budget,
        in_run=lambda work: work.snapshot.config.search.budget_s > 0,
    ),
    Stage(
        name="clusters",
        command="audit",
        makes="search for copies",
        needs=lambda work: ("index",),
        key=clusters_key,
        is_there=lambda paths: paths.clusters.exists(),
        is_current=has_clusters,
        make=make_clusters,
        in_run=lambda work: work.snapshot.config.audit.enabled,
    ),
    Stage(
        name="audit",
        command="audit",
        makes="audit",
        needs=lambda work: ("index", "clusters"),
        key=findings_key,
        is_there=lambda paths: paths.findings.exists(),
        is_current=has_findings,
        make=make_findings,
        in_run=lambda work: work.snapshot.config.audit.enabled,
    ),
    Stage(
        name="split",
        command="split",
        makes="split",
        needs=lambda work: (
            ("index",) if work.snapshot.config.split.group_duplicates == "exact" else ("index", "clusters")
        ),
        key=splits_key,
        is_there=lambda paths: paths.splits.exists(),
        is_current=has_splits,
        make=make_splits,
    ),
    Stage(
        name="train",
        command="train",
        makes="training",
        needs=lambda work: ("split",) if work.snapshot.config.train.doubted_labels == "keep" else ("audit", "split"),
        key=fits_key,
        is_there=lambda paths: paths.runs.exists(),
        is_current=has_fits,
        make=make_fits,
        always=True,
    ),
    Stage(
        name="race",
        command="race",
        makes="race of backbones",
        needs=lambda work: ("split",),
        key=race_key,
        is_there=lambda paths: paths.race.exists(),
        is_current=has_race,
        make=make_race,
        in_run=lambda work: work.snapshot.config.search.asked,
    ),
    Stage(
        name="search",
        command="search",
        makes="search",
        needs=lambda work: ("race",),
        key=search_key,
        is_there=lambda paths: paths.search.exists(),
        is_current=has_search,
        make=make_search,
        in_run=lambda work: work.snapshot.config.search.asked,
    ),
    Stage(
        name="finalists",
        command="train",
        makes="training of what the search found",
        needs=lambda work: ("search",),
        key=fits_key,
        is_there=lambda paths: paths.runs.exists(),
        is_current=lambda work, key: False,
        make=make_fits,
        in_run=lambda work: work.snapshot.config.search.asked,
    ),
    Stage(
        name="folds",
        command="train",
        makes="cross-validation",
        needs=lambda work: ("train",),
        key=folds_key,
        is_there=lambda paths: paths.runs.exists(),
        is_current=has_folds,
        make=make_folds,
        in_run=lambda work: bool(work.snapshot.config.split.folds),
    ),
    Stage(
        name="seeds",
        command="train",
        makes="fits with further seeds",
        needs=lambda work: ("train",),
        key=seeds_key,
        is_there=lambda paths: paths.runs.exists(),
        is_current=has_seeds,
        make=make_seeds,
        in_run=lambda work: work.snapshot.config.train.seeds > 1,
    ),
    Stage(
        name="ensemble",
        command="compare",
        makes="ensemble",
        needs=lambda work: ("train",),
        key=ensemble_key,
        is_there=lambda paths: paths.ensemble.exists(),
        is_current=has_ensemble,
        make=make_ensemble,
        on_demand=True,
    ),
    Stage(
        name="figures",
        command="compare",
        makes="evaluation",
        needs=lambda work: ("ensemble",),
        key=all_figures_key,
        is_there=lambda paths: paths.runs.exists(),
        is_current=has_figures,
        make=make_figures,
        on_demand=True,
    ),
    Stage(
        name="pooled",
        command="compare",
        makes="evaluation over folds",
        needs=lambda work: ("figures", "folds") if work.snapshot.config.split.folds else ("figures",),
        key=pooled_key,
        is_there=lambda paths: paths.runs.exists(),
        is_current=has_pooled,
        make=make_pooled,
        on_demand=True,
    ),
    Stage(
        name="compare",
        command="compare",
        makes="comparison",
        needs=lambda work: ("pooled", "seeds") if work.snapshot.config.train.seeds > 1 else ("pooled",),
        key=_comparison_key,
        is_there=lambda paths: paths.comparison.exists(),
        is_current=lambda work, key: has_comparison(work.snapshot, key),
        make=_make_comparison,
        on_demand=True,
    ),
    Stage(
        name="refit",
        command="export",
        makes="refitted model",
        needs=lambda work: ("compare",),
        key=refit_stage_key,
        is_there=lambda paths: paths.runs.exists(),
        is_current=has_refit,
        make=make_refit,
        on_demand=True,
    ),
    Stage(
        name="report",
        command="report",
        makes="report",
        needs=lambda work: ("compare", "refit"),
        key=_report_key,
        is_there=lambda paths: paths.report.exists(),
        is_current=lambda work, key: report_fingerprint(work.paths.report) == key,
        make=_make_report,
    ),
    Stage(
        name="export",
        command="export",
        makes="exported model",
        needs=lambda work: ("compare", "refit"),
        key=_export_key,
        is_there=lambda paths: paths.model.exists(),
        is_current=lambda work, key: is_whole_bundle(work.paths.model, fingerprint=key),
        make=_make_export,
        in_run=lambda work: work.snapshot.comparison["winner"] is not None,
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _ALL}
