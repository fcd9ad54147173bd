"""Printing: results → tables and lines for people, on stdout.

In: plain values and tables. Out: lines on stdout. On a terminal a table fits its width; elsewhere a row is one line
however long it is, with no colours. No pandas is imported here: `--help` and the light commands go without it.
"""

import io
import math
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestiary.cli.streams import for_a_cell, on_one_line
from bestiary.plurals import counted

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from bestiary.audit.copies.name_groups import Proposal
    from bestiary.data.clean_copy import Applied

# Marks seconds that leave something out.
_CACHED = "*"
_SIGNIFICANT = 0.05
_WIDEST = 100_000
_SHOWN = 20
_NAMED = 3
_DEMO_FOOTNOTE = """
A file counts under every kind that is true of it: a train image copied into test is a leak and a duplicate. A false
alarm is a finding that names nothing planted with its kind. Two digits that look alike by chance count as one; so does,
as "at other faults", what a fault brings with it, such as a blank page's lack of sharp edges.
"""


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[str] = ()) -> None:
    """A table under its headers; the columns in `numbers` are aligned on the right and never broken."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for header in headers:
        if header in numbers:
            table.add_column(header, justify="right", no_wrap=True)
        else:
            table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(for_a_cell(cell) for cell in row))
    _print(table)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """What something is called on the left, what it is on the right; an empty name goes on with the one above."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(for_a_cell(name), for_a_cell(value))
    _print(table)


def _print(table: "Table") -> None:
    from rich.console import Console

    if sys.stdout is not None and sys.stdout.isatty():
        Console(markup=False, emoji=False, highlight=False, force_jupyter=False).print(table)
        return
    text = io.StringIO()
    plain = Console(
        file=text, width=_WIDEST, markup=False, emoji=False, highlight=False, color_system=None, force_jupyter=False,
        force_terminal=False,
    )  # fmt: skip
    plain.print(table)
    # Through `print`: rich answers a pipe that was closed by ending the process.
    for line in text.getvalue().splitlines():
        print(line.rstrip())


def print_comparison(table: "pd.DataFrame") -> None:
    """The models in rank order: accuracy on validation and test with the test interval, and how each compares.

    `1=` is a rank that models share, because they do not differ significantly from the winner on test.
    """
    headers = ["model", "val acc", "test acc", "95 % interval", "macro F1", "vs winner", "seconds"]
    rows = [_comparison_row(row) for row in table.to_dict("records")]
    if "folds" not in table:  # else the models are ranked over all folds
        headers = ["rank", *headers]
        rows = [(rank, *row) for rank, row in zip(_shared_ranks(table), rows, strict=True)]
    print_table(headers, rows, numbers=[header for header in headers if header not in ("model", "vs winner")])
    _print_folds(table)
    if any(row[-1].endswith(_CACHED) for row in rows):
        print(f"{_CACHED} without what was cached before: the features of its images")


def _shared_ranks(table: "pd.DataFrame") -> list[str]:
    """Each model's rank, with an equals sign where it is shared; empty for a model that was not run."""
    if "rank_shared" not in table:  # none was run
        return [""] * len(table)
    shared = table["rank_shared"].duplicated(keep=False)
    return [
        "" if _missing(rank) else f"{int(rank)}{'=' if others else ''}"
        for rank, others in zip(table["rank_shared"], shared, strict=True)
    ]


def _print_folds(table: "pd.DataFrame") -> None:
    """The figures over all folds, where there is a cross-validation."""
    if "folds" not in table:
        return
    tested = table[table["status"] == "done"]
    done = tested.to_dict("records")
    print(f"\nover {int(done[0]['folds'])} folds, every image tested once (above: the first fold)")
    rows = [
        (
            rank,
            str(row["model"]),
            f"{row['val_accuracy_over_folds']:.4f}",
            f"{row['test_accuracy_over_folds']:.4f}",
            f"{row['test_accuracy_over_folds_low']:.4f} to {row['test_accuracy_over_folds_high']:.4f}",
            _versus(row["difference_over_folds"], row["p_value_holm_over_folds"]),
        )
        for rank, row in zip(_shared_ranks(tested), done, strict=True)
    ]
    headers = ("rank", "model", "val acc", "test acc", "95 % interval", "vs winner")
    print_table(headers, rows, numbers=[header for header in headers if header not in ("model", "vs winner")])


