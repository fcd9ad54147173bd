"""Numbers and lists as the report writes them: percent here and nowhere else.

In: fractions, counts, names. Out: short strings. Owns no file.

A space that must not break a line is U+00A0; minus is U+2212. A value that is missing is a dash, never a zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

NBSP = "\u00a0"
MINUS = "\u2212"
DASH = "\u2013"
ELLIPSIS = "\u2026"

_LONG_NAME = 60


@dataclass(frozen=True)
class Sentence:
    """One or more sentences on one topic."""

    topic: str
    text: str

    def __str__(self) -> str:
        return self.text


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number, Python's or numpy's; None, NaN, text and truth values are not."""
    return (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def percent(fraction: Any, digits: int = 1) -> str:
    """A fraction as percent, such as `96.9 %`.

    What only rounds to 0 or 100 does not read as if it were: `> 99.9 %`, `< 0.1 %`.
    """
    if not is_number(fraction):
        return DASH
    step = 10.0**-digits
    if 0 < fraction < 1:
        if round(fraction * 100, digits) >= 100:
            return f">{NBSP}{100 - step:.{digits}f}{NBSP}%"
        if round(fraction * 100, digits) <= 0:
            return f"<{NBSP}{step:.{digits}f}{NBSP}%"
    return f"{_minus(fraction * 100, digits)}{NBSP}%"


def percent_interval(interval: Mapping[str, Any] | None) -> str:
    """The ends of an interval of fractions, such as `95.1 % to 98.2 %`."""
    if not interval or not (is_number(interval.get("low")) and is_number(interval.get("high"))):
        return DASH
    return f"{percent(interval['low'])} to {percent(interval['high'])}"


def percent_ends(interval: Mapping[str, Any] | None) -> str:
    """The ends of an interval of fractions without their signs, for the small print of a table; "" where unknown."""
    ends = percent_interval(interval)
    return "" if ends == DASH else ends.replace(f"{NBSP}%", "").replace(NBSP, "")


def points(difference: Any, *, signed: bool = False) -> str:
    """A difference of fractions in percentage points, without the word: `0.8`, or `+0.8` where signed."""
    if not is_number(difference):
        return DASH
    text = _minus(difference * 100, 1)
    return f"+{text}" if signed and difference * 100 >= 0.05 else text


def decimal(value: Any, digits: int = 2) -> str:
    """A plain number with a fixed count of decimals and thousands set apart by commas."""
    return _minus(value, digits) if is_number(value) else DASH


def whole(value: Any) -> str:
    """A count with thousands set apart by commas."""
    return _minus(value, 0) if is_number(value) else DASH


def seconds(value: Any) -> str:
    """A duration in seconds, one decimal below ten."""
    if not is_number(value):
        return DASH
    if 0 < value < 0.05:
        return f"<{NBSP}0.1"
    return _minus(value, 1 if 0 < abs(value) < 9.95 else 0)


def cached_words(stage: str, images: int = 0) -> str:
    """What was read from a cache: `features cached`, or `features of 2,000 images cached` where it was not all."""
    return f"{stage} of {counted(images, 'image')} cached" if images else f"{stage} cached"


def when(stamp: Any) -> str:
    """A time stamp as people read it, in UTC."""
    text = str(stamp or "")
    return f"{text[:10]}{NBSP}{text[11:16]}{NBSP}UTC" if len(text) >= 16 and text.endswith("Z") else text or DASH


def setting(value: Any) -> str:
    """A hyperparameter as people write it: 0.001 and not 1.0e-3, yes and no for truth values."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return DASH if not math.isfinite(value) else f"{value:g}".replace("-", MINUS)
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {setting(part)}" for key, part in value.items()) or DASH
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(setting(part) for part in value) or DASH
    return DASH if value is None or value == "" else str(value)


def p_value(value: Any) -> str:
    """A p-value with its sign, such as `= 0.29` or `< 0.001`."""
    if not is_number(value):
        return DASH
    if value < 0.001:
        return f"<{NBSP}0.001"
    # Two decimals would print a 0.049 as the 0.05 that it is not.
    return f"={NBSP}{value:.3f}" if value < 0.1 else f"={NBSP}{value:.2f}"


def counted(count: float, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 image`, `2,618 images`."""
    return f"{whole(count)}{NBSP}{noun if count == 1 else plural or noun + 's'}"


def quoted(name: str) -> str:
    """A class name in quotation marks, so that odd names stay apart from the sentence; very long ones shortened."""
    return f"\u201c{name if len(name) <= _LONG_NAME else name[: _LONG_NAME - 1] + ELLIPSIS}\u201d"


def listed(names: Sequence[str], *, most: int = 0) -> str:
    """Names in a row: `a, b and c`; beyond `most` the rest is counted, `a, b and 4 more`."""
    if most and len(names) > most:
        return f"{', '.join(names[:most])} and {whole(len(names) - most)} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _minus(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)
