"""What one model gets right and wrong: its classes, its confusion matrix, its most confident errors.

In: a `StudyRecord`. Out: parts of the sections "Classes and confusions" and "Most confident errors". Owns no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bestiary.report.contents.matrix import Matrix, confusion_matrix
from bestiary.report.parts import Cell, Part, Table, Text
from bestiary.report.study_record import ModelRecord, StudyRecord
from bestiary.report.study_view import per_class, value
from bestiary.report.words.mistakes import most_confident_errors, weakest_classes
from bestiary.report.words.wording import percent, percent_ends, whole

_WORST = 12


@dataclass(frozen=True)
class ClassResult:
    """One model's table of classes and confusion matrix."""

    name: str
    accuracy: str
    is_winner: bool
    classes: Table
    matrix: Matrix | None


@dataclass(frozen=True)
class ClassResults(Part):
    """All models, the first of them open; the script shows the images behind a cell."""

    template = "parts/class_results.html.j2"
    models: Sequence[ClassResult]


def class_results(study: StudyRecord) -> Part:
    """Classes and confusion matrix of every model, in the order of the ranking."""
    if not study.done:
        return Text(["No model has been run."])
    places = {name: number for number, name in enumerate(study.class_names)}
    return ClassResults(
        [
            ClassResult(
                name=run.name,
                accuracy=percent(value(run.split("test"), "accuracy")),
                is_winner=run.name == study.comparison.get("winner"),
                classes=class_table(run),
                matrix=confusion_matrix(run, places=places),
            )
            for run in study.done
        ]
    )


def class_table(run: ModelRecord) -> Table:
    """Precision, recall, F1 and images of one model's classes on test; those of the lowest F1 are marked."""
    rows = per_class(run.split("test"))
    names = {row.class_name for row in weakest_classes(rows) if row.f1["value"] < 1}
    weakest = [place for place, row in enumerate(rows) if row.class_name in names]
    return Table(
        ["Class", "Precision", "Recall", "F1", "Images"],
        [
            [
                row.class_name,
                *(_cell(figure) for figure in (row.precision, row.recall, row.f1)),
                whole(row.support),
            ]
            for row in rows
        ],
        marked=frozenset(weakest) if len(weakest) < 4 else frozenset(),
        label=f"Classes of {run.name} on test",
    )


def _cell(figure: Mapping[str, Any]) -> Cell:
    return Cell(percent(figure.get("value")), percent_ends(figure))


@dataclass(frozen=True)
class ErrorPicture:
    """A test image that a model got wrong."""

    image_id: str
    path: str
    y_true: str
    y_pred: str
    p_true: str
    p_pred: str


@dataclass(frozen=True)
class WorstErrors(Part):
    """Pictures of errors with label, prediction and their probabilities."""

    template = "parts/worst_errors.html.j2"
    pictures: Sequence[ErrorPicture]


def worst_errors(study: StudyRecord) -> Part:
    """The errors of the winner on test that it was most sure of."""
    name = study.comparison.get("winner")
    run = next((run for run in study.done if run.name == name), None)
    if run is None:
        return Text(["No model was chosen, so there are no errors to show."])
    errors = most_confident_errors(run.predictions, _WORST)
    if errors.empty:
        return Text([f"{name} made no error on the test images."])
    paths = dict(zip(study.index["image_id"], study.index["path"], strict=True))
    pictures = [
        ErrorPicture(
            image_id=row["image_id"],
            path=paths.get(row["image_id"], row["image_id"]),
            y_true=row["y_true"],
            y_pred=row["y_pred"],
            p_true=percent(row["p_true"]),
            p_pred=percent(row["p_pred"]),
        )
        for row in errors.to_dict("records")
    ]
    return WorstErrors(
        pictures,
        note=f"The test images that {name} got wrong with the highest probability. It may be the label that is "
        "wrong: look at the picture first.",
    )
