"""The one table of all benchmarks: rows, ratios, CSV, markdown.

In: figures. Out: `benchmarks/results/<group>.csv`, which this module writes and reads.
"""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

RESULTS = Path(__file__).parent / "results"

OURS, WHOLE = "ours", "ours-whole"
Status = Literal["done", "not run", "failed"]


@dataclass(frozen=True)
class Row:
    """One row of a table. None is a figure that there is not.

    Attributes:
        name: of what was run.
        what: its command, or what it does.
        status: "not run" where it could not begin, "failed" where it ended in an error; `note` has the reason.
        seconds: the median of all repeats.
        repeats: how often it was run.
        peak_mb: the median of the largest resident sets.
        accuracy: on test, in [0, 1].
        recall: of what was planted, in [0, 1].
        precision: of what was found, in [0, 1].
        average_precision: of a ranking, in [0, 1].
        times_ours: these seconds over those of the row "ours": above 1 it took longer.
        times_whole: these seconds over those of the row "ours-whole".
        note: in words.
    """

    name: str
    what: str
    status: Status = "done"
    seconds: float | None = None
    repeats: int = 0
    peak_mb: float | None = None
    accuracy: float | None = None
    recall: float | None = None
    precision: float | None = None
    average_precision: float | None = None
    times_ours: float | None = None
    times_whole: float | None = None
    note: str = ""


def not_run(name: str, what: str, reason: str) -> Row:
    """The row of what could not begin."""
    return Row(name, what, status="not run", note=reason)


def ratio(seconds: float | None, reference_s: float | None) -> float | None:
    """How many times as long; None where either is missing or the reference is 0."""
    return seconds / reference_s if seconds is not None and reference_s else None


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """The same rows, each with its seconds over those of "ours" and "ours-whole".

    Args:
        rows: of one run.
    """
    seconds = {row.name: row.seconds for row in rows if row.status == "done"}
    return [
        replace(
            row,
            times_ours=ratio(seconds.get(row.name), seconds.get(OURS)),
            times_whole=ratio(seconds.get(row.name), seconds.get(WHOLE)),
        )
        for row in rows
    ]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a table; replaces the one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=[field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_rows(path: Path) -> list[Row]:
    """Read a table back, figures as written."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [_row(values) for values in csv.DictReader(stream)]


def _row(values: dict[str, str]) -> Row:
    def number(column: str) -> float | None:
        return float(values[column]) if values.get(column) else None

    status = next(status for status in get_args(Status) if status == values["status"])
    return Row(
        name=values["name"],
        what=values["what"],
        status=status,
        seconds=number("seconds"),
        repeats=int(values["repeats"]),
        peak_mb=number("peak_mb"),
        accuracy=number("accuracy"),
        recall=number("recall"),
        precision=number("precision"),
        average_precision=number("average_precision"),
        times_ours=number("times_ours"),
        times_whole=number("times_whole"),
        note=values["note"],
    )


def markdown(rows: Sequence[Row]) -> str:
    """The table as it stands in README.md. Columns in which no row has a figure are left out."""
    columns: list[tuple[str, list[str]]] = [
        ("name", [row.name for row in rows]),
        ("what", [row.what for row in rows]),
        ("seconds", [_seconds(row.seconds) if row.status == "done" else row.status for row in rows]),
        ("runs", [str(row.repeats or "") for row in rows]),
        ("peak MB", [_shown(row.peak_mb, "{:,.0f}") for row in rows]),
        ("test accuracy", [_shown(row.accuracy, "{:.3f}") for row in rows]),
        ("recall", [_shown(row.recall, "{:.3f}") for row in rows]),
        ("precision", [_shown(row.precision, "{:.3f}") for row in rows]),
        ("average precision", [_shown(row.average_precision, "{:.3f}") for row in rows]),
        ("over ours", [_shown(row.times_ours, "{:.2f} x") for row in rows]),
        ("over ours, whole", [_shown(row.times_whole, "{:.2f} x") for row in rows]),
        ("note", [row.note for row in rows]),
    ]
    kept = [(title, cells) for title, cells in columns if any(cells)]
    body = zip(*(cells for _, cells in kept), strict=True)
    lines = [[title for title, _ in kept], ["---"] * len(kept), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _seconds(value: float | None) -> str:
    return _shown(value, "{:.3g}" if value is None or value < 100 else "{:,.0f}")


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
