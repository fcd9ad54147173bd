"""Class names that are most likely one class written in two ways.

In: the labels of images. Out: findings about classes. Owns no file.
"""

import pandas as pd

from bestiary.audit.findings import Finding
from bestiary.data.confusable import confusable_classes


def find_similar_names(labels: pd.Series) -> list[Finding]:
    """One finding for each pair of names that differ only in case, spaces or Unicode form (see `data.confusable`).

    It stands at the name with more images, which the other one is likely to be.

    Args:
        labels: of all images.
    """
    counts = labels.value_counts()
    found = []
    for pair in confusable_classes(counts.index):
        most, fewer = sorted((pair.first, pair.second), key=lambda name: -int(counts[name]))
        reason = (
            f"{most!a} ({counts[most]:,}) and {fewer!a} ({counts[fewer]:,}) differ only in {pair.reason}. Where they "
            "are one class, give them one name with data.rename."
        )
        found.append(Finding("similar_classes", "high", 1.0, "rename", reason, label=most, suggestion=fewer))
    return found
