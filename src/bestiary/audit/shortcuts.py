"""Shortcuts: can a class be recognised without seeing what is in the picture?

In: index rows and their image statistics. Out: findings about classes, and a summary. Owns no file.

A model of metadata alone is asked for the class: extremely randomised trees (Geurts, Ernst and Wehenkel 2006, Machine
Learning 63:3), judged out of fold, copies kept together. A network that is trained on a set where that succeeds may
learn the size of a file instead of the animal, and be right for the wrong reason (Geirhos et al. 2020, Nature Machine
Intelligence 2:665).

Brightness, colour and bytes a pixel are also part of what is in a picture: butterflies are colourful, and grass costs
more bytes than sky. On 2,618 photos of Animals-10, where no class is known to have a shortcut, butterflies are
recognised by these with an area under the ROC curve of 0.88 and spiders with 0.80. So the threshold is high: 0.90, even
at the lower end of the 95 % interval. Classes with a planted shortcut lie above 0.95.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.findings import Finding, Severity
from bestiary.audit.quality.image_statistics import ImageStatistics
from bestiary.evaluate.grouped_folds import grouped_folds

Family = Literal["size", "format", "brightness", "borders", "all"]
FAMILIES: tuple[Family, ...] = get_args(Family)

# A class is judged by at least so many images that are no copies of one another.
FEWEST = 20
MOST_IMAGES = 10_000
_FOLDS, _TREES, _LEAF = 5, 60, 3
_THRESHOLDS: tuple[tuple[float, Severity], ...] = ((0.98, "high"), (0.95, "medium"), (0.90, "low"))
_Z = 1.959964  # of 95 %

# Columns of image statistics, and what they are to a reader.
_BRIGHTNESS = {
    "brightness": "mean brightness",
    "brightness_perc_1": "darkest brightness",
    "brightness_perc_5": "dark brightness",
    "brightness_perc_95": "light brightness",
    "brightness_perc_99": "lightest brightness",
    "contrast": "contrast",
    "saturation": "saturation",
    "chroma": "strongest colour",
    "colourfulness": "colourfulness",
}
_BORDERS = {
    "border_top": "border at the top",
    "border_bottom": "border at the bottom",
    "border_left": "border at the left",
    "border_right": "border at the right",
    "border_shade": "shade of the border",
}


@dataclass(frozen=True)
class _Separation:
    """How well a family separates one class from the rest: the area under the ROC curve, and its 95 % interval."""

    family: Family
    area: float
    low: float
    high: float


def find_shortcuts(
    images: pd.DataFrame,
    statistics: ImageStatistics,
    groups: npt.NDArray[np.int64],
    *,
    class_names: Sequence[str],
    seed: int,
) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Classes that metadata alone gives away.

    Args:
        images: `n` index rows with `label`, `width_px`, `height_px`, `mode`, `format`, `bytes`.
        statistics: of these images, in the same order.
        groups: `(n,)`; images of one group are never on both sides of a fold.
        class_names: those with fewer than 20 groups are left out.
        seed: of the folds, of the trees, and of the 10,000 images that are drawn where there are more.

    Returns:
        One finding a class at most, of the family that separates it best; `all` only where no single one does. And for
        each family, in the order of `FAMILIES`: `family`, `balanced_accuracy` with `low` and `high`, `chance`,
        `images` (how many were judged), `per_class` (class: area under the ROC curve). Both lists are empty where
        fewer than two classes can be judged.
    """
    labels = images["label"].to_numpy(dtype=object)
    rows, judged = _judged(labels, groups, class_names, seed)
    if len(judged) < 2:
        return [], []
    y, groups = np.searchsorted(judged, labels[rows].astype(str)), groups[rows]
    folds = grouped_folds(y, groups, folds=_FOLDS, seed=seed)
    sizes = np.array([len(np.unique(groups[y == number])) for number in range(len(judged))])
    families = _families(images.iloc[rows], statistics.values.iloc[rows])
    separations: dict[str, list[_Separation]] = {name: [] for name in judged}
    summary = []
    for family, table in families.items():
        probabilities = _out_of_fold(table.to_numpy(np.float64), y, folds, seed)
        for number, name in enumerate(judged):
            separations[name].append(_area(family, probabilities[:, number], y == number, sizes[number], sizes.sum()))
        areas = {name: separations[name][-1].area for name in judged}
        summary.append({"family": family, **_balanced(probabilities.argmax(axis=1), y, sizes), "per_class": areas})
    found = []
    for number, name in enumerate(judged):
        best = _best(separations[name])
        if best is not None:
            found.append(_finding(name, best, y == number, families[best.family]))
    return found, summary


