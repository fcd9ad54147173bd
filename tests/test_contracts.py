"""One declaration adds a thing: a toy of each registry is registered, and found everywhere it should be."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bestiary.audit.answers import answered, is_answered
from bestiary.audit.findings import Finding, findings_table, write_findings
from bestiary.audit.issues import ISSUES, Issue, in_order
from bestiary.cli.main import run
from bestiary.config.kinds import KINDS, ModelKind
from bestiary.config.schema import ModelConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.errors import ConfigError, StudyError, UsageError
from bestiary.evaluate.metrics import METRICS, Metric
from bestiary.report.page import write_report
from bestiary.report.sections import SECTIONS
from bestiary.review.queue import ReviewQueue
from bestiary.study.stages import STAGES
from bestiary.study.study import Study
from bestiary.study.work import Stage
from tests.made_runs import Bench
from tests.report.conftest import MakeStudy, make_study

__all__ = ["make_study"]  # a fixture

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "study")


@pytest.fixture
def toy_metric() -> Iterator[Metric]:
    toy = Metric(
        "luck", "Luck", "fraction", higher_is_better=True, meaning="The share of images of the first class.",
        per_image=lambda y_true, logits: y_true == 0,
    )  # fmt: skip
    METRICS.append(toy)
    yield toy
    METRICS.remove(toy)


@pytest.fixture
def toy_kind() -> Iterator[ModelKind]:
    toy = ModelKind(
        name="rarest",
        takes=lambda values: values.get("backbone") == "rarest",
        learner="tests.toy_kind:RarestLearner",
        describe=lambda values: "predicts the rarest class",
        uses=lambda values, setting: setting == "seed",
        is_baseline=True,
        reserved="rarest",
    )
    KINDS.insert(0, toy)
    yield toy
    KINDS.remove(toy)


@pytest.fixture
def toy_issue() -> Iterator[Issue]:
    toy = Issue(
        "too_funny", "image", "Images that make one laugh", "Funny", "Nobody works.", "Laugh.", "Is it too funny?",
        answered_by_label=True,
    )  # fmt: skip
    ISSUES[toy.key] = toy
    yield toy
    del ISSUES[toy.key]


@pytest.fixture
def toy_stage() -> Iterator[Stage]:
    def file(work: object) -> Path:
        return work.paths.folder / "count.txt"  # type: ignore[attr-defined]

    toy = Stage(
        name="count",
        command="count",
        makes="count of images",
        needs=lambda work: ("split",),
        key=lambda work: str(len(work.snapshot.images)),
        is_there=lambda paths: (paths.folder / "count.txt").exists(),
        is_current=lambda work, key: file(work).exists() and file(work).read_text() == key,
        make=lambda work, key: file(work).write_text(key) and None,
    )
    STAGES[toy.name] = toy
    yield toy
    del STAGES[toy.name]


def tiny(place: Path, shapes: Path, *models: str) -> Study:
    config = {
        "audit": {"backbone": "none"},
        "split": {"test_fraction": 0.25, "val_fraction": 0.25},
        "models": {name: {"backbone": name} for name in models},
    }
    return Study.create(shapes, place, config=config)


def test_a_metric_is_in_figures_comparison_spreadsheet_and_keys(bench: Bench, toy_metric: Metric) -> None:
    from bestiary.study.comparison import compare_runs, comparison_table

    bench.add("a", val=0.9, test=0.8)
    bench.add("b", val=0.8, test=0.8)
    test = bench.images[bench.images["split"] == "test"]
    share = float((test["label"] == "bat").mean())
    figures = bench.evaluate("a")
    assert figures["test"]["luck"]["value"] == pytest.approx(share)
    assert figures["test"]["luck"]["low"] < share < figures["test"]["luck"]["high"]
    comparison = compare_runs(bench.snapshot)
    assert comparison["models"][0]["test"]["luck"] == figures["test"]["luck"]
    table = comparison_table(comparison)
    assert table["test_luck"].tolist() == pytest.approx([share, share])
    assert {"val_luck_low", "test_luck_high"} <= set(table.columns)


def test_a_new_metric_makes_figures_again_and_trains_nothing(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(tmp_path / "study", shapes, "majority")
    study.run()
    monkeypatch.setattr("bestiary.runs.fit.fit_model", lambda *_, **__: pytest.fail("trained"))
    toy = dataclasses.replace(METRICS[0], name="again", title="Again")
    METRICS.append(toy)
    try:
        study.run()
        figures = study.read_run("majority").figures["test"]
        assert figures["again"] == figures["accuracy"]
        assert "Again" in (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    finally:
        METRICS.remove(toy)


def test_a_model_kind_is_checked_fitted_compared_reported_and_kept_from_export(
    shapes: Path, tmp_path: Path, toy_kind: ModelKind
) -> None:
    assert ModelConfig(backbone="rarest").kind is toy_kind
    assert ModelConfig(backbone="rarest").weights == "random"
    study = tiny(tmp_path / "study", shapes, "rarest", "majority")
    result = study.run()
    assert set(result.comparison["model"]) == {"rarest", "majority"}
    assert (result.winner, result.model) == (None, None)
    record = study.read_run("rarest")
    assert (record.status.kind, record.fit["parameters"]["total"]) == ("rarest", 1)
    assert study.predictions("rarest")["y_pred"].nunique() == 1
    page = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "predicts the rarest class" in page
    with pytest.raises(UsageError, match="rarest is a baseline"):
        study.export("rarest")
    with pytest.raises(ConfigError, match="rarest"):
        Study.create(shapes, tmp_path / "typo", config={"models": {"m": {"backbone": "rarset"}}}).run()


def test_an_issue_is_ordered_answered_written_reviewed_and_reported(toy_issue: Issue, make_study: MakeStudy) -> None:
    made = make_study()
    row = made.index.iloc[0]
    about = {"image_id": row["image_id"], "path": row["path"], "label": row["label"]}
    table = findings_table(
        [Finding("too_funny", "low", 0.5, "check", "ha", **about), Finding("dark", "low", 0.5, "check", "d", **about)]
    )
    assert table["issue"].tolist() == ["dark", "too_funny"], "in the order of declaration"
    assert in_order(["too_funny", "dark"]) == ("dark", "too_funny")
    relabelled = {row["image_id"]: Correction(row["image_id"], row["path"], "relabel", "dog")}
    assert is_answered("too_funny", (row["image_id"],), relabelled)
    assert not is_answered("dark", (row["image_id"],), relabelled)
    assert answered(relabelled, "too_funny") == {row["image_id"]}

    write_findings(made.folder, table, fingerprint="f")
    assert "too_funny" in (made.folder / "audit.csv").read_text(encoding="utf-8")
    page = ReviewQueue(table, made.index).page_data({})
    assert {"issue": "too_funny", "title": toy_issue.short, "question": toy_issue.question} in page["issues"]
    (made.folder / "corrections.csv").write_text(f"path,action,issues\n{row['path']},keep,too_funny\n")
    assert made.snapshot.corrections[0].issues == ("too_funny",)
    (made.folder / "corrections.csv").unlink()
    text = write_report(made.snapshot).read_text(encoding="utf-8")
    assert toy_issue.title in text
    assert toy_issue.fix in text


def test_every_issue_and_metric_stands_in_the_docs() -> None:
    audit = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in audit.splitlines() if line.startswith("| `"))
    assert [key for key in ISSUES if f"`{key}`" not in rows] == []
    files = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    assert [metric.name for metric in METRICS if f"| `{metric.name}` | {metric.meaning} |" not in files] == []
    config = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert [kind.name for kind in KINDS if f"`{kind.name}`" not in config] == []


def test_a_stage_is_run_in_its_turn_kept_and_asked_for_by_its_command(
    shapes: Path, tmp_path: Path, toy_stage: Stage
) -> None:
    study = tiny(tmp_path / "study", shapes, "majority")
    with pytest.raises(StudyError, match="no index yet: run `bestiary index"):
        study.make("count")
    study.run()
    file = tmp_path / "study" / "count.txt"
    assert file.read_text() == str(len(study.images))
    assert "count" in repr(study)
    written = file.stat().st_mtime_ns
    study.run()
    assert file.stat().st_mtime_ns == written
    file.write_text("wrong")
    study.make("count")
    assert file.read_text() == str(len(study.images))
    needy = dataclasses.replace(toy_stage, name="needy", needs=lambda work: ("count",))
    STAGES["needy"] = needy
    try:
        file.unlink()
        with pytest.raises(StudyError, match="no count of images yet: run `bestiary count"):
            study.make("needy")
    finally:
        del STAGES["needy"]


def test_a_section_of_the_report_is_one_entry(make_study: MakeStudy) -> None:
    from bestiary.report.parts import Table
    from bestiary.report.sections import Section

    toy = Section("toy", "A toy section", (lambda study: Table(["a", "b"], [["x", "42"]], label="toy table"),))
    SECTIONS.append(toy)
    try:
        text = write_report(make_study().snapshot).read_text(encoding="utf-8")
    finally:
        SECTIONS.remove(toy)
    assert "A toy section" in text
    assert re.search(r">\s*42\s*<", text)


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for stage in STAGES.values():
        assert f" {stage.command} " in shown
