"""Evaluating a run: its logits and the labels of val and test → `figures.json`.

In: the record of a run, and images with labels and groups. Out: figures with intervals. No torch here.

This is the one place where test labels meet logits. `test_scored_at` is when they first did so for these weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.data.splits.straddling import leaked
from bestiary.errors import StudyError
from bestiary.evaluate.scoring import as_given_figures, leak_free_figures, split_figures
from bestiary.runs.keys import content_id
from bestiary.runs.record import Logits, read_figures, read_logits, write_figures
from bestiary.timing import now_utc

PROBABILITY_PREFIX = "p:"


def evaluate_run(folder: Path, images: pd.DataFrame, *, key: str, fit_key: str) -> dict[str, Any]:
    """Evaluate a run and write its `figures.json`.

    Args:
        folder: the run's.
        images: `image_id, label, label_given, split, drawn, group_id`.
        key: of the figures, see `keys.figures_key`.
        fit_key: of the weights.

    Raises:
        StudyError: the logits lack an image.
    """
    before = read_figures(folder)
    first = before["test_scored_at"] if before.get("fit_key") == fit_key else now_utc()
    write_figures(
        folder,
        {"fit_key": fit_key, "test_scored_at": first, **evaluate(read_logits(folder), images)},
        key=key,
    )
    return read_figures(folder)


def evaluate(logits: Logits, images: pd.DataFrame) -> dict[str, Any]:
    """The figures of val and test, and those of test on labels as given where corrections touch it.

    Args:
        logits: of every image drawn into val or test.
        images: `image_id, label, label_given, split, drawn, group_id`.

    Returns:
        `class_names`; `val` and `test` (see `evaluate.scoring.split_figures`); `test_as_given`, or None;
        `test_leak_free` (see `evaluate.scoring.leak_free_figures`), None where no test image has a copy elsewhere.
    """
    names = logits.class_names
    figures: dict[str, Any] = {"class_names": list(names)}
    for split in ("val", "test"):
        rows = images[images["split"] == split]
        figures[split] = split_figures(
            class_numbers(rows["label"], names),
            logits_of(logits, rows["image_id"]),
            class_names=names,
            groups=group_numbers(rows),
        )
    figures["test_leak_free"] = _leak_free(logits, images)
    drawn = images[images["drawn"] == "test"]
    relabelled = int(((drawn["label"] != drawn["label_given"]) & (drawn["split"] == "test")).sum())
    dropped = int((drawn["split"] != "test").sum())
    figures["test_as_given"] = None
    if relabelled or dropped:
        # A class that exists only as given has no column.
        known = drawn[drawn["label_given"].isin(names)]
        figures["test_as_given"] = as_given_figures(
            class_numbers(known["label_given"], names),
            logits_of(logits, known["image_id"]),
            groups=group_numbers(known),
            relabelled=relabelled,
            dropped=dropped,
        )
    return figures


def _leak_free(logits: Logits, images: pd.DataFrame) -> dict[str, Any] | None:
    in_test = (images["split"] == "test").to_numpy()
    rows, has_leaked = images[in_test], leaked(images)[in_test]
    if not has_leaked.any():
        return None
    return leak_free_figures(
        class_numbers(rows["label"], logits.class_names),
        logits_of(logits, rows["image_id"]),
        leaked=has_leaked,
        groups=group_numbers(rows),
    )


def predictions_table(logits: Logits, images: pd.DataFrame) -> pd.DataFrame:
    """What a model says of the images of val and test: `image_id, split, y_true, y_pred`, and `p:<class>` each class.

    Args:
        logits: of them.
        images: `image_id, label, split`; rows of other splits are left out.
    """
    from scipy.special import softmax

    rows = images[images["split"].isin(("val", "test"))]
    probabilities = softmax(logits_of(logits, rows["image_id"]), axis=1).astype(np.float32)
    table = pd.DataFrame(
        {
            "image_id": rows["image_id"].to_numpy(),
            "split": rows["split"].to_numpy(),
            "y_true": rows["label"].to_numpy(),
            "y_pred": np.asarray(logits.class_names, dtype=object)[probabilities.argmax(axis=1)],
        }
    )
    columns = [f"{PROBABILITY_PREFIX}{name}" for name in logits.class_names]
    return pd.concat([table, pd.DataFrame(probabilities, columns=columns)], axis=1)


def right_by_image(logits: Logits, images: pd.DataFrame, *, split: str = "test") -> pd.Series:
    """Whether a model is right on each image of a split: booleans by `image_id`."""
    rows = images[images["split"] == split]
    predicted = logits_of(logits, rows["image_id"]).argmax(axis=1)
    return pd.Series(predicted == class_numbers(rows["label"], logits.class_names), index=rows["image_id"].to_numpy())


def lacking(image_ids: Sequence[str], images: pd.DataFrame) -> pd.DataFrame:
    """The images drawn into val or test, dropped ones too, that are not among those of which logits speak."""
    known = {content_id(image_id) for image_id in image_ids}
    drawn = images[images["drawn"].isin(("val", "test"))]
    return drawn[[content_id(image_id) not in known for image_id in drawn["image_id"]]]


def logits_of(logits: Logits, image_ids: pd.Series) -> npt.NDArray[np.float32]:
    """The logits of some images `(n, class_count) float32`, by content: copies have the same bytes and the same logits.

    Raises:
        StudyError: an image is not among them.
    """
    place = {content_id(image_id): number for number, image_id in enumerate(logits.image_ids)}
    try:
        return logits.values[[place[content_id(image_id)] for image_id in image_ids]]
    except KeyError as error:
        raise StudyError(f"the logits of this run lack image {error.args[0]}: run `bestiary train` again") from error


def class_numbers(labels: pd.Series, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """`(n,) int64`, the place of each label among the names; -1 for one that is not there."""
    return np.asarray(pd.Index(names).get_indexer(labels), dtype=np.int64)


def group_numbers(images: pd.DataFrame) -> npt.NDArray[np.int64]:
    """`(n,) int64`, numbered in the order of the rows."""
    return pd.factorize(images["group_id"])[0].astype(np.int64)
