"""Tables on a terminal and in a pipe, and what is printed of a comparison, of findings, of a demo."""

import io
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bestiary.audit.findings import ISSUES, Finding, findings_table
from bestiary.cli.printing import (
    print_comparison,
    print_demo,
    print_findings,
    print_index,
    print_outcome,
    print_pairs,
    print_table,
)

Captured = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_in_a_pipe_is_plain_aligned_and_never_wrapped(capsys: Captured) -> None:
    long = "word " * 100 + "end"
    print_table(("name", "images", "why"), [("猫", "7", "x"), ("[b]:cat:[/b]", "1,234", long)], numbers=["images"])
    assert capsys.readouterr().out.splitlines() == [
        "name          images  why",
        "猫                 7  x",
        f"[b]:cat:[/b]   1,234  {long}",
    ]


def test_columns_are_aligned_by_what_they_hold_and_not_by_how_it_looks(capsys: Captured) -> None:
    print_table(("class", "images"), [("3", "10"), ("10", "9")], numbers=["images"])
    assert capsys.readouterr().out.splitlines() == ["class  images", "3          10", "10          9"]


def test_a_table_without_rows_is_its_head(capsys: Captured) -> None:
    print_table(("class", "images"), [])
    assert capsys.readouterr().out == "class  images\n"


def test_control_characters_of_names_stay_in_their_cell(capsys: Captured) -> None:
    print_table(("class", "images"), [("a\nb\x1b[31m\u202eg", "1"), ("odd\udcff", "2")])
    assert capsys.readouterr().out.splitlines()[1:] == [r"a\nb\x1b[31m\u202eg  1", r"odd\xff              2"]


def test_columns_stay_aligned_where_stdout_has_no_such_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    print_table(("class", "images"), [("猫", "7"), ("é", "8")], numbers=["images"])
    stream.flush()
    lines = stream.buffer.getvalue().decode("cp1252").splitlines()  # type: ignore[attr-defined]
    assert lines == ["class   images", r"\u732b       7", "é            8"]


def test_a_table_on_a_terminal_fits_it_and_keeps_its_numbers_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(("name", "why", "images"), [("cat", "word " * 40, "1,234,567")], numbers=["images"])
    text = terminal.getvalue()
    assert "\x1b[1m" in text  # a bold head
    lines = text.splitlines()
    assert len(lines) > 3
    assert "1,234,567" in lines[1]
    assert all(len(line) <= 60 for line in lines[1:])


def test_pairs_go_on_under_an_empty_name(capsys: Captured) -> None:
    print_pairs([("device", "cpu"), ("", "fp32"), ("cache", "/a/b")])
    assert capsys.readouterr().out.splitlines() == ["device  cpu", "        fp32", "cache   /a/b"]


def row(rank: int, model: str, difference: float | None, p_value: float | None, **other: Any) -> dict[str, Any]:
    return {
        "rank_shared": rank, "model": model, "status": "done", "val_accuracy": 0.958, "test_accuracy": 0.9676,
        "test_accuracy_low": 0.9487,
        "test_accuracy_high": 0.9796, "test_macro_f1": 0.9609, "test_difference_to_winner": difference,
        "p_value_holm": p_value, "seconds_fit": 0.5, "seconds_features": 1234.0, "cached_images": 0, **other,
    }  # fmt: skip


