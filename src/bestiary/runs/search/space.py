"""The search space: what Optuna may propose, and the model that a proposal means.

In: a `SearchConfig`. Out: distributions, and a `ModelConfig` for values drawn from them. Owns no file.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from bestiary.config.schema import ModelConfig, SearchConfig

_JOIN = " + "
# sgd moves less at the same rate than the others, which divide each step by the gradient's size.
_SGD_FACTOR = 10.0
_EPOCHS, _BATCH, _PATIENCE = 15, 128, 2


def distributions(search: SearchConfig) -> dict[str, BaseDistribution]:
    """What is drawn for every trial, by name. Of a linear probe only the first four matter."""
    joins = [
        _JOIN.join(names)
        for count in range(1, min(search.joins, len(search.backbones)) + 1)
        for names in combinations(search.backbones, count)
    ]
    return {
        "backbones": CategoricalDistribution(joins),
        "crop": CategoricalDistribution(search.crops),
        "views": CategoricalDistribution(search.views),
        "class_weights": CategoricalDistribution(search.class_weights),
        "hidden": CategoricalDistribution(search.hidden),
        "dropout": CategoricalDistribution(search.dropout),
        "optimizer": CategoricalDistribution(search.optimizers),
        "learning_rate": _in_logarithm(search.learning_rate),
        "weight_decay": _in_logarithm(search.weight_decay),
        "label_smoothing": CategoricalDistribution(search.label_smoothing),
    }


def _in_logarithm(ends: Sequence[float]) -> FloatDistribution:
    return FloatDistribution(ends[0], ends[-1], log=True)


def first_proposals(search: SearchConfig) -> list[dict[str, Any]]:
    """What is tried before Optuna has anything to go by: a linear probe on every join, the widest first."""
    known = distributions(search)
    fixed = {name: _first(distribution) for name, distribution in known.items()}
    fixed["hidden"] = 0 if 0 in search.hidden else search.hidden[0]
    joins = known["backbones"].choices  # type: ignore[attr-defined]
    return [{**fixed, "backbones": join} for join in reversed(joins)]


def _first(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution)
    return (distribution.low * distribution.high) ** 0.5


def model_of(params: Mapping[str, Any], *, seed: int) -> ModelConfig:
    """The model that a proposal means; two proposals that differ in what does not matter mean the same model."""
    names = str(params["backbones"]).split(_JOIN)
    values: dict[str, Any] = {
        "backbone": names[0] if len(names) == 1 else "",
        "backbones": names if len(names) > 1 else [],
        "pixels": {"crop_fraction": params["crop"]},
        "augment": {"flip": params["views"] == "flip"},
        "class_weights": params["class_weights"],
        "seed": seed,
    }
    if params["hidden"]:
        rate = params["learning_rate"] * (_SGD_FACTOR if params["optimizer"] == "sgd" else 1.0)
        values |= {
            "head": {"hidden": params["hidden"], "dropout": params["dropout"]},
            "optimizer": {
                "name": params["optimizer"],
                "learning_rate": _short(rate),
                "weight_decay": _short(params["weight_decay"]),
            },
            "label_smoothing": params["label_smoothing"],
            "epochs": _EPOCHS,
            "batch_size": _BATCH,
            "early_stopping": {"patience_epochs": _PATIENCE},
        }
    return ModelConfig.model_validate(values)


def _short(value: float) -> float:
    return float(f"{value:.3g}")
