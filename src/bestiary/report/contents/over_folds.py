"""What a cross-validation says, where there is one.

In: `comparison.json`. Out: the comparison as the report shows it, and a part of the section "The models compared". Owns
no file.
"""

from collections.abc import Mapping
from typing import Any

from bestiary.report.parts import Table
from bestiary.report.study_record import StudyRecord
from bestiary.report.words.wording import counted, listed, percent, percent_interval, whole


def folds_table(study: StudyRecord) -> Table:
    """Test accuracy fold by fold, a row a model; no row where there is no cross-validation."""
    models = [model for model in study.comparison["models"] if model.get("over_folds")]
    count = models[0]["over_folds"]["folds"] if models else 0
    rows = [
        [str(model["model"]), *(percent(accuracy) for accuracy in model["over_folds"]["test_by_fold"])]
        for model in models
    ]
    return Table(
        ["Model", *(f"Fold {number}" for number in range(1, count + 1))],
        rows,
        label="Test accuracy in each fold",
        title="Fold by fold",
        note=_note(study.comparison, models[0]["over_folds"]) if models else "",
    )


def _note(comparison: Mapping[str, Any], over: Mapping[str, Any]) -> str:
    count, tested = over["folds"], over["test"]["n"]
    text = (
        f"Test accuracy. {counted(count, 'fold')}, by group: {counted(tested, 'image')} were tested once, by a model "
        "that was neither fitted nor chosen on them or on a copy of them. The figures of the models above are over all "
        "folds, and their intervals are as wide as groups and folds ask for. Classes, confusions, errors and learning "
        "curves below are those of the first fold."
    )
    if chosen := comparison.get("chosen_in_folds"):
        accuracy, names = chosen["accuracy"], chosen["models"]
        picks = [f"{name} ({whole(names.count(name))})" for name in dict.fromkeys(names)]
        text += (
            f" The winner was chosen on images that also test it. Where each fold chooses by its own validation images "
            f"({listed(picks)}), test accuracy is {percent(accuracy['value'])} ({percent_interval(accuracy)}): that is "
            "what to expect of choosing among these models."
        )
    return text
