"""A study's folder, read once: where every file lies, and what is in it.

In: a study's folder and its config. Out: tables and records, each read when it is first asked for and then kept, and
what follows from them (the corrected index, the images with their splits). Owns no file; writes nothing. No torch here.

One command works on one snapshot: what changes on disk meanwhile is for the next. A stage that makes something anew
hands it in with `put`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.answers import apart_ids
from bestiary.audit.copies.apart import set_apart
from bestiary.audit.copies.clusters import duplicate_groups, read_duplicates
from bestiary.audit.findings import read_findings
from bestiary.audit.issues import ISSUES
from bestiary.audit.summary import read_summary
from bestiary.config.schema import StudyConfig
from bestiary.data.corrections.csv_rows import Correction, refuse_unknown_issues
from bestiary.data.corrections.overlay import corrected, resolve, skipped
from bestiary.data.corrections.saved import read_corrections
from bestiary.data.datasets import data_root
from bestiary.data.index import read_index, readable
from bestiary.data.splits.split_table import present, read_splits, without
from bestiary.errors import BestiaryError
from bestiary.runs.ensemble_record import read_ensemble, with_ensemble
from bestiary.runs.record import RunRecord, read_run, read_status
from bestiary.runs.search_record import read_search, with_finalists
from bestiary.store.files import read_json


@dataclass(frozen=True)
class StudyPaths:
    """Where the files of a study's folder lie. Rooms below name the files that they own themselves."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "study.toml"

    @property
    def lock(self) -> Path:
        return self.folder / ".lock"

    @property
    def index(self) -> Path:
        return self.folder / "index.parquet"

    @property
    def corrections(self) -> Path:
        return self.folder / "corrections.csv"

    @property
    def clusters(self) -> Path:
        return self.folder / "duplicates.parquet"

    @property
    def findings(self) -> Path:
        return self.folder / "audit.parquet"

    @property
    def findings_csv(self) -> Path:
        return self.folder / "audit.csv"

    @property
    def audit_summary(self) -> Path:
        return self.folder / "audit.json"

    @property
    def splits(self) -> Path:
        return self.folder / "splits.parquet"

    @property
    def folds(self) -> Path:
        return self.folder / "folds.parquet"

    @property
    def folds_summary(self) -> Path:
        return self.folder / "folds.json"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, model: str) -> Path:
        """The folder of one model's run."""
        return self.runs / model

    @property
    def race(self) -> Path:
        return self.folder / "race.json"

    @property
    def search(self) -> Path:
        return self.folder / "search.json"

    @property
    def search_journal(self) -> Path:
        return self.folder / "search.journal"

    @property
    def ensemble(self) -> Path:
        return self.folder / "ensemble.json"

    @property
    def comparison(self) -> Path:
        return self.folder / "comparison.json"

    @property
    def comparison_csv(self) -> Path:
        return self.folder / "comparison.csv"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def model(self) -> Path:
        return self.folder / "model"


