"""Class names that are most likely one class written in two ways.

In: class names. Out: pairs of them, each with what they differ in. Owns no file.

Such names are two classes to a file system that tells them apart and one folder to another: macOS and Windows know no
upper case, macOS compares accents however they are composed, and Windows drops spaces at the end of a name.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

# Spaces of every kind, and characters that are not seen: zero-width ones and marks of direction.
_SPACE = re.compile(r"[\s\u200b-\u200f\u2060\ufeff\u00ad\u202a-\u202e]+")


def _without_spaces(name: str) -> str:
    return _SPACE.sub(" ", name).strip()


# In the order in which they are named. NFKC takes compatible forms for one as well: full width, ligatures.
_MEANS: dict[str, Callable[[str], str]] = {
    "spaces": _without_spaces,
    "how their letters are composed in Unicode": lambda name: unicodedata.normalize("NFKC", name),
    "upper and lower case": str.casefold,
}


@dataclass(frozen=True)
class ConfusablePair:
    """Two class names that may be one. `reason`: what they differ in, such as "upper and lower case"."""

    first: str
    second: str
    reason: str


def confusable_classes(class_names: Iterable[str]) -> list[ConfusablePair]:
    """Pairs of names that differ only in case, spaces or the composition of letters, in alphabetical order.

    Args:
        class_names: of a data set; the same name twice is no pair.
    """
    alike: dict[str, list[str]] = {}
    for name in sorted(set(class_names)):
        alike.setdefault(_folded(name), []).append(name)
    return [
        ConfusablePair(first, second, _reason(first, second))
        for names in alike.values()
        for first, second in combinations(names, 2)
    ]


def _folded(name: str) -> str:
    """The same for all names that are alike. Twice, since each step may bring out what another one folds."""
    for _ in range(2):
        for fold in _MEANS.values():
            name = fold(name)
    return name


def _reason(first: str, second: str) -> str:
    """The one thing that makes them differ, or all that do."""
    for means, fold in _MEANS.items():
        if fold(first) == fold(second):
            return means
    return " and ".join(means for means in _MEANS if _folded_but(first, means) != _folded_but(second, means))


def _folded_but(name: str, means: str) -> str:
    for _ in range(2):
        for other, fold in _MEANS.items():
            name = name if other == means else fold(name)
    return name
