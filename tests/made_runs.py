"""Runs made up from probabilities, without any training."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bestiary.config.schema import StudyConfig
from bestiary.evaluate.metrics import split_metrics
from bestiary.runs import record as runs

NAMES = ["bat", "cat", "rat"]
SIZES = {"val": 60, "test": 90}
KEY = "0123456789abcdef"


class Bench:
    """A study folder, and runs of any accuracy in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, dict[str, Any]] = {}
        random = np.random.default_rng(0)
        self.images = {
            split: pd.DataFrame(
                {
                    "image_id": [f"{split}{number:04d}" for number in range(size)],
                    "split": split,
                    "label": np.array(NAMES)[random.integers(0, 3, size)],
                }
            )
            for split, size in SIZES.items()
        }
        train = pd.DataFrame({"image_id": [f"train{number}" for number in range(120)], "split": "train"})
        self.splits = pd.concat([train, *self.images.values()])[["image_id", "split"]].assign(group_id="g")

    @property
    def config(self) -> StudyConfig:
        return StudyConfig.model_validate({"models": self.models})

    def probabilities(self, split: str, right: float, *, sure: float = 0.8, seed: int = 0) -> np.ndarray:
        """Exactly the share `right` is right, each with the probability `sure` of what is predicted."""
        labels = pd.Categorical(self.images[split]["label"], categories=NAMES).codes
        random = np.random.default_rng(seed)
        wrong = random.permutation(len(labels)) >= round(right * len(labels))
        chosen = np.where(wrong, (labels + 1) % 3, labels)
        table = np.full((len(labels), 3), (1 - sure) / 2, dtype=np.float32)
        table[np.arange(len(labels)), chosen] = sure
        return table

    def add(
        self, name: str, *, val: float, test: float, sure: float = 0.8, backbone: str = "simple_cnn", seed: int = 0
    ):
        """A run that is done."""
        self.models[name] = {"backbone": backbone, "weights": "random"}
        tables, figures = [], {}
        for split, share in (("val", val), ("test", test)):
            images, table = self.images[split], self.probabilities(split, share, sure=sure, seed=seed)
            labels = pd.Categorical(images["label"], categories=NAMES).codes.astype(np.int64)
            tables.append(runs.predictions_table(images, table, NAMES))
            figures[split] = split_metrics(labels, table, class_names=NAMES)
        metrics = {
            "model": name, "class_names": NAMES, **figures, "test_scored_at": "2026-01-31T12:00:00Z",
            "parameters": {"total": 100, "trainable": 10}, "seconds": {"fit": 1.5}, "images_per_s": {"pixels": 9.0},
            "epochs": 0, "best_epoch": 0, "choices": {"C": 1.0}, "geometry": {"size_px": 24},
        }  # fmt: skip
        runs.write_results(
            self.folder, name, environment={"device": "cpu"}, history=[], metrics=metrics,
            predictions=pd.concat(tables, ignore_index=True),
        )  # fmt: skip
        if backbone != "majority":
            (runs.run_dir(self.folder, name) / runs.MODEL).write_bytes(b"weights")
        self.finish(name, "done")

    def add_not_run(self, name: str, reason: str) -> None:
        self.models[name] = {"backbone": "resnet18", "weights": "hub"}
        self.finish(name, "not run", reason=reason)

    def finish(self, name: str, status: Any, *, reason: str = "", key: str = KEY) -> None:
        model = self.config.models[name]
        told = runs.RunStatus(name, status, key, "2026-01-31T11:00:00Z", "2026-01-31T12:00:00Z", "0", reason=reason)
        runs.write_status(self.folder, told, model)
