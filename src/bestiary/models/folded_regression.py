"""Multinomial logistic regression in many folds at once: what choosing a strength spends its time on.

In: features, class numbers, and which images each fold fits on. Out: logits of the others. No torch; owns no file.

All folds share one matrix product, and images that a fold holds out have no weight in it: on one thread, nine
strengths in five folds of 1,220 x 1,280 features take 2.2 s, and scikit-learn's one fold after another 4.8 s
(`benchmarks.probes`). The model that is kept is scikit-learn's own, see `linear_probe`.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.floating]

# As scikit-learn's: the largest element of the gradient of the mean loss, and steps that are remembered.
_TOLERANCE, _REMEMBERED = 1e-4, 10
_MAX_ITERATIONS, _MAX_HALVINGS = 300, 30
# Of the decrease that a step promises, the least that is accepted (Armijo 1966); and what rounding may hide of it.
_DECREASE, _ROUNDING = 1e-4, 1e-7
# Rows whose logits of all folds are in memory at once, by how many numbers that is.
_NUMBERS_AT_ONCE = 1 << 22
_NEVER = np.float32(-1e9)


class FoldedRegression:
    """Regressions that go on from strength to strength, one a fold.

    Each minimises the log loss of its images, summed, plus the square norm of the coefficients over 2 `c`; intercepts
    are free. As in scikit-learn, two classes have one vector of coefficients between them, and a class that a fold does
    not see has no part in it.

    Args:
        features: `(n, d) float32`.
        labels: `(n,) int64` in [0, class_count).
        fitted: for each fold, the positions that it is fitted on; at least one.
        class_count: how many classes.
        balanced: weigh classes by the inverse of their frequency in the fold.
    """

    def __init__(
        self,
        features: Features,
        labels: Numbers,
        fitted: Sequence[Numbers],
        *,
        class_count: int,
        balanced: bool = False,
    ) -> None:
        self._features, self._labels, self._class_count = features, labels, class_count
        counts = np.stack([np.bincount(labels[part], minlength=class_count) for part in fitted])
        self._seen = counts > 0
        self._off = np.where(self._seen, np.float32(0), _NEVER)
        # Of each image in each fold, `(n, folds)`.
        self._weights = np.zeros((len(labels), len(fitted)), dtype=np.float32)
        for number, part in enumerate(fitted):
            weights = np.ones(class_count)
            if balanced:
                weights = len(part) / (self._seen[number].sum() * np.maximum(counts[number], 1))
            self._weights[part, number] = weights[labels[part]]
        self._totals = self._weights.sum(axis=0, dtype=np.float64)
        self._weights /= self._totals
        # Coefficients, and the intercept last: `(folds, classes, d + 1)`.
        self._found = np.zeros((len(fitted), class_count, features.shape[1] + 1), dtype=np.float32)

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which classes each fold sees, `(folds, classes)`."""
        return self._seen

    def fit(self, c: float) -> None:
        """Fit every fold with the inverse strength `c`, from what the last strength gave.

        L-BFGS (Liu and Nocedal 1989, Mathematical Programming 45:503), with a step length for each fold.
        """
        # The square norm of two opposite vectors is half of that of their difference.
        halved = np.where(self._seen.sum(axis=1) == 2, 2.0, 1.0)
        decay = halved / (c * self._totals)
        folds = np.arange(len(self._found))
        loss, gradient = self._loss(self._found, folds, decay)
        memory: deque[tuple[Reals, Reals, Reals]] = deque(maxlen=_REMEMBERED)
        for _ in range(_MAX_ITERATIONS):
            left = np.abs(gradient).max(axis=(1, 2)) > _TOLERANCE
            if not left.all():
                folds, loss, gradient = folds[left], loss[left], gradient[left]
                memory = deque(((s[left], y[left], r[left]) for s, y, r in memory), maxlen=_REMEMBERED)
            if not len(folds):
                return
            at = self._found[folds]
            moved, loss, new = self._step(at, folds, decay, loss, gradient, _direction(gradient, memory))
            steps, changes = moved - at, new - gradient
            curvature = _products(steps, changes)
            inverse = np.divide(1.0, curvature, out=np.zeros_like(curvature), where=curvature > 1e-12)
            memory.append((steps, changes, inverse))
            self._found[folds], gradient = moved, new

    def _step(
        self, at: Reals, folds: Numbers, decay: Reals, loss: Reals, gradient: Reals, direction: Reals
    ) -> tuple[Reals, Reals, Reals]:
        """Go along a direction, in each fold half as far until the loss has fallen: coefficients, losses, gradients."""
        slope = _products(gradient, direction)
        lengths = np.ones(len(folds), dtype=np.float32)
        moved, new_loss, new_gradient = at.copy(), loss.copy(), gradient.copy()
        open_ = np.arange(len(folds))
        for _ in range(_MAX_HALVINGS):
            tried = at[open_] + lengths[open_, None, None] * direction[open_]
            said, its_gradient = self._loss(tried, folds[open_], decay)
            promised = _DECREASE * lengths[open_] * slope[open_]
            good = said <= loss[open_] + promised + _ROUNDING * np.abs(loss[open_])
            moved[open_[good]], new_loss[open_[good]] = tried[good], said[good]
            new_gradient[open_[good]] = its_gradient[good]
            open_ = open_[~good]
            if not len(open_):
                break
            lengths[open_] /= 2
        return moved, new_loss, new_gradient

    def _loss(self, at: Reals, folds: Numbers, decay: Reals) -> tuple[Reals, Reals]:
        """The mean loss of some folds `(folds,) float64` with its penalty, and its gradient."""
        count, size = len(folds), self._features.shape[1]
        coefficients = at[:, :, :size]
        loss = decay[folds] / 2 * (coefficients.astype(np.float64) ** 2).sum(axis=(1, 2))
        gradient = decay[folds, None, None].astype(np.float32) * at
        gradient[:, :, size] = 0.0
        flat = coefficients.reshape(count * self._class_count, size)
        rows = max(1, _NUMBERS_AT_ONCE // len(flat))
        for start in range(0, len(self._features), rows):
            block = slice(start, start + rows)
            features, weights = self._features[block], self._weights[block][:, folds]
            logits = (features @ flat.T).reshape(len(features), count, self._class_count)
            logits += at[:, :, size] + self._off[folds]
            logits -= logits.max(axis=2, keepdims=True)
            true = np.take_along_axis(logits, self._labels[block, None, None], axis=2)[:, :, 0]
            np.exp(logits, out=logits)
            sums = logits.sum(axis=2)
            loss += ((np.log(sums) - true) * weights).sum(axis=0, dtype=np.float64)
            logits *= (weights / sums)[:, :, None]
            np.put_along_axis(
                logits,
                self._labels[block, None, None],
                np.take_along_axis(logits, self._labels[block, None, None], axis=2) - weights[:, :, None],
                axis=2,
            )
            product = logits.reshape(len(features), -1).T @ features
            gradient[:, :, :size] += product.reshape(count, self._class_count, size)
            gradient[:, :, size] += logits.sum(axis=0)
        return loss, gradient

    def logits(self, fold: int, positions: Numbers) -> npt.NDArray[np.float64]:
        """What one fold says of some images: `(len(positions), classes)`; -inf for a class that it never saw."""
        coefficients = self._found[fold]
        said = (self._features[positions] @ coefficients[:, :-1].T + coefficients[:, -1]).astype(np.float64)
        said[:, ~self._seen[fold]] = -np.inf
        return said


def _direction(gradient: Reals, memory: Sequence[tuple[Reals, Reals, Reals]]) -> Reals:
    """The two-loop recursion, in each fold for itself."""
    direction, parts = -gradient, []
    for steps, changes, inverse in reversed(memory):
        parts.append(inverse * _products(steps, direction))
        direction = direction - parts[-1][:, None, None] * changes
    if not memory:
        # The first step is no longer than 1.
        return direction / np.maximum(np.sqrt(_products(gradient, gradient)), 1.0)[:, None, None]
    steps, changes, inverse = memory[-1]
    scale = np.where(inverse > 0, _products(steps, changes) / np.maximum(_products(changes, changes), 1e-30), 1.0)
    direction = direction * scale[:, None, None]
    for (steps, changes, inverse), part in zip(memory, reversed(parts), strict=True):
        back = part - inverse * _products(changes, direction)
        direction = direction + back[:, None, None] * steps
    return np.asarray(direction)


def _products(first: Reals, second: Reals) -> Reals:
    """The inner product in each fold, `(folds,)`."""
    count = len(first)
    return np.asarray(np.matmul(first.reshape(count, 1, -1), second.reshape(count, -1, 1))[:, 0, 0])