def _comparison_row(row: dict[str, Any]) -> tuple[str, ...]:
    if row["status"] != "done":
        return (str(row["model"]), "not run", "", "", "", "", "")
    seconds = sum(value for key, value in row.items() if key.startswith("seconds_") and not _missing(value))
    return (
        str(row["model"]),
        f"{row['val_accuracy']:.4f}",
        f"{row['test_accuracy']:.4f}",
        f"{row['test_accuracy_low']:.4f} to {row['test_accuracy_high']:.4f}",
        f"{row['test_macro_f1']:.4f}",
        _versus(row["test_difference_to_winner"], row["p_value_holm"]),
        f"{seconds:,.1f}{'' if _missing(row['cached_images']) or not row['cached_images'] else _CACHED}",
    )


def _versus(difference: float | None, p_value: float | None) -> str:
    if difference is None or p_value is None or _missing(difference) or _missing(p_value):
        return ""
    return f"{difference:+.4f}, p = {p_value:.2g}" + ("" if p_value < _SIGNIFICANT else " (not significant)")


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def print_findings(table: "pd.DataFrame") -> None:
    """A line for each kind of findings, in the order of what they would change: how many, the first, what to do."""
    if table.empty:
        print("no findings")
        return
    rows = [
        (
            str(severity),
            str(issue),
            f"{len(group):,}",
            f"{int(group['images'].sum()):,}",
            _kind_in_words(str(issue), group),
        )
        for (severity, issue), group in table.groupby(["severity", "issue"], sort=False)
    ]
    print_table(
        ("severity", "issue", "findings", "images", "what, and what to do"), rows, numbers=["findings", "images"]
    )
    print("\naudit.csv has them all; `bestiary review` goes through them")


def _kind_in_words(issue: str, findings: "pd.DataFrame") -> str:
    """The only finding in its own words; of several the first names, and the fix."""
    from bestiary.audit.issues import ISSUES

    def place(row: Any) -> str:
        label = f"{row.label} -> {row.suggestion}" if row.suggestion else row.label
        return (
            f"{row.path} [{label}]"
            if row.path and label
            else row.path or (f"class {row.label}" if row.label else "all images")
        )

    first = list(findings.head(_NAMED).itertuples())
    if ISSUES[issue].about == "file" and len(findings) <= _NAMED:
        # What is said of many files in one finding names them, and the fix.
        return "; ".join(str(row.reason) if row.images > 1 else f"{place(row)}: {row.reason}" for row in first)
    if len(findings) == 1:
        return f"{place(first[0])}: {first[0].reason}"
    more = ", ..." if len(findings) > _NAMED else ""
    return f"{', '.join(map(place, first))}{more}: {ISSUES[issue].fix}"


def print_index(table: "pd.DataFrame") -> None:
    """How many images a class has, then why files were left out, a line a reason with the first of them."""
    read, left_out = table[table["error"] == ""], table[table["error"] != ""]
    counts = read["label"].value_counts()
    print_table(("class", "images"), [(name, f"{count:,}") for name, count in counts.items()], numbers=["images"])
    print(f"\n{counted(len(read), 'image')}, {counted(len(left_out), 'file')} left out")
    reasons = left_out.groupby("error", sort=False)
    for error, rows in list(reasons)[:_SHOWN]:
        first = ", ".join(rows["path"].head(_NAMED)) + (", ..." if len(rows) > _NAMED else "")
        print(on_one_line(f"  {first}: {error}" if len(rows) == 1 else f"  {len(rows):,} files ({first}): {error}"))
    if len(reasons) > _SHOWN:
        print(f"  ... and {len(reasons) - _SHOWN:,} more reasons, in index.parquet")


