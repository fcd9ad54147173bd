"""Balance: classes that are too small to train and score, or rare beside the others.

In: index rows. Out: findings about classes. Owns no file.

Small is a matter of the test split: with a fifth of the images in it, a class of fewer than 50 is scored on fewer than
10, and the 95 % interval of its recall is then at its widest some 50 points. Rare is a matter of training: a class of
less than a fifth of the median class is easily sacrificed to the others, as is any class where another has more than
ten times as many.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bestiary.audit.findings import Finding, Severity
from bestiary.data.splits.rare_classes import FEWEST_IMAGES, is_rare
from bestiary.evaluate.intervals import Z
from bestiary.plurals import counted

SMALL = 50
_TEST_SHARE = 0.2
_RARE_SHARE = 0.2
_MOST_RATIO = 10


def find_imbalance(images: pd.DataFrame, class_names: Sequence[str]) -> list[Finding]:
    """Classes with too few images, in themselves (`small_class`) or beside others (`imbalance`).

    Args:
        images: index rows with `label`.
        class_names: all classes; one may have no image left.
    """
    counts = images["label"].value_counts().reindex(list(class_names), fill_value=0)
    if counts.empty:
        return []
    return [
        *(_small(name, int(count)) for name, count in counts.items() if count < SMALL),
        *_rare(counts),
    ]


def find_rare(index: pd.DataFrame) -> list[Finding]:
    """One finding for each class that was left out for having too few images.

    Args:
        index: all files, with `label` and `error`.
    """
    sizes = index.loc[is_rare(index), "label"].value_counts().sort_index()
    return [
        Finding(
            "rare_class",
            "high",
            1.0,
            "collect",
            f"{counted(int(size), 'image')}, and a split needs {FEWEST_IMAGES}. No model knows this class.",
            label=str(name),
        )
        for name, size in sizes.items()
    ]


def _small(name: str, count: int) -> Finding:
    scored = max(round(_TEST_SHARE * count), 1)
    severity: Severity = "high" if count < 10 else "medium" if count < 25 else "low"
    reason = (
        f"{count:,} images: a test split of {100 * _TEST_SHARE:.0f} % scores this class on about {scored}, so that a "
        f"recall of 50 % has a 95 % interval {200 * _half_width(scored):.0f} points wide. From {SMALL} images on it is "
        "scored on 10."
    )
    return Finding("small_class", severity, 1 - count / SMALL, "collect", reason, label=name)


def _half_width(count: int) -> float:
    """Half of Wilson's interval (1927, JASA 22:209) of a proportion of one half."""
    return float(Z * np.sqrt(count + Z**2) / (2 * (count + Z**2)))


def _rare(counts: pd.Series) -> list[Finding]:
    median, largest, largest_name = float(counts.median()), int(counts.max()), counts.idxmax()
    found = []
    for name, count in counts.items():
        share, ratio = count / median if median else 1.0, largest / max(int(count), 1)
        if share >= _RARE_SHARE and ratio <= _MOST_RATIO:
            continue
        severity: Severity = "medium" if ratio > 2 * _MOST_RATIO else "low"
        reason = (
            f"{int(count):,} images, where the median class has {median:,.0f} and the largest, {largest_name}, "
            f"{largest:,}: {ratio:.0f} times as many. Read its recall and not the accuracy, which hardly depends on it."
        )
        found.append(Finding("imbalance", severity, 1 - 1 / ratio, "collect", reason, label=str(name)))
    return found
