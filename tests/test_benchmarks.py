"""The benchmarks' own reckoning: medians, ratios, extrapolation, tables, environments, what is planned and drawn."""

import json
import math
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import against, environments, parts_decode, run
from benchmarks.commands import shown
from benchmarks.environments import Environment, EnvironmentMissingError, fingerprint, is_current
from benchmarks.figure import bar_text, draw
from benchmarks.measure import Measured, is_short, last_line, measure, median, rounds
from benchmarks.peers.keras_notebook import extrapolate
from benchmarks.rows import OURS, WHOLE, Row, markdown, not_run, ratio, read_rows, with_ratios, write_rows
from benchmarks.sides import Outcome, peer_outcome, read_splits
from bestiary.study.study import Study

SECONDS = st.floats(min_value=0.001, max_value=1e6)
FIGURES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.builds(
    Row,
    name=st.text(st.characters(codec="utf-8", exclude_characters="\r\0")),
    what=st.text(st.characters(codec="utf-8", exclude_characters="\r\0")),
    status=st.sampled_from(["done", "not run", "failed"]),
    seconds=FIGURES,
    repeats=st.integers(0, 9),
    peak_mb=FIGURES,
    accuracy=FIGURES,
    recall=FIGURES,
    precision=FIGURES,
    average_precision=FIGURES,
    times_ours=FIGURES,
    times_whole=FIGURES,
    note=st.just('a, "b" | c'),
)


def measured(wall_s: float, *, peak_mb: float = 100.0, exit_code: int = 0) -> Measured:
    return Measured(wall_s, peak_mb, exit_code, started_unix_s=0.0)


def outcome(seconds: float, *, wall_s: float | None = None, **models_s: float) -> Outcome:
    return Outcome(measured(wall_s or seconds), seconds, accuracy=0.5, models_s=models_s)


def test_measure_sees_time_memory_exit_code_and_words(tmp_path: Path) -> None:
    code = "import sys, time; held = bytearray(150_000_000); time.sleep(0.3); print('said'); sys.exit(3)"
    found = measure([sys.executable, "-c", code], environment={"PATH": ""}, log=tmp_path / "log")
    assert found.exit_code == 3
    assert found.wall_s >= 0.3
    assert 150 < found.peak_mb < 1000
    assert (tmp_path / "log").read_text() == "said\n"


def test_only_what_was_short_and_worked_is_repeated_and_all_take_turns() -> None:
    order: list[str] = []

    def job(name: str, result: Measured) -> Measured:
        order.append(name)
        return result

    jobs = {
        "short": lambda: job("short", measured(1)),
        "long": lambda: job("long", measured(1000)),
        "broken": lambda: job("broken", measured(1, exit_code=1)),
        "quick": lambda: job("quick", measured(2)),
    }
    found = rounds(jobs, 3, again=is_short)
    assert {name: len(results) for name, results in found.items()} == {"short": 3, "long": 1, "broken": 1, "quick": 3}
    assert order == ["short", "long", "broken", "quick", "short", "quick", "short", "quick"]


