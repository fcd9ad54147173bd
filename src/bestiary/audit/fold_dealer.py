"""Folds of an audit, dealt once where several of its parts ask for the same.

In: class numbers and groups. Out: positions of each fold. Owns no file.

`evaluate.grouped_folds` weighs every group against every fold, one at a time: 0.3 s for 2,600 groups.
"""

import hashlib
from threading import Lock

import numpy as np

from bestiary.evaluate.grouped_folds import Numbers, grouped_folds

Fold = tuple[Numbers, Numbers]


class FoldDealer:
    """Deals folds, each once; threads may share it."""

    def __init__(self) -> None:
        self._dealt: dict[tuple[str, int, int], list[Fold]] = {}
        self._lock = Lock()

    def deal(self, labels: Numbers, groups: Numbers, *, folds: int, seed: int) -> list[Fold]:
        """As `grouped_folds`. One thread deals at a time: it changes filters of warnings."""
        asked = hashlib.sha256(np.stack([labels, groups]).astype(np.int64).tobytes()).hexdigest(), folds, seed
        with self._lock:
            if asked not in self._dealt:
                self._dealt[asked] = grouped_folds(labels, groups, folds=folds, seed=seed)
            return self._dealt[asked]
