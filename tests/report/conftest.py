"""Small synthetic studies on disk, as a study leaves them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bestiary.config.parsing import parse_config
from bestiary.config.recipes import write_study_config
from bestiary.config.schema import StudyConfig
from bestiary.runs.record import RunStatus, write_status
from bestiary.store.files import write_json
from bestiary.store.tables import write_table

Rng = np.random.Generator


@dataclass
class MadeStudy:
    """A study folder and what was put into it."""

    folder: Path
    data: Path
    index: pd.DataFrame
    predictions: dict[str, pd.DataFrame] = field(default_factory=dict)


MakeStudy = Callable[..., MadeStudy]

MODELS: Mapping[str, Mapping[str, Any]] = {
    "probe": {"backbone": "tf_efficientnet_lite0"},
    "cnn": {"backbone": "simple_cnn", "trainable": "all", "augment": {"flip": True}},
    "majority": {"backbone": "majority"},
}


def interval(value: float, half: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": max(value - half, 0.0), "high": min(value + half, 1.0)}


def split_figures(y_true: Sequence[str], y_pred: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """The figures of one split from its predictions, as metrics.json holds them."""
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=int)
    for true, pred in zip(y_true, y_pred, strict=True):
        counts[place[true], place[pred]] += 1
    right, support, taken = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    precision, recall = right / np.maximum(taken, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + taken, 1)
    return {
        "n": len(y_true),
        "accuracy": interval(float(right.sum() / max(len(y_true), 1))),
        "balanced_accuracy": interval(float(recall.mean())),
        "macro_precision": interval(float(precision.mean())),
        "macro_recall": interval(float(recall.mean())),
        "macro_f1": interval(float(f1.mean())),
        "log_loss": interval(0.4),
        "top3_accuracy": interval(1.0),
        "per_class": [
            {"class_name": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(names, precision, recall, f1, support, strict=True)
        ],
        "confusion": counts.tolist(),
    }


def _write_images(data: Path, names: Sequence[str], per_class: int, side_px: int, rng: Rng) -> pd.DataFrame:
    rows = []
    for number, name in enumerate(names):
        for k in range(per_class):
            path = f"{number}/{k:03d}.png"
            (data / str(number)).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / path)
            image_id = f"{number:04x}{k:016x}"
            rows.append({"image_id": image_id, "path": path, "label": name, "sha256": image_id, "error": ""})
    index = pd.DataFrame(rows)
    return index.assign(split_given="", group_given="", width_px=side_px, height_px=side_px, mode="RGB", format="PNG")


def _predict(test: pd.DataFrame, names: Sequence[str], *, every: int, rng: Rng) -> pd.DataFrame:
    """Predictions that are wrong on every so many-th image: the next class in line."""
    pred = [
        names[(names.index(true) + 1) % len(names)] if every and k % every == 0 else true
        for k, true in enumerate(test["label"])
    ]
    probabilities = rng.uniform(0.0, 0.2, (len(test), len(names)))
    for k, name in enumerate(pred):
        probabilities[k, names.index(name)] = rng.uniform(0.6, 0.95)
    table = pd.DataFrame(
        {"image_id": test["image_id"], "split": test["split"], "y_true": test["label"], "y_pred": pred}
    )
    columns = pd.DataFrame(probabilities, columns=[f"p:{name}" for name in names], index=table.index)
    return pd.concat([table, columns], axis=1).reset_index(drop=True)


def _write_status(folder: Path, config: StudyConfig, name: str, *, reason: str = "", scored_at: str = "") -> None:
    begun, ended = "2026-01-31T11:59:00Z", "2026-01-31T12:00:01Z"
    state = "not run" if reason else "done"
    status = RunStatus(name, state, "feed", begun, ended, "0.1.0", reason=reason, test_scored_at=scored_at)
    write_status(folder.parents[1], status, config.models[name])


def _write_run(
    folder: Path, name: str, config: StudyConfig, predictions: pd.DataFrame, names: Sequence[str]
) -> dict[str, Any]:
    model = config.models[name]
    _write_status(folder, config, name, scored_at="2026-01-31T12:00:00Z")
    write_json(folder / "environment.json", {"versions": {"numpy": "2.1"}, "device": "cpu", "deterministic": True})
    epochs = 3 if model.backbone == "simple_cnn" else 0
    line = np.linspace(0.4, 0.8, epochs)
    history = {"epoch": np.arange(1, epochs + 1), "learning_rate": line, "seconds": line}
    for split in ("train", "val"):
        history |= {f"{split}_loss": 1 - line, f"{split}_accuracy": line}
    write_table(folder / "history.parquet", pd.DataFrame(history))
    write_table(folder / "predictions.parquet", predictions)
    splits = {
        split: split_figures(rows["y_true"].tolist(), rows["y_pred"].tolist(), names)
        for split, rows in ((s, predictions[predictions["split"] == s]) for s in ("val", "test"))
    }
    metrics = {
        "model": name,
        "class_names": list(names),
        **splits,
        "parameters": {"total": 3_400_000, "trainable": 1_290},
        "seconds": {"features": 1.2, "fit": 0.3},
        "images_per_s": {"features": 300.0, "fit": 9000.0},
        "epochs": epochs,
        "best_epoch": epochs,
        "choices": {"C": 1.0} if name == "probe" else {},
        "geometry": {"size_px": 224, "fit": "crop", "interpolation": "bicubic", "crop_fraction": 0.875},
        "test_scored_at": "2026-01-31T12:00:00Z",
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def _compare(folder: Path, config: StudyConfig, metrics: Mapping[str, Any], not_run: list[dict[str, str]]) -> None:
    def accuracy(name: str, split: str) -> float:
        return float(metrics[name][split]["accuracy"]["value"])

    ranked = sorted(metrics, key=lambda name: -accuracy(name, "val"))
    models = []
    for rank, name in enumerate(ranked, start=1):
        gap = accuracy(name, "test") - accuracy(ranked[0], "test")
        short = {
            s: {k: v for k, v in metrics[name][s].items() if k not in ("per_class", "confusion")}
            for s in ("val", "test")
        }
        versus = {
            "difference": {"value": gap, "low": gap - 0.04, "high": gap + 0.04},
            "p_value": 0.2,
            "p_value_holm": 0.4,
            "significant": abs(gap) > 0.2,
        }
        kept = {key: metrics[name][key] for key in ("parameters", "seconds", "images_per_s", "epochs", "best_epoch")}
        model = config.models[name]
        about = {"backbone": model.backbone, "weights": model.weights, "trainable": model.trainable}
        entry = {"model": name, "rank": rank, **about, **short, **kept}
        models.append(entry | {"versus_winner": None if rank == 1 else versus})
    winner = ranked[0] if ranked else None
    write_json(folder / "comparison.json", {"winner": winner, "models": models, "not_run": not_run})


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Makes a study folder; every option has a small default."""

    def make(
        *,
        names: Sequence[str] = ("cat", "dog", "sheep"),
        per_class: int = 12,
        side_px: int = 40,
        models: Mapping[str, Mapping[str, Any]] = MODELS,
        not_run: Mapping[str, str] | None = None,
        report: Mapping[str, Any] | None = None,
        wrong_every: int = 4,
    ) -> MadeStudy:
        rng = np.random.default_rng(0)
        folder, data, names = tmp_path / "study", tmp_path / "photos", list(names)
        index = _write_images(data, names, per_class, side_px, rng)
        values = {"data": {"path": str(data)}, "models": dict(models), "report": dict(report or {})}
        config = parse_config(values, origin="test")
        write_study_config(folder / "study.toml", config)
        write_table(folder / "index.parquet", index)
        # Two of three images are test images: the pages shown are about them.
        split = ["train" if k % 6 == 0 else "val" if k % 6 == 3 else "test" for k in range(len(index))]
        splits = pd.DataFrame({"image_id": index["image_id"], "group_id": index["image_id"], "split": split})
        write_table(folder / "splits.parquet", splits)
        scored = index.assign(split=split)
        scored = scored[scored["split"] != "train"].reset_index(drop=True)
        made, metrics = MadeStudy(folder=folder, data=data, index=index), {}
        for name, model in models.items():
            run_folder = folder / "runs" / name
            if name in (not_run or {}):
                _write_status(run_folder, config, name, reason=(not_run or {})[name])
                continue
            every = 1 if model["backbone"] == "simple_cnn" else wrong_every
            predictions = _predict(scored, names, every=every, rng=rng)
            if model["backbone"] == "majority":
                predictions["y_pred"] = names[0]
            made.predictions[name] = predictions
            metrics[name] = _write_run(run_folder, name, config, predictions, names)
        _compare(folder, config, metrics, [{"model": m, "reason": r} for m, r in (not_run or {}).items()])
        return made

    return make
