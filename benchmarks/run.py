"""Measure whole commands as a user calls them, and print the table of README.md.

    uv run python -m benchmarks.run [--only NAME] [--data FOLDER]

Each command runs in a process of its own, with an empty cache where it says "cold". Wall seconds and the peak memory of
the process come from the operating system; accuracies from the study's own comparison.json. Results are written to
benchmarks/results/study.csv.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "study.csv"
NAMES = ("help", "demo", "quick", "second", "predict-one", "predict-all", "notebook-offline", "thorough")


@dataclass(frozen=True)
class Measured:
    """One command: wall seconds, peak resident memory in MB, exit code, and what it came to."""

    name: str
    command: str
    wall_s: float
    peak_mb: float
    exit_code: int
    note: str = ""


def measure(name: str, arguments: list[str], *, cache: Path) -> Measured:
    """Run one `bestiary` command to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "bestiary", *arguments],
        env={**os.environ, "BESTIARY_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    command = "bestiary " + " ".join(_shown(argument) for argument in arguments)
    return Measured(name, command, round(seconds, 2), round(usage.ru_maxrss / 1024), os.waitstatus_to_exitcode(status))


def _shown(argument: str) -> str:
    """Without the folders of this machine."""
    return Path(argument).name if os.sep in argument else argument


def _accuracies(study: Path) -> str:
    comparison = json.loads((study / "comparison.json").read_text(encoding="utf-8"))
    return "; ".join(f"{row['model']} {row['test']['accuracy']['value']:.3f}" for row in comparison["models"])


def run_all(data: Path, wanted: list[str]) -> list[Measured]:
    """All wanted measurements, in order."""
    done: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        quick, cache = place / "quick", place / "cache"

        def add(name: str, arguments: list[str], *, study: Path | None = None, cold: bool = False) -> None:
            if name not in wanted:
                return
            measured = measure(name, arguments, cache=place / f"cache-{name}" if cold else cache)
            note = _accuracies(study) if study else ""
            done.append(Measured(**{**asdict(measured), "note": note}))
            print(done[-1], flush=True)

        images = sorted(path for path in data.rglob("*") if path.is_file())
        add("help", ["--help"])
        add("demo", ["demo", "--out", str(place / "demo")], cold=True)
        add("quick", ["study", str(data), "--out", str(quick)], study=quick)
        add("second", ["study", str(data), "--out", str(quick)], study=quick)
        add("predict-one", ["predict", str(quick), str(images[0])])
        add("predict-all", ["predict", str(quick), str(data), "--out", str(place / "all.csv")])
        for recipe in ("notebook-offline", "thorough"):
            out = place / recipe
            add(recipe, ["study", str(data), "--out", str(out), "--recipe", recipe], study=out, cold=True)
    return done


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=NAMES, help="repeatable; default: all")
    place = os.environ.get("BESTIARY_ANIMALS10", str(ROOT.parent / "shared" / "data" / "animals10-tenth"))
    parser.add_argument("--data", type=Path, default=Path(place), help="a folder of class folders")
    options = parser.parse_args()
    wanted = list(options.only or NAMES)
    if {"second", "predict-one", "predict-all"} & set(wanted) and "quick" not in wanted:
        wanted.append("quick")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    measured = run_all(options.data, wanted)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(asdict(measured[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in measured)
    print("\n| what | command | wall s | peak MB | note |\n|---|---|---|---|---|")
    for row in measured:
        print(f"| {row.name} | `{row.command}` | {row.wall_s:g} | {row.peak_mb:g} | {row.note} |")


if __name__ == "__main__":
    main()
