"""A confusion matrix as an HTML table: what stands in each cell.

In: one run. Out: a `Matrix` for the templates. Owns no file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bestiary.report.figures.style import label
from bestiary.report.study_record import ModelRecord
from bestiary.report.study_view import confusion
from bestiary.report.words.wording import counted, whole

_MOST_CLASSES = 30
_SHOWN_CLASSES = 24
_LONG_NAME = 9
# Shortened in the middle: names of many classes often begin alike.
_FITTING_NAME = 18
OTHERS = -1


@dataclass(frozen=True)
class MatrixCell:
    """One cell. `true` and `pred` are places in the page's list of classes, -1 for all that are not shown."""

    count: int
    text: str
    true: int
    pred: int
    shade: float
    correct: bool
    spoken: str


@dataclass(frozen=True)
class Matrix:
    """A matrix of finished cells.

    Attributes:
        model: whose it is.
        names: of the columns, as name and as what fits into the head.
        rows: name, what fits, and cells.
        shown: places in the page's list of classes.
        upright: whether the names are so few and short that they need not be turned.
        note: what is left out.
    """

    model: str
    names: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, str, Sequence[MatrixCell]]]
    shown: Sequence[int]
    upright: bool
    note: str = ""


def confusion_matrix(run: ModelRecord, *, places: Mapping[str, int]) -> Matrix | None:
    """The test confusion of one run, None where it has none.

    Beyond 30 classes the 24 with the most errors are shown, and all others share one row and one column.

    Args:
        run: the run.
        places: class name → place in the page's list of classes.
    """
    names, numbers = run.class_names, [places.get(name, OTHERS) for name in run.class_names]
    counts = confusion(run.split("test"), names)
    if counts is None:
        return None
    note = ""
    if len(names) > _MOST_CLASSES:
        shown = _most_errors(counts)
        note = (
            f"{len(shown)} of {len(names)} classes are shown, those with the most errors. All others share one row "
            "and one column; confusions between two of them count on the diagonal."
        )
        counts = _joined(counts, shown)
        names = [*(names[place] for place in shown), "all others"]
        numbers = [*(numbers[place] for place in shown), OTHERS]
    totals = counts.sum(axis=1)
    rows = []
    for i, name in enumerate(names):
        cells = [
            MatrixCell(
                count=int(counts[i, j]),
                text=whole(int(counts[i, j])),
                true=numbers[i],
                pred=numbers[j],
                shade=_shade(counts[i, j] / totals[i] if totals[i] else 0.0, correct=i == j),
                correct=i == j,
                spoken=f"true {label(name, 40)}, predicted {label(other, 40)}: {counted(int(counts[i, j]), 'image')}",
            )
            for j, other in enumerate(names)
        ]
        rows.append((name, label(name, _FITTING_NAME), cells))
    upright = len(names) <= 12 and max(len(name) for name in names) <= _LONG_NAME
    shown_places = [number for number in numbers if number != OTHERS]
    return Matrix(
        model=run.name,
        names=[(name, label(name, _FITTING_NAME)) for name in names],
        rows=rows,
        shown=shown_places,
        upright=upright,
        note=note,
    )


def _shade(share: float, *, correct: bool) -> float:
    # Errors are rare: on a linear scale one in twenty could not be seen.
    return round(share if correct or not share else 0.2 + 0.8 * math.sqrt(share), 2)


def _most_errors(counts: np.ndarray) -> list[int]:
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    return sorted(np.argsort(-errors, kind="stable")[:_SHOWN_CLASSES].tolist())


def _joined(counts: np.ndarray, shown: Sequence[int]) -> np.ndarray:
    group = np.full(len(counts), len(shown))
    group[list(shown)] = np.arange(len(shown))
    joined = np.zeros((len(shown) + 1, len(shown) + 1), dtype=np.int64)
    np.add.at(joined, (group[:, None], group[None, :]), counts)
    return joined
