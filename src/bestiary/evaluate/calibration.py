"""Calibration: how sure a model should be of what it says.

In: logits and class numbers of images that the model was not fitted on. Out: a temperature. No torch, no disk.
"""

import numpy as np
import numpy.typing as npt

# Logits are at most so many times flattened or sharpened.
_EXTREME = 20.0


def log_losses(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Log loss in nats of each image: logits `(n, class_count)`, -inf allowed, and class numbers `(n,)`."""
    from scipy.special import log_softmax

    said = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return -np.asarray(said[np.arange(len(labels)), labels], dtype=np.float64)


def best_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """The number that logits are divided by for the lowest mean log loss, in [1/20, 20].

    Temperature scaling (Guo et al. 2017, "On calibration of modern neural networks"): the order of classes stays.

    Args:
        logits: `(n, class_count)` of images that had no part in fitting; -inf for a class that cannot be.
        labels: `(n,) int64`, none of them a class that cannot be.
    """
    from scipy.optimize import minimize_scalar

    wide = float(np.log(_EXTREME))
    found = minimize_scalar(
        lambda log_t: float(log_losses(logits / np.exp(log_t), labels).mean()),
        bounds=(-wide, wide),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))
