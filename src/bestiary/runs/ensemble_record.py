"""What became of the ensemble of a study, on disk, and the model that it adds. No torch.

In: the result of a selection. Out: `ensemble.json`, which this module owns; and a study's config with its ensemble.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bestiary.config.ensemble_schema import ComposedModel
from bestiary.config.schema import StudyConfig
from bestiary.config.values import FrozenDict
from bestiary.store.keyed_json import read_keyed, write_keyed

FORMAT = 1
NAME = "ensemble"


def write_ensemble(path: Path, content: Mapping[str, Any], *, key: str) -> None:
    """Write `ensemble.json`."""
    write_keyed(path, content, key=key, form=FORMAT)


def read_ensemble(path: Path) -> dict[str, Any]:
    """What `ensemble.json` holds; empty where there is none, or one that cannot be used and is made again."""
    return read_keyed(path, form=FORMAT)


def is_asked(config: StudyConfig) -> bool:
    """Whether a study tries an ensemble; not over folds, in which each would be another."""
    return config.ensemble.choose == "auto" and not config.split.folds


def with_ensemble(config: StudyConfig, found: Mapping[str, Any]) -> StudyConfig:
    """The config with the model `ensemble`, where one was kept.

    Args:
        config: the study's, with the models that a search has found.
        found: what `ensemble.json` holds; empty: nothing.
    """
    mine = {name: model for name, model in config.models.items() if not model.kind.is_composed}
    if is_asked(config) and found.get("kept") and NAME not in mine and set(found["models"]) <= set(mine):
        mine[NAME] = ComposedModel.model_validate(found["config"])
    return config if mine == config.models else config.model_copy(update={"models": FrozenDict(mine)})
