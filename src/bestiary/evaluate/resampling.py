"""Resampling: images drawn anew for a bootstrap, copies together.

In: groups. Out: how often each image was drawn. Owns no file.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def group_weights(groups: npt.NDArray[np.int64], *, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw groups with replacement, as often as there are groups: how often each image was drawn, `(n,) int64`.

    Copies are drawn together: they are one observation.
    """
    random = np.random.default_rng(seed)
    place = np.unique(groups, return_inverse=True)[1]
    count = int(place.max()) + 1
    for _ in range(resamples):
        yield np.bincount(random.integers(0, count, count), minlength=count).astype(np.int64)[place]
