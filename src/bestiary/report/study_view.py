"""How the report reads a study's mappings: one accessor for each thing, so that a change of their form is made here.

In: configs of models, the figures of a split, rows of `comparison.json`. Out: truth values, intervals, rows, arrays.
Owns no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.kinds import kind_of
from bestiary.config.schema import SPLITS
from bestiary.data.splits.straddling import straddling_groups
from bestiary.evaluate.counts import dense_confusion
from bestiary.report.words.wording import is_number


def is_baseline(config: Mapping[str, Any]) -> bool:
    """Whether a model sees no image: its errors say nothing about them, and it is never chosen.

    Args:
        config: a model's config, or its row of the comparison.
    """
    return kind_of(config).is_baseline


def describe(config: Mapping[str, Any]) -> str:
    """What stands under a model's name: its architecture, or what it does instead of looking."""
    return kind_of(config).describe(config)


def uses(config: Mapping[str, Any], setting: str) -> bool:
    """Whether a setting has an effect on this model.

    Args:
        config: a model's config.
        setting: its dotted name, such as `optimizer.momentum`; `backbone` and "" (results) apply to every model.
    """
    return setting in ("", "backbone") or kind_of(config).uses(config, setting)


def interval(split: Mapping[str, Any] | None, measure: str) -> Mapping[str, Any]:
    """A figure of a split as `value`, `low`, `high`; empty where it has none."""
    return (split or {}).get(measure) or {}


def value(split: Mapping[str, Any] | None, measure: str) -> Any:
    """A figure of a split without its interval; None where it has none."""
    return interval(split, measure).get("value")


def is_significant(versus: Mapping[str, Any]) -> bool:
    """Whether the paired test of a model against the winner is significant, after correction for several tests."""
    return bool(versus.get("significant"))


def paired_test_name(versus: Mapping[str, Any]) -> str:
    """The name of the paired test behind a p value."""
    return str(versus.get("test") or "McNemar\u2019s test")


@dataclass(frozen=True)
class Straddling:
    """Groups (copies, a group of the data, or a burst) with images in more than one split, and what they spoil."""

    groups: int
    spoiled: str


def straddling(splits: pd.DataFrame) -> Straddling:
    """How many groups straddle the splits; the test figures are too high where one of them has a test image."""
    return Straddling(
        straddling_groups(splits), "test" if straddling_groups(splits, with_side="test") else "validation"
    )


def given_splits(index: pd.DataFrame, splits: pd.DataFrame, *, use_given: bool) -> tuple[str, ...]:
    """The splits that came with the data and were kept, among train, val and test."""
    images = index[index["image_id"].isin(splits["image_id"])]
    given = set(images["split_given"]) if use_given else set()
    return tuple(split for split in SPLITS if split in given)


def as_compared(comparison: Mapping[str, Any]) -> Mapping[str, Any]:
    """A comparison whose `val`, `test` and `versus_winner` are those over all folds, where there is a cross-validation.

    Labels as given were scored in the first fold alone, and are left out then.
    """
    if not any(model.get("over_folds") for model in comparison["models"]):
        return comparison
    models = []
    for model in comparison["models"]:
        over = model["over_folds"]
        shown = {name: over[name] for name in ("val", "test", "versus_winner")}
        models.append({**model, **shown, "test_as_given": None})
    return {**comparison, "models": models}


@dataclass(frozen=True)
class ClassFigures:
    """One class of a split. Each figure is `value`, `low`, `high`; the ends are missing where they are not known."""

    class_name: str
    support: int
    precision: Mapping[str, Any]
    recall: Mapping[str, Any]
    f1: Mapping[str, Any]


def per_class(split: Mapping[str, Any] | None) -> list[ClassFigures]:
    """The figures of every class of a split, in class order."""

    def ends(figure: Any) -> Mapping[str, Any]:
        return figure if isinstance(figure, Mapping) else {"value": figure}

    return [
        ClassFigures(
            class_name=str(row["class_name"]),
            support=int(row.get("support") or 0),
            precision=ends(row.get("precision")),
            recall=ends(row.get("recall")),
            f1=ends(row.get("f1")),
        )
        for row in (split or {}).get("per_class") or []
    ]


def confusion(split: Mapping[str, Any] | None, class_names: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """The confusion matrix of a split, `(n, n)`, rows true, columns predicted; None where it has none."""
    cells = (split or {}).get("confusion")
    return dense_confusion(cells, len(class_names)) if cells is not None and len(class_names) else None


@dataclass(frozen=True)
class Cached:
    """What of a stage was read from a cache, so that its seconds do not count: `images` is 0 where it was all."""

    stage: str
    images: int = 0


def cached_stages(figures: Mapping[str, Any]) -> list[Cached]:
    """The stages of a run that read what another model, an earlier run or the audit had computed.

    Args:
        figures: of a run, or a row of the comparison.
    """
    rates, known = figures.get("images_per_s") or {}, figures.get("cached") or {}
    return [Cached(stage, count if stage in rates else 0) for stage, count in known.items() if count]


def total_seconds(stages: Mapping[str, Any] | None) -> float | None:
    """The seconds of all stages; None where none is known."""
    known = [taken for taken in (stages or {}).values() if is_number(taken)]
    return sum(known) if known else None
