"""How much of a figure is luck of the seed, where models were fitted with several.

In: `comparison.json`. Out: a part of the section "The models compared". Owns no file.
"""

from collections.abc import Mapping

from bestiary.report.parts import Cell, Table
from bestiary.report.study_record import StudyRecord
from bestiary.report.words.wording import counted, percent


def seeds_table(study: StudyRecord) -> Table:
    """Mean and range of accuracy over the seeds, a row a model; no row where there was one seed."""
    models = [model for model in study.comparison["models"] if model.get("over_seeds")]
    count = models[0]["over_seeds"]["seeds"] if models else 0
    return Table(
        ["Model", "Validation accuracy", "Test accuracy"],
        [
            [str(model["model"]), _range(model["over_seeds"]["val"]), _range(model["over_seeds"]["test"])]
            for model in models
        ],
        label="Accuracy over several seeds",
        title="Other seeds",
        note=f"Mean over {counted(count, 'seed')} on the same split, and below it the range. The first seed is the "
        "model\u2019s own, of which all other figures are; the others choose nothing. A difference between models "
        "within these ranges may be luck of the seed.",
    )


def _range(figures: Mapping[str, float]) -> Cell:
    return Cell(percent(figures["mean"]), f"{percent(figures['least'])} to {percent(figures['most'])}")
