"""The models compared: ranking, intervals, learning curves, models not run, and what the figures say.

In: a `StudyRecord`. Out: parts of the sections about all models. Owns no file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from bestiary.evaluate.metrics import METRICS, Metric
from bestiary.report.figures import plots
from bestiary.report.parts import Cell, Plot, Statements, Table, Text, draw_plot
from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import (
    cached_stages,
    describe,
    interval,
    paired_test_name,
    total_seconds,
    value,
)
from bestiary.report.words.verdict import sentences
from bestiary.report.words.wording import (
    DASH,
    Sentence,
    cached_words,
    decimal,
    is_number,
    listed,
    p_value,
    percent,
    percent_ends,
    points,
    seconds,
    whole,
)


def ranking_table(study: StudyRecord) -> Table | Text:
    """The models in the order of their validation accuracy, with all that is measured of them."""
    models = study.comparison["models"]
    if not models:
        return Text(["No model has been run."])
    # Accuracy stands first, with the difference to the winner in it.
    others = [metric for metric in METRICS if metric.in_tables and metric.name != "accuracy" and _has(models, metric)]
    columns = ["Model", "Validation accuracy", "Test accuracy", "Difference to winner"]
    columns += [*(metric.title for metric in others), "Parameters", "Seconds"]
    # What was cached stands in the run's own figures.
    metrics = {run.name: run.metrics for run in study.done}
    rows = []
    for model in models:
        test, parameters = model.get("test") or {}, model.get("parameters") or {}
        row: list[Cell | str] = [
            Cell(f"{model.get('rank', DASH)}. {model['model']}", describe(model)),
            _measured(model.get("val"), "accuracy"),
            _measured(test, "accuracy"),
            _versus_winner(model),
            *(_measured(test, metric.name, unit=metric.unit) for metric in others),
            Cell(_millions(parameters.get("total")), f"{_millions(parameters.get('trainable'))} trained"),
            _seconds(metrics.get(model["model"]) or model),
        ]
        rows.append(row)
    winner = [place for place, model in enumerate(models) if model["model"] == study.comparison.get("winner")]
    return Table(
        columns,
        rows,
        marked=frozenset(winner),
        label="Models, ranked by validation accuracy",
        note=_ranking_note(models, cached=any(cached_stages(metrics.get(m["model"]) or m) for m in models)),
    )


def _ranking_note(models: list[Mapping[str, Any]], *, cached: bool) -> str:
    tested = [versus for model in models if (versus := model.get("versus_winner"))]
    note = (
        "Ranked by validation accuracy; all other scores are those on the test images. Below each score is its "
        "95\u00a0% interval."
    )
    if tested:
        note += (
            " Differences are in percentage points of test accuracy, with the p value of "
            f"{paired_test_name(tested[0])} on the same images, after Holm\u2019s correction for several tests."
        )
    note += (
        " Seconds are what this study spent on the model; images/s is the rate of its slowest stage, training aside."
    )
    if cached:
        note += (
            " What is marked as cached was computed before, and its seconds are not included: alone, such a model "
            "would have taken longer."
        )
    return note


def _has(models: Sequence[Mapping[str, Any]], metric: Metric) -> bool:
    """Whether a metric was measured: among three classes there is no top three."""
    return any(metric.name in (model.get("test") or {}) for model in models)


def _measured(split: Mapping[str, Any] | None, measure: str, *, unit: str = "fraction") -> Cell:
    if unit != "fraction":
        return Cell(decimal(value(split, measure), 3), _decimal_ends(split or {}, measure))
    return Cell(percent(value(split, measure)), percent_ends(interval(split, measure)))


def _decimal_ends(split: Mapping[str, Any], measure: str) -> str:
    ends = interval(split, measure)
    if not (is_number(ends.get("low")) and is_number(ends.get("high"))):
        return ""
    return f"{decimal(ends['low'], 3)} to {decimal(ends['high'], 3)}"


def _versus_winner(model: Mapping[str, Any]) -> Cell:
    versus = model.get("versus_winner") or {}
    difference = versus.get("difference") or {}
    if not is_number(difference.get("value")):
        return Cell(DASH)
    ends = f"{points(difference.get('low'), signed=True)} to {points(difference.get('high'), signed=True)}"
    p = versus.get("p_value_holm", versus.get("p_value"))
    return Cell(points(difference["value"], signed=True), ends, f"p\u00a0{p_value(p)}" if is_number(p) else "")


def _millions(count: Any) -> str:
    if not is_number(count):
        return DASH
    return f"{count / 1e6:.1f}\u00a0M" if count >= 1e6 else whole(count)


def _seconds(figures: Mapping[str, Any]) -> Cell:
    """All seconds of a model, its rate in the slowest stage but fitting, and what was read from a cache."""
    rates = [rate for stage, rate in (figures.get("images_per_s") or {}).items() if is_number(rate) and stage != "fit"]
    notes = [f"{whole(min(rates))} images/s"] if rates else []
    notes += [cached_words(found.stage, found.images) for found in cached_stages(figures)]
    return Cell(seconds(total_seconds(figures.get("seconds"))), "".join(notes[:1]), ", ".join(notes[1:]))


def intervals_plot(study: StudyRecord) -> Plot | None:
    """Test accuracies with their intervals."""
    if not study.comparison["models"]:
        return None
    return draw_plot(
        "intervals",
        _intervals,
        study,
        alt="Test accuracy of each model with its 95\u00a0% interval",
        caption="Test accuracy with its 95\u00a0% interval. Whether intervals overlap does not show whether two models "
        "differ significantly; the p values in the table do.",
    )


def _intervals(study: StudyRecord, *, width_in: float) -> Figure:
    return plots.model_intervals(study.comparison, width_in=width_in)


def not_run(study: StudyRecord) -> Statements:
    """The models that were not run, with the reason."""
    entries = study.comparison["not_run"]
    return Statements(
        [Sentence(entry["model"], entry.get("reason") or "no reason recorded") for entry in entries], title="Not run"
    )


def curves_plot(study: StudyRecord) -> Plot | None:
    """Learning curves of all models that were trained in epochs."""
    # Every model keeps its place, so that its colour does not depend on which others have curves.
    histories = {run.name: run.history for run in study.runs}
    if all(history.empty for history in histories.values()):
        return None
    return draw_plot(
        "curves",
        plots.learning_curves,
        histories,
        alt="Learning curves of all models",
        caption="Accuracy and loss by epoch: training solid with filled marks, validation dashed with hollow marks.",
    )


def curves_note(study: StudyRecord) -> Text:
    """Which models have no curve."""
    without = [run.name for run in study.done if run.history.empty]
    if all(run.history.empty for run in study.runs):
        return Text(["No model was trained in epochs, so there are no curves to show."], quiet=True)
    if not without:
        return Text([])
    verb = "was" if len(without) == 1 else "were"
    return Text([f"No curve: {listed(without)}, which {verb} not trained in epochs."], quiet=True)


def model_statements(study: StudyRecord) -> Statements:
    """What the figures say, in sentences."""
    metrics = {run.name: run.metrics for run in study.done}
    return Statements(
        sentences(study.comparison, metrics=metrics, refit=study.refit, search=study.search, ensemble=study.ensemble)
    )
