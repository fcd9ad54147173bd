"""The one command: measure, write tables and the figure, print the tables.

    uv run python -m benchmarks.run [--only NAME]... [--data FOLDER] [--repeats N] [--epochs E] [--sizes N ...]

In: a folder of photos. Out: `benchmarks/results/<table>.csv`, `machine.json` and the figure `speed.svg`, `speed.png`
beside them. A table is replaced when anything of it is measured anew. What the rows mean: README.md.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks import against, commands, parts, scale
from benchmarks.figure import draw
from benchmarks.rows import RESULTS, Row, markdown, write_rows

ROOT = Path(__file__).parents[1]
# Tables of their own, each measured as a part is.
ALONE = (
    "views",
    "faults",
    "evaluation",
    "repeated",
    "doubted",
    "ensembles",
    "races",
    "probes",
    "tuned",
    "tuned-pixels",
)
PARTS = tuple(name for name in parts.MODULES if name not in ALONE)
NAMES = ("commands", *commands.NAMES, *against.JOBS, *against.PEERS, "parts", *PARTS, *ALONE, "scale")


def plan(only: Sequence[str]) -> dict[str, list[str]]:
    """What to measure, by table: commands of "commands", peers of each job, parts. Ours runs with every job.

    Args:
        only: of `NAMES`; empty: everything. The name of a table stands for all of it.
    """
    rows = {"commands": list(commands.NAMES)}
    rows |= {job: [name for name, peer in against.PEERS.items() if peer.job == job] for job in against.JOBS}
    rows |= {"parts": list(PARTS), **{name: [name] for name in ALONE}, "scale": ["scale"]}
    if not only:
        return rows
    wanted = {
        table: names if table in only else [name for name in names if name in only] for table, names in rows.items()
    }
    return {table: names for table, names in wanted.items() if names}


def machine() -> dict[str, str | int | None]:
    """What it ran on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    packages = {name: version(name) for name in ("bestiary", "torch", "timm", "openvino", "scikit-learn")}
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **packages,
    }


def _show(table: str, rows: Sequence[Row]) -> None:
    write_rows(RESULTS / f"{table}.csv", rows)
    print(f"\n### {table}\n{markdown(rows)}\n", flush=True)


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="NAME", help=f"repeatable: {', '.join(NAMES)}"
    )
    default = os.environ.get("BESTIARY_ANIMALS10", str(ROOT.parent / "shared" / "data" / "animals10-tenth"))
    parser.add_argument("--data", type=Path, default=Path(default), help="a folder of class folders")
    parser.add_argument("--repeats", type=int, default=3, help="of what takes less than a minute; medians are shown")
    parser.add_argument(
        "--epochs", type=int, default=10, help="of Keras's models with random weights; the rest of 10 is extrapolated"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=scale.SIZES, metavar="N", help="of the table scale: how many photos"
    )
    options = parser.parse_args()
    data = options.data.absolute()
    if not data.is_dir():
        parser.error(f"--data {options.data}: no such folder")
    if min(options.repeats, options.epochs, *options.sizes) < 1:
        parser.error("--repeats, --epochs and --sizes want at least 1")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "machine.json").write_text(json.dumps(machine(), indent=1), encoding="utf-8")
    print(", ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for table, names in plan(options.only or ()).items():
            place = Path(folder) / table
            place.mkdir()
            if table == "commands":
                _show(table, commands.run(data, place, names, repeats=options.repeats))
            elif table == "parts":
                for name in names:
                    _show(f"parts-{name}", parts.run(name, data, place, repeats=options.repeats))
            elif table in ALONE:
                _show(table, parts.run(table, data, place, repeats=options.repeats))
            elif table == "scale":
                _show(table, scale.measure(data, place, options.sizes))
            else:
                tables = against.run(table, data, place, names, repeats=options.repeats, epochs=options.epochs)
                for name, rows in tables.items():
                    _show(name, rows)
    if drawn := draw(RESULTS):
        print("figure: " + ", ".join(path.name for path in drawn))


if __name__ == "__main__":
    main()
