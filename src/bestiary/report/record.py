"""A study folder → everything the report needs, in memory.

In: the folder of a study, whole or with parts missing. Out: a `StudyRecord`. Owns no file; only reads.

Reads study.toml, index.parquet with corrections.csv laid over it, splits.parquet, what the audit wrote, comparison.json
and the runs of the models that study.toml names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.audit.findings import TABLE_NAME, read_findings
from bestiary.config.recipes import read_study_config
from bestiary.config.schema import StudyConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.overlay import corrected, resolve, skipped
from bestiary.data.corrections.saved import read_corrections
from bestiary.data.datasets import data_root
from bestiary.data.index import is_dropped
from bestiary.data.splits import straddling_groups
from bestiary.errors import BestiaryError, StudyError
from bestiary.report.words.wording import counted
from bestiary.runs import record as runs
from bestiary.store.files import read_json
from bestiary.store.tables import read_table

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
        corrections: by image id.
        passed_over: how many further ones are about images that are gone.
    """

    folder: Path
    config: StudyConfig
    index: pd.DataFrame
    splits: pd.DataFrame
    comparison: Mapping[str, Any]
    runs: list[ModelRecord]
    data_root: Path | None
    audit: AuditRecord | None = None
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    passed_over: int = 0
    remarks: list[str] = field(default_factory=list)

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


def read_study(
    study_dir: Path, *, corrections: Sequence[Correction] | None = None, audit_key: str | None = None
) -> StudyRecord:
    """Read a study folder.

    Splits, audit, corrections, comparison and any run may be missing: the report says so and goes on.

    Args:
        study_dir: the study's folder.
        corrections: laid over the index; those of the folder where they are not given.
        audit_key: the fingerprint of an audit made now; a remark tells where the folder's has another.

    Raises:
        StudyError: there is no study.toml or no index.parquet; says which command makes them.
        BestiaryError: a file is damaged; names it.
    """
    for name in ("study.toml", "index.parquet"):
        if not (study_dir / name).is_file():
            raise StudyError(
                f"{study_dir} has no {name}: make the study first with `bestiary study DATA --out {study_dir}`"
            )
    config = read_study_config(study_dir / "study.toml")
    remarks: list[str] = []
    splits = _table(study_dir / "splits.parquet", _SPLIT_COLUMNS)
    if splits.empty:
        remarks.append("The images have not been split yet.")
    elif leaks := straddling_groups(splits):
        remarks.append(
            f"The data came divided, and {counted(leaks, 'group')} of copies lie on more than one side: "
            "the test figures are too good."
        )
    comparison = _json(study_dir / "comparison.json")
    if not comparison:
        remarks.append("The models have not been compared yet.")
    records = {name: _read_run(study_dir, name, comparison) for name in config.models}
    ranked = [m["model"] for m in comparison.get("models") or [] if m["model"] in records]
    rest = sorted((name for name in records if name not in ranked), key=lambda name: not records[name].done)
    audit = _read_audit(study_dir)
    if audit and audit_key not in (None, audit.summary.get("fingerprint")):
        name = study_dir.resolve().name
        remarks.append(f"Data, decisions or settings changed after the audit: `bestiary audit {name}` makes it anew.")
    index = read_table(study_dir / "index.parquet")
    if corrections is None:
        corrections = read_corrections(study_dir)
    return StudyRecord(
        folder=study_dir,
        config=config,
        index=corrected(index, corrections),
        splits=splits,
        comparison=_complete(comparison, records),
        runs=[records[name] for name in (*ranked, *rest)],
        data_root=_data_root(config.data.path, remarks),
        audit=audit,
        corrections=resolve(corrections, index),
        passed_over=len(skipped(corrections, index)),
        remarks=remarks,
    )


def _read_audit(study_dir: Path) -> AuditRecord | None:
    if not (study_dir / TABLE_NAME).is_file():
        return None
    return AuditRecord(read_findings(study_dir), _json(study_dir / "audit.json"))


def _read_run(study_dir: Path, name: str, comparison: Mapping[str, Any]) -> ModelRecord:
    status = runs.read_status(study_dir, name)
    if status is None:
        told = {entry["model"]: entry.get("reason", "") for entry in comparison.get("not_run") or []}
        nothing = pd.DataFrame()
        return ModelRecord(name, False, told.get(name) or _NO_RUN, {}, {}, {}, {}, nothing, nothing)
    record = runs.read_run(study_dir, name)
    return ModelRecord(
        name=name,
        done=status.status == "done",
        reason=status.reason,
        run=asdict(status),
        config=record.config,
        environment=record.environment,
        metrics=record.metrics,
        history=record.history,
        predictions=record.predictions,
    )


def _complete(comparison: Mapping[str, Any], records: Mapping[str, ModelRecord]) -> Mapping[str, Any]:
    """The comparison, in which every model that has not been run is named."""
    told = list(comparison.get("not_run") or [])
    named = {entry["model"] for entry in told} | {m["model"] for m in comparison.get("models") or []}
    told += [
        {"model": run.name, "reason": run.reason} for run in records.values() if not run.done and run.name not in named
    ]
    return {"winner": None, "models": [], **comparison, "not_run": told}


def _data_root(path: str, remarks: list[str]) -> Path | None:
    try:
        return data_root(path)
    except BestiaryError:
        remarks.append("The folder of the images cannot be found any more: placeholders stand in for all pictures.")
        return None


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    return read_table(path) if path.is_file() else pd.DataFrame(columns=list(columns))


def _json(path: Path) -> Mapping[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}
