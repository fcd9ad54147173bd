"""Optimizers of the gradient loop, and the share of the learning rate that each stage has.

In: a network and its config. Out: a torch optimizer; its parameter groups have a `share`, by which the rate of a step
is multiplied. Owns no file.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from bestiary.config.schema import ModelConfig


def make_optimizer(
    network: nn.Module, config: ModelConfig, *, depths: Mapping[nn.Parameter, int] | None = None
) -> torch.optim.Optimizer:
    """The optimizer of a config over the parameters that require gradients.

    With `optimizer.stage_decay`, the stage that is `k` below the head learns at `decay^k` of the head's rate:
    discriminative fine-tuning (Howard and Ruder 2018, "Universal language model fine-tuning for text classification").

    Args:
        network: whose.
        config: of the model.
        depths: by parameter, how many stages it is below the head; what is not there is as deep as the head, 0.

    Raises:
        ValueError: lbfgs, which is none.
    """
    groups = _groups(network, config.optimizer.stage_decay, depths or {})
    # Fused: one pass over the weights, 10 ms instead of 64 ms a step for Adam on the 14.8 M of the baseline CNN.
    chosen = config.optimizer
    if chosen.name == "adam":
        return torch.optim.Adam(groups, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True)
    if chosen.name == "adamw":
        return torch.optim.AdamW(groups, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True)
    if chosen.name == "sgd":
        return torch.optim.SGD(
            groups, lr=chosen.learning_rate, weight_decay=chosen.weight_decay, momentum=chosen.momentum, fused=True
        )
    raise ValueError(f"{chosen.name} is no gradient-loop optimizer")


def _groups(network: nn.Module, decay: float, depths: Mapping[nn.Parameter, int]) -> list[dict[str, Any]]:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if decay == 1.0:
        return [{"params": trained, "share": 1.0}]
    of_each = [depths.get(parameter, 0) for parameter in trained]
    return [
        {
            "params": [parameter for parameter, other in zip(trained, of_each, strict=True) if other == depth],
            "share": decay**depth,
        }
        for depth in sorted(set(of_each))
    ]
