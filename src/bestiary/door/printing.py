"""Printing: results → text for people, or JSON for scripts, on stdout.

In: plain values and tables. Out: lines on stdout; nothing else in the package writes there but `predict`.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd


def print_json(value: Any) -> None:
    """One JSON document; NaN becomes null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return value if isinstance(value, int) else str(value)


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
