"""How the models were made: their runs, seconds by stage, and what they ran on.

In: a `StudyRecord`. Out: tables of the section "How it was made". Owns no file.
"""

from collections.abc import Mapping
from typing import Any

from bestiary.report.parts import Cell, Table
from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import cached_stages, total_seconds
from bestiary.report.words.wording import (
    DASH,
    is_number,
    listed,
    seconds,
    setting,
    when,
    whole,
)

_STAGES = ("pixels", "features", "activations", "fit", "score")


def runs_table(study: StudyRecord) -> Table:
    """When each run ended and the key of its weights, by which a later study sees that nothing has changed."""
    rows = [
        [
            run.name,
            when(run.run.get("started_at")),
            when(run.run.get("finished_at")),
            when(run.metrics.get("test_scored_at")),
            setting(run.run.get("bestiary_version")),
            setting(run.run.get("key")),
        ]
        for run in study.done
    ]
    columns = ["Model", "Started", "Finished", "Scored on test", "bestiary", "Key"]
    return Table(columns, rows, words=frozenset(range(6)), label="Runs", title="Runs")


def seconds_table(study: StudyRecord) -> Table:
    """Seconds by stage, a row a model, with images per second, or with what was read from a cache."""
    runs = [run for run in study.done if run.metrics.get("seconds")]
    stages = list(dict.fromkeys([*_STAGES, *(stage for run in runs for stage in run.metrics["seconds"])]))
    stages = [stage for stage in stages if any(is_number(run.metrics["seconds"].get(stage)) for run in runs)]
    rows: list[list[Cell | str]] = [
        [
            run.name,
            *(_stage_cell(run.metrics, stage) for stage in stages),
            seconds(total_seconds(run.metrics["seconds"])),
        ]
        for run in runs
    ]
    note = ""
    if any(cached_stages(run.metrics) for run in runs):
        note = (
            "What is marked as cached was read from the cache: another model, an earlier run or the audit had computed "
            "it. Its seconds are not included: alone, such a model would have taken longer."
        )
    return Table(["Model", *stages, "total"], rows, label="Seconds by stage", title="Seconds by stage", note=note)


def _stage_cell(figures: Mapping[str, Any], stage: str) -> Cell:
    rate = (figures.get("images_per_s") or {}).get(stage)
    notes = [f"{whole(rate)} images/s"] if is_number(rate) else []
    cached = {found.stage: found.images for found in cached_stages(figures)}
    if stage in cached:
        notes.append(f"{whole(cached[stage])} images cached" if cached[stage] else "cached")
    return Cell(seconds(figures["seconds"].get(stage)), *notes)


def shared_environment_table(study: StudyRecord) -> Table:
    """On what and with what all models ran."""
    shared, _ = _environment(study)
    loose = [run.name for run in study.done if run.environment.get("deterministic") is False]
    note = f"On this device {listed(loose)} may give slightly different figures when run again." if loose else ""
    words = frozenset({0, 1})
    return Table(
        ["All models", ""], shared, words=words, label="Environment of all models", title="Environment", note=note
    )


def environment_by_model_table(study: StudyRecord) -> Table:
    """What differs between the models' environments."""
    runs = [run for run in study.done if run.environment]
    _, differing = _environment(study)
    words = frozenset(range(len(runs) + 1))
    return Table(["By model", *(run.name for run in runs)], differing, words=words, label="Environment by model")


def _environment(study: StudyRecord) -> tuple[list[list[str]], list[list[str]]]:
    """Rows that all models share, as name and value; and rows that differ, with a value a model."""
    facts = [dict(_flatten(run.environment)) for run in study.done if run.environment]
    keys = list(dict.fromkeys(key for known in facts for key in known))
    rows = [[key, *(known.get(key, DASH) for known in facts)] for key in keys]
    shared = [row[:2] for row in rows if len(set(row[1:])) == 1]
    return shared, [row for row in rows if len(set(row[1:])) > 1]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            facts += _flatten(value, prefix="" if key in ("versions", "packages") else f"{key} ")
        elif value is not None:
            facts.append((name, setting(value)))
    return facts
