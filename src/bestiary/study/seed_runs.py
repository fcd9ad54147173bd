"""The runs of further seeds: where they lie, and what they say together. No torch.

In: a snapshot. Out: accuracies over seeds. `seeds_stage` makes the runs.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.config.schema import StudyConfig
from bestiary.runs.evaluation import right_by_image
from bestiary.runs.record import read_logits, read_status
from bestiary.snapshot import Snapshot, StudyPaths


def seed_folder(paths: StudyPaths, model: str, number: int) -> Path:
    """Where the run of a further seed lies; `number` is 1 for the second."""
    return paths.run(model) / "seeds" / str(number)


def over_seeds(snapshot: Snapshot, name: str) -> dict[str, Any] | None:
    """Mean, least and most accuracy of a model over all seeds, on val and test; None where there is only one."""
    count = snapshot.config.train.seeds
    if count == 1 or not is_cheap(snapshot.config, name):
        return None
    folders = [seed_folder(snapshot.paths, name, number) for number in range(1, count)]
    # One that diverged has no logits.
    done = [folder for folder in folders if (status := read_status(folder)) and status.status == "done"]
    logits = [read_logits(folder) for folder in (snapshot.paths.run(name), *done)]
    found: dict[str, Any] = {"seeds": len(logits)}
    for split in ("val", "test"):
        right = pd.Series([float(right_by_image(one, snapshot.images, split=split).mean()) for one in logits])
        found[split] = {"mean": float(right.mean()), "least": float(right.min()), "most": float(right.max())}
    return found


def is_cheap(config: StudyConfig, name: str) -> bool:
    """Whether a further seed of a model costs a fit of its head alone."""
    model = config.models[name]
    return not model.kind.is_composed and not model.kind.is_baseline and model.frozen
