"""Simulated images in groups: of unequal sizes, right or wrong together."""

import numpy as np


def group_sizes(random: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """How many images each group has: "single", "1 to 20", or "skewed": four of five are single, others 10 to 20."""
    if kind == "single":
        return np.ones(shape, dtype=np.int64)
    if kind == "1 to 20":
        return random.integers(1, 21, shape)
    return np.where(random.random(shape) < 0.8, 1, random.integers(10, 21, shape))


def outcomes(random: np.random.Generator, sizes: np.ndarray, *, share: float, correlation: float) -> np.ndarray:
    """How many images of each group are right: beta-binomial, so that two of one group correlate that much."""
    if correlation == 1:
        return np.where(random.random(sizes.shape) < share, sizes, 0)
    spread = (1 - correlation) / correlation
    return random.binomial(sizes, random.beta(share * spread, (1 - share) * spread, sizes.shape))


def unrolled(sizes: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Groups `(groups,)` as images: which are right, and the group of each."""
    groups = np.repeat(np.arange(sizes.size), sizes.ravel())
    starts = np.repeat(np.cumsum(sizes.ravel()) - sizes.ravel(), sizes.ravel())
    return np.arange(len(groups)) - starts < np.repeat(right.ravel(), sizes.ravel()), groups