class Snapshot:
    """What lies in a study's folder. Attributes are read on first use and kept.

    Attributes:
        paths: where everything lies.
        config: the study's, with the models that a search has found, and the ensemble.
    """

    def __init__(self, folder: Path, config: StudyConfig) -> None:
        self.paths = StudyPaths(folder)
        found = with_finalists(config, read_search(self.paths.search))
        self.config = with_ensemble(found, read_ensemble(self.paths.ensemble))
        self._runs: dict[str, RunRecord] = {}

    def put(self, **made: Any) -> None:
        """Take in what a stage has made, in place of what was read; what follows from it is derived anew.

        Args:
            made: attributes by name: `index`, `clusters_found`, `findings`, `summary`, `splits_table`, `folds`,
                `comparison`, `refit`.
        """
        for name, value in made.items():
            for derived in _FOLLOWS.get(name, ()):
                self.__dict__.pop(derived, None)
            self.__dict__[name] = value

    def forget_run(self, model: str) -> None:
        """Read a run again when it is next asked for: it was fitted or evaluated anew."""
        self._runs.pop(model, None)

    @cached_property
    def data_root(self) -> Path:
        """The folder that the index's paths are relative to."""
        return data_root(self.config.data.path)

    @cached_property
    def index(self) -> pd.DataFrame:
        """As the files are, without corrections."""
        return read_index(self.paths.folder)

    @cached_property
    def readable(self) -> pd.DataFrame:
        """The rows of the index that are images."""
        return readable(self.index)

    @cached_property
    def corrections(self) -> list[Correction]:
        """The rows of `corrections.csv`.

        Raises:
            CorrectionsError: a row has a wrong form, or names an issue that no audit finds.
        """
        rows = read_corrections(self.paths.folder)
        refuse_unknown_issues(rows, ISSUES)
        return rows

    @cached_property
    def decisions(self) -> dict[str, Correction]:
        """Corrections by image id."""
        return resolve(self.corrections, self.index)

    @cached_property
    def skipped_corrections(self) -> list[tuple[Correction, str]]:
        """Corrections of images that are gone, and why they are skipped."""
        return skipped(self.corrections, self.index)

    @cached_property
    def corrected(self) -> pd.DataFrame:
        """The index that later stages see: with the labels of `corrections.csv`, and without what it drops."""
        return corrected(self.index, self.corrections)

    @cached_property
    def clusters_found(self) -> pd.DataFrame:
        """Of copies as found, see `audit.copies.clusters`."""
        return read_duplicates(self.paths.folder)

    @cached_property
    def clusters(self) -> pd.DataFrame:
        """Of copies, without the images that `corrections.csv` sets apart."""
        return set_apart(self.clusters_found, apart_ids(self.decisions))

    @cached_property
    def cluster_numbers(self) -> npt.NDArray[np.int64] | None:
        """A cluster number for each readable image; None where the config lets near duplicates part."""
        if self.config.split.group_duplicates == "exact":
            return None
        return duplicate_groups(self.clusters, self.readable["image_id"])

    @cached_property
    def findings(self) -> pd.DataFrame:
        """The audit's, most urgent first."""
        return read_findings(self.paths.folder)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The audit's figures about the set."""
        return read_summary(self.paths.folder)

    @cached_property
    def splits_table(self) -> pd.DataFrame:
        """`splits.parquet` as it lies there, with the memory of images that are gone."""
        return read_splits(self.paths.folder)

    @cached_property
    def splits(self) -> pd.DataFrame:
        """`image_id, group_id, split, drawn, given`; `split` is empty where corrections drop the image."""
        return present(without(self.splits_table, self.corrected))

    @cached_property
    def images(self) -> pd.DataFrame:
        """The images of the study: the corrected index and the splits, joined on `image_id`."""
        return self.splits.merge(self.corrected, on="image_id", how="inner", validate="one_to_one")

    def run(self, model: str) -> RunRecord:
        """The record of a model's run.

        Raises:
            StudyError: the model has not been trained.
        """
        if model not in self._runs:
            self._runs[model] = read_run(self.paths.run(model))
        return self._runs[model]

    def has_run(self, model: str) -> bool:
        """Whether a run of this format lies there, done or not."""
        return model in self._runs or read_status(self.paths.run(model)) is not None

    @cached_property
    def folds(self) -> dict[str, Any]:
        """What `folds.json` holds; empty where there is no cross-validation."""
        if not self.config.split.folds or not self.paths.folds_summary.exists():
            return {}
        content = read_json(self.paths.folds_summary)
        return content if isinstance(content, dict) else {}

    @cached_property
    def refit(self) -> dict[str, Any]:
        """What `refit.json` of the exported model holds, put here by its stage; empty where there is none."""
        return {}

    @cached_property
    def comparison(self) -> dict[str, Any]:
        """What `comparison.json` holds.

        Raises:
            OSError: there is none.
            BestiaryError: it is damaged.
        """
        content = read_json(self.paths.comparison)
        if not isinstance(content, dict):
            raise BestiaryError(f"{self.paths.comparison} is damaged. Delete it and run the command again.")
        return content


# What is derived from each attribute, and goes when it is put.
_FOLLOWS: dict[str, tuple[str, ...]] = {
    "index": (
        *("readable", "decisions", "skipped_corrections", "corrected", "clusters", "cluster_numbers", "splits"),
        "images",
    ),
    "corrections": (
        *("decisions", "skipped_corrections", "corrected", "clusters", "cluster_numbers", "splits"),
        "images",
    ),
    "clusters_found": ("clusters", "cluster_numbers"),
    "findings": ("summary",),
    "splits_table": ("splits", "images"),
}
