"""Plain values for JSON."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bestiary.store.json_values import plain


@dataclass(frozen=True)
class _Result:
    place: Path
    count: int
    table: pd.DataFrame


def test_dataclasses_frames_and_numbers_become_what_json_has() -> None:
    result = _Result(Path("a"), 2, pd.DataFrame({"x": [1.5, float("nan")]}))
    assert plain(result) == {"place": "a", "count": 2, "table": [{"x": 1.5}, {"x": None}]}
    assert plain({"n": np.int64(3), "i": float("inf")}) == {"n": 3, "i": None}
