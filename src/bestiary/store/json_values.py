"""Plain values: whatever a stage hands out → what JSON has.

In: mappings, sequences, frames, numpy numbers, anything. Out: dicts, lists, strings, numbers, None. Owns no file.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any


def plain(value: Any) -> Any:
    """Python's own types; a number that is none (NaN, infinite) becomes None.

    A DataFrame becomes its rows, what JSON cannot say its text.
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "to_dict"):
        value = value.to_dict("records")
    elif hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
