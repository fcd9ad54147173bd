"""Parts of bestiary that are called directly, each in a process of its own.

    python -m benchmarks.parts NAME DATA PLACE REPEATS OUT.csv

In: a part's name and a folder of photos. Out: its rows, as CSV. A process of its own, because what one part imports and
leaves running would weigh on the next, and because Linux counts the memory of the process that starts a command to the
command's peak: the one that measures commands must stay small.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import last_line, measure
from benchmarks.rows import Row, read_rows, write_rows

MODULES: Mapping[str, str] = {
    "heads": "parts_heads",
    "forward": "parts_forward",
    "training": "parts_training",
    "decode": "parts_decode",
    "views": "views",
    "faults": "faults",
    "evaluation": "evaluation",
    "repeated": "repeated",
    "doubted": "doubted",
    "ensembles": "ensembles",
    "races": "races",
    "probes": "probes",
    "tuned": "tuned",
    "tuned-pixels": "tuned_pixels",
}


def run(name: str, data: Path, place: Path, *, repeats: int) -> list[Row]:
    """Measure a part in a process of its own.

    Args:
        name: of `MODULES`.
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: of every way, where it is short.
    """
    out, log = place / f"{name}.csv", place / f"{name}.log"
    work = place / name
    work.mkdir()
    command = [sys.executable, "-m", "benchmarks.parts", name, str(data), str(work), str(repeats), str(out)]
    found = measure(command, environment=os.environ, log=log)
    if found.exit_code:
        reason = last_line(log.read_text(encoding="utf-8", errors="replace"))
        return [Row(name, "part", status="failed", note=f"exit code {found.exit_code}: {reason}")]
    print(f"{name}: {found}", flush=True)
    return read_rows(out)


def main(arguments: Sequence[str]) -> None:
    """Measure here, and write the rows."""
    name, data, place, repeats, out = arguments
    rows = importlib.import_module(f"benchmarks.{MODULES[name]}").measure(Path(data), Path(place), int(repeats))
    write_rows(Path(out), rows)


if __name__ == "__main__":
    main(sys.argv[1:])
