"""Comparison: the runs of a study → a verdict.

In: the records of a study's runs. Out: `comparison.json` and `comparison.csv`, which this module owns. No torch here.

Models are ranked by validation accuracy, ties by validation log loss; the winner is the first that is no baseline. Test
figures are shown beside and choose nothing. Every other model is compared with the winner image by image on test; those
that do not differ from it significantly share its rank.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.kinds import backbones_of, kind_of
from bestiary.errors import BestiaryError, StudyError
from bestiary.evaluate.metrics import METRICS
from bestiary.evaluate.paired import compare_paired, holm
from bestiary.runs.evaluation import right_by_image
from bestiary.runs.record import RunRecord, read_logits
from bestiary.snapshot import Snapshot, StudyPaths
from bestiary.store.files import write_json, write_text
from bestiary.study.seed_runs import over_seeds

FORMAT = 4

# What a table of tuned models shows of each, by column of the spreadsheet, with the setting's name in `ModelConfig`.
_SETTINGS = {
    "trainable": "trainable",
    "hidden_units": "head.hidden",
    "dropout": "head.dropout",
    "optimizer": "optimizer.name",
    "learning_rate": "optimizer.learning_rate",
}


def compare_runs(snapshot: Snapshot) -> dict[str, Any]:
    """Rank the runs on validation and compare each with the winner on test.

    Args:
        snapshot: of a study whose runs have figures.

    Returns:
        See ARCHITECTURE.md, "comparison.json".

    Raises:
        StudyError: a model has not been trained, or its logits lack a test image.
    """
    runs = {name: snapshot.run(name) for name in snapshot.config.models}
    done = {name: run for name, run in runs.items() if run.done}
    folds = snapshot.folds
    ranked = folds["ranked"] if folds else sorted(done, key=lambda name: _rank_key(done[name]))
    winner = next((name for name in ranked if not kind_of(done[name].config).is_baseline), None)
    versus = _versus_winner(snapshot, ranked, winner)
    shared = _shared_ranks(ranked, winner, folds["versus_winner"] if folds else versus)
    sizes = snapshot.images["split"].value_counts()
    return {
        "ranked_by": f"val accuracy over {folds['folds']} folds" if folds else "val accuracy",
        "winner": winner,
        "class_names": done[ranked[0]].figures["class_names"] if ranked else [],
        "split_sizes": {split: int(sizes.get(split, 0)) for split in ("train", "val", "test")},
        "models": [
            {
                **_row(name, rank, done[name], versus[name]),
                "rank_shared": shared[name],
                "over_folds": _over_folds(folds, name),
                "over_seeds": over_seeds(snapshot, name),
            }
            for rank, name in enumerate(ranked, start=1)
        ],
        "chosen_in_folds": folds.get("chosen_in_folds"),
        "not_run": [{"model": name, "reason": run.status.reason} for name, run in runs.items() if not run.done],
    }


def _rank_key(run: RunRecord) -> tuple[float, float]:
    val = run.figures["val"]
    return -val["accuracy"]["value"], val["log_loss"]["value"]


def _versus_winner(snapshot: Snapshot, ranked: list[str], winner: str | None) -> dict[str, Any]:
    versus: dict[str, Any] = dict.fromkeys(ranked)
    others = [name for name in ranked if name != winner]
    if winner is None or not others:
        return versus
    test = snapshot.images[snapshot.images["split"] == "test"]
    groups = pd.factorize(test["group_id"])[0].astype(np.int64)
    reference = _right(snapshot.paths, winner, test)
    compared = [compare_paired(_right(snapshot.paths, name, test), reference, groups=groups) for name in others]
    adjusted = holm([result.p_value for result in compared])
    for name, result, p_value in zip(others, compared, adjusted, strict=True):
        versus[name] = {
            "difference": result.difference.as_dict(),
            "test": "McNemar\u2019s test"
            if len(set(groups.tolist())) == len(groups)
            else "the exact paired test of groups",
            "p_value": result.p_value,
            "p_value_holm": p_value,
            "significant": p_value < 0.05,
            "only_this_right": result.only_first,
            "only_winner_right": result.only_second,
            "images_needed": result.images_needed,
        }
    return versus


def _shared_ranks(ranked: list[str], winner: str | None, versus: Mapping[str, Any]) -> dict[str, int]:
    """Each model's rank, and the winner's for those that do not differ from it significantly on test."""
    ranks = {name: rank for rank, name in enumerate(ranked, start=1)}
    tied = [name for name in ranked if versus.get(name) and not versus[name]["significant"]]
    return ranks | {name: ranks[winner] for name in tied if winner}


def _right(paths: StudyPaths, name: str, test: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return right_by_image(read_logits(paths.run(name)), test).to_numpy(dtype=bool)


def _row(name: str, rank: int, run: RunRecord, versus: dict[str, Any] | None) -> dict[str, Any]:
    figures, fit, config = run.figures, run.fit, run.config
    return {
        "model": name,
        "rank": rank,
        "kind": run.status.kind,
        "backbone": " + ".join(backbones_of(config)),
        "weights": config["weights"],
        "trainable": config["trainable"],
        "settings": _settings(config),
        "val": _measured(figures["val"]),
        "test": _measured(figures["test"]),
        # None where corrections leave the test split as it is.
        "test_as_given": figures["test_as_given"],
        # None where no test image has a copy on another side.
        "test_leak_free": figures["test_leak_free"],
        "test_scored_at": figures["test_scored_at"],
        "parameters": fit["parameters"],
        "seconds": fit["seconds"],
        "images_per_s": fit["images_per_s"],
        "cached": fit["cached"],
        "epochs": fit["epochs"],
        "best_epoch": fit["best_epoch"],
        "geometries": fit["geometries"],
        "choices": fit["choices"],
        "versus_winner": versus,
    }


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Some settings of a model; None for those that do not matter to it, such as the learning rate of L-BFGS."""
    found = {}
    for column, key in _SETTINGS.items():
        section, _, name = key.rpartition(".")
        values = config[section] if section else config
        found[column] = values[name] if kind_of(config).uses(config, key) else None
    return found


