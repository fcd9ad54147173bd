"""Test accuracy on all test images beside that on images without a copy elsewhere, where given splits leak.

In: the models of a study's comparison. Out: a part of the section "The models compared". Owns no file.
"""

from collections.abc import Sequence

from bestiary.report.parts import Cell, Table
from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import interval
from bestiary.report.words.wording import counted, percent, percent_interval, whole


def leak_free_table(study: StudyRecord) -> Table:
    """One row a model in the order of the ranking; no row where no test image has a copy elsewhere."""
    scored = [model for model in study.comparison["models"] if model.get("test_leak_free")]
    rows: list[Sequence[Cell | str]] = []
    for model in scored:
        figures = model["test_leak_free"]
        shown = (
            interval(model.get("test"), "accuracy"),
            interval(figures, "accuracy"),
            interval(figures, "accuracy_leaked"),
        )
        rows.append([str(model["model"]), *(Cell(percent(one.get("value")), percent_interval(one)) for one in shown)])
    note = ""
    if scored:
        left, leaked = scored[0]["test_leak_free"]["n"], scored[0]["test_leak_free"]["n_leaked"]
        note = (
            f"Test accuracy. Of {counted(left + leaked, 'test image')}, {whole(leaked)} have a copy, or another image "
            "of their group, in train or validation: models have seen it, or were chosen on it. Those without one tell "
            "what a model does with new images."
        )
    return Table(
        ["Model", "All test images", "Without a copy elsewhere", "With a copy elsewhere"],
        rows,
        label="Test accuracy with and without images that have a copy on another side",
        title="Without copies of images on other sides",
        note=note,
    )
