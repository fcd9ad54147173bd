"""Out-of-fold probabilities: what a probe thinks of each image that neither it nor a copy of it was fitted on.

In: features, labels and groups of copies. Out: `OutOfFold`. Owns no file.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bestiary.audit.labels.probe import Features, Labels, fit_probe
from bestiary.evaluate.grouped_folds import grouped_folds, possible_folds
from bestiary.progress import SILENT, Progress

# Inverse L2 strength of the probes: strong, so that a wrong label does not pull the probe its way. Average precision of
# the ranking (classes unweighed) with 5 % swapped at random / between look-alikes, of 2,618 photos: 0.13 0.96 / 0.89,
# 1.3 0.96 / 0.87, 13 0.93 / 0.81, 130 0.91 / 0.76; of 120: 0.4 0.69 / 0.45, 1.3 0.92 / 0.79, 13 0.92 / 0.75.
FOLDS_C = 1.28
# Tried as well where many labels seem wrong; see `audit.run`.
FREER_C = 12.8

# A class is judged where its probe saw at least so many of its groups: with fewer, its own right images seem wrong.
MIN_GROUPS_SEEN = 5


@dataclass(frozen=True)
class OutOfFold:
    """What probes think of images that they were not fitted on.

    Attributes:
        probabilities: `(n, class_count) float32`, rows sum to 1. A class that a fold's training part lacks has 0 there.
        judged: `(n,) bool`: whether the image's probe had seen enough of its class to doubt its label.
        accuracy: the share of judged images whose label is the likeliest class, in [0, 1]; NaN where none is judged.
        folds: how many probes there were; 0 where the images form one group.
    """

    probabilities: npt.NDArray[np.float32]
    judged: npt.NDArray[np.bool_]
    accuracy: float
    folds: int


def out_of_fold_probabilities(
    features: Features,
    labels: Labels,
    groups: npt.NDArray[np.int64],
    *,
    class_count: int,
    folds: int,
    seed: int,
    c: float = FOLDS_C,
    progress: Progress = SILENT,
) -> OutOfFold:
    """Fit a probe on all folds but one, and let it judge that one; in turn.

    Folds are stratified by class and never part a group. Classes weigh alike:
    of 25 photos of a class among 1,200, all of them right, probes that weigh images alike take 8 for another class,
    these 1. An image of a class
    of which the probe saw fewer than `MIN_GROUPS_SEEN` groups is not judged: too small a class, or one whose images
    are all copies, gives no label errors rather than false ones.

    Args:
        features: `(n, d) float32`.
        labels: `(n,) int64` in [0, class_count).
        groups: `(n,) int64`; images of one group are copies.
        class_count: how many classes.
        folds: at least 2; fewer are made where there are fewer groups, or no class has so many images.
        seed: of the order in which groups are dealt.
        c: inverse L2 strength of the probes.
        progress: counts the folds.
    """
    possible = possible_folds(labels, groups, folds=folds)
    found = np.full((len(labels), class_count), 1 / class_count, dtype=np.float32)
    judged = np.zeros(len(labels), dtype=bool)
    if possible < 2:
        return OutOfFold(found, judged, float("nan"), 0)
    with progress.track("out-of-fold probes", possible, unit="folds") as task:
        for train, test in grouped_folds(labels, groups, folds=possible, seed=seed):
            probe = fit_probe(features[train], labels[train], c=c, balanced=True)
            found[test] = probe.probabilities(features[test], class_count=class_count)
            judged[test] = _groups_seen(labels[train], groups[train], class_count)[labels[test]] >= MIN_GROUPS_SEEN
            task.advance()
    right = found.argmax(axis=1) == labels
    accuracy = float(right[judged].mean()) if judged.any() else float("nan")
    return OutOfFold(found, judged, accuracy, possible)


def _groups_seen(labels: Labels, groups: npt.NDArray[np.int64], class_count: int) -> npt.NDArray[np.int64]:
    """How many groups each class has: `(class_count,) int64`."""
    pairs = np.unique(np.stack([labels, groups], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=class_count).astype(np.int64)
