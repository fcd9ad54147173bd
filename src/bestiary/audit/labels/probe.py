"""A linear probe: features → class probabilities, by multinomial logistic regression.

In: features and class numbers. Out: probabilities of other features. No torch, no file here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_MAX_ITERATIONS = 300


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        classes: the class numbers it saw, ascending.
        weight: `(len(classes), d) float64`, for features as they are.
        bias: `(len(classes),) float64`.
    """

    classes: Labels
    weight: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def probabilities(self, features: Features, *, class_count: int) -> npt.NDArray[np.float32]:
        """`(n, class_count) float32`, rows sum to 1; a class that the probe never saw gets 0."""
        from scipy.special import softmax

        found = np.zeros((len(features), class_count), dtype=np.float32)
        found[:, self.classes] = softmax(features @ self.weight.T.astype(np.float32) + self.bias, axis=1)
        return found


def fit_probe(features: Features, labels: Labels, *, c: float, balanced: bool = False) -> Probe:
    """Fit by L-BFGS, on one thread; the same input gives the same probe.

    Features are centred and divided by one number, so that their mean squared length is 1: one strength serves every
    backbone, whatever the size and number of its features.

    Args:
        features: `(n, d) float32`, n at least 1.
        labels: `(n,) int64`, class numbers; with a single class the probe always names it.
        c: inverse L2 strength, for features of that length.
        balanced: weigh classes by the inverse of their frequency.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    classes = np.unique(labels)
    if len(classes) == 1:
        return Probe(classes, np.zeros((1, features.shape[1])), np.zeros(1))
    mean = features.mean(axis=0, dtype=np.float64)
    scale = float(np.sqrt(features.var(axis=0, dtype=np.float64).mean())) or 1.0
    # The same as c with features of length 1; the solver's tolerance suits features of unit variance.
    model = LogisticRegression(
        C=c / features.shape[1], max_iter=_MAX_ITERATIONS, class_weight="balanced" if balanced else None
    )
    # One thread: the products are too small to share out; see `models.heads`. So strong a penalty converges in some
    # dozens of steps; where it does not, scikit-learn warns, and the last step serves as well.
    with threadpool_limits(1):
        model.fit((features - mean.astype(np.float32)) / np.float32(scale), labels)
    coefficients, intercept = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if len(coefficients) == 1:  # scikit-learn gives one row for two classes: the logit of the second
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    weight = coefficients / scale
    return Probe(classes, weight, intercept - weight @ mean)
