"""A study from Python: begin or open one, run its stages, decide about images.

In: a study's folder. Out: the tables and files of each stage (see `stages`). A stage runs again only where its inputs
changed. Owns `study.toml`, through `config.recipes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bestiary.config.recipes import DEFAULT_RECIPE, read_study_config, write_study_config
from bestiary.config.schema import SearchConfig, StudyConfig
from bestiary.data.datasets import data_root, is_table
from bestiary.data.listing import list_files
from bestiary.errors import ConfigError, StudyConflictError, StudyError, UsageError
from bestiary.progress import Progress, default_progress
from bestiary.runs.race_record import race_table, read_race
from bestiary.runs.record import read_status
from bestiary.runs.search_record import heads_table, read_search
from bestiary.snapshot import Snapshot, StudyPaths
from bestiary.store.locks import exclusive
from bestiary.study.comparison import comparison_table
from bestiary.study.correcting import CorrectableStudy
from bestiary.study.creation import (
    WhenThere,
    differences,
    holds_something,
    read_unless_forced,
    refuse_other,
    study_config,
)
from bestiary.study.stages import STAGES
from bestiary.study.work import Work

if TYPE_CHECKING:
    from bestiary.audit.copies.name_groups import Proposal
    from bestiary.data.clean_copy import Applied, How

# What a search needs, in order, and the training of what it found.
_OF_SEARCH = ("index", "budget", "clusters", "audit", "split", "race", "search", "finalists")
ConfigSource = StudyConfig | Mapping[str, Any] | str | Path


@dataclass(frozen=True)
class StudyResult:
    """What a whole study came to.

    Attributes:
        comparison: one row a model, ranked on validation; fractions in [0, 1].
        winner: the best on validation that is no baseline, or None.
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


