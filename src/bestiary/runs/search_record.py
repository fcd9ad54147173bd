"""What a search came to, on disk, and the models that it adds to a study. No torch, no Optuna.

In: the result of a search. Out: `search.json`, which this module owns; and a study's config with its finalists.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.config.kinds import backbones_of
from bestiary.config.schema import ModelConfig, StudyConfig
from bestiary.config.values import FrozenDict
from bestiary.store.keyed_json import read_keyed, write_keyed

FORMAT = 1
PREFIX = "search-"


def write_search(path: Path, content: Mapping[str, Any], *, key: str) -> None:
    """Write `search.json`."""
    write_keyed(path, content, key=key, form=FORMAT)


def read_search(path: Path) -> dict[str, Any]:
    """What `search.json` holds; empty where there is none, or one that cannot be used and is made again."""
    return read_keyed(path, form=FORMAT)


def with_finalists(config: StudyConfig, search: Mapping[str, Any]) -> StudyConfig:
    """The config with the models `search-1` and so on, where its search has found any.

    Args:
        config: the study's, as the user wrote it.
        search: what `search.json` holds; empty: nothing.
    """
    found = {row["model"]: ModelConfig.model_validate(row["config"]) for row in search.get("finalists", [])}
    if not found or not config.search.asked:
        return config
    mine = {name: model for name, model in config.models.items() if name not in found}
    return config.model_copy(update={"models": FrozenDict({**mine, **found})})


def heads_table(search: Mapping[str, Any]) -> pd.DataFrame:
    """One row a head that was tried to the end, the best first; `model` names those that became models of the study."""
    names = [row["model"] for row in search.get("finalists", [])]
    rows = []
    for number, head in enumerate(search.get("heads", [])):
        config = head["config"]
        probe = config["optimizer"]["name"] == "lbfgs"
        row: dict[str, Any] = {
            "model": names[number] if number < len(names) else "",
            "loss": head["loss"],
            "accuracy": head["accuracy"],
            "backbones": " + ".join(backbones_of(config)),
            "crop_fraction": config["pixels"]["crop_fraction"],
            "flip": config["augment"]["flip"],
            "hidden": config["head"]["hidden"],
        }
        if not probe:
            row |= {
                "dropout": config["head"]["dropout"],
                "optimizer": config["optimizer"]["name"],
                "learning_rate": config["optimizer"]["learning_rate"],
                "weight_decay": config["optimizer"]["weight_decay"],
                "label_smoothing": config["label_smoothing"],
            }
        rows.append({**row, "class_weights": config["class_weights"]})
    return pd.DataFrame(rows)
