"""Wrong labels: is a probe better off without the training images whose labels the audit doubts?

In: a folder of photos. Out: one row for each kind and share of planted swaps: accuracy on held-out photos with their
own labels, of a probe on all training images and of one without those that are doubted, and the difference.

Labels of the given two thirds are swapped, at random or with the class of the most alike photo of another class. Out of
fold probes on all that is given doubt labels as the audit does (`label_error` of high severity). The linear probe on
joined Lite1 and Lite2 is fitted on the training images, and on those of them that are not doubted.
"""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.photos import cache_in
from benchmarks.repeated import JOINED, Bench, Parts, difference
from benchmarks.rows import Row
from bestiary.audit.labels.label_errors import find_label_errors
from bestiary.audit.labels.out_of_fold import out_of_fold_probabilities
from bestiary.audit.neighbours import nearest
from bestiary.config.schema import ModelConfig
from bestiary.models.learner import Labelled, Learner

SHARES, KINDS, REPEATS = (0.0, 0.05, 0.1), ("random", "look-alikes"), 6
Labels = npt.NDArray[np.int64]


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All kinds and shares.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: not looked at: `REPEATS`.
    """
    with cache_in(place / "cache"):
        bench = Bench(data, place)
        learner = bench.learner(ModelConfig.model_validate(JOINED))
        single = bench.learner(ModelConfig(backbone="tf_efficientnet_lite2"))
        features = single._known_features().plain  # type: ignore[attr-defined]
        rows = []
        for share in SHARES:
            for kind in KINDS if share else KINDS[:1]:
                start = time.perf_counter()
                found = [
                    _compare(bench, learner, features, parts, kind=kind, share=share, seed=number)
                    for number, parts in enumerate(bench.parts()[:REPEATS])
                ]
                keep, without, left_out = (np.array(values) for values in zip(*found, strict=True))
                name = f"{share:.0%} {kind}" if share else "none planted"
                note = f"without {left_out.mean():.0f} doubted: {difference(without - keep) or 'no difference'}"
                seconds = (time.perf_counter() - start) / len(found)
                rows.append(
                    Row(name, "accuracy with all labels kept", seconds=seconds, repeats=len(found),
                        accuracy=float(keep.mean()), note=note)
                )  # fmt: skip
        return rows


def _compare(
    bench: Bench,
    learner: Learner,
    features: npt.NDArray[np.float32],
    parts: Parts,
    *,
    kind: str,
    share: float,
    seed: int,
) -> tuple[float, float, int]:
    """Accuracy on held-out photos with all labels, without doubted ones, and how many were left out."""
    labels = _swapped(bench.labels, features, parts.given, kind=kind, share=share, seed=seed)
    doubted = _doubted(bench, features, labels, parts.given)
    accuracies = []
    for train in (parts.train, parts.train[~np.isin(parts.train, doubted)]):
        learner.fit(
            Labelled(train, labels[train], bench.groups[train]),
            Labelled(parts.val, labels[parts.val], bench.groups[parts.val]),
            checkpoint=Path(), key="",
        )  # fmt: skip
        right = learner.logits(parts.held_out).argmax(axis=1) == bench.labels[parts.held_out]
        accuracies.append(float(right.mean()))
    return accuracies[0], accuracies[1], int(np.isin(parts.train, doubted).sum())


def _swapped(
    labels: Labels, features: npt.NDArray[np.float32], given: Labels, *, kind: str, share: float, seed: int
) -> Labels:
    random, found = np.random.default_rng(seed), labels.copy()
    chosen = random.choice(given, size=round(share * len(given)), replace=False)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for place in chosen:
        others = given[labels[given] != labels[place]]
        if kind == "random":
            found[place] = random.choice(np.unique(labels[others]))
        else:
            found[place] = labels[others[np.argmax(unit[others] @ unit[place])]]
    return found


def _doubted(bench: Bench, features: npt.NDArray[np.float32], labels: Labels, given: Labels) -> Labels:
    names = [str(number) for number in range(int(labels.max()) + 1)]
    judged = out_of_fold_probabilities(
        features[given], labels[given], bench.groups[given], class_count=len(names), folds=5, seed=0
    )
    images = bench.images.iloc[given].assign(label=[names[label] for label in labels[given]])
    found = find_label_errors(
        images, judged.probabilities, nearest(features[given]), class_names=names, judged=judged.judged
    )
    ids = [error.image_id for error in found if error.severity == "high"]
    return given[np.isin(images["image_id"].to_numpy(), ids)]
