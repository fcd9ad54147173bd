"""What lies in a study's folder, for Python: DataFrames and records. Nothing here runs a stage.

In: a study's folder and its config. Out: `StudyContents`, which reads at each call. Owns no file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.config.schema import StudyConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.datasets import data_root
from bestiary.errors import StudyError, UsageError
from bestiary.runs.evaluation import predictions_table
from bestiary.runs.record import RunRecord, read_logits
from bestiary.snapshot import Snapshot, StudyPaths
from bestiary.study.comparison import comparison_table, read_comparison
from bestiary.study.stages import STAGES


class StudyContents:
    """A study's folder, to be read. It may be outdated, and any part of it may be missing."""

    def __init__(self, path: Path, config: StudyConfig) -> None:
        self._paths = StudyPaths(path)
        self._config = config

    def __repr__(self) -> str:
        made = [stage.name for stage in STAGES.values() if not stage.on_demand and stage.is_there(self._paths)]
        models = ", ".join(self._config.models)
        return f"Study({str(self.path)!r}, data={self._config.data.path!r}, models: {models}; made: {', '.join(made)})"

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self._paths.folder

    @property
    def config(self) -> StudyConfig:
        """What the study does; it cannot be changed behind its back. See `create`."""
        return self._config

    @property
    def data_root(self) -> Path:
        """The folder that the index's paths are relative to."""
        return data_root(self._config.data.path)

    @property
    def index_table(self) -> pd.DataFrame:
        """One row a file, as found, with the reason where it was left out.

        Raises:
            StudyError: there is no index yet.
        """
        return self._read("index").index

    @property
    def images(self) -> pd.DataFrame:
        """One row an image of the split: labels as corrected and as given, side, group, size.

        Raises:
            StudyError: there is no split yet.
        """
        return self._read("index", "split").images

    @property
    def findings(self) -> pd.DataFrame:
        """The audit's, one row a finding, most urgent first.

        Raises:
            StudyError: there is no audit yet.
        """
        return self._read("index", "audit").findings

    @property
    def splits(self) -> pd.DataFrame:
        """`image_id, group_id, split, drawn`.

        Raises:
            StudyError: there is no split yet.
        """
        return self._read("index", "split").splits

    @property
    def comparison(self) -> pd.DataFrame:
        """One row a model, ranked on validation; fractions in [0, 1].

        Raises:
            StudyError: the study has not been compared.
        """
        return comparison_table(self.read_comparison())

    @property
    def corrections(self) -> list[Correction]:
        """What people decided, the rows of `corrections.csv`."""
        return Snapshot(self.path, self._config).corrections

    def predictions(self, model: str) -> pd.DataFrame:
        """What a model says of val and test: `image_id, split, y_true, y_pred`, `p:<class>` each class; trains nothing.

        Raises:
            UsageError: the study has no such model.
            StudyError: the model has not been trained.
        """
        self._refuse_unknown([model])
        snapshot = self._read("index", "split")
        if not snapshot.run(model).done:
            raise StudyError(f"{model} was not run: {snapshot.run(model).status.reason}")
        return predictions_table(read_logits(self._paths.run(model)), snapshot.images)

    def histories(self) -> dict[str, pd.DataFrame]:
        """The history of every model that was run, by name: one row an epoch."""
        snapshot = Snapshot(self.path, self._config)
        records = {name: snapshot.run(name) for name in self._config.models if snapshot.has_run(name)}
        return {name: record.history for name, record in records.items() if record.done}

    def read_run(self, model: str) -> RunRecord:
        """The record of one model's run: status, config, history, what fitting found, figures."""
        self._refuse_unknown([model])
        return Snapshot(self.path, self._config).run(model)

    def read_comparison(self) -> dict[str, Any]:
        """What `comparison.json` holds: every figure with its interval, and the paired tests."""
        return read_comparison(Snapshot(self.path, self._config))

    def _refuse_unknown(self, models: Sequence[str]) -> None:
        known = Snapshot(self.path, self._config).config.models
        if unknown := [name for name in models if name not in known]:
            raise UsageError(f"no model named {unknown[0]!r} in this study: there are {', '.join(known)}")

    def _read(self, *stages: str) -> Snapshot:
        """What lies there, whether or not it is current."""
        for name in stages:
            stage = STAGES[name]
            if not stage.is_there(self._paths):
                raise StudyError(
                    f"{self.path} has no {stage.makes} yet: run `bestiary {stage.command} {self.path}`, "
                    f"or Study.{stage.command}()"
                )
        return Snapshot(self.path, self._config)
