"""What the figures are given, checked: the tables and mappings that a `Study` returns.

In: whatever a caller passes. Out: the same, or the rows that a figure draws; else an error that says what is expected.
Owns no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.errors import UsageError
from bestiary.report.study_view import interval, is_baseline
from bestiary.report.words.wording import is_number

INDEX = "the index (study.index_table)"
HISTORIES = "a mapping of model names to histories (study.histories())"
PREDICTIONS = "the predictions of one model (study.predictions(model))"
COMPARISON = "the comparison (study.comparison)"

_PROBABILITY = "p:"


@dataclass(frozen=True)
class ModelAccuracy:
    """A model's test accuracy with its interval, as fractions."""

    model: str
    value: float
    low: float
    high: float
    is_winner: bool


def check_table(table: Any, columns: Sequence[str], *, plot: str, expected: str) -> pd.DataFrame:
    """A table that has these columns.

    Raises:
        UsageError: it is no DataFrame, or lacks a column; says what the figure takes.
    """
    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"plots.{plot} takes {expected}, not a {type(table).__name__}")
    if missing := [column for column in columns if column not in table.columns]:
        raise UsageError(f"plots.{plot} takes {expected}: this table has no column {missing[0]!r}")
    return table


def readable_images(index: Any, columns: Sequence[str], *, plot: str) -> pd.DataFrame:
    """The rows of an index that are of readable images.

    Raises:
        UsageError: it is no index.
    """
    table = check_table(index, [*columns, "error"], plot=plot, expected=INDEX)
    return table[table["error"] == ""]


def check_histories(histories: Any, *, plot: str) -> Mapping[str, pd.DataFrame]:
    """Histories by model name; one without rows needs no columns.

    Raises:
        UsageError: it is no mapping of names to histories.
    """
    if not isinstance(histories, Mapping):
        raise UsageError(f"plots.{plot} takes {HISTORIES}, not a {type(histories).__name__}")
    columns = ["epoch", *(f"{split}_{measure}" for split in ("train", "val") for measure in ("loss", "accuracy"))]
    for table in histories.values():
        check_table(table, columns if len(table) else [], plot=plot, expected=HISTORIES)
    return histories


def model_accuracies(comparison: Any, *, plot: str) -> list[ModelAccuracy]:
    """The models that have a test accuracy, in the order of the ranking.

    Args:
        comparison: a table with one row a model, or the mapping of `comparison.json`. In a table the winner is the
            first model that is no baseline.
        plot: the figure that asks.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(comparison, Mapping):
        if "models" not in comparison:
            raise UsageError(f"plots.{plot} takes {COMPARISON}: this mapping has no 'models'")
        rows = [
            (model, interval(model.get("test"), "accuracy"), model["model"] == comparison.get("winner"))
            for model in comparison["models"]
        ]
    else:
        keys = {"value": "test_accuracy", "low": "test_accuracy_low", "high": "test_accuracy_high"}
        # A study of which no model was run has no figures.
        run = isinstance(comparison, pd.DataFrame) and "rank" in comparison
        table = check_table(comparison, ["model", *keys.values()] if run else ["model"], plot=plot, expected=COMPARISON)
        models = table.to_dict("records")
        winner = next((m["model"] for m in models if is_number(m.get("rank")) and not is_baseline(m)), None)
        rows = [(m, {end: m.get(key) for end, key in keys.items()}, m["model"] == winner) for m in models]
    return [
        ModelAccuracy(
            model=str(model["model"]),
            value=float(ends["value"]),
            low=float(ends["low"] if is_number(ends.get("low")) else ends["value"]),
            high=float(ends["high"] if is_number(ends.get("high")) else ends["value"]),
            is_winner=is_winner,
        )
        for model, ends, is_winner in rows
        if is_number(ends.get("value"))
    ]


def count_predictions(
    predictions: Any, *, split: str, class_names: Sequence[str] | None, plot: str
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The confusion matrix of a split's predictions, `(n, n)`, rows true, columns predicted, and its classes.

    Args:
        predictions: `image_id, split, y_true, y_pred` and one column `p:<class>` a class.
        split: the rows that count.
        class_names: the classes in order; None: those of the probability columns.
        plot: the figure that asks.

    Raises:
        UsageError: it is no table of predictions, has no row of this split, or names a class that is not among these.
    """
    table = check_table(predictions, ["split", "y_true", "y_pred"], plot=plot, expected=PREDICTIONS)
    rows = table[table["split"] == split]
    if rows.empty:
        there = ", ".join(sorted(map(str, set(table["split"])))) or "none"
        raise UsageError(f"plots.{plot}: these predictions have no row of split {split!r}; there are: {there}")
    if class_names is None:
        class_names = [name.removeprefix(_PROBABILITY) for name in table.columns if name.startswith(_PROBABILITY)]
        class_names = class_names or sorted({*rows["y_true"], *rows["y_pred"]})
    names = list(class_names)
    place = {name: number for number, name in enumerate(names)}
    if unknown := sorted({*rows["y_true"], *rows["y_pred"]} - place.keys()):
        raise UsageError(f"plots.{plot}: class {unknown[0]!r} of the predictions is not among class_names")
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (rows["y_true"].map(place).to_numpy(), rows["y_pred"].map(place).to_numpy()), 1)
    return counts, names