class Study(CorrectableStudy):
    """A study's folder. `create` or `open` one; then `run` it whole, or stage by stage.

    What lies in it already is read by the attributes of `StudyContents`, which run nothing.
    """

    def __init__(self, path: Path, config: StudyConfig, *, progress: Progress | None = None) -> None:
        super().__init__(path, config)
        self._progress = progress or default_progress()

    @classmethod
    def create(
        cls,
        data: Path | str,
        out: Path | str,
        *,
        config: ConfigSource | None = None,
        recipe: str = DEFAULT_RECIPE,
        overrides: Sequence[str] = (),
        models: Sequence[str] = (),
        when_there: WhenThere = "refuse",
        progress: Progress | None = None,
    ) -> "Study":
        """Begin a study, or go on with the same one.

        Args:
            data: folder of class folders, CSV or Parquet table, or a named set.
            out: the study's folder.
            config: a `StudyConfig`, a mapping of the same form, or the path of a TOML file; instead of a recipe.
            recipe: the name of a shipped recipe.
            overrides: `key=value` strings, such as `models.lite2-probe.head.hidden=512`.
            models: which of the config's models, or names of further backbones; empty: all of the config's.
            when_there: where `out` holds a study of other data or config: refuse it, `resume` with the config it
                has, or `force` the new one onto it, redoing what the change touches.
            progress: told of every stage; by default a `Console` in a terminal or a notebook, else nobody.

        Raises:
            ConfigError: the recipe, file or an override is wrong.
            UsageError: no such data, or `out` lies inside the data.
            StudyConflictError: `out` holds something else.
            StudyError: another process works on the study that is to be forced.
        """
        place = Path(out).absolute()
        paths = StudyPaths(place)
        wanted = study_config(data, config=config, recipe=recipe, overrides=overrides, models=models)
        if when_there == "resume" and paths.config.exists():
            study = cls.open(place, progress=progress)
            for difference in differences(wanted, study.config):
                study._progress.say(f"  resumed as it is: {difference}")
            return study
        root = data_root(wanted.data.path)
        if not is_table(wanted.data.path) and place.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"--out {out} lies inside the data folder {root}, where it would be taken for a class")
        if not paths.config.exists() and place.exists() and holds_something(paths):
            raise StudyConflictError(f"{out} is there, is not empty and is no study: choose another --out")
        if paths.config.exists() and read_unless_forced(paths.config, when_there) == wanted:
            return cls(place, wanted, progress=progress)
        # A study at work keeps the config that it began with.
        with _hold(paths):
            if paths.config.exists() and when_there != "force":
                refuse_other(read_study_config(paths.config), wanted, place)
            write_study_config(paths.config, wanted)
        return cls(place, wanted, progress=progress)

    @classmethod
    def open(cls, path: Path | str, *, progress: Progress | None = None) -> "Study":
        """Open a study's folder.

        Raises:
            UsageError: it is none.
            ConfigError: its `study.toml` is wrong.
        """
        paths = StudyPaths(Path(path).absolute())
        if not paths.config.is_file():
            raise UsageError(
                f"{path} is no study folder (it has no {paths.config.name}): begin one with `bestiary init`"
            )
        return cls(paths.folder, read_study_config(paths.config), progress=progress)

    # --- the stages

    def make(self, stage: str) -> None:
        """Make one stage of `stages.STAGES` by its name, unless it is current.

        Raises:
            UsageError: there is no such stage.
            StudyError: a stage that it needs is missing or outdated.
        """
        if stage not in STAGES:
            raise UsageError(f"no stage named {stage!r}: there are {', '.join(STAGES)}")
        with self._at_work() as work:
            work.bring(stage)

    def index(self) -> pd.DataFrame:
        """Read every file: one row a file, with the reason where it was left out."""
        with self._at_work() as work:
            work.bring("index")
            return work.snapshot.index

    def guess_groups(self) -> "Proposal":
        """Look for a `data.group_pattern` whose groups hold the copies and scenes, and set it where there is one.

        Reads every file and looks for copies, as `index` and `audit` do. `study.toml` gets the pattern as the value,
        and its figures as a comment.

        Raises:
            ConfigError: the study has a pattern already.
        """
        from bestiary.audit.copies.name_groups import propose_pattern

        if self._config.data.group_pattern:
            raise ConfigError(f"data.group_pattern is {self._config.data.group_pattern!r} already: nothing to guess")
        with self._at_work() as work:
            work.bring("index")
            work.bring("clusters")
            found = propose_pattern(work.snapshot.readable, work.snapshot.clusters)
            if not found.pattern:
                return found
            data = self._config.data.model_copy(update={"group_pattern": found.pattern})
            self._config = self._config.model_copy(update={"data": data})
            note = f"data.group_pattern was proposed by `bestiary init --guess`: {found.reason}."
            write_study_config(self._paths.config, self._config, note=note)
        self.index()
        return found

    def audit(self) -> pd.DataFrame:
        """Look for what is wrong with the data: one row a finding, most urgent first."""
        with self._at_work() as work:
            work.bring("clusters")
            work.bring("audit")
            return work.snapshot.findings

    def split(self, *, redraw: bool = False) -> pd.DataFrame:
        """Give every image a side: `image_id, group_id, split, drawn`. Needs the audit: near duplicates stay together.

        Args:
            redraw: draw all sides anew. Otherwise an image keeps the side that it has, for the life of the study.
        """
        with self._at_work(redraw=redraw) as work:
            work.bring("split")
            return work.snapshot.splits

    def race(self, *, backbones: Sequence[str] = (), budget_s: float | None = None) -> pd.DataFrame:
        """Time backbones, and drop those that lose on samples of the training images: what a search goes on with.

        What comes before is made first. Val and test have no part in it.

        Args:
            backbones: timm architectures, kept in `study.toml` as `search.backbones`; empty: as it has them.
            budget_s: seconds for the whole study, as of `search`.

        Returns:
            One row a backbone; see `runs.race_record.race_table`.

        Raises:
            ConfigError: there is no such backbone.
            UsageError: no budget, or one that is too short for one model.
        """
        if new := [name for name in backbones if name not in self._config.search.backbones]:
            # timm takes seconds to import.
            from bestiary.models.backbones import check_backbone

            for name in new:
                check_backbone(name)
        self._ask_for({"backbones": tuple(backbones) or None, "budget_s": budget_s})
        self._make_up_to("race")
        return race_table(read_race(self._paths.race))

    def search(self, *, budget_s: float | None = None, trials: int | None = None) -> pd.DataFrame:
        """Try heads on frozen backbones, and make the best of them models of the study, `search-1` and so on.

        What comes before is made first. A search that was interrupted goes on; a longer one begins with the heads of a
        shorter one. Val and test have no part in it.

        Args:
            budget_s: seconds for the whole study, kept in `study.toml`; None: as it has it.
            trials: how many heads; None: as `study.toml` has it.

        Returns:
            One row a head that was tried to the end, the best first: `loss` (nats), `accuracy`, both out of fold on
            train, and its settings.

        Raises:
            UsageError: neither a budget nor a number of trials, or a budget too short for one model.
        """
        self._ask_for({"budget_s": budget_s, "trials": trials})
        self._make_up_to("finalists")
        return heads_table(read_search(self._paths.search))

    def _ask_for(self, given: Mapping[str, Any]) -> None:
        """Keep what is asked of a search in `study.toml`; None: as it has it."""
        asked = {name: value for name, value in given.items() if value is not None}
        section = SearchConfig.model_validate(self._config.search.model_dump() | asked)
        if not section.asked:
            raise UsageError("a search needs an end: give --budget, such as 10m, or --trials, such as 200")
        if section != self._config.search:
            self._config = self._config.model_copy(update={"search": section})
            with _hold(self._paths):
                write_study_config(self._paths.config, self._config)

    def _make_up_to(self, last: str) -> None:
        """Make the stages of a search in their order, each only where something changed."""
        with self._at_work() as work:
            for name in _OF_SEARCH[: _OF_SEARCH.index(last) + 1]:
                if STAGES[name].in_run(work):
                    work.bring(name)

    def train(self, models: Sequence[str] = ()) -> pd.DataFrame:
        """Train the named models, or all; those that are complete are kept.

        Returns:
            One row a model: `model, status, reason`.
        """
        self._refuse_unknown(models)
        with self._at_work(models=tuple(models)) as work:
            work.bring("train")
            for further in ("folds", "seeds"):
                if not models and STAGES[further].in_run(work):
                    work.bring(further)
            statuses = [read_status(self._paths.run(name)) for name in work.models]
        rows = [{"model": s.model, "status": s.status, "reason": s.reason} for s in statuses if s]
        return pd.DataFrame(rows, columns=["model", "status", "reason"])

    def compare(self) -> pd.DataFrame:
        """Evaluate the models, rank them on validation and compare them on test: one row a model."""
        with self._at_work() as work:
            work.bring("compare")
            return comparison_table(work.snapshot.comparison)

    def report(self) -> Path:
        """Write the report; returns its path."""
        with self._at_work() as work:
            work.bring("report")
            return self._paths.report

    def export(self, model: str | None = None) -> Path:
        """Write the model folder of the winner, or of another model; returns its path."""
        config = self._config
        if model is not None:
            if model != "winner":
                self._refuse_unknown([model])
            config = config.model_copy(update={"export": config.export.model_copy(update={"model": model})})
        with self._at_work(config=config) as work:
            work.bring("export")
            return self._paths.model

    def run(self, *, redraw: bool = False) -> StudyResult:
        """All stages in order, each only where something changed.

        Args:
            redraw: see `split`.
        """
        with self._at_work(redraw=redraw) as work:
            work.is_whole = True
            for stage in STAGES.values():
                if stage.in_run(work):
                    work.bring(stage.name)
            comparison = work.snapshot.comparison
            found = work.snapshot.findings["issue"].value_counts(sort=False) if self._config.audit.enabled else {}
        return StudyResult(
            comparison=comparison_table(comparison),
            winner=comparison["winner"],
            report=self._paths.report,
            model=self._paths.model if comparison["winner"] is not None else None,
            not_run={row["model"]: row["reason"] for row in comparison["not_run"]},
            findings={str(issue): int(count) for issue, count in found.items()},
        )

    def apply(self, to: Path | str, *, how: "How" = "copy") -> "Applied":
        """Write a clean copy of the data, with `corrections.csv` carried out; nothing of the original changes.

        Args:
            to: a folder that is not there yet, or is empty.
            how: copies of the files, or links to them.
        """
        from bestiary.data.clean_copy import apply_corrections

        # A table's folder may hold anything else, too.
        study_only = {"study": self.path}
        keep_out = study_only if is_table(self._config.data.path) else {"data": self.data_root, **study_only}
        with self._at_work() as work:
            work.need("index")
            index = work.snapshot.index
            self._refuse_newer_files(index)
            return apply_corrections(
                index,
                work.snapshot.corrections,
                self.data_root,
                Path(to),
                keep_out=keep_out,
                how=how,
                progress=self._progress,
            )

    def _refuse_newer_files(self, index: pd.DataFrame) -> None:
        known = set(index["path"])
        if new := [file.path for file in list_files(self._config.data) if file.path not in known]:
            files = "1 file" if len(new) == 1 else f"{len(new):,} files"
            raise StudyError(f"{files} came after the index, {new[0]!r} first: run `bestiary index {self.path}`")

    @contextmanager
    def _at_work(
        self, *, config: StudyConfig | None = None, redraw: bool = False, models: tuple[str, ...] = ()
    ) -> Iterator[Work]:
        with _hold(self._paths):
            on_disk = read_study_config(self._paths.config)
            if on_disk != self._config:
                raise StudyError(
                    f"{self._paths.config} has changed since this study was opened ("
                    f"{'; '.join(differences(on_disk, self._config)[:3])}): open it again with Study.open"
                )
            asked = config or self._config
            snapshot = Snapshot(self.path, asked)
            yield Work(snapshot, STAGES, progress=self._progress, redraw=redraw, models=models, config=asked)


@contextmanager
def _hold(paths: StudyPaths) -> Iterator[None]:
    busy = f"another bestiary process works on {paths.folder}: wait for it, or stop it"
    with exclusive(paths.lock, busy=busy):
        yield
