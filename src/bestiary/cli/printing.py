"""Printing: results → text for people, or JSON for scripts, on stdout.

In: plain values and tables. Out: lines on stdout; nothing else in the package writes there but `predict`.
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bestiary.data.clean_copy import Applied
from bestiary.store.json_values import plain


def print_json(value: Any) -> None:
    """One JSON document; NaN becomes null."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def print_rows(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain aligned table; columns whose cells all begin with a digit or a sign stand right."""
    cells = [list(headers), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    right = [all(row[column][:1] in "0123456789-+" for row in rows) for column in range(len(headers))]
    for row in cells:
        parts = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        print("  ".join(parts).rstrip())


def print_comparison(table: pd.DataFrame) -> None:
    """The models in rank order: accuracy on validation and test with the test interval, and how each stands."""
    rows = [_comparison_row(row) for row in table.to_dict("records")]
    print_rows(("model", "val acc", "test acc", "95 % interval", "macro F1", "vs winner", "seconds"), rows)


def _comparison_row(row: dict[str, Any]) -> tuple[str, ...]:
    if row["status"] != "done":
        return (str(row["model"]), "not run", "", "", "", "", "")
    seconds = sum(value for key, value in row.items() if key.startswith("seconds_") and not pd.isna(value))
    return (
        str(row["model"]),
        f"{row['val_accuracy']:.4f}",
        f"{row['test_accuracy']:.4f}",
        f"{row['test_accuracy_low']:.4f} to {row['test_accuracy_high']:.4f}",
        f"{row['test_macro_f1']:.4f}",
        _versus(row["test_difference_to_winner"], row["p_value_holm"]),
        f"{seconds:.1f}",
    )


def _versus(difference: float | None, p_value: float | None) -> str:
    if pd.isna(difference) or difference is None or p_value is None:
        return ""
    return f"{difference:+.4f}, p = {p_value:.2g}" + ("" if p_value < 0.05 else " (not told apart)")


_SHOWN = 20


def print_findings(table: pd.DataFrame) -> None:
    """Counts by issue, then the most urgent findings, a line each."""
    if table.empty:
        print("no finding")
        return
    counts = table.groupby(["issue", "severity"], sort=False).size()
    print_rows(("issue", "severity", "findings"), [(*key, f"{count}") for key, count in counts.items()])
    print()
    for row in table.head(_SHOWN).itertuples():
        where = ascii(row.path)[1:-1] or f"class {row.label}"
        suggestion = f" -> {row.suggestion}" if row.suggestion else ""
        print(f"{row.severity:6}  {row.issue}  {where}  [{row.label}{suggestion}]  {row.reason}")
    if len(table) > _SHOWN:
        print(f"... and {len(table) - _SHOWN:,} more, in audit.csv; `bestiary review` goes through them")


def print_applied(applied: Applied) -> None:
    """Where the clean copy lies, and what was done."""
    print(f"files       {applied.files:,}, of which {applied.relabelled:,} relabelled and {applied.renamed:,} renamed")
    print(f"left out    {applied.dropped:,} dropped, {applied.unreadable:,} unreadable")
    print(f"copy        {applied.folder}")
    print(f"manifest    {applied.manifest}")
