"""Resampling: groups drawn anew for a bootstrap, all images of a group together.

In: groups. Out: how often each group, or each image, was drawn. Owns no file.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Groups = npt.NDArray[np.int64]

# Numbers in one block of draws, and in one block of logits: 8 MB each.
_BLOCK = 2**20


def group_draws(group_count: int, *, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw groups with replacement, as often as there are groups.

    Yields:
        How often each group was drawn, `(k, group_count) int64`: k resamples at a time, so that many groups fit in
        memory.
    """
    random = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // group_count)
    for start in range(0, resamples, at_once):
        shape = (min(at_once, resamples - start), group_count)
        drawn = random.integers(0, group_count, shape) + np.arange(shape[0])[:, None] * group_count
        yield np.bincount(drawn.ravel(), minlength=shape[0] * group_count).reshape(shape)


def group_weights(groups: Groups, *, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw groups with replacement, as often as there are groups: how often each image was drawn, `(n,) int64`.

    Copies are drawn together: they are one observation.
    """
    place = np.unique(groups, return_inverse=True)[1]
    for drawn in group_draws(int(place.max()) + 1, resamples=resamples, seed=seed):
        for counts in drawn:
            yield counts[place]


def content_order(
    y_true: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], groups: Groups
) -> tuple[npt.NDArray[np.int64], Groups]:
    """An order of images and groups that depends on what is in them alone.

    The same draws then fall on the same groups, however the files and the groups are named: renaming a file changes
    no interval. Images are sorted by a hash of their logits and true class, groups by the sum of those of their images.

    Args:
        y_true: class numbers `(n,) int64`.
        logits: `(n, class_count) float32`.
        groups: `(n,) int64`, any numbers.

    Returns:
        positions of the images in that order, group after group, `(n,) int64`; and the group of each image in that
        order, numbered from 0.
    """
    keys = _mixed(_row_sums(logits) + y_true.astype(np.uint64))
    place = np.unique(groups, return_inverse=True)[1]
    sums = np.zeros(int(place.max(initial=-1)) + 1, dtype=np.uint64)
    np.add.at(sums, place, keys)
    # Groups of equal sums hold equal images, and may change places.
    rank = np.empty(len(sums), dtype=np.int64)
    rank[np.argsort(sums, kind="stable")] = np.arange(len(sums))
    order = np.lexsort((keys, rank[place]))
    return order, rank[place][order]


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a table, so that a few of its blocks fit in memory whatever its size."""
    step = max(1, _BLOCK // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _row_sums(logits: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """A number for each row of bits: `(n,) uint64`. It wraps around."""
    factors = np.random.default_rng(0).integers(2**63, size=logits.shape[1], dtype=np.uint64) * 2 + 1
    sums = np.zeros(len(logits), dtype=np.uint64)
    for rows in blocks(*logits.shape):
        sums[rows] = np.ascontiguousarray(logits[rows]).view(np.uint32).astype(np.uint64) @ factors
    return sums


def _mixed(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A step of SplitMix64 (Steele, Lea and Flood 2014), so that sums of keys differ where keys do, and none is 0."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