@given(st.lists(FIGURES, max_size=7))
def test_median_is_of_the_values_that_are_there(values: list[float | None]) -> None:
    there = sorted(value for value in values if value is not None)
    found = median(values)
    if not there:
        assert found is None
    elif len(there) % 2:
        assert found == there[len(there) // 2]
    else:
        assert found == (there[len(there) // 2 - 1] + there[len(there) // 2]) / 2


@given(seconds=SECONDS, reference=SECONDS)
def test_ratio_times_reference_is_the_seconds(seconds: float, reference: float) -> None:
    found = ratio(seconds, reference)
    assert found is not None
    assert math.isclose(found * reference, seconds)
    assert ratio(seconds, None) is None
    assert ratio(None, reference) is None
    assert ratio(seconds, 0.0) is None


def test_ratios_are_over_both_of_ours_and_only_of_what_was_done() -> None:
    rows = [
        Row(OURS, "", seconds=10.0),
        Row(WHOLE, "", seconds=20.0),
        Row("peer", "", seconds=50.0),
        Row("broken", "", status="failed", seconds=5.0),
        not_run("absent", "", "no index"),
    ]
    found = {row.name: (row.times_ours, row.times_whole) for row in with_ratios(rows)}
    assert found == {OURS: (1, 0.5), WHOLE: (2, 1), "peer": (5, 2.5), "broken": (None, None), "absent": (None, None)}
    without = [replace(rows[0], status="failed"), rows[2]]
    assert [row.times_ours for row in with_ratios(without)] == [None, None]


@given(st.lists(SECONDS, min_size=1, max_size=12), st.integers(1, 12))
def test_extrapolation_keeps_what_was_measured_and_fills_up_with_the_later_median(
    epoch_s: list[float], epochs: int
) -> None:
    found = extrapolate(epoch_s, epochs)
    if len(epoch_s) >= epochs:
        assert math.isclose(found, sum(epoch_s[:epochs]))
    elif len(epoch_s) == 1:
        assert math.isclose(found, epochs * epoch_s[0])
    else:
        assert math.isclose(found, sum(epoch_s) + (epochs - len(epoch_s)) * statistics.median(epoch_s[1:]))


def test_extrapolation_counts_the_slow_first_epoch_once() -> None:
    assert extrapolate([60.0, 10.0, 12.0], 10) == 60 + 10 + 12 + 7 * 11


@given(st.lists(ROWS, max_size=4))
def test_a_table_is_read_back_as_written(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    file = tmp_path_factory.mktemp("rows") / "table.csv"
    write_rows(file, rows)
    assert read_rows(file) == rows


def test_markdown_has_a_cell_for_every_column_that_says_something() -> None:
    rows = [Row("a", "x | y", seconds=12.345, repeats=3), not_run("b", "z", "no index")]
    lines = markdown(rows).splitlines()
    assert lines[0] == "| name | what | seconds | runs | note |"
    assert lines[2] == "| a | x \\| y | 12.3 | 3 |  |"
    assert lines[3] == "| b | z | not run |  | no index |"


def test_fingerprint_follows_requirements_not_their_order() -> None:
    assert fingerprint(["a==1", "b==2"]) == fingerprint(["b==2", "a==1"])
    assert len({fingerprint(names) for names in ([], ["a==1"], ["a==2"], ["a==1", "b==2"], ["a==1b==2"])}) == 5


def test_every_requirement_is_pinned_and_comes_from_no_named_place() -> None:
    for requirements in environments.REQUIREMENTS.values():
        for requirement in requirements:
            name, _, number = requirement.partition("==")
            assert name.replace("-", "").isalnum()
            assert number.replace(".", "").isdigit()
    named = {peer.environment for peer in against.PEERS.values()} | {parts_decode.ENVIRONMENT}
    assert named == set(environments.REQUIREMENTS)


def test_an_environment_is_kept_until_its_requirements_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def made(command: list[str]) -> None:
        calls.append(command)
        (tmp_path / "careful").mkdir(exist_ok=True)

    monkeypatch.setenv("BESTIARY_BENCH_ENVS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setattr(environments, "_call", made)
    monkeypatch.setattr(environments.shutil, "which", lambda name: name)
    first = environments.prepare("careful")
    assert [command[1] for command in calls] == ["venv", "pip"]
    assert set(environments.REQUIREMENTS["careful"]) <= set(calls[1])
    assert environments.prepare("careful") == first
    assert len(calls) == 2
    assert "PYTHONPATH" not in first.variables

    assert is_current(tmp_path / "careful", environments.REQUIREMENTS["careful"])
    monkeypatch.setitem(environments.REQUIREMENTS, "careful", ("torch==1.0",))
    environments.prepare("careful")
    assert len(calls) == 4


def test_a_half_made_or_damaged_environment_is_made_again(tmp_path: Path) -> None:
    assert not is_current(tmp_path, ["a==1"])
    for text in ("", "[]", "{}", '{"fingerprint": "x"}'):
        (tmp_path / "requirements.json").write_text(text)
        assert not is_current(tmp_path, ["a==1"])
    (tmp_path / "requirements.json").write_text(json.dumps({"fingerprint": fingerprint(["a==1"])}))
    assert is_current(tmp_path, ["a==1"])


def test_a_reason_names_no_address() -> None:
    assert last_line("first\nerror: cannot reach https://index.example/simple/x\n\n") == "error: cannot reach (address)"
    assert last_line("\n") == ""


def test_a_peer_that_cannot_be_had_is_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(name: str) -> Environment:
        if name == "fastai":
            raise EnvironmentMissingError("uv pip: no index in reach")
        return Environment(Path(sys.executable), {})

    ran: list[str] = []

    def theirs(name: str, *_: object, **__: object) -> Outcome:
        ran.append(name)
        return Outcome(measured(8.0), 8.0, accuracy=0.9)

    monkeypatch.setattr(against, "prepare", prepare)
    monkeypatch.setattr(against, "warm_up", lambda *_, **__: None)
    monkeypatch.setattr(against, "_make_splits", lambda *_, **__: tmp_path / "splits.csv")
    monkeypatch.setattr(against, "ours", lambda *_, **__: outcome(2.0, wall_s=4.0))
    monkeypatch.setattr(against, "theirs", theirs)
    tables = against.run("probe", tmp_path, tmp_path / "probe", ["careful", "fastai"], repeats=2, epochs=10)
    rows = {row.name: row for row in tables["probe"]}
    assert list(tables) == ["probe"]
    assert list(rows) == [OURS, WHOLE, "careful", "fastai"]
    assert ran == ["careful", "careful"]
    assert (rows[WHOLE].seconds, rows["careful"].times_ours, rows["careful"].times_whole) == (4.0, 4.0, 2.0)
    assert (rows["fastai"].status, rows["fastai"].note) == ("not run", "uv pip: no index in reach")


def test_ours_failing_leaves_the_peers_without_ratios() -> None:
    failed = Outcome(measured(1.0, exit_code=1), None, note="exit code 1: no photos")
    rows = with_ratios(against.side_rows({OURS: [failed], "keras": [outcome(9.0)]}, command="bestiary study"))
    assert [(row.name, row.status, row.times_ours) for row in rows] == [(OURS, "failed", None), ("keras", "done", None)]
    assert rows[0].note == "exit code 1: no photos"


def test_rows_by_model_are_over_ours_of_the_same_model() -> None:
    found = {OURS: [outcome(3.0, a=1.0, b=2.0)], "keras": [outcome(9.0, a=5.0, b=4.0), outcome(9.0, a=7.0, b=4.0)]}
    rows = [(row.name, row.seconds, row.times_ours) for row in against.model_rows(found)]
    assert rows == [("ours a", 1, 1), ("keras a", 6, 6), ("ours b", 2, 1), ("keras b", 4, 2)]
    assert against.model_rows({OURS: [outcome(3.0, a=1.0)], "fastai": [outcome(9.0)]}) == []


def test_extrapolated_seconds_are_added_and_told() -> None:
    figures = {"stages": {"import": 1.0}, "versions": {"keras": "3"}, "accuracy": 0.4, "models": {}}
    whole = peer_outcome(measured(100.0), {**figures, "extrapolated": False, "measured_s": 95.0, "protocol_s": 95.0})
    part = peer_outcome(measured(100.0), {**figures, "extrapolated": True, "measured_s": 95.0, "protocol_s": 295.0})
    assert (whole.seconds, part.seconds) == (100.0, 300.0)
    assert "extrapolated" not in whole.note
    assert part.note.startswith("extrapolated: 100 s were measured; import 1.0 s; keras 3")


def test_the_splits_for_the_peers_are_the_studys(tmp_path: Path, shapes: Path, tiny_config: Path) -> None:
    study = Study.create(shapes, tmp_path / "study", config=tiny_config)
    study.index()
    study.audit()
    study.split()
    rows = read_splits(study.path)
    assert {split for _, _, split in rows} == {"train", "val", "test"}
    assert len({path for path, _, _ in rows}) == len(rows) == 42
    assert all(path.split("/")[0] == label for path, label, _ in rows)


def test_what_is_asked_for_is_planned() -> None:
    everything = run.plan([])
    assert {name for names in everything.values() for name in names} | set(everything) == set(run.NAMES)
    assert run.plan(["probe"]) == {"probe": ["careful", "careful-bf16", "fastai"]}
    assert run.plan(["keras", "help"]) == {"commands": ["help"], "notebook": ["keras"]}


def test_a_command_is_shown_without_folders_of_this_machine() -> None:
    line = shown(["study", Path("/data/photos"), "--out", Path("/place/ours"), "--set", "a=1", "--set", "b=2"])
    assert line == "bestiary study photos --out ours --set ..."


def test_the_figure_shows_what_was_done(tmp_path: Path) -> None:
    assert draw(tmp_path) == []
    rows = with_ratios(
        [Row(OURS, "", seconds=10.0), Row("careful", "", seconds=42.0), not_run("fastai", "", "no index")]
    )
    write_rows(tmp_path / "probe.csv", rows)
    assert [path.name for path in draw(tmp_path)] == ["speed.svg", "speed.png"]
    assert all(path.stat().st_size > 1000 for path in tmp_path.glob("speed.*"))
    assert bar_text(rows[1]) == "42.0 s, 4.2 × ours"
    assert bar_text(replace(rows[1], note="extrapolated: 9 s were measured")).endswith("extrapolated")
