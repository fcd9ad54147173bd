"""What stands above the sections: the title and the key figures.

In: a `StudyRecord`. Out: text for the head of the page. Owns no file.
"""

from dataclasses import dataclass
from pathlib import Path

from bestiary.report.contents.fix_first import open_findings
from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import describe, interval
from bestiary.report.words.wording import NBSP, percent, percent_interval, whole


@dataclass(frozen=True)
class KeyFigure:
    """One of the figures under the verdict."""

    name: str
    figure: str
    note: str = ""


def page_title(study: StudyRecord) -> str:
    """The title from the config, else from the data's name."""
    name = Path(study.config.data.path).name or "images"
    return study.config.report.title or f"Image classifiers for {name}"


def key_figures(study: StudyRecord) -> list[KeyFigure]:
    """The chosen model and its accuracy, then the sizes of the data, findings and models."""
    winner = next((m for m in study.comparison["models"] if m["model"] == study.comparison.get("winner")), None)
    figures = []
    if winner is not None:
        accuracy = interval(winner.get("test"), "accuracy")
        ends = f"95{NBSP}% interval {percent_interval(accuracy)}"
        figures.append(KeyFigure("Chosen model", winner["model"], describe(winner)))
        figures.append(KeyFigure("Test accuracy", percent(accuracy.get("value")), ends))
    out = [
        f"{whole(len(rows))} {word}"
        for rows, word in ((study.unreadable, "left out"), (study.dropped, "dropped"))
        if len(rows)
    ]
    not_run = len(study.comparison["not_run"])
    figures += [
        KeyFigure("Images", whole(len(study.readable)), ", ".join(out) or "none left out"),
        KeyFigure("Classes", whole(study.readable["label"].nunique())),
        findings_figure(study),
        KeyFigure(
            "Models", whole(len(study.comparison["models"])), f"{whole(not_run)} not run" if not_run else "all run"
        ),
    ]
    return figures


def findings_figure(study: StudyRecord) -> KeyFigure:
    """How many findings nobody has decided yet."""
    if study.audit is None:
        return KeyFigure("Findings", "\u2013", "not audited yet")
    findings = open_findings(study)
    high = int((findings["severity"] == "high").sum())
    if findings.empty:
        return KeyFigure("Findings", "none")
    return KeyFigure("Findings", whole(len(findings)), f"{whole(high)} urgent" if high else "none urgent")
