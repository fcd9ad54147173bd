"""Issues: the names of what an audit may find. `corrections.csv` names them, and the audit's table.

In and out: nothing. Owns no file.
"""

from collections.abc import Iterable
from typing import Literal, get_args

Issue = Literal[
    "unreadable",
    "label_conflict",
    "leak",
    "label_error",
    "exact_duplicate",
    "near_duplicate",
    "outlier",
    "shortcut",
    "small_class",
    "imbalance",
    "dark",
    "light",
    "blurry",
    "low_information",
    "odd_aspect_ratio",
    "odd_size",
    "grayscale",
]
# In the order in which they are worth a person's time.
ISSUES: tuple[Issue, ...] = get_args(Issue)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of issues, each once, in the order of `ISSUES`; names that are none come last."""
    known: dict[str, int] = {name: place for place, name in enumerate(ISSUES)}
    return tuple(sorted(dict.fromkeys(names), key=lambda name: known.get(name, len(known))))
