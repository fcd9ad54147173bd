"""Which of several things that cost and are worth something are on the Pareto front. No torch, no file.

In: costs and values. Out: a mask.
"""

import numpy as np
import numpy.typing as npt


def pareto_front(costs: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Those that nothing surpasses: whatever costs no more is worth less, or is the same in both.

    Args:
        costs: `(n,) float64`, the lower the better.
        values: `(n,) float64`, the higher the better.

    Returns:
        `(n,) bool`.
    """
    no_worse = (costs[None] <= costs[:, None]) & (values[None] >= values[:, None])
    better = (costs[None] < costs[:, None]) | (values[None] > values[:, None])
    return np.asarray(~(no_worse & better).any(axis=1))
