"""Whole commands as a user calls them.

In: a folder of photos. Out: one row a command: wall seconds, peak memory, and the test accuracies of its study.

Where it says "cold", a command has empty caches, in every repeat. The others come after the default study, `quick`, and
use its folder and caches: `second` is the same command again, `predict-one` and `predict-all` read its exported model.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Measured, is_short, last_line, measure, median
from benchmarks.rows import Row

NAMES = ("help", "demo", "quick", "second", "predict-one", "predict-all", "notebook-offline", "thorough")
_AFTER_QUICK = ("second", "predict-one", "predict-all")


def bestiary(arguments: Sequence[str | Path], *, cache: Path, log: Path) -> Measured:
    """Run one `bestiary` command to its end, with caches of its own."""
    command = [sys.executable, "-m", "bestiary", *arguments]
    return measure(command, environment={**os.environ, "BESTIARY_CACHE": str(cache)}, log=log)


def shown(arguments: Sequence[str | Path]) -> str:
    """The command line, without the folders of this machine and without a long tail of overrides."""
    names = [Path(part).name if os.sep in str(part) else str(part) for part in arguments]
    if names.count("--set") > 1:
        names = [*names[: names.index("--set")], "--set", "..."]
    return " ".join(["bestiary", *names])


def accuracies(study: Path) -> str:
    """The test accuracy of every model of a study, in rank order."""
    comparison = json.loads((study / "comparison.json").read_text(encoding="utf-8"))
    return "; ".join(f"{row['model']} {row['test']['accuracy']['value']:.3f}" for row in comparison["models"])


def run(data: Path, place: Path, wanted: Sequence[str], *, repeats: int) -> list[Row]:
    """All wanted commands, in order; those that others need are run, and shown, as well.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        wanted: of `NAMES`.
        repeats: how often to run a command, where it is short.
    """
    names = [name for name in NAMES if name in wanted or (name == "quick" and set(_AFTER_QUICK) & set(wanted))]
    photo = min(path for path in data.rglob("*") if path.is_file()) if names else data
    return [_row(name, data=data, photo=photo, place=place, repeats=repeats) for name in names]


def _row(name: str, *, data: Path, photo: Path, place: Path, repeats: int) -> Row:
    found: list[Measured] = []
    log = place / f"{name}.log"
    for number in range(repeats):
        # The last repeat of `quick` is the study that the commands after it use.
        last = place / "quick"
        study = last if name in (*_AFTER_QUICK, "quick") else place / f"{name}-{number}"
        if name == "quick" and number:
            last.rename(place / f"quick-{number}")
            (place / "cache-quick").rename(place / f"cache-quick-{number}")
        cache = place / ("cache-quick" if study == last else f"cache-{name}-{number}")
        arguments = _arguments(name, data=data, photo=photo, study=study, place=place)
        found.append(bestiary(arguments, cache=cache, log=log))
        print(f"{name}: {found[-1]}", flush=True)
        if not is_short(found[0]):
            break
    if failed := [one for one in found if one.exit_code]:
        reason = f"exit code {failed[0].exit_code}: {last_line(log.read_text(encoding='utf-8', errors='replace'))}"
        return Row(name, shown(arguments), status="failed", repeats=len(found), note=reason)
    return Row(
        name,
        shown(arguments),
        seconds=median([one.wall_s for one in found]),
        repeats=len(found),
        peak_mb=median([one.peak_mb for one in found]),
        note=accuracies(study) if arguments[0] == "study" else "",
    )


def _arguments(name: str, *, data: Path, photo: Path, study: Path, place: Path) -> list[str | Path]:
    if name == "help":
        return ["--help"]
    if name == "demo":
        return ["demo", "--out", study]
    if name == "predict-one":
        return ["predict", study, photo]
    if name == "predict-all":
        return ["predict", study, data, "--out", place / "all.csv"]
    recipe = ["--recipe", name] if name in ("notebook-offline", "thorough") else []
    return ["study", data, "--out", study, *recipe]