def _judged(
    labels: npt.NDArray[np.object_], groups: npt.NDArray[np.int64], class_names: Sequence[str], seed: int
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The images that are judged, and their classes in alphabetical order."""
    rows = np.arange(len(labels))
    if len(rows) > MOST_IMAGES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_IMAGES, replace=False))
    counts = pd.Series(groups[rows]).groupby(labels[rows]).nunique()
    judged = sorted(name for name in class_names if counts.get(name, 0) >= FEWEST)
    return rows[np.isin(labels[rows], judged)], judged


def _families(images: pd.DataFrame, values: pd.DataFrame) -> dict[Family, pd.DataFrame]:
    """The metadata of each family; columns are called as a reader would."""
    width, height = images["width_px"].to_numpy(np.float64), images["height_px"].to_numpy(np.float64)
    size = {"width in pixels": width, "height in pixels": height, "width to height": width / height}
    kind = {f"share of {name} files": (images["format"] == name).to_numpy() for name in sorted(set(images["format"]))}
    kind |= {f"share of mode {name}": (images["mode"] == name).to_numpy() for name in sorted(set(images["mode"]))}
    kind |= {"bytes a pixel": images["bytes"].to_numpy(np.float64) / (width * height)}
    single: dict[Family, pd.DataFrame] = {
        "size": pd.DataFrame(size | {"width times height": width * height}),
        "format": pd.DataFrame(kind).astype(np.float64),
        "brightness": values[list(_BRIGHTNESS)].rename(columns=_BRIGHTNESS).reset_index(drop=True),
        "borders": values[list(_BORDERS)].rename(columns=_BORDERS).reset_index(drop=True),
    }
    return {**single, "all": pd.concat(single.values(), axis=1)}


def _out_of_fold(
    table: npt.NDArray[np.float64],
    y: npt.NDArray[np.int64],
    folds: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    seed: int,
) -> npt.NDArray[np.float64]:
    """`(n, classes)`: of each image by trees that saw neither it nor its copies. Classes count alike."""
    from sklearn.ensemble import ExtraTreesClassifier

    probabilities = np.zeros((len(y), y.max() + 1))
    for train, test in folds:
        trees = ExtraTreesClassifier(
            _TREES, min_samples_leaf=_LEAF, class_weight="balanced", random_state=seed, n_jobs=1
        ).fit(table[train], y[train])
        # A class whose groups all lie in this fold has no column.
        probabilities[test[:, None], trees.classes_] = trees.predict_proba(table[test])
    return probabilities


def _area(
    family: Family, scores: npt.NDArray[np.float64], own: npt.NDArray[np.bool_], n: int, total: int
) -> _Separation:
    """The area under the ROC curve with the interval of Hanley and McNeil (1982, Radiology 143:29).

    It counts groups and not images: copies are no further evidence.
    """
    from sklearn.metrics import roc_auc_score

    area = float(roc_auc_score(own, scores))
    # At 1 the formula has no width at all: so many groups may still hide one image out of order.
    inner = min(max(area, 0.5 / n), 1 - 0.5 / n)
    both_own, both_others = inner / (2 - inner), 2 * inner**2 / (1 + inner)
    others = max(total - n, 1)
    spread = (n - 1) * (both_own - inner**2) + (others - 1) * (both_others - inner**2)
    half = _Z * float(np.sqrt((inner * (1 - inner) + spread) / (n * others)))
    return _Separation(family, area, max(inner - half, 0.0), min(max(inner + half, area), 1.0))


def _balanced(y_pred: npt.NDArray[np.int64], y: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The mean of the classes' recalls. Its variance is that of a mean of independent proportions (two images added to
    each side of each, after Agresti and Coull 1998, The American Statistician 52:119, lest none or all have none).
    """
    recalls = np.array([(y_pred[y == number] == number).mean() for number in range(len(sizes))])
    adjusted = (recalls * sizes + 2) / (sizes + 4)
    half = _Z * np.sqrt((adjusted * (1 - adjusted) / (sizes + 4)).sum()) / len(sizes)
    mean = float(recalls.mean())
    return {
        "balanced_accuracy": mean,
        "low": max(mean - float(half), 0.0),
        "high": min(mean + float(half), 1.0),
        "chance": 1 / len(sizes),
        "images": len(y),
    }


def _best(separations: list[_Separation]) -> _Separation | None:
    lowest = _THRESHOLDS[-1][0]
    clear = [one for one in separations if one.low >= lowest]
    single = [one for one in clear if one.family != "all"]
    return max(single or clear, key=lambda one: one.low, default=None)


def _finding(name: str, best: _Separation, own: npt.NDArray[np.bool_], table: pd.DataFrame) -> Finding:
    from sklearn.metrics import roc_auc_score

    severity = next(severity for threshold, severity in _THRESHOLDS if best.low >= threshold)
    apart = {column: abs(roc_auc_score(own, table[column]) - 0.5) for column in table}
    column = max(apart, key=lambda column: apart[column])
    within, without = table[column].to_numpy()[own], table[column].to_numpy()[~own]
    middle = np.mean if column.startswith("share") else np.median
    by = "size, format, brightness and borders together" if best.family == "all" else f"{best.family} alone"
    reason = (
        f"Recognised by {by}, without seeing what is in the picture: area under the ROC curve "
        f"{best.area:.2f} ({best.low:.2f} to {best.high:.2f}; chance is 0.50). Clearest in {column}: "
        f"{middle(within):.4g}, and {middle(without):.4g} in the others."
    )
    return Finding("shortcut", severity, 2 * best.area - 1, "check", reason, label=name)
