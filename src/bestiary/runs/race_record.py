"""What a race came to, on disk. No torch.

In: the result of a race. Out: `race.json`, which this module owns; and it as a table.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.store.keyed_json import read_keyed, write_keyed

FORMAT = 1


def write_race(path: Path, content: Mapping[str, Any], *, key: str) -> None:
    """Write `race.json`."""
    write_keyed(path, content, key=key, form=FORMAT)


def read_race(path: Path) -> dict[str, Any]:
    """What `race.json` holds; empty where there is none, or one that cannot be used and is made again."""
    return read_keyed(path, form=FORMAT)


def still_in(race: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    """Those of the backbones that are neither left out nor lost, in their order: that of the race is one of seconds."""
    out = {row["name"] for row in race["backbones"] if row["reason"]}
    return tuple(name for name in names if name not in out)


def race_table(race: Mapping[str, Any]) -> pd.DataFrame:
    """One row a backbone, as they stand at the end: those judged on most images first, then by log loss.

    Columns: `backbone, licence, images, loss` (nats), `accuracy` (both out of fold, of a linear probe), `behind` (how
    much higher the loss is than the leader's), `error` (its standard error), `a_thousand_s` (seconds for 1,000 images),
    `reason` (why it is out; empty where it is not).
    """
    rows = []
    for row in race.get("backbones", []):
        last = row["rounds"][-1] if row["rounds"] else {}
        rows.append(
            {
                "backbone": row["name"],
                "licence": row["licence"],
                "images": last.get("images", 0),
                **{name: last.get(name) for name in ("loss", "accuracy", "behind", "error")},
                "a_thousand_s": row["a_thousand_s"],
                "reason": row["reason"],
            }
        )
    columns = ["backbone", "licence", "images", "loss", "accuracy", "behind", "error", "a_thousand_s", "reason"]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:-1], float))
    return table.sort_values(["images", "loss"], ascending=[False, True], kind="stable").reset_index(drop=True)