def print_proposal(found: "Proposal", config: Path) -> None:
    """The pattern that file names suggest, with its first groups, or why there is none; then where study.toml lies."""
    if found.pattern:
        print(on_one_line(f"data.group_pattern = '{found.pattern}'"))
        print(f"  {found.reason}")
        for name, paths in found.examples:
            print(on_one_line(f"  {name}: {', '.join(paths)}"))
        print(f"It stands in {relative(config)}: change it there, or go on with --resume")
    else:
        print(on_one_line(f"no data.group_pattern is proposed: {found.reason}"))
        print(relative(config))


def print_applied(applied: "Applied") -> None:
    """Where the clean copy lies, and what was done."""
    print(f"files       {applied.files:,}, of which {applied.relabelled:,} relabelled and {applied.renamed:,} renamed")
    print(f"left out    {applied.dropped:,} dropped, {applied.unreadable:,} unreadable")
    print(f"copy        {relative(applied.folder)}")
    print(f"manifest    {relative(applied.manifest)}")


def print_demo(result: dict[str, Any]) -> None:
    """What was planted and found, what was missed, the models, and where report and model lie."""
    columns = {
        "planted": "planted",
        "found": "found",
        "missed": "missed",
        "false_alarms": "false alarms",
        "at_other_faults": "of these at other faults",
    }
    rows = result["faults"]
    cells = [[row["kind"].replace("_", " "), *(f"{row[column]:,}" for column in columns)] for row in rows]
    totals = [f"{sum(row[column] for row in rows):,}" for column in columns]
    print_table(("kind", *columns.values()), [*cells, ["all", *totals]], numbers=columns.values())
    for row in rows:
        for path in row["missed_paths"]:
            print(on_one_line(f"missed: {row['kind'].replace('_', ' ')} {path}"))
    print(_DEMO_FOOTNOTE)
    print_comparison(result["comparison"])
    print()
    print_outcome(winner=result["winner"], report=result["report"], model=result["model"])


def print_outcome(*, winner: str | None, report: Path, model: Path | None) -> None:
    """The best model, and where report and exported model lie."""
    print(f"winner   {winner or 'none: no model but a baseline was run'}")
    print(f"report   {relative(report)}")
    if model:
        print(f"model    {relative(model)}")


def relative(path: Path) -> str:
    """A path as short as can be for a person who is to open it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def print_race(race: "pd.DataFrame", study: Path) -> None:
    """Backbones as they stand at the end of a race, and what goes on with those left."""
    rows = [
        (
            row.backbone,
            row.licence or "not stated",
            f"{row.images:,}" if row.images else "",
            f"{row.accuracy:.4f}" if row.images else "",
            f"{row.loss:.4f}" if row.images else "",
            "" if math.isnan(row.a_thousand_s) else f"{row.a_thousand_s:.1f}",
            "out" if row.reason else "",
        )
        for row in race.itertuples()
    ]
    titles = ("backbone", "licence", "images", "accuracy", "loss", "s per 1,000", "")
    print_table(titles, rows, numbers=["images", "accuracy", "loss", "s per 1,000"])
    for row in race[race["reason"] != ""].itertuples():
        print(f"{row.backbone} is out: {row.reason}")
    print("\nlinear probes, out of fold on training images")
    print(f"`bestiary search {relative(study)}` goes on with those left")


def print_heads(heads: "pd.DataFrame", *, rows: int = 10) -> None:
    """The heads that a search tried to the end, the best first: out-of-fold figures on train, and settings."""
    shown = [
        (row.model, f"{row.loss:.4f}", f"{row.accuracy:.4f}", row.backbones, _head_text(row))
        for row in heads.head(rows).itertuples()
    ]
    print_table(("model", "loss", "accuracy", "backbones", "head"), shown, numbers=["loss", "accuracy"])
    if len(heads) > rows:
        print(f"and {len(heads) - rows:,} more in search.json")
    print("\nout of fold, on train alone; `bestiary compare` measures the first ones on val and test")


def _head_text(row: Any) -> str:
    if not row.hidden:
        return "linear probe"
    return f"{row.hidden} hidden units, dropout {row.dropout:g}, {row.optimizer}"
