"""Test accuracy on labels as given beside that on corrected ones, where corrections touch the test images.

In: the models of a study's comparison. Out: a part of the section "The models compared". Owns no file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bestiary.report.parts import Cell, Table
from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import interval
from bestiary.report.words.wording import DASH, counted, is_number, listed, percent, percent_interval, points, whole


def as_given_table(study: StudyRecord) -> Table:
    """One row a model in the order of the ranking; no row where no correction touches the test images."""
    models = study.comparison["models"]
    rows: list[Sequence[Cell | str]] = []
    for model in models:
        given, corrected = interval(model.get("test_as_given"), "accuracy"), interval(model.get("test"), "accuracy")
        if given:
            rows.append([str(model["model"]), _cell(corrected), _cell(given), _gain(corrected, given)])
    return Table(
        ["Model", "Corrected labels", "Labels as given", "Difference"],
        rows,
        label="Test accuracy on corrected labels and on labels as given",
        title="Labels as given, and corrected",
        note=_note(models),
    )


def _note(models: Sequence[Mapping[str, Any]]) -> str:
    """How many test images corrections changed, and what each column counts; empty where they changed none."""
    rescored = [model for model in models if model.get("test_as_given")]
    if not rescored:
        return ""
    given, test = rescored[0]["test_as_given"], rescored[0].get("test") or {}
    changes = [
        f"{whole(given[key])} {word}"
        for key, word in (("n_relabelled", "relabelled"), ("n_dropped", "dropped"))
        if given.get(key)
    ]
    changed = sum(given.get(key) or 0 for key in ("n_relabelled", "n_dropped"))
    return (
        f"Test accuracy. corrections.csv changes {whole(changed)} of {counted(given['n'], 'test image')}: "
        f"{listed(changes)}. All other figures of this report are for the corrected labels of the remaining "
        f"{counted(test.get('n') or 0, 'image')}. \u201cAs given\u201d are all {whole(given.get('n'))} with the labels "
        "that came with the data, as other tools would score them. The difference is in percentage points."
    )


def _cell(figure: Mapping[str, Any]) -> Cell:
    return Cell(percent(figure.get("value")), percent_interval(figure))


def _gain(corrected: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    first, second = corrected.get("value"), given.get("value")
    return points(first - second, signed=True) if is_number(first) and is_number(second) else DASH
