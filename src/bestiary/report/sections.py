"""The sections of the report as the templates take them: figures as SVG, sentences, tables, pictures.

In: a `StudyRecord`. Out: a nested mapping for `templates/report.html.j2`. Owns no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from bestiary.config.schema import SPLITS
from bestiary.data.splits import straddling_groups
from bestiary.report import as_given, fix_first, matrix, tables
from bestiary.report.figures import plots
from bestiary.report.figures.svg import figure_svg
from bestiary.report.record import ModelRecord, StudyRecord
from bestiary.report.words import data_statements as audited
from bestiary.report.words import verdict as explain
from bestiary.report.words.wording import counted, listed, percent, percent_interval, quoted, whole

_WIDE_IN, _NARROW_IN = 7.2, 3.7
_WORST = 12


@dataclass(frozen=True)
class Plot:
    """One figure, drawn for a wide and for a narrow column."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True)
class Picture:
    """A picture that stands in the page from the start. `uri` is empty where there is none."""

    image_id: str
    uri: str
    path: str
    true: str
    pred: str = ""
    p_pred: str = ""
    p_true: str = ""


def title_of(study: StudyRecord) -> str:
    """The title from the config, else from the data's name."""
    name = Path(study.config.data.path).name or "images"
    return study.config.report.title or f"Image classifiers for {name}"


def build_sections(study: StudyRecord) -> dict[str, Any]:
    """All that does not depend on which pictures fit into the file."""
    metrics = {run.name: run.metrics for run in study.done}
    places = {name: number for number, name in enumerate(study.class_names)}
    return {
        "title": title_of(study),
        "verdict": explain.verdict(
            study.comparison, images=len(study.readable), classes=study.readable["label"].nunique()
        ),
        "facts": _facts(study),
        "remarks": study.remarks,
        "data": _data(study),
        "told": audited.build_told(study),
        "method": _method(study),
        "ranking": tables.ranking_table(study),
        "as_given": as_given.as_given_table(study.comparison["models"]),
        "as_given_note": as_given.as_given_note(study.comparison["models"]),
        "intervals_plot": _plot(
            "intervals", _intervals, study, alt="Test accuracy of each model with its 95 % interval"
        ),
        "not_run": study.comparison["not_run"],
        "curves": _curves(study),
        "models": [_model(run, places=places, winner=study.comparison.get("winner")) for run in study.done],
        "settings": tables.settings_table(study),
        "sentences": explain.sentences(study.comparison, metrics=metrics),
        "environment": tables.environment_tables(study),
        "seconds": tables.seconds_table(study),
        "runs": tables.runs_table(study),
        "deterministic": _determinism(study),
    }


def _facts(study: StudyRecord) -> list[tuple[str, str, str]]:
    """The key figures under the verdict: name, figure, note."""
    winner = next((m for m in study.comparison["models"] if m["model"] == study.comparison.get("winner")), None)
    facts = []
    if winner is not None:
        accuracy = (winner.get("test") or {}).get("accuracy") or {}
        interval = percent_interval(accuracy)
        facts.append(("Chosen model", winner["model"], str(winner.get("backbone") or "")))
        facts.append(("Test accuracy", percent(accuracy.get("value")), f"95\u00a0% interval {interval}"))
    out = [
        f"{whole(len(rows))} {word}"
        for rows, word in ((study.unreadable, "left out"), (study.dropped, "dropped"))
        if len(rows)
    ]
    facts.append(("Images", whole(len(study.readable)), ", ".join(out) or "none left out"))
    facts.append(("Classes", whole(study.readable["label"].nunique()), ""))
    facts.append(fix_first.findings_fact(study))
    not_run = len(study.comparison["not_run"])
    facts.append(
        ("Models", whole(len(study.comparison["models"])), f"{whole(not_run)} not run" if not_run else "all run")
    )
    return facts


def _plot(name: str, draw: Any, subject: Any, *, alt: str) -> Plot:
    def svg(width_in: float, suffix: str) -> Markup:
        figure: Figure = draw(subject, width_in=width_in)
        return Markup(figure_svg(figure, name=f"{name}-{suffix}", alt=alt))  # noqa: S704 - escaped by its writer

    return Plot(wide=svg(_WIDE_IN, "w"), narrow=svg(_NARROW_IN, "n"))


def _intervals(study: StudyRecord, *, width_in: float) -> Figure:
    return plots.model_intervals(study.comparison, width_in=width_in)


def _data(study: StudyRecord) -> dict[str, Any]:
    images = study.readable
    return {
        "lead": _data_lead(images, left_out=len(study.unreadable), dropped=len(study.dropped)),
        "copies": _copies_text(images),
        "counts_plot": _plot("counts", plots.class_counts, images, alt="Images per class"),
        "resolutions_plot": _plot("resolutions", plots.resolutions, images, alt="The most frequent resolutions"),
        "left_out": _left_out_table(study.unreadable, label="Files left out"),
        "dropped": _left_out_table(study.dropped, label="Images dropped"),
    }


def _left_out_table(files: pd.DataFrame, *, label: str) -> tables.Table:
    rows = [[str(row["path"]), str(row["label"]), str(row["error"])] for row in files.to_dict("records")]
    return tables.Table(columns=["File", "Class", "Reason"], rows=rows, words=frozenset({0, 1, 2}), label=label)


