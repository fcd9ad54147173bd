"""What scoring one model costs: figures of a split with all intervals, from few classes to a thousand.

    python -m benchmarks.evaluation CLASSES IMAGES GROUPED

In: nothing; logits are drawn at random. Out: a row for each size: seconds of `split_figures`, and the peak memory of a
process that imports, draws the logits and scores them once. Every size runs in a fresh process.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import benchmarks.measure
from benchmarks.rows import Row
from bestiary.evaluate.scoring import split_figures

# Classes, images, and whether images come in groups of 1 to 20.
SIZES = ((10, 524, False), (150, 7_500, False), (1_000, 50_000, False), (1_000, 50_000, True))


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All sizes.

    Args:
        data: not looked at.
        place: an empty folder to work in.
        repeats: of every size.
    """
    return [_row(place, *size, repeats=repeats) for size in SIZES]


def _row(place: Path, classes: int, images: int, grouped: bool, *, repeats: int) -> Row:
    name = f"{classes:,} x {images:,}" + (" in groups" if grouped else "")
    what = f"{classes:,} classes, {images:,} images" + (", groups of 1 to 20" if grouped else "")
    command = [sys.executable, "-m", "benchmarks.evaluation", str(classes), str(images), str(int(grouped))]
    log = place / "evaluation.log"
    seconds, peaks_mb = list[float](), list[float]()
    for _ in range(repeats):
        found = benchmarks.measure.measure(command, environment=os.environ, log=log)
        last = benchmarks.measure.last_line(log.read_text(encoding="utf-8", errors="replace"))
        if found.exit_code:
            return Row(name, what, status="failed", note=f"exit code {found.exit_code}: {last}")
        seconds.append(float(last))
        peaks_mb.append(found.peak_mb)
    return Row(
        name,
        what,
        seconds=benchmarks.measure.median(seconds),
        repeats=repeats,
        peak_mb=benchmarks.measure.median(peaks_mb),
        note=f"the logits are {classes * images * 4 / 1e6:,.0f} MB of the memory",
    )


def main(arguments: Sequence[str]) -> None:
    """Score once, and print the seconds."""
    classes, images, grouped = (int(argument) for argument in arguments)
    random = np.random.default_rng(0)
    y_true = random.integers(0, classes, images)
    logits = random.standard_normal((images, classes), dtype=np.float32)
    logits[np.arange(images), y_true] += 3.5
    groups = np.repeat(np.arange(images), random.integers(1, 21, images))[:images] if grouped else None
    names = [f"class {number}" for number in range(classes)]
    print(benchmarks.measure.timed(lambda: split_figures(y_true, logits, class_names=names, groups=groups)))


if __name__ == "__main__":
    main(sys.argv[1:])
