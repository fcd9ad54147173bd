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
from bestiary.config.recipes import read_study_config, write_study_config
from bestiary.config.schema import StudyConfig
from bestiary.models.training.state import Epoch
from bestiary.runs.evaluation import evaluate_run, predictions_table
from bestiary.runs.record import Logits, RunStatus, read_logits, read_run, write_results, write_status
from bestiary.snapshot import Snapshot
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

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.folder, read_study_config(self.folder / "study.toml"))


MakeStudy = Callable[..., MadeStudy]

MODELS: Mapping[str, Mapping[str, Any]] = {
    "probe": {"backbone": "tf_efficientnet_lite0"},
    "cnn": {"backbone": "simple_cnn", "trainable": "all", "augment": {"flip": True}},
    "majority": {"backbone": "majority"},
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
    return index.assign(
        split_given="", group_given="", width_px=side_px, height_px=side_px, mode="RGB", format="PNG", bytes=100
    )


def _logits(scored: pd.DataFrame, names: Sequence[str], *, every: int, rng: Rng, always: str = "") -> Logits:
    """Logits that are wrong on every so many-th image: the next class in line; or always for one class."""
    pred = [
        names[(names.index(true) + 1) % len(names)] if every and k % every == 0 else true
        for k, true in enumerate(scored["label"])
    ]
    probabilities = rng.uniform(0.01, 0.2, (len(scored), len(names)))
    for k, name in enumerate(pred):
        probabilities[k, names.index(always or name)] = rng.uniform(0.6, 0.95)
    return Logits(tuple(scored["image_id"]), tuple(names), np.log(probabilities).astype(np.float32))


def _write_status(folder: Path, config: StudyConfig, name: str, *, reason: str = "") -> None:
    begun, ended = "2026-01-31T11:59:00Z", "2026-01-31T12:00:01Z"
    state = "not run" if reason else "done"
    model = config.models[name]
    write_status(folder, RunStatus(name, model.kind.name, state, "feed", begun, ended, "0.1.0", reason), model)


def _write_run(folder: Path, name: str, config: StudyConfig, images: pd.DataFrame, logits: Logits) -> None:
    model = config.models[name]
    epochs = 3 if model.backbone == "simple_cnn" else 0
    history = [Epoch(n + 1, v, 1 - v, v, 1 - v, v, v) for n, v in enumerate(np.linspace(0.4, 0.8, epochs).tolist())]
    fit = {
        "model": name,
        "class_names": list(logits.class_names),
        "parameters": {"total": 3_400_000, "trainable": 1_290},
        "seconds": {"features": 1.2, "fit": 0.3},
        "images_per_s": {"features": 300.0, "fit": 9000.0},
        "cached": {},
        "epochs": epochs,
        "best_epoch": epochs,
        "choices": {"C": 1.0} if name == "probe" else {},
        "geometries": [{"size_px": 224, "fit": "crop", "interpolation": "bicubic", "crop_fraction": 0.875}],
    }
    environment = {"versions": {"numpy": "2.1"}, "device": "cpu", "deterministic": True}
    write_results(folder, environment=environment, history=history, fit=fit, logits=logits)
    (folder / "model.safetensors").write_bytes(b"weights")
    _write_status(folder, config, name)
    evaluate_run(folder, images, key="figures", fit_key="feed")


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
        kept = ("parameters", "seconds", "images_per_s", "cached", "epochs", "best_epoch")
        kept = {key: metrics[name][key] for key in kept}
        model = config.models[name]
        about = {"backbone": model.backbone, "weights": model.weights, "trainable": model.trainable}
        settings = {"trainable": model.trainable, "hidden_units": model.head.hidden, "dropout": model.head.dropout}
        settings |= {"optimizer": model.optimizer.name, "learning_rate": model.optimizer.learning_rate}
        shared = 1 if abs(gap) <= 0.2 else rank
        entry = {"model": name, "rank": rank, "rank_shared": shared, "settings": settings, **about, **short, **kept}
        models.append(entry | {"versus_winner": None if rank == 1 else versus})
    winner = ranked[0] if ranked else None
    write_json(folder / "comparison.json", {"format": 4, "winner": winner, "models": models, "not_run": not_run})


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
        write_table(folder / "splits.parquet", splits.assign(drawn=split))
        images = Snapshot(folder, config).images
        scored = images[images["split"] != "train"].reset_index(drop=True)
        made, metrics = MadeStudy(folder=folder, data=data, index=index), {}
        for name, model in models.items():
            run_folder = folder / "runs" / name
            if name in (not_run or {}):
                _write_status(run_folder, config, name, reason=(not_run or {})[name])
                continue
            every = 1 if model["backbone"] == "simple_cnn" else wrong_every
            always = names[0] if model["backbone"] == "majority" else ""
            logits = _logits(scored, names, every=every, rng=rng, always=always)
            _write_run(run_folder, name, config, images, logits)
            record = read_run(run_folder)
            made.predictions[name] = predictions_table(read_logits(run_folder), images)
            metrics[name] = {**record.fit, **record.figures}
        _compare(folder, config, metrics, [{"model": m, "reason": r} for m, r in (not_run or {}).items()])
        return made

    return make
