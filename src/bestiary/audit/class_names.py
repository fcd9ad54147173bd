"""Class names that are most likely one class written in two ways.

In: the labels of images. Out: findings about classes. Owns no file.
"""

import unicodedata

import pandas as pd

from bestiary.audit.findings import Finding


def find_similar_names(labels: pd.Series) -> list[Finding]:
    """One finding for each group of names that differ only in case, spaces around them or Unicode normalisation.

    It stands at the name with most images, which the others are likely to be.

    Args:
        labels: of all images.
    """
    counts = labels.value_counts()
    groups: dict[str, list[str]] = {}
    for name in sorted(counts.index):
        groups.setdefault(_folded(name), []).append(name)
    return [_finding({name: int(counts[name]) for name in names}) for names in groups.values() if len(names) > 1]


def _folded(name: str) -> str:
    """The same for all names that are alike; twice, since folding case may leave letters to be composed."""
    for _ in range(2):
        name = unicodedata.normalize("NFKC", name).strip().casefold()
    return name


def _finding(counts: dict[str, int]) -> Finding:
    most = max(counts, key=lambda name: counts[name])
    named = ", ".join(f"{name!a} ({count:,})" for name, count in counts.items())
    reason = (
        f"{len(counts)} classes whose names differ only in case, spaces or Unicode form: {named}. Where they are one "
        "class, give them one name with data.rename."
    )
    return Finding("similar_classes", "high", 1.0, "rename", reason, label=most)
