"""Pooled: figures of a cross-validation, over the images of all folds.

In: figures on pooled images, and the accuracy of each fold. Out: intervals. No torch, no file here.
"""

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.intervals import Interval


def respecting_folds(pooled: Interval, by_fold: npt.NDArray[np.float64]) -> Interval:
    """An interval that is as wide as that of the images or groups, and as that of the folds.

    The pooled interval takes predictions as made by one model. Those of one fold share a model, and models of two folds
    share training images, so that no unbiased estimate of the variance exists (Bengio and Grandvalet 2004, Journal of
    Machine Learning Research 5:1089). The wider of two is taken on each side: that of images and groups, and Student's
    t of the folds' figures with one degree of freedom fewer than folds.

    Args:
        pooled: over all images, with the interval of images or groups.
        by_fold: the figure in each fold, `(folds,)`; NaN where a fold has no such figure.
    """
    from scipy.stats import t

    known = by_fold[np.isfinite(by_fold)]
    if len(known) < 2:
        return pooled
    half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return Interval(
        pooled.value, max(min(pooled.low, pooled.value - half), 0.0), min(max(pooled.high, pooled.value + half), 1.0)
    )