def _data_lead(images: pd.DataFrame, *, left_out: int, dropped: int) -> str:
    counts = images["label"].value_counts()
    text = f"{counted(len(images), 'readable image')} in {counted(len(counts), 'class', 'classes')}"
    if counts.nunique() == 1 and len(counts) > 1:
        text += f", {whole(int(counts.iloc[0]))} in each"
    elif len(counts) > 1:
        largest, smallest = counts.index[0], counts.index[-1]
        text += (
            f", from {whole(int(counts.iloc[-1]))} ({quoted(str(smallest))}) to {whole(int(counts.iloc[0]))} "
            f"({quoted(str(largest))}) a class"
        )
    text += f". {counted(left_out, 'file')} could not be used." if left_out else ". No file was left out."
    if dropped:
        text += f" {counted(dropped, 'image')} {'was' if dropped == 1 else 'were'} dropped in a review."
    return text


def _copies_text(images: pd.DataFrame) -> str:
    """How many images share their bytes with another, and whether copies carry different labels."""
    sizes = images.groupby("sha256")["label"].agg(["size", "nunique"])
    copied = sizes[sizes["size"] > 1]
    if copied.empty:
        return "No two images share their bytes."
    text = (
        f"{counted(int(copied['size'].sum()), 'image')} share their bytes with another image: "
        f"{counted(len(copied), 'content')} in more than one file."
    )
    torn = int((copied["nunique"] > 1).sum())
    if torn:
        text += f" {counted(torn, 'content')} of them {'stands' if torn == 1 else 'stand'} in more than one class."
    return text


def _method(study: StudyRecord) -> dict[str, Any]:
    split = study.config.split
    joined = study.splits.merge(study.readable[["image_id", "label", "split_given"]], on="image_id", how="inner")
    counts = joined.groupby(["label", "split"]).size().unstack(fill_value=0).reindex(columns=list(SPLITS), fill_value=0)
    rows = [[str(name), *(whole(int(v)) for v in row), whole(int(row.sum()))] for name, row in counts.iterrows()]
    totals = counts.sum()
    rows.append(["All", *(whole(int(v)) for v in totals), whole(int(totals.sum()))])
    sizes = study.splits[study.splits["split"] != ""].groupby("group_id").size()
    groups = sizes[sizes > 1]
    parts = []
    if len(study.splits):
        parts.append(
            f"The images were divided with seed {split.seed}: training fits the models, validation makes every choice "
            "(when to stop, which settings, which model), and the test images are scored once per model, at the end."
        )
        given = split.use_given and bool((joined["split_given"] != "").any())
        parts.append(
            "The division that came with the data was kept where there was one."
            if given
            else f"Asked for were {percent(split.test_fraction, 0)} test and {percent(split.val_fraction, 0)} "
            "validation in every class."
        )
    if len(groups):
        crossing = straddling_groups(study.splits)
        verb = "crosses" if crossing == 1 else "cross"
        course = f"{whole(crossing)} of them {verb} from one part to another, as the data came."
        parts.append(
            f"{counted(int(groups.sum()), 'image')} belong together in {counted(len(groups), 'group')} "
            f"(copies, or a group column): {course if crossing else 'a group never crosses from one part to another.'}"
        )
    return {
        "lead": " ".join(parts),
        "splits": tables.Table(
            columns=["Class", "Training", "Validation", "Test", "All"],
            rows=rows if len(joined) else [],
            marked=frozenset({len(rows) - 1}),
            label="Images by class and split",
        ),
        "models": tables.method_table(study),
    }


def _curves(study: StudyRecord) -> dict[str, Any]:
    # Every model keeps its place, so that its colour does not depend on which others have curves.
    histories = {run.name: run.history for run in study.runs}
    without = [run.name for run in study.done if run.history.empty]
    note = f"No curve: {listed(without)}, not trained in epochs." if without else ""
    if all(run.history.empty for run in study.runs):
        return {"plot": None, "note": "No model was trained in epochs, so there are no curves to show."}
    return {
        "plot": _plot("curves", plots.learning_curves, histories, alt="Learning curves of all models"),
        "note": note,
    }


def _model(run: ModelRecord, *, places: Mapping[str, int], winner: Any) -> dict[str, Any]:
    test = run.split("test")
    return {
        "name": run.name,
        "winner": run.name == winner,
        "accuracy": percent((test.get("accuracy") or {}).get("value")),
        "classes": tables.class_table(run),
        "matrix": matrix.confusion_matrix(run, places=places),
    }


def _determinism(study: StudyRecord) -> str:
    loose = [run.name for run in study.done if run.environment.get("deterministic") is False]
    if not loose:
        return ""
    return f"On this device {listed(loose)} may give slightly different figures when run again."


def sample_ids(study: StudyRecord, *, per_class: int) -> dict[str, list[str]]:
    """Image ids of the sample grid by class, the same at every writing."""
    drawn = plots.sample_images(study.index, seed=0, per_class=per_class)
    return {str(name): group["image_id"].tolist() for name, group in drawn.groupby("label", sort=True)}


def worst_pictures(
    runs: Sequence[ModelRecord], *, model: Any, uris: Mapping[str, str], paths: Mapping[str, str]
) -> list[Picture]:
    """The most confident errors of one model, with their pictures."""
    run = next((run for run in runs if run.name == model), None)
    if run is None:
        return []
    return [
        Picture(
            image_id=row["image_id"],
            uri=uris.get(row["image_id"], ""),
            path=paths.get(row["image_id"], row["image_id"]),
            true=row["y_true"],
            pred=row["y_pred"],
            p_pred=percent(row["p_pred"]),
            p_true=percent(row["p_true"]),
        )
        for row in explain.worst_errors(run.predictions, _WORST).to_dict("records")
    ]
