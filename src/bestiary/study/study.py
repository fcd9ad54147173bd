"""The way of a study: each stage alone, and all of them in order.

In: a study folder. Out: the tables and files of each stage. A stage runs again only where its inputs changed: each
file carries a fingerprint of what it was made from. `predict` for the exported model stands in `deploy`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bestiary.config.recipes import DEFAULT_RECIPE, load_config, read_study_config, write_study_config
from bestiary.config.schema import StudyConfig
from bestiary.data import clean_copy as applying
from bestiary.data import index as indexing
from bestiary.data import splits as splitting
from bestiary.data.corrections import overlay as correcting
from bestiary.data.datasets import data_root, is_table
from bestiary.errors import StudyConflictError, UsageError
from bestiary.progress import SILENT, Progress
from bestiary.runs import record as runs
from bestiary.runs.environment import package_versions
from bestiary.store.hashing import fingerprint
from bestiary.store.locks import exclusive
from bestiary.store.tables import table_fingerprint
from bestiary.study import audit_stage as auditing
from bestiary.study import comparison as comparing
from bestiary.study.conflicts import differences, refuse_other, settled
from bestiary.study.prerequisites import Clusters, need_clusters, need_index, need_runs, need_splits, need_whole_index

STUDY_FILE, REPORT_FILE, LOCK_FILE = "study.toml", "report.html", ".lock"
WhenThere = Literal["refuse", "resume", "force"]


@dataclass(frozen=True)
class StudyResult:
    """What a whole study came to.

    Attributes:
        comparison: one row a model, ranked on validation; fractions in [0, 1].
        winner: the best on validation that is no dummy, or None.
        report: the report's path.
        model: the exported model's folder, or None where there is no winner.
        not_run: reasons by model.
        findings: how many the audit has, by issue, most urgent first; empty where there was no audit.
    """

    comparison: pd.DataFrame
    winner: str | None
    report: Path
    model: Path | None
    not_run: dict[str, str]
    findings: dict[str, int]


class Study:
    """A study folder. `create` or `open` one, then call its stages."""

    def __init__(self, path: Path, config: StudyConfig, *, progress: Progress = SILENT) -> None:
        self.path = path
        self.config = config
        self._progress = progress
        # Read once where the study is held: what a person decides while it works is for the next run.
        self._corrections: list[correcting.Correction] = []

    @classmethod
    def create(
        cls,
        data: Path | str,
        out: Path | str,
        *,
        recipe: str = DEFAULT_RECIPE,
        config_file: Path | None = None,
        overrides: Sequence[str] = (),
        when_there: WhenThere = "refuse",
        progress: Progress = SILENT,
    ) -> "Study":
        """Begin a study, or go on with the same one.

        Args:
            data: folder of class folders, CSV or Parquet table, or a named set.
            out: the study's folder.
            recipe: the name of a shipped recipe.
            config_file: a TOML file, instead of a recipe.
            overrides: `key=value` strings.
            when_there: where `out` holds a study of other data or config: refuse it, `resume` with the config it
                has, or `force` the new one onto it, redoing what the change touches.
            progress: told of every stage.

        Raises:
            ConfigError: the recipe, file or an override is wrong.
            UsageError: no such data, or `out` lies inside the data.
            StudyConflictError: `out` holds something else.
        """
        place = Path(out).absolute()
        file = place / STUDY_FILE
        config = load_config(recipe=recipe, file=config_file, data_path=settled(str(data)), overrides=overrides)
        if when_there == "resume" and file.exists():
            study = cls.open(place, progress=progress)
            for difference in differences(config, study.config):
                progress.say(f"  resumed as it is: {difference}")
            return study
        root = data_root(config.data.path)
        if not is_table(config.data.path) and place.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"--out {out} lies inside the data folder {root}, where it would be taken for a class")
        if file.exists() and when_there != "force":
            refuse_other(read_study_config(file), config, place)
        elif not file.exists() and place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise StudyConflictError(f"{out} is there, is not empty and is no study: choose another --out")
        if not file.exists() or read_study_config(file) != config:
            write_study_config(file, config)
        return cls(place, config, progress=progress)

    @classmethod
    def open(cls, path: Path | str, *, progress: Progress = SILENT) -> "Study":
        """Open a study folder.

        Raises:
            UsageError: it is none.
            ConfigError: its `study.toml` is wrong.
        """
        place = Path(path).absolute()
        if not (place / STUDY_FILE).is_file():
            raise UsageError(f"{path} is no study folder (it has no {STUDY_FILE}): begin one with `bestiary init`")
        return cls(place, read_study_config(place / STUDY_FILE), progress=progress)

    @property
    def data_root(self) -> Path:
        """The folder that the index's paths are relative to."""
        return data_root(self.config.data.path)

    def index(self) -> pd.DataFrame:
        """Read every file: one row a file, with the reason where it was left out."""
        with self._held():
            return self._index()

    def audit(self) -> pd.DataFrame:
        """Look for what is wrong with the data: one row a finding, most urgent first."""
        with self._held():
            return self._audit(need_index(self.path))

    def apply(self, to: Path | str, *, how: applying.How = "copy") -> applying.Applied:
        """Write a clean copy of the data, with `corrections.csv` carried out; nothing of the original changes.

        Args:
            to: a folder that is not there yet, or is empty.
            how: copies of the files, or links to them.
        """
        # A table's folder may hold anything else, too.
        keep_out = (
            {"study": self.path} if is_table(self.config.data.path) else {"data": self.data_root, "study": self.path}
        )
        with self._held():
            return applying.apply_corrections(
                need_whole_index(self.path, self.config),
                self._corrections,
                self.data_root,
                Path(to),
                keep_out=keep_out,
                how=how,
                progress=self._progress,
            )

    def split(self) -> pd.DataFrame:
        """Divide the images: `image_id, group_id, split`. Needs the audit, whose near duplicates stay together."""
        with self._held():
            found = need_index(self.path)
            return self._split(found, self._current(found), need_clusters(self.path, self.config, found))

    def train(self, models: Sequence[str] = ()) -> pd.DataFrame:
        """Train the named models, or all; those that are complete are kept.

        Returns:
            One row a model: `model, status, reason, test_scored_at`.
        """
        with self._held():
            return self._train(models)

    def compare(self) -> pd.DataFrame:
        """Rank the models on validation and compare them on test: one row a model."""
        with self._held():
            return comparing.comparison_table(self._compare())

    def report(self) -> Path:
        """Write the report; returns its path."""
        with self._held():
            return self._report(self._compare())

    def export(self, model: str | None = None) -> Path:
        """Write the model folder of the winner, or of another model; returns its path."""
        with self._held():
            return self._export(self._compare(), model)

    def run(self) -> StudyResult:
        """All stages in order, each only where something changed."""
        with self._held():
            found = self._index()
            findings = self._audit(found)["issue"].value_counts(sort=False) if self.config.audit.enabled else {}
            self._split(found, self._current(found), need_clusters(self.path, self.config, found))
            self._train(())
            comparison = self._compare()
            report = self._report(comparison)
            model = self._export(comparison, None) if comparison["winner"] else None
        not_run = {row["model"]: row["reason"] for row in comparison["not_run"]}
        table = comparing.comparison_table(comparison)
        return StudyResult(
            table, comparison["winner"], report, model, not_run, {k: int(n) for k, n in findings.items()}
        )

    def read_comparison(self) -> dict[str, Any]:
        """What `comparison.json` holds: every figure with its interval, and the paired tests."""
        return comparing.read_comparison(self.path)

    def read_run(self, model: str) -> runs.RunRecord:
        """The record of one model's run: status, config, history, metrics, predictions."""
        return runs.read_run(self.path, model)

    def histories(self) -> dict[str, pd.DataFrame]:
        """The history of every model that was run, by name: one row an epoch."""
        records = comparing.read_runs(self.path, self.config)
        return {name: record.history for name, record in records.items() if record.status.status == "done"}

    @contextmanager
    def _held(self) -> Iterator[None]:
        busy = f"another bestiary process works on {self.path}: wait for it, or stop it"
        with exclusive(self.path / LOCK_FILE, busy=busy):
            self._corrections = correcting.read_corrections(self.path)
            yield

    def _index(self) -> pd.DataFrame:
        file = self.path / indexing.FILE_NAME
        previous = indexing.read_index(self.path) if table_fingerprint(file) else None
        index = indexing.build_index(self.config.data, previous=previous, progress=self._progress)
        if table_fingerprint(file) != indexing.index_fingerprint(index):
            indexing.write_index(self.path, index)
            self._say_index(index, previous)
        return index

    def _say_index(self, index: pd.DataFrame, previous: pd.DataFrame | None) -> None:
        left_out = int((index["error"] != "").sum())
        names = indexing.class_names(index)
        self._progress.say(f"  {len(index) - left_out:,} images of {len(names)} classes; {left_out:,} files left out")
        if previous is not None:
            known, now = set(previous["image_id"]), set(index["image_id"])
            self._progress.say(f"  the data changed: {len(now - known):,} files new, {len(known - now):,} gone")

    def _audit(self, found: pd.DataFrame) -> pd.DataFrame:
        evidence = auditing.Evidence(self.config, found, self._progress)
        clusters = auditing.find_clusters(self.path, self.config, evidence, self._progress)
        decided = correcting.resolve(self._corrections, found)
        return auditing.find_faults(
            self.path,
            self.config,
            evidence,
            clusters,
            current=self._current(found),
            decided=decided,
            progress=self._progress,
        )

    def _current(self, found: pd.DataFrame) -> pd.DataFrame:
        """The index that later stages see: with the labels of `corrections.csv`, and without what it drops."""
        return correcting.corrected(found, self._corrections)

    def _split(self, found: pd.DataFrame, current: pd.DataFrame, clusters: Clusters) -> pd.DataFrame:
        self._say_passed_over(found)
        key = splitting.splits_fingerprint(found, self.config.split, duplicates=clusters, corrected=current)
        if table_fingerprint(self.path / splitting.FILE_NAME) == key:
            return splitting.present(splitting.without(splitting.read_splits(self.path), current))
        splits = splitting.split_images(found, self.config.split, duplicates=clusters, previous=self._previous_splits())
        splits = splitting.without(splits, current)
        splitting.write_splits(self.path, splits, fingerprint=key, config=self.config.split)
        splits = splitting.present(splits)
        sizes = splits["split"].value_counts()
        self._progress.say("  split: " + ", ".join(f"{sizes[name]:,} {name}" for name in ("train", "val", "test")))
        if leaks := splitting.straddling_groups(splits):
            self._progress.say(
                f"  {leaks:,} groups of copies lie in more than one given split: scores will be too good"
            )
        return splits

    def _previous_splits(self) -> pd.DataFrame | None:
        """The splits so far; None where there are none, or where other settings are to draw them anew."""
        if not (self.path / splitting.FILE_NAME).exists():
            return None
        changed = splitting.changed_settings(splitting.read_split_settings(self.path), self.config.split)
        return None if changed else splitting.read_splits(self.path)

    def _say_passed_over(self, found: pd.DataFrame) -> None:
        if moot := correcting.passed_over(self._corrections, found):
            row, reason = moot[0]
            count = "1 decision" if len(moot) == 1 else f"{len(moot):,} decisions"
            self._progress.say(
                f"  passed over, for images that are gone: {count}; {row.path or row.image_id}: {reason}"
            )

    def _train(self, models: Sequence[str]) -> pd.DataFrame:
        if unknown := [name for name in models if name not in self.config.models]:
            raise UsageError(f"no model named {unknown[0]!r} in this study: there are {', '.join(self.config.models)}")
        found = need_index(self.path)
        index = self._current(found)
        splits = need_splits(self.path, self.config, found, index)
        names = list(models) or list(self.config.models)
        keys = runs.run_fingerprints(self.config, index=index, splits=splits)
        due = [name for name in names if not runs.is_complete(self.path, name, key=keys[name])]
        if due:
            # torch and timm take seconds to import; a study with nothing to do is spared them.
            from bestiary.models.backbones import check_backbone
            from bestiary.runs.fit import run_model

            for name in due:
                check_backbone(self.config.models[name].backbone)
            for name in due:
                run_model(
                    self.path,
                    name,
                    key=keys[name],
                    config=self.config,
                    index=index,
                    splits=splits,
                    progress=self._progress,
                )
        statuses = [runs.read_status(self.path, name) for name in names]
        columns = ["model", "status", "reason", "test_scored_at"]
        return pd.DataFrame([status.__dict__ for status in statuses if status], columns=columns)

    def _compare(self) -> dict[str, Any]:
        found = need_index(self.path)
        index = self._current(found)
        splits = need_splits(self.path, self.config, found, index)
        need_runs(self.path, self.config, index, splits)
        key = comparing.comparison_fingerprint(self.path, self.config)
        if comparing.is_current(self.path, fingerprint=key):
            return comparing.read_comparison(self.path)
        records = comparing.read_runs(self.path, self.config)
        comparison = comparing.compare_runs(records, splits)
        comparing.write_comparison(self.path, comparison, fingerprint=key)
        return comparing.read_comparison(self.path)

    def _report(self, comparison: dict[str, Any]) -> Path:
        from bestiary.report.stamp import report_fingerprint

        file = self.path / REPORT_FILE
        audit_key = self._audit_key()
        tables = [table_fingerprint(self.path / name) for name in (indexing.FILE_NAME, auditing.TABLE)]
        corrections = correcting.corrections_fingerprint(self._corrections)
        settings = self.config.report.model_dump(mode="json")
        key = self._output_key(comparison, [*tables, audit_key, corrections, settings])
        if file.exists() and report_fingerprint(file) == key:
            return file
        from bestiary.report.page import write_report

        self._progress.say("  report")
        return write_report(self.path, fingerprint=key, corrections=self._corrections, audit_key=audit_key)

    def _audit_key(self) -> str:
        """What the audit's files would carry, were they made now."""
        found = need_index(self.path)
        decided = correcting.resolve(self._corrections, found)
        return auditing.faults_fingerprint(
            self.config, indexing.readable(found), current=self._current(found), decided=decided
        )

    def _export(self, comparison: dict[str, Any], model: str | None) -> Path:
        from bestiary.deploy import bundle

        config = self.config
        if model is not None:
            if model != "winner" and model not in config.models:
                raise UsageError(f"no model named {model!r} in this study: there are {', '.join(config.models)}")
            config = config.model_copy(update={"export": config.export.model_copy(update={"model": model})})
        key = self._output_key(comparison, config.export.model_dump(mode="json"))
        if bundle.is_whole(self.path / bundle.FOLDER, fingerprint=key):
            return self.path / bundle.FOLDER
        from bestiary.deploy.export import export_model

        self._progress.say(f"  export {model or config.export.model} to {bundle.FOLDER}/")
        return export_model(self.path, config=config, comparison=comparison, fingerprint=key)

    def _output_key(self, comparison: dict[str, Any], made_from: object) -> str:
        return fingerprint([comparison["fingerprint"], made_from, package_versions()["bestiary"]])