def test_a_difference_that_is_not_significant_is_said_to_be_none(capsys: Captured) -> None:
    table = pd.DataFrame(
        [
            row(1, "best", None, None),
            row(1, "other", -0.0057, 0.63),
            row(3, "baseline", -0.7824, 1.5e-123, seconds_features=None),
            {"model": "far", "status": "not run"},
        ]
    )
    print_comparison(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["rank", "model"]
    assert [line[:4] for line in lines] == ["rank", "  1=", "  1=", "   3", "    "]
    assert lines[1].split() == ["1=", "best", "0.9580", "0.9676", "0.9487", "to", "0.9796", "0.9609", "1,234.5"]
    assert "-0.0057, p = 0.63 (not significant)" in lines[2]
    assert lines[3].rstrip().endswith("0.5")
    assert "-0.7824, p = 1.5e-123 " in lines[3]
    assert lines[4].split() == ["far", "not", "run"]


def test_a_winner_that_is_significantly_better_than_all_shares_its_rank_with_none(capsys: Captured) -> None:
    print_comparison(pd.DataFrame([row(1, "best", None, None), row(2, "other", -0.2, 0.001)]))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["rank", "1", "2"]


def test_where_nothing_was_run_there_are_no_ranks(capsys: Captured) -> None:
    print_comparison(pd.DataFrame([{"model": "far", "status": "not run", "reason": "no hub"}]))
    assert capsys.readouterr().out.splitlines()[1].split() == ["far", "not", "run"]


def test_over_folds_the_ranks_are_those_of_all_folds(capsys: Captured) -> None:
    over = {"folds": 3, "val_accuracy_over_folds": 0.95, "test_accuracy_over_folds": 0.96,
            "test_accuracy_over_folds_low": 0.94, "test_accuracy_over_folds_high": 0.97}  # fmt: skip
    rows = [
        row(1, "best", None, None, **over, difference_over_folds=None, p_value_holm_over_folds=None),
        row(1, "other", -0.3, 0.001, **over, difference_over_folds=-0.01, p_value_holm_over_folds=0.4),
    ]
    print_comparison(pd.DataFrame([*rows, {"model": "far", "status": "not run"}]))
    first, pooled = capsys.readouterr().out.split("\nover 3 folds")
    assert first.split()[0] == "model"
    assert [line.split()[0] for line in pooled.splitlines()[1:]] == ["rank", "1=", "1="]


def test_findings_are_counted_and_the_first_are_shown_by_their_own_names(capsys: Captured) -> None:
    findings = [
        Finding("label_error", "high", 0.9, "relabel", "reason", image_id="a", path="猫\n.png", label="cat",
                suggestion="dog"),
        *(Finding("dark", "low", 0.5, "check", "reason", image_id=f"{n}", path=f"{n}.png", label="cat")
          for n in range(1200)),
        Finding("small_class", "low", 0.5, "check", "reason", label="ant"),
    ]  # fmt: skip
    print_findings(findings_table(findings))
    lines = [line.split(maxsplit=4) for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["high", "label_error", "1", "1", r"猫\n.png [cat -> dog]: reason"]
    # A line a kind, however many there are of it.
    assert lines[2][:4] == ["low", "dark", "1,200", "1,200"]
    assert lines[2][4].startswith("0.png [cat], 1.png [cat], 10.png [cat], ...: Drop those")
    assert lines[3] == ["low", "small_class", "1", "0", "class ant: reason"]
    assert lines[5] == ["audit.csv", "has", "them", "all;", "`bestiary review` goes through them"]
    assert len(lines) == 6
    many = Finding("mask", "low", 0.0, "check", "312 masks (a.png): keep them", image_id="a", path="a.png", images=312)
    print_findings(findings_table([many]))
    assert "low       mask          1     312  312 masks (a.png): keep them\n" in capsys.readouterr().out
    print_findings(findings_table([Finding("dark", "low", 0.5, "check", "typical", images=9)]))
    assert "low       dark          1       9  all images: typical" in capsys.readouterr().out
    print_findings(findings_table([]))
    assert capsys.readouterr().out == "no findings\n"


@pytest.mark.parametrize(
    ("errors", "words"),
    [([""], "1 image, 0 files left out"), (["", "", "empty file"], "2 images, 1 file left out")],
)
def test_images_and_files_that_were_left_out_are_counted(errors: list[str], words: str, capsys: Captured) -> None:
    print_index(pd.DataFrame({"path": [f"{n}.png" for n in range(len(errors))], "label": "cat", "error": errors}))
    out = capsys.readouterr().out
    assert words in out.splitlines()
    assert ("  2.png: empty file" in out) == ("empty file" in errors)


def test_what_is_printed_of_a_demo_names_every_kind_and_what_was_missed(capsys: Captured) -> None:
    faults = [
        {"kind": kind, "planted": 2, "found": 1, "missed": 1, "false_alarms": 0, "at_other_faults": 0,
         "missed_paths": [f"a/{kind}.png"]}
        for kind in ISSUES
    ]  # fmt: skip
    result = {
        "faults": faults, "comparison": pd.DataFrame(), "winner": "m", "report": Path("r.html"), "model": Path("model"),
    }  # fmt: skip
    print_demo(result)
    lines = capsys.readouterr().out.splitlines()
    table = {line.rsplit(maxsplit=5)[0]: line.split()[-5:] for line in lines[1 : len(ISSUES) + 2]}
    assert list(table) == [*(kind.replace("_", " ") for kind in ISSUES), "all"]
    assert table["unreadable"] == ["2", "1", "1", "0", "0"]
    assert table["all"] == [str(2 * len(ISSUES)), str(len(ISSUES)), str(len(ISSUES)), "0", "0"]
    assert "missed: exact duplicate a/exact_duplicate.png" in lines
    assert lines[-3:] == ["winner   m", "report   r.html", "model    model"]


def test_a_study_of_dummies_has_no_winner_and_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    print_outcome(winner=None, report=tmp_path / "s" / "report.html", model=None)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["winner   none: no model but a baseline was run", "report   s/report.html"]
