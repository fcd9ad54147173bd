"""Heads: classifiers over features.

In: features and class numbers. Out: a `Head`, a torch module from features to logits.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Head(nn.Module):
    """Features `(n, feature_count)` → logits `(n, class_count)`: linear, or with one hidden ReLU layer and dropout.

    Weights start as Glorot and Bengio (2010) draw them, biases at zero.
    """

    def __init__(self, feature_count: int, class_count: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden:
            layers += [nn.Linear(feature_count, hidden), nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear(hidden or feature_count, class_count))
        self.layers = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(features)
        return logits
