"""Cross-validation as stages of a study: every model fitted in every fold, and the figures over all images.

In: a study at work. Out: `folds.parquet` and `runs/<model>/folds/<number>/` through the modules that own them, and
`folds.json`, which this module owns (ARCHITECTURE.md has its keys).

Fold 1 is the split of the study, and its runs are those of the study. So a fold costs a fit of each model, and no
features: these are cached by image.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.kinds import kind_of
from bestiary.data.splits.folds import draw_folds, images_of_fold, read_folds, write_folds
from bestiary.errors import BestiaryError, StudyError
from bestiary.evaluate.intervals import Interval
from bestiary.evaluate.metrics import METRICS
from bestiary.evaluate.paired import compare_paired, holm
from bestiary.evaluate.pooled import respecting_folds
from bestiary.evaluate.scoring import split_figures
from bestiary.runs.doubted import without_doubted
from bestiary.runs.evaluation import logits_of
from bestiary.runs.keys import figures_key, fit_keys
from bestiary.runs.record import logits_digest, read_logits
from bestiary.store.files import read_json, write_json
from bestiary.store.hashing import fingerprint
from bestiary.study.run_stage import digests_of_weights, is_due, keys_of_fits
from bestiary.study.work import Work

_RULES = "folds 2"


def folds_key(work: Work) -> str:
    """Of the fits of all folds but the first."""
    return fingerprint([_RULES, work.key("split"), _keys_by_fold(work)])


def _folds(work: Work) -> pd.DataFrame:
    """The folds of all images, drawn where some have none."""

    def compute() -> pd.DataFrame:
        snapshot, folder = work.snapshot, work.paths.folder
        previous = read_folds(folder) if work.paths.folds.exists() and not work.redraw else None
        return draw_folds(snapshot.images, snapshot.config.split, previous=previous)

    return cast(pd.DataFrame, work.remember("folds", compute))


def _images(work: Work, number: int) -> pd.DataFrame:
    count = work.snapshot.config.split.folds
    return images_of_fold(work.snapshot.images, _folds(work), number, count=count)


def _keys_by_fold(work: Work) -> dict[int, dict[str, str]]:
    """By fold and model: what the weights depend on."""

    def compute() -> dict[int, dict[str, str]]:
        config, digests = work.snapshot.config, digests_of_weights(work)
        found = {1: keys_of_fits(work)}
        for number in range(2, config.split.folds + 1):
            found[number] = fit_keys(config, _to_fit(work, number), digests=digests)
        return found

    return cast(dict[int, dict[str, str]], work.remember("fold keys", compute))


def _models(work: Work) -> list[str]:
    """The models that could be run at all."""
    return [name for name in work.snapshot.config.models if work.snapshot.run(name).done]


def _folder(work: Work, model: str, number: int) -> Path:
    run = work.paths.run(model)
    return run if number == 1 else run / "folds" / str(number)


def _to_fit(work: Work, number: int) -> pd.DataFrame:
    """The images of a fold, without a split where `train.doubted_labels` leaves them out."""
    images = _images(work, number)
    if work.snapshot.config.train.doubted_labels == "keep":
        return images
    return without_doubted(images, work.snapshot.findings)


def has_folds(work: Work, key: str) -> bool:
    """Whether every model is fitted in every fold, on these images with these settings."""
    if not work.snapshot.config.split.folds:
        return True
    keys = _keys_by_fold(work)
    return work.paths.folds.exists() and not any(
        is_due(_folder(work, name, number), keys[number][name]) for number in keys for name in _models(work)
    )


def make_folds(work: Work, key: str) -> None:
    """Fit what is due in folds 2 and up."""
    from bestiary.runs.fit import fit_model

    snapshot, keys = work.snapshot, _keys_by_fold(work)
    write_folds(work.paths.folder, _folds(work), fingerprint=key)
    for name in _models(work):
        for number in range(2, snapshot.config.split.folds + 1):
            folder = _folder(work, name, number)
            if not is_due(folder, keys[number][name]):
                continue
            work.progress.say(f"  {name}, fold {number} of {snapshot.config.split.folds}")
            fit_model(
                folder,
                snapshot.config,
                _to_fit(work, number),
                root=snapshot.data_root,
                key=keys[number][name],
                name=name,
                weights_sha256=digests_of_weights(work)[name],
                progress=work.progress,
            )


def pooled_key(work: Work) -> str:
    """Of the logits, labels and groups that the figures follow from; "" without folds."""
    if not work.snapshot.config.split.folds:
        return ""
    keys = [
        [name, number, figures_key(keys[name], logits_digest(_folder(work, name, number)), _images(work, number))]
        for number, keys in _keys_by_fold(work).items()
        for name in _models(work)
    ]
    return fingerprint([_RULES, keys])


def has_pooled(work: Work, key: str) -> bool:
    """Whether `folds.json` is of these logits and labels."""
    return not key or read_pooled(work.paths.folds_summary).get("fingerprint") == key


def read_pooled(path: Path) -> dict[str, Any]:
    """What `folds.json` holds; empty where there is none, or it is damaged and is made again."""
    try:
        content = read_json(path)
    except (OSError, BestiaryError):
        return {}
    return content if isinstance(content, dict) else {}


def make_pooled(work: Work, key: str) -> None:
    """Evaluate every model over all folds; says nothing where there are none."""
    if key:
        write_json(work.paths.folds_summary, {"fingerprint": key, **_evaluated(work)})
        work.snapshot.put(folds=read_pooled(work.paths.folds_summary))


class _Pool:
    """What one model says of the images that are tested, or validated, in some fold: rows and logits, fold by fold."""

    def __init__(self, work: Work, model: str, side: str) -> None:
        names = sorted(work.snapshot.images["label"].unique())
        rows, logits = [], []
        for number in range(1, work.snapshot.config.split.folds + 1):
            images = _images(work, number)
            there = images[images["split"] == side]
            said = read_logits(_folder(work, model, number))
            # A class that a fold did not train on is as unlikely as its least likely one.
            values = np.full((len(there), len(names)), -np.inf, dtype=np.float32)
            values[:, [names.index(name) for name in said.class_names]] = logits_of(said, there["image_id"])
            least = np.where(np.isfinite(values), values, np.inf).min(axis=1, keepdims=True)
            logits.append(np.where(np.isfinite(values), values, least).astype(np.float32))
            rows.append(there.assign(fold=number))
        self.rows, self.logits, self.names = pd.concat(rows, ignore_index=True), np.concatenate(logits), names

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """`(n,) bool`."""
        predicted = np.array(self.names, dtype=object)[self.logits.argmax(axis=1)]
        return np.asarray(predicted == self.rows["label"].to_numpy(), dtype=np.bool_)

    def right_in(self, fold: int) -> npt.NDArray[np.bool_]:
        """Those of one fold."""
        return self.right[(self.rows["fold"] == fold).to_numpy()]

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """`(n,) int64`."""
        return pd.factorize(self.rows["group_id"])[0].astype(np.int64)

    def figures(self) -> dict[str, Any]:
        """Of `split_figures`; shares of images and macro averages are as wide as the folds ask for."""
        labels = np.asarray(pd.Index(self.names).get_indexer(self.rows["label"]), dtype=np.int64)
        found = split_figures(labels, self.logits, class_names=self.names, groups=self.groups)
        fold = self.rows["fold"].to_numpy()
        parts = [
            split_figures(labels[fold == number], self.logits[fold == number], class_names=self.names)
            for number in np.unique(fold)
        ]
        for metric in METRICS:
            figure = found.get(metric.name)
            if figure and metric.unit == "fraction":
                values = np.array([(part.get(metric.name) or {}).get("value", np.nan) for part in parts])
                found[metric.name] = respecting_folds(Interval(**figure), values).as_dict()
        by_fold = [{"n": part["n"], "accuracy": part["accuracy"]["value"]} for part in parts if part["n"]]
        return {**{name: found[name] for name in found if name != "confusion"}, "by_fold": by_fold}


def _evaluated(work: Work) -> dict[str, Any]:
    count = work.snapshot.config.split.folds
    tested = {name: _Pool(work, name, "test") for name in _models(work)}
    validated = {name: _Pool(work, name, "val") for name in tested}
    if not tested:
        raise StudyError("no model could be run in any fold")
    figures = {name: {"val": validated[name].figures(), "test": tested[name].figures()} for name in tested}

    def rank(name: str) -> tuple[float, float]:
        val = figures[name]["val"]
        return -val["accuracy"]["value"], val["log_loss"]["value"]

    ranked = sorted(figures, key=rank)
    chosen = [name for name in ranked if not kind_of(work.snapshot.run(name).config).is_baseline]
    winner = chosen[0] if chosen else None
    return {
        "folds": count,
        "images": len(work.snapshot.images[work.snapshot.images["split"] != ""]),
        "tested": len(next(iter(tested.values())).rows),
        "winner": winner,
        "ranked": ranked,
        "models": figures,
        "versus_winner": _versus(tested, winner),
        "chosen_in_folds": _chosen(tested, validated, chosen) if len(chosen) > 1 else None,
    }


def _versus(tested: dict[str, _Pool], winner: str | None) -> dict[str, Any]:
    others = [name for name in tested if name != winner] if winner else []
    if not others or winner is None:
        return {}
    best = tested[winner]
    found = {name: compare_paired(tested[name].right, best.right, groups=best.groups) for name in others}
    adjusted = holm([found[name].p_value for name in others])
    return {
        name: {
            "difference": found[name].difference.as_dict(),
            "test": "the exact paired test of groups",
            "p_value": found[name].p_value,
            "p_value_holm": p_value,
            "significant": p_value < 0.05,
            "only_this_right": found[name].only_first,
            "only_winner_right": found[name].only_second,
            "images_needed": found[name].images_needed,
        }
        for name, p_value in zip(others, adjusted, strict=True)
    }


def _chosen(tested: dict[str, _Pool], validated: dict[str, _Pool], models: list[str]) -> dict[str, Any]:
    """In each fold the model that is best on its val images, scored on its test images.

    The winner over all folds was chosen on images that also test it: its test figure is the best of several. Here no
    image has a part in choosing the model that it tests (nested selection; Varma and Simon 2006, BMC Bioinformatics
    7:91).
    """
    first = tested[models[0]]
    right, names = np.zeros(len(first.rows), dtype=np.bool_), []
    for number in sorted(first.rows["fold"].unique()):
        accuracy = {name: validated[name].right_in(number).mean() for name in models}
        names.append(max(models, key=lambda name: accuracy[name]))
        here = (first.rows["fold"] == number).to_numpy()
        right[here] = tested[names[-1]].right_in(number)
    # Accuracy alone: as if there were two classes, right and wrong.
    scored = split_figures(
        np.zeros(len(right), dtype=np.int64),
        np.where(right[:, None], [[1.0, 0.0]], [[0.0, 1.0]]).astype(np.float32),
        class_names=["right", "wrong"],
        groups=first.groups,
    )["accuracy"]
    by_fold = pd.Series(right).groupby(first.rows["fold"].to_numpy()).mean().to_numpy(np.float64)
    return {"accuracy": respecting_folds(Interval(**scored), by_fold).as_dict(), "models": names}
