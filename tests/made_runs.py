"""Studies whose runs are made up from logits, without any training."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bestiary.config.schema import StudyConfig
from bestiary.runs.evaluation import evaluate_run
from bestiary.runs.record import MODEL, Logits, RunRecord, RunStatus, read_run, write_results, write_status
from bestiary.snapshot import Snapshot

NAMES = ["bat", "cat", "rat"]
SIZES = {"train": 120, "val": 60, "test": 90}
KEY = "0123456789abcdef"


class Bench:
    """A study folder, and runs of any accuracy in it.

    Attributes:
        images: as `Snapshot.images`; every image is a group of its own.
    """

    def __init__(self, folder: Path, *, sizes: dict[str, int] = SIZES, names: list[str] = NAMES) -> None:
        self.folder = folder
        self.names = names
        self.models: dict[str, dict[str, Any]] = {}
        random = np.random.default_rng(0)
        tables = []
        for split, size in sizes.items():
            ids = [f"{split}{number:04d}" for number in range(size)]
            labels = np.array(names)[random.integers(0, len(names), size)]
            table = pd.DataFrame({"image_id": ids, "split": split, "drawn": split, "label": labels})
            tables.append(table.assign(label_given=labels, group_id=ids, path=[f"{i}.png" for i in ids], sha256=ids))
        self.images = pd.concat(tables, ignore_index=True)

    @property
    def config(self) -> StudyConfig:
        return StudyConfig.model_validate({"models": self.models})

    @property
    def snapshot(self) -> Snapshot:
        snapshot = Snapshot(self.folder, self.config)
        snapshot.put(images=self.images)
        return snapshot

    def logits(self, right: dict[str, float], *, sure: float = 0.8, seed: int = 0) -> Logits:
        """Of val and test: exactly the share `right` is right, with the probability `sure` for what is predicted."""
        scored = self.images[self.images["drawn"].isin(("val", "test"))]
        labels = np.asarray(pd.Index(self.names).get_indexer(scored["label"]))
        random, chosen = np.random.default_rng(seed), labels.copy()
        for split, share in right.items():
            places = np.flatnonzero(scored["drawn"] == split)
            wrong = random.permutation(len(places)) >= round(share * len(places))
            chosen[places[wrong]] = (labels[places[wrong]] + 1) % len(self.names)
        table = np.full((len(labels), len(self.names)), (1 - sure) / (len(self.names) - 1), dtype=np.float32)
        table[np.arange(len(labels)), chosen] = sure
        return Logits(tuple(scored["image_id"]), tuple(self.names), np.log(table))

    def add(
        self,
        name: str,
        *,
        val: float,
        test: float,
        sure: float = 0.8,
        backbone: str = "simple_cnn",
        seed: int = 0,
        logits: Logits | None = None,
        **settings: Any,
    ) -> RunRecord:
        """A run that is done, and evaluated; `settings` go into the model's config."""
        self.models[name] = {"backbone": backbone, "weights": "random", **settings}
        folder = self.snapshot.paths.run(name)
        fit = {
            "model": name, "class_names": self.names, "parameters": {"total": 100, "trainable": 10},
            "seconds": {"fit": 1.5}, "images_per_s": {"pixels": 9.0}, "cached": {}, "epochs": 0, "best_epoch": 0,
            "choices": {"C": 1.0}, "geometries": [{"size_px": 24}],
        }  # fmt: skip
        found = logits or self.logits({"val": val, "test": test}, sure=sure, seed=seed)
        write_results(folder, environment={"device": "cpu"}, history=[], fit=fit, logits=found)
        (folder / MODEL).write_bytes(b"weights")
        self.finish(name, "done")
        self.evaluate(name)
        return read_run(folder)

    def evaluate(self, name: str) -> dict[str, Any]:
        """Figures of a run, with the labels as they are now."""
        return evaluate_run(self.snapshot.paths.run(name), self.images, key="figures", fit_key=KEY)

    def add_not_run(self, name: str, reason: str) -> None:
        self.models[name] = {"backbone": "resnet18", "weights": "hub"}
        self.finish(name, "not run", reason=reason)

    def finish(self, name: str, status: Any, *, reason: str = "", key: str = KEY) -> None:
        model = self.config.models[name]
        times = ("2026-01-31T11:00:00Z", "2026-01-31T12:00:00Z")
        told = RunStatus(name, model.kind.name, status, key, *times, "0", reason=reason)
        write_status(self.snapshot.paths.run(name), told, model)
