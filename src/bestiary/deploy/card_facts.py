"""The facts that a model card states: each taken from the study, none assumed.

In: a run's record, the study's config, comparison, corrected index and splits. Out: `CardFacts`. Owns no file; no
torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bestiary.config.kinds import backbones_of, kind_of
from bestiary.config.schema import SPLITS, StudyConfig
from bestiary.data.groups import has_ties
from bestiary.data.index import is_dropped
from bestiary.data.splits.straddling import straddling_groups
from bestiary.evaluate.intervals import Interval
from bestiary.evaluate.metrics import METRICS
from bestiary.runs.record import RunRecord


@dataclass(frozen=True)
class CardFigure:
    """One measured figure; fractions in [0, 1], log loss in nats."""

    name: str
    title: str
    val: Interval
    test: Interval


@dataclass(frozen=True)
class SplitFacts:
    """How the images were split.

    Attributes:
        sizes: images by split, without dropped ones.
        given: the splits that came with the data.
        seed: of those that were drawn.
        together: which copies were kept in one split: exact ones, or near ones, too.
        has_groups: whether the data say by a column which images belong together.
        straddling: groups (copies, or one value of that column) with images in more than one split.
        straddling_test: those of them with images in test.
        leaked: test images of such groups that have another image of theirs in train or val.
        leak_free: the test accuracy without these; None where there are none, or nothing is left.
    """

    sizes: Mapping[str, int]
    given: tuple[str, ...]
    seed: int
    together: Literal["near", "exact"]
    has_groups: bool
    straddling: int
    straddling_test: int
    leaked: int = 0
    leak_free: Interval | None = None


@dataclass(frozen=True)
class LabelFacts:
    """What corrections changed, in all images and in those of the test split.

    `test_as_given` is the test accuracy on the labels that came with the data; None where corrections leave test as is.
    """

    relabelled: int
    dropped: int
    test_relabelled: int
    test_dropped: int
    test_as_given: Interval | None = None


@dataclass(frozen=True)
class FoldFacts:
    """A cross-validation: how many folds, how many images were tested, and the test accuracy over all of them.

    `chosen` is the accuracy where each fold chooses its own model; None where there was one to choose.
    """

    folds: int
    images: int
    accuracy: Interval
    chosen: Interval | None


@dataclass(frozen=True)
class RefitFacts:
    """A model that was fitted once more after it was measured: on how many images, and how far the two agree."""

    images: int
    images_before: int
    test_images: int
    test_agreed: int


@dataclass(frozen=True)
class ChoiceFacts:
    """What was chosen for this model, and how the model itself was chosen.

    Attributes:
        within_train: choices by cross-validation within the training images, in words.
        made: choices on validation, in words.
        rivals: how many other models it was compared with, baselines apart.
        best: the model that is best on validation, or None.
    """

    made: tuple[str, ...]
    rivals: int
    best: str | None
    within_train: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeakClass:
    """The class with the lowest F1 on test among those with test images."""

    class_name: str
    f1: float
    support: int


@dataclass(frozen=True)
class NetworkFacts:
    """What a network is made of: one, or a member of an ensemble with its share, in (0, 1]."""

    backbones: tuple[str, ...]
    weights: str
    trainable: str
    model: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class CardFacts:
    """All that a card states of one exported model."""

    model: str
    networks: tuple[NetworkFacts, ...]
    parameters: int
    parameters_trained: int
    bestiary_version: str
    class_names: tuple[str, ...]
    geometries: tuple[Mapping[str, Any], ...]
    data_name: str
    split: SplitFacts
    labels: LabelFacts
    choices: ChoiceFacts
    figures: tuple[CardFigure, ...]
    weakest: WeakClass | None
    test_first_scored_at: str
    folds: FoldFacts | None = None
    refit: RefitFacts | None = None


def card_facts(
    run: RunRecord,
    *,
    config: StudyConfig,
    comparison: Mapping[str, Any],
    index: pd.DataFrame,
    splits: pd.DataFrame,
    refit: Mapping[str, Any],
) -> CardFacts:
    """Collect the facts.

    Args:
        run: the exported model's run.
        config: the study's.
        comparison: of the study's models.
        index: all files, with corrections (see `overlay.corrected`).
        splits: which image is in which split.
        refit: what `refit.json` holds; empty where the exported weights are those that were measured.
    """
    metrics, model = {**run.fit, **run.figures}, run.config
    class_names = tuple(metrics["class_names"])
    return CardFacts(
        model=run.status.model,
        networks=_network_facts(model),
        parameters=metrics["parameters"]["total"],
        parameters_trained=metrics["parameters"]["trainable"],
        bestiary_version=run.status.bestiary_version,
        class_names=class_names,
        geometries=tuple(metrics["geometries"]),
        data_name=Path(config.data.path).name or config.data.path,
        split=_split_facts(config, index, splits, metrics.get("test_leak_free") or {}),
        labels=_label_facts(metrics, index, splits),
        choices=_choice_facts(run, comparison),
        figures=tuple(
            CardFigure(
                metric.name,
                metric.title if metric.unit == "fraction" else f"{metric.title} ({metric.unit})",
                Interval(**metrics["val"][metric.name]),
                Interval(**metrics["test"][metric.name]),
            )
            for metric in METRICS
            if metric.in_tables and metrics["val"].get(metric.name) and metrics["test"].get(metric.name)
        ),
        weakest=_weakest(metrics["test"]["per_class"]),
        test_first_scored_at=metrics["test_scored_at"],
        folds=_fold_facts(run.status.model, comparison),
        refit=_refit_facts(refit),
    )


def _network_facts(model: Mapping[str, Any]) -> tuple[NetworkFacts, ...]:
    members = model.get("ensemble") or [{"model": "", "share": 1.0, "config": model}]
    return tuple(
        NetworkFacts(
            backbones_of(member["config"]), member["config"]["weights"], member["config"]["trainable"],
            member["model"], member["share"],
        )
        for member in members
    )  # fmt: skip


def _refit_facts(refit: Mapping[str, Any]) -> RefitFacts | None:
    return RefitFacts(**{field.name: refit[field.name] for field in fields(RefitFacts)}) if refit else None


def _fold_facts(model: str, comparison: Mapping[str, Any]) -> FoldFacts | None:
    over = next((row.get("over_folds") for row in comparison["models"] if row["model"] == model), None)
    if not over:
        return None
    chosen = comparison.get("chosen_in_folds")
    return FoldFacts(
        over["folds"],
        over["test"]["n"],
        Interval(**over["test"]["accuracy"]),
        Interval(**chosen["accuracy"]) if chosen else None,
    )


def _split_facts(
    config: StudyConfig, index: pd.DataFrame, splits: pd.DataFrame, leak_free: Mapping[str, Any]
) -> SplitFacts:
    kept = splits[splits["split"] != ""]
    sizes = kept["split"].value_counts()
    images = index[index["image_id"].isin(splits["image_id"])]
    given = set(images["split_given"]) if config.split.use_given else set()
    return SplitFacts(
        sizes={split: int(sizes.get(split, 0)) for split in SPLITS},
        given=tuple(split for split in SPLITS if split in given),
        seed=config.split.seed,
        together=config.split.group_duplicates,
        has_groups=has_ties(images),
        straddling=straddling_groups(splits),
        straddling_test=straddling_groups(splits, with_side="test"),
        leaked=leak_free.get("n_leaked", 0),
        leak_free=Interval(**leak_free["accuracy"]) if leak_free.get("accuracy") else None,
    )


def _label_facts(metrics: Mapping[str, Any], index: pd.DataFrame, splits: pd.DataFrame) -> LabelFacts:
    drawn = splits["drawn"] if "drawn" in splits else splits["split"]
    in_test = index["image_id"].isin(splits.loc[drawn == "test", "image_id"])
    dropped = is_dropped(index)
    relabelled = (index["error"] == "") & (index["label"] != index["label_given"])
    as_given = metrics.get("test_as_given")
    return LabelFacts(
        relabelled=int(relabelled.sum()),
        dropped=int(dropped.sum()),
        test_relabelled=int((relabelled & in_test).sum()),
        test_dropped=int((dropped & in_test).sum()),
        test_as_given=Interval(**as_given["accuracy"]) if as_given else None,
    )


def _choice_facts(run: RunRecord, comparison: Mapping[str, Any]) -> ChoiceFacts:
    metrics, choices = run.fit, run.fit.get("choices") or {}
    made, within_train = [], []
    if heads := choices.get("heads"):
        made.append(f"the head, out of {len(heads)}")
    if (regularisation := choices.get("C")) is not None:
        tried, on = len(choices.get("tried") or []), choices["chosen_on"]
        if tried:
            how = f"{tried} tried in {on['folds']} folds of {on['images']:,} training images"
            within_train.append(f"the regularisation of the head (C = {regularisation:g}; {how})")
    if members := choices.get("members"):
        made.append(f"which of the models have a part in it, and its share ({len(members)} have one)")
    if metrics.get("best_epoch"):
        made.append(f"the epoch ({metrics['best_epoch']} of {metrics['epochs']})")
    others = [row for row in comparison["models"] if row["model"] != run.status.model and not kind_of(row).is_baseline]
    return ChoiceFacts(tuple(made), len(others), comparison.get("winner"), tuple(within_train))


def _weakest(per_class: list[Mapping[str, Any]]) -> WeakClass | None:
    known = [WeakClass(row["class_name"], _number(row["f1"]), row["support"]) for row in per_class if row["support"]]
    return min(known, key=lambda row: row.f1, default=None)


def _number(figure: Any) -> float:
    """A figure of a class, with an interval or without."""
    return float(figure["value"] if isinstance(figure, Mapping) else figure)
