"""A snapshot of a study's folder → everything the report needs, in memory.

In: a `Snapshot`, of a whole study or of one with parts missing. Out: a `StudyRecord`. Owns no file; only reads.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.config.schema import StudyConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.index import is_dropped
from bestiary.errors import BestiaryError, StudyError
from bestiary.report.study_view import as_compared
from bestiary.runs.ensemble_record import is_asked, read_ensemble
from bestiary.runs.evaluation import predictions_table
from bestiary.runs.race_record import read_race
from bestiary.runs.record import read_logits
from bestiary.runs.search_record import read_search
from bestiary.snapshot import Snapshot

_NO_RUN = "not run yet"
_SPLIT_COLUMNS = ("image_id", "group_id", "split")


@dataclass(frozen=True)
class ModelRecord:
    """One model's run as it lies on disk; what is missing is empty."""

    name: str
    done: bool
    reason: str
    run: Mapping[str, Any]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def class_names(self) -> list[str]:
        return [str(name) for name in self.metrics.get("class_names") or []]

    def split(self, name: str) -> Mapping[str, Any]:
        """The figures of one split, empty where there are none."""
        return self.metrics.get(name) or {}


@dataclass(frozen=True)
class AuditRecord:
    """What the audit wrote: `findings` as in audit.parquet, `summary` as in audit.json (empty: missing)."""

    findings: pd.DataFrame
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class StudyRecord:
    """A study as it lies on disk. `runs` are in the order of the ranking, models without a figure last.

    Attributes:
        index: with corrections: `label` and `label_given`; dropped images carry an error.
        audit: None where the study has not been audited.
        data_root: None where the folder of the images is gone.
        compared: whether there is a comparison.
        corrections: by image id.
        skipped_corrections: how many further ones are about images that are gone.
        refit: what `refit.json` says of the exported model; empty where it was not refitted.
        race: what `race.json` holds; empty where there was no race.
        search: what `search.json` holds; empty where there was no search.
        ensemble: what `ensemble.json` holds; empty where none was looked for.
    """

    folder: Path
    config: StudyConfig
    index: pd.DataFrame
    splits: pd.DataFrame
    comparison: Mapping[str, Any]
    runs: list[ModelRecord]
    data_root: Path | None
    compared: bool = False
    audit: AuditRecord | None = None
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    skipped_corrections: int = 0
    refit: Mapping[str, Any] = field(default_factory=dict)
    race: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    ensemble: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> list[ModelRecord]:
        return [run for run in self.runs if run.done and run.metrics]

    @property
    def readable(self) -> pd.DataFrame:
        return self.index[self.index["error"] == ""]

    @property
    def unreadable(self) -> pd.DataFrame:
        """Files that are left out because they cannot be read."""
        return self.index[(self.index["error"] != "") & ~is_dropped(self.index)]

    @property
    def dropped(self) -> pd.DataFrame:
        """Images that a person took out."""
        return self.index[is_dropped(self.index)]

    @property
    def class_names(self) -> list[str]:
        """All class names, of the index and of the models, sorted."""
        names = {str(name) for name in self.readable["label"]}
        return sorted(names.union(*(run.class_names for run in self.done)))


def read_study(snapshot: Snapshot) -> StudyRecord:
    """What a study's folder holds, as the report needs it.

    Splits, audit, comparison and any run may be missing: the report says so and goes on.

    Args:
        snapshot: of the folder.

    Raises:
        StudyError: there is no index.parquet; says which command makes it.
        BestiaryError: a file is damaged; names it.
    """
    paths, config = snapshot.paths, snapshot.config
    if not paths.index.is_file():
        raise StudyError(
            f"{paths.folder} has no {paths.index.name}: make the study first with "
            f"`bestiary study DATA --out {paths.folder}`"
        )
    has_splits = paths.splits.is_file()
    comparison = snapshot.comparison if paths.comparison.is_file() else {}
    records = {name: _read_run(snapshot, name, comparison, has_splits=has_splits) for name in config.models}
    ranked = [m["model"] for m in comparison.get("models") or [] if m["model"] in records]
    rest = sorted((name for name in records if name not in ranked), key=lambda name: not records[name].done)
    summary = snapshot.summary if paths.audit_summary.is_file() else {}
    audit = AuditRecord(snapshot.findings, summary) if paths.findings.is_file() else None
    return StudyRecord(
        folder=paths.folder,
        config=config,
        index=snapshot.corrected,
        splits=snapshot.splits if has_splits else pd.DataFrame(columns=list(_SPLIT_COLUMNS)),
        comparison=as_compared(_complete(comparison, records)),
        compared=bool(comparison),
        runs=[records[name] for name in (*ranked, *rest)],
        data_root=_data_root(snapshot),
        audit=audit,
        corrections=snapshot.decisions,
        skipped_corrections=len(snapshot.skipped_corrections),
        refit=snapshot.refit,
        race=read_race(paths.race) if config.search.asked else {},
        search=read_search(paths.search) if config.search.asked else {},
        ensemble=read_ensemble(paths.ensemble) if is_asked(config) else {},
    )


def _read_run(snapshot: Snapshot, name: str, comparison: Mapping[str, Any], *, has_splits: bool) -> ModelRecord:
    if not snapshot.has_run(name):
        reasons = {entry["model"]: entry.get("reason", "") for entry in comparison.get("not_run") or []}
        nothing = pd.DataFrame()
        return ModelRecord(name, False, reasons.get(name) or _NO_RUN, {}, {}, {}, {}, nothing, nothing)
    record = snapshot.run(name)
    predictions = pd.DataFrame(columns=["image_id", "split", "y_true", "y_pred"])
    if record.done and has_splits:
        predictions = predictions_table(read_logits(snapshot.paths.run(name)), snapshot.images)
    return ModelRecord(
        name=name,
        done=record.done,
        reason=record.status.reason,
        run=asdict(record.status),
        config=record.config,
        environment=record.environment,
        # What fitting found, and the figures of what it fitted.
        metrics={**record.fit, **record.figures} if record.figures else {},
        history=record.history,
        predictions=predictions,
    )


def _complete(comparison: Mapping[str, Any], records: Mapping[str, ModelRecord]) -> Mapping[str, Any]:
    """The comparison, in which every model that has not been run is named."""
    missing = list(comparison.get("not_run") or [])
    named = {entry["model"] for entry in missing} | {m["model"] for m in comparison.get("models") or []}
    missing += [
        {"model": run.name, "reason": run.reason} for run in records.values() if not run.done and run.name not in named
    ]
    return {"winner": None, "models": [], **comparison, "not_run": missing}


def _data_root(snapshot: Snapshot) -> Path | None:
    try:
        return snapshot.data_root
    except BestiaryError:
        return None  # which the page says
