"""Test accuracy on labels as given beside that on corrected ones, where corrections touch the test images.

In: comparison.json's models. Out: a `Table` and a note. Owns no file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bestiary.report.tables import Cell, Table
from bestiary.report.words.wording import DASH, counted, is_number, listed, percent, percent_interval, points, whole


def as_given_table(models: Sequence[Mapping[str, Any]]) -> Table:
    """One row a model in the order of the ranking; no row where no correction touches the test images."""
    rows: list[Sequence[Cell | str]] = []
    for model in models:
        given, corrected = model.get("test_as_given") or {}, (model.get("test") or {}).get("accuracy") or {}
        accuracy = given.get("accuracy") or {}
        if accuracy:
            rows.append([str(model["model"]), _cell(corrected), _cell(accuracy), _gain(corrected, accuracy)])
    columns = ["Model", "On corrected labels", "On labels as given", "Corrected, less as given"]
    return Table(columns=columns, rows=rows, label="Test accuracy on corrected labels and on labels as given")


def as_given_note(models: Sequence[Mapping[str, Any]]) -> str:
    """How many test images corrections changed, and what each column counts; empty where they changed none."""
    told = [model for model in models if model.get("test_as_given")]
    if not told:
        return ""
    given, test = told[0]["test_as_given"], told[0].get("test") or {}
    changes = [
        f"{whole(given[key])} {word}"
        for key, word in (("n_relabelled", "relabelled"), ("n_dropped", "dropped"))
        if given.get(key)
    ]
    changed = sum(given.get(key) or 0 for key in ("n_relabelled", "n_dropped"))
    return (
        f"corrections.csv changes {whole(changed)} of {counted(given.get('n'), 'test image')}: {listed(changes)}. "
        f"Every other figure of this report counts the corrected labels of the {whole(test.get('n'))} that are left; "
        f"“as given” are all {whole(given.get('n'))} with the labels that they came with, as other tools would "
        "score them."
    )


def _cell(interval: Mapping[str, Any]) -> Cell:
    return Cell(percent(interval.get("value")), percent_interval(interval))


def _gain(corrected: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    first, second = corrected.get("value"), given.get("value")
    return points(first - second, signed=True) if is_number(first) and is_number(second) else DASH
