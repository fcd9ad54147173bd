"""Folds for choosing and for out-of-fold predictions: stratified by class, and no group in two of them.

In: class numbers and groups. Out: positions. Owns no file.
"""

import warnings
from functools import lru_cache
from threading import Lock

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
_DEALING = Lock()


def possible_folds(labels: Numbers, groups: Numbers, *, folds: int) -> int:
    """How many folds there can be: no more than there are groups, or images of the largest class."""
    return min(folds, len(np.unique(groups)), int(np.bincount(labels).max(initial=0)))


def grouped_folds(labels: Numbers, groups: Numbers, *, folds: int, seed: int) -> list[tuple[Numbers, Numbers]]:
    """Positions of the fitted and of the held-out part of each fold; a fold that got no image is left out.

    Classes are spread as evenly as groups allow (scikit-learn's `StratifiedGroupKFold`).

    Args:
        labels: `(n,) int64`, class numbers.
        groups: `(n,) int64`; images of one group are held out together.
        folds: as `possible_folds` says, at least 2.
        seed: of the order in which groups are dealt.
    """
    asked = (np.ascontiguousarray(one, dtype=np.int64).tobytes() for one in (labels, groups))
    # One thread deals at a time: dealing changes filters of warnings.
    with _DEALING:
        return list(_dealt(*asked, folds, seed))


@lru_cache(maxsize=16)
def _dealt(labels_bytes: bytes, groups_bytes: bytes, folds: int, seed: int) -> tuple[tuple[Numbers, Numbers], ...]:
    """Every probe of a study deals the same, and weighing groups against folds takes 0.3 s for 2,600 groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = (np.frombuffer(one, dtype=np.int64) for one in (labels_bytes, groups_bytes))
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of classes with fewer images than folds: who asks sees to those.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(splitter.split(np.empty((len(labels), 0)), labels, groups))
    for part in parts:
        for positions in part:
            positions.setflags(write=False)  # shared by all who ask
    return tuple((fitted, held_out) for fitted, held_out in parts if len(fitted) and len(held_out))