def _over_folds(folds: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A model's figures over all folds; None where there is no cross-validation."""
    if not folds:
        return None
    figures = folds["models"][name]
    return {
        "folds": folds["folds"],
        "val": _measured(figures["val"]),
        "test": _measured(figures["test"]),
        "test_by_fold": [part["accuracy"] for part in figures["test"]["by_fold"]],
        "versus_winner": folds["versus_winner"].get(name),
    }


def _measured(split: Mapping[str, Any]) -> dict[str, Any]:
    names = [metric.name for metric in METRICS if metric.name in split]
    return {"n": split["n"], "groups": split["groups"], **{name: split[name] for name in names}}


def write_comparison(paths: StudyPaths, comparison: dict[str, Any], *, key: str) -> dict[str, Any]:
    """Write `comparison.json` and `comparison.csv`; returns what the first holds."""
    write_text(paths.comparison_csv, _spreadsheet(comparison))
    content = {"format": FORMAT, "fingerprint": key, **comparison}
    write_json(paths.comparison, content)
    return content


def has_comparison(snapshot: Snapshot, key: str) -> bool:
    """Whether a whole comparison of these runs lies there, with its spreadsheet."""
    try:
        comparison = snapshot.comparison
        table = snapshot.paths.comparison_csv.read_text(encoding="utf-8")
    except (BestiaryError, OSError, UnicodeDecodeError):
        return False
    same = comparison.get("fingerprint") == key and comparison.get("format") == FORMAT
    return same and table == _spreadsheet(comparison)


def _spreadsheet(comparison: dict[str, Any]) -> str:
    return str(comparison_table(comparison).to_csv(index=False, lineterminator="\n"))


def read_comparison(snapshot: Snapshot) -> dict[str, Any]:
    """Read `comparison.json`.

    Raises:
        StudyError: the study has not been compared, or by an older bestiary.
        BestiaryError: the file is damaged; names it.
    """
    path, folder = snapshot.paths.comparison, snapshot.paths.folder
    if not path.exists():
        raise StudyError(f"{folder} has no {path.name}: run `bestiary compare {folder}`")
    content = snapshot.comparison
    if content.get("format") != FORMAT:
        raise StudyError(
            f"{path} is of an older bestiary: run `bestiary study` with the same arguments, which redoes it"
        )
    return content


def comparison_table(comparison: dict[str, Any]) -> pd.DataFrame:
    """One row a model, in rank order, then those not run: what `compare` returns and the spreadsheet holds.

    Accuracies and other figures are fractions; `_low` and `_high` bound the 95 % interval.
    """
    rows = [_flat(row) for row in comparison["models"]]
    rows += [{"model": row["model"], "status": "not run", "reason": row["reason"]} for row in comparison["not_run"]]
    return pd.DataFrame(rows)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = {key: row[key] for key in ("rank", "rank_shared", "model", "backbone", "weights")}
    flat |= row["settings"] | {"status": "done"}
    for split in ("val", "test"):
        for metric in METRICS:
            if interval := row[split].get(metric.name):
                flat[f"{split}_{metric.name}"] = interval["value"]
                flat[f"{split}_{metric.name}_low"] = interval["low"]
                flat[f"{split}_{metric.name}_high"] = interval["high"]
    for figures in ("as_given", "leak_free"):
        if accuracy := (row.get(f"test_{figures}") or {}).get("accuracy"):
            for bound, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                flat[f"test_accuracy_{figures}{suffix}"] = accuracy[bound]
    if over := row.get("over_folds"):
        flat["folds"] = over["folds"]
        for split in ("val", "test"):
            for bound, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                flat[f"{split}_accuracy_over_folds{suffix}"] = over[split]["accuracy"][bound]
        flat["difference_over_folds"] = ((over["versus_winner"] or {}).get("difference") or {}).get("value")
        flat["p_value_holm_over_folds"] = (over["versus_winner"] or {}).get("p_value_holm")
    if seeds := row.get("over_seeds"):
        flat["seeds"] = seeds["seeds"]
        for split in ("val", "test"):
            flat |= {f"{split}_accuracy_over_seeds_{part}": value for part, value in seeds[split].items()}
    versus = row["versus_winner"] or {}
    flat["test_difference_to_winner"] = versus.get("difference", {}).get("value")
    flat["p_value_holm"] = versus.get("p_value_holm")
    flat["parameters_total"] = row["parameters"]["total"]
    flat["parameters_trainable"] = row["parameters"]["trainable"]
    flat["epochs"], flat["best_epoch"] = row["epochs"], row["best_epoch"]
    flat["cached_images"] = max(row["cached"].values(), default=0)
    return flat | {f"seconds_{stage}": value for stage, value in row["seconds"].items()}
