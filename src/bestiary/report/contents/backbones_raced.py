"""Backbones, alone and joined: what a race and a search say they are worth, and what they cost.

In: a `StudyRecord`. Out: parts of the section about the models. Owns no file.

All figures are out of fold, on the training images: they say which backbones to look at, not how good a model is.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bestiary.config.kinds import backbones_of
from bestiary.evaluate.pareto import pareto_front
from bestiary.report.figures import plots
from bestiary.report.parts import Cell, Plot, Statements, Table, draw_plot
from bestiary.report.study_record import StudyRecord
from bestiary.report.words.more_time import more_time, sample_words
from bestiary.report.words.wording import counted, decimal, percent


def backbones_table(study: StudyRecord) -> Table:
    """Each backbone, and each join that a search has tried, the cheapest first; then those that are out."""
    found, race = _judged_whole(study), study.race
    rows: list[list[Cell | str]] = [
        [
            Cell(f"{number}. {row.name}", _licence(race, row.name)),
            Cell(percent(row.accuracy), "on the Pareto front" if row.on_front else ""),
            decimal(row.loss, 3),
            decimal(row.seconds, 1),
        ]
        for number, row in enumerate(found.itertuples(index=False), start=1)
    ]
    out = [row for row in race.get("backbones", []) if row["reason"]]
    for row in out:
        last = row["rounds"][-1] if row["rounds"] else {}
        on = f"of {counted(last['images'], 'image')}" if last else ""
        rows.append(
            [
                Cell(row["name"], _licence(race, row["name"])),
                Cell(percent(last.get("accuracy")), on),
                decimal(last.get("loss"), 3),
                Cell(decimal(row["a_thousand_s"], 1), f"out: {row['reason']}"),
            ]
        )
    return Table(
        ["Backbones", "Out-of-fold accuracy", "Log loss", "Seconds for 1,000 images"],
        rows if len(rows) > 1 else [],
        quiet=frozenset(range(len(found), len(rows))),
        label="Backbones, what they are worth and what they cost",
        title="Backbones",
        note=_note(study),
    )


def _note(study: StudyRecord) -> str:
    images = study.race.get("train_images", 0)
    text = (
        f"Out of fold, on {counted(images, 'training image')}; a join has the best head that the search tried on it. "
        "Seconds are of decoding and one pass on this machine; of a join, the sum."
    )
    return f"{text} {sample_words(study.race)}".strip()


def _licence(race: Any, names: str) -> str:
    by_name = {row["name"]: row["licence"] for row in race.get("backbones", [])}
    found = {by_name.get(name) or "not stated" for name in names.split(" + ")}
    return f"licence: {', '.join(sorted(found))}"


def front_plot(study: StudyRecord) -> Plot | None:
    """Accuracy against seconds."""
    found = _judged_whole(study)
    found = found[found["seconds"].notna()]
    if len(found) < 2:
        return None
    return draw_plot(
        "front",
        plots.accuracy_by_seconds,
        found,
        alt="Out-of-fold accuracy of backbones and their joins against the seconds that 1,000 images take",
        caption="Accuracy against seconds, numbered as in the table. Filled and joined by a line is the Pareto front: "
        "nothing else is as fast and as accurate.",
    )


def time_statements(study: StudyRecord) -> Statements:
    """What more time would likely bring."""
    return Statements([sentence] if (sentence := more_time(study.race, study.search)) else [])


def _judged_whole(study: StudyRecord) -> pd.DataFrame:
    """What was judged on all training images that any was: name, accuracy, loss, seconds, on_front; cheapest first.

    Backbones whose features were in the cache may not have been timed: NaN.
    """
    columns = ["name", "accuracy", "loss", "seconds"]
    table = pd.DataFrame([*_entries(study)], columns=columns).drop_duplicates("name")
    table = table.sort_values(["seconds", "accuracy", "name"]).reset_index(drop=True)
    costs, values = (table[name].to_numpy(np.float64) for name in ("seconds", "accuracy"))
    return table.assign(on_front=pareto_front(costs, values) & np.isfinite(costs))


def _entries(study: StudyRecord) -> Iterator[tuple[str, float, float, float]]:
    seconds = {row["name"]: row["a_thousand_s"] for row in study.race.get("backbones", [])}
    for head in study.search.get("heads", []):
        names = backbones_of(head["config"])
        yield " + ".join(names), head["accuracy"], head["loss"], sum(seconds.get(name) or np.nan for name in names)
    for row in study.race.get("backbones", []):
        if row["rounds"] and not row["reason"]:
            last = row["rounds"][-1]
            yield row["name"], last["accuracy"], last["loss"], seconds[row["name"]] or np.nan
