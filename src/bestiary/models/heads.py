"""Heads: classifiers over features.

In: features and class numbers. Out: a `Head`, a torch module from features to logits.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bestiary.models.devices import seeded

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

# Inverse regularisation strengths tried by the linear probe, weakest last; features are scaled to unit variance.
PROBE_C = (0.001, 0.01, 0.1, 1.0, 10.0)
_MAX_ITERATIONS = 300


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


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear probe.

    Attributes:
        head: a linear `Head` that takes the features as they are.
        c: the inverse regularisation strength chosen.
        tried: validation log loss by strength, in the order tried.
        converged: whether L-BFGS came to an end for the chosen strength.
    """

    head: Head
    c: float
    tried: dict[float, float]
    converged: bool

    def choices(self) -> dict[str, Any]:
        """What validation chose, for the run's record: plain values."""
        tried = [{"C": c, "val_loss": loss} for c, loss in self.tried.items()]
        return {"C": self.c, "tried": tried, "converged": self.converged}


def fit_linear_probe(
    train: tuple[Features, Labels],
    val: tuple[Features, Labels],
    *,
    class_count: int,
    balanced: bool = False,
    on_step: Callable[[str], None] = lambda note: None,
) -> LinearProbe:
    """Multinomial logistic regression by L-BFGS, its L2 strength chosen by validation log loss.

    Features are divided by one number, their overall standard deviation, so that one grid of strengths serves every
    backbone. The solver is scikit-learn's; it starts each strength where the one before ended.

    Args:
        train: features `(n, d) float32` and class numbers `(n,) int64` in [0, class_count); every class occurs.
        val: the same for validation.
        class_count: how many classes.
        balanced: weigh classes by the inverse of their frequency.
        on_step: told after each strength.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from threadpoolctl import threadpool_limits

    features, labels = train
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = float(np.sqrt(features.var(axis=0, dtype=np.float64).mean())) or 1.0
    scaled, scaled_val = (features - mean) / scale, (val[0] - mean) / scale
    model = LogisticRegression(max_iter=_MAX_ITERATIONS, warm_start=True, class_weight="balanced" if balanced else None)
    tried: dict[float, float] = {}
    best: tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64], bool] | None = None
    for c in PROBE_C:
        model.set_params(C=c)
        # One thread: the products are too small to divide. On two cores, 1,832 x 1,280 features took 0.4 s instead of
        # 1.9 s with two threads that wait for one another.
        with warnings.catch_warnings(), threadpool_limits(1):
            # Told through `converged` instead.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaled, labels)
        tried[c] = float(log_loss(val[1], model.predict_proba(scaled_val), labels=np.arange(class_count)))
        on_step(f"C {c:g}, val loss {tried[c]:.4f}")
        if best is None or tried[c] < tried[best[0]]:
            best = (c, model.coef_.copy(), model.intercept_.copy(), bool(np.max(model.n_iter_) < _MAX_ITERATIONS))
    assert best is not None
    c, coefficients, intercept, converged = best
    if len(coefficients) == 1:  # scikit-learn gives one row for two classes: the logit of the second
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    with seeded(0):  # its first weights are replaced: nothing of the caller's random numbers is used up for them
        head = Head(features.shape[1], class_count)
    weight = coefficients / scale
    with torch.no_grad():
        linear = head.layers[0]
        assert isinstance(linear, nn.Linear)
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(intercept - weight @ mean))
    return LinearProbe(head.eval(), c, tried, converged)
