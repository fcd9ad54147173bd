"""Compare: runs → a verdict.

In: the records of a study's runs. Out: `comparison.json` and `comparison.csv`, which this module owns. No torch here.

Models are ranked by validation accuracy, ties by validation log loss; the winner is the first that is no dummy. Test
figures are shown beside and choose nothing. Every other model is compared with the winner image by image on test.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bestiary.config.schema import MAJORITY, StudyConfig
from bestiary.errors import BestiaryError, StudyError
from bestiary.evaluate.paired import compare_paired, holm
from bestiary.runs.record import RunRecord, read_run, read_status
from bestiary.store.files import read_json, write_json, write_text
from bestiary.store.hashing import fingerprint

JSON_NAME, CSV_NAME = "comparison.json", "comparison.csv"
FIGURES = (
    "accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "log_loss", "top3_accuracy",
)  # fmt: skip


def read_runs(study_dir: Path, config: StudyConfig) -> dict[str, RunRecord]:
    """The records of all models of a study, in the order of its config.

    Raises:
        StudyError: a model has not been trained yet.
    """
    return {name: read_run(study_dir, name) for name in config.models}


def comparison_fingerprint(study_dir: Path, config: StudyConfig) -> str:
    """Changes with any run, or with which models the study has."""
    statuses = [read_status(study_dir, name) for name in config.models]
    return fingerprint([status.__dict__ if status else None for status in statuses])


def compare_runs(runs: Mapping[str, RunRecord], splits: pd.DataFrame) -> dict[str, Any]:
    """Rank the runs on validation and compare each with the winner on test.

    Args:
        runs: records by model; those "not run" are listed with their reason.
        splits: for the sizes.

    Returns:
        See ARCHITECTURE.md, "comparison.json".

    Raises:
        StudyError: two runs scored different test images.
    """
    done = {name: run for name, run in runs.items() if run.status.status == "done"}
    ranked = sorted(done, key=lambda name: _rank_key(done[name]))
    winner = next((name for name in ranked if done[name].config["backbone"] != MAJORITY), None)
    versus = _versus_winner(done, ranked, winner)
    sizes = splits["split"].value_counts()
    return {
        "ranked_by": "val accuracy",
        "winner": winner,
        "class_names": done[ranked[0]].metrics["class_names"] if ranked else [],
        "split_sizes": {split: int(sizes.get(split, 0)) for split in ("train", "val", "test")},
        "models": [_row(name, rank, done[name], versus[name]) for rank, name in enumerate(ranked, start=1)],
        "not_run": [
            {"model": name, "reason": run.status.reason} for name, run in runs.items() if run.status.status != "done"
        ],
    }


def _rank_key(run: RunRecord) -> tuple[float, float]:
    val = run.metrics["val"]
    return -val["accuracy"]["value"], val["log_loss"]["value"]


def _versus_winner(done: Mapping[str, RunRecord], ranked: list[str], winner: str | None) -> dict[str, Any]:
    versus: dict[str, Any] = dict.fromkeys(ranked)
    if winner is None:
        return versus
    others = [name for name in ranked if name != winner]
    reference = _right_by_image(done[winner])
    compared = []
    for name in others:
        right = _right_by_image(done[name])
        if not right.index.sort_values().equals(reference.index.sort_values()):
            raise StudyError(f"{name} and {winner} were scored on different test images: run `bestiary train` again")
        joined = right.reindex(reference.index)
        compared.append(compare_paired(joined.to_numpy(dtype=bool), reference.to_numpy(dtype=bool)))
    adjusted = holm([result.p_value for result in compared])
    for name, result, p_value in zip(others, compared, adjusted, strict=True):
        versus[name] = {
            "difference": result.difference.as_dict(),
            "p_value": result.p_value,
            "p_value_holm": p_value,
            "told_apart": p_value < 0.05,
            "only_this_right": result.only_first,
            "only_winner_right": result.only_second,
        }
    return versus


def _right_by_image(run: RunRecord) -> pd.Series:
    test = run.predictions[run.predictions["split"] == "test"].set_index("image_id")
    return pd.Series(np.asarray(test["y_true"] == test["y_pred"]), index=test.index)


def _row(name: str, rank: int, run: RunRecord, versus: dict[str, Any] | None) -> dict[str, Any]:
    metrics, config = run.metrics, run.config
    return {
        "model": name,
        "rank": rank,
        "backbone": config["backbone"],
        "weights": config["weights"],
        "trainable": config["trainable"],
        "val": {"n": metrics["val"]["n"], **{figure: metrics["val"][figure] for figure in FIGURES}},
        "test": {"n": metrics["test"]["n"], **{figure: metrics["test"][figure] for figure in FIGURES}},
        # None where corrections leave the test split as it is, and in runs of before there were any.
        "test_as_given": metrics.get("test_as_given"),
        "parameters": metrics["parameters"],
        "seconds": metrics["seconds"],
        "images_per_s": metrics["images_per_s"],
        "epochs": metrics["epochs"],
        "best_epoch": metrics["best_epoch"],
        "geometry": metrics["geometry"],
        "choices": metrics["choices"],
        "versus_winner": versus,
    }


def write_comparison(study_dir: Path, comparison: dict[str, Any], *, fingerprint: str) -> None:
    """Write `comparison.json` and `comparison.csv`."""
    write_text(study_dir / CSV_NAME, _spreadsheet(comparison))
    write_json(study_dir / JSON_NAME, {"fingerprint": fingerprint, **comparison})


def is_current(study_dir: Path, *, fingerprint: str) -> bool:
    """Whether a whole comparison of these runs lies there, with its spreadsheet."""
    try:
        comparison = read_comparison(study_dir)
        table = (study_dir / CSV_NAME).read_text(encoding="utf-8")
    except (BestiaryError, OSError, UnicodeDecodeError):
        return False
    return comparison.get("fingerprint") == fingerprint and table == _spreadsheet(comparison)


def _spreadsheet(comparison: dict[str, Any]) -> str:
    return str(comparison_table(comparison).to_csv(index=False, lineterminator="\n"))


def read_comparison(study_dir: Path) -> dict[str, Any]:
    """Read `comparison.json`.

    Raises:
        StudyError: the study has not been compared.
    """
    path = study_dir / JSON_NAME
    if not path.exists():
        raise StudyError(f"{study_dir} has no {JSON_NAME}: run `bestiary compare {study_dir}`")
    content = read_json(path)
    if not isinstance(content, dict):
        raise BestiaryError(f"{path} is damaged. Delete it and run the command again.")
    return content


def comparison_table(comparison: dict[str, Any]) -> pd.DataFrame:
    """One row a model, in rank order, then those not run: what `compare` returns and the spreadsheet holds.

    Accuracies and other figures are fractions; `_low` and `_high` bound the 95 % interval.
    """
    rows = [_flat(row) for row in comparison["models"]]
    rows += [{"model": row["model"], "status": "not run", "reason": row["reason"]} for row in comparison["not_run"]]
    return pd.DataFrame(rows)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = {key: row[key] for key in ("rank", "model", "backbone", "weights", "trainable")} | {"status": "done"}
    for split in ("val", "test"):
        for figure in FIGURES:
            interval = row[split][figure]
            flat[f"{split}_{figure}"] = interval["value"]
            flat[f"{split}_{figure}_low"] = interval["low"]
            flat[f"{split}_{figure}_high"] = interval["high"]
    if as_given := row.get("test_as_given"):
        for bound, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            flat[f"test_accuracy_as_given{suffix}"] = as_given["accuracy"][bound]
    versus = row["versus_winner"] or {}
    flat["test_difference_to_winner"] = versus.get("difference", {}).get("value")
    flat["p_value_holm"] = versus.get("p_value_holm")
    flat["parameters_total"] = row["parameters"]["total"]
    flat["parameters_trainable"] = row["parameters"]["trainable"]
    flat["epochs"], flat["best_epoch"] = row["epochs"], row["best_epoch"]
    return flat | {f"seconds_{stage}": value for stage, value in row["seconds"].items()}
