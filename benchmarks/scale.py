"""How a study grows with its photos: seconds, memory and disk at several sizes, and what that means for millions.

In: a folder of photos. Out: rows: a cold and a warm study of one probe at every size, an audit of the same photos over
the features that the study left in the cache, the slope between the two largest studies, and extrapolations, which say
so.

Larger sets are copies of the photos, each cropped by a pixel or more and encoded anew, so that no two files are alike.
Making them is not timed. Every study runs once, with caches of its own.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.against import PROBE
from benchmarks.commands import bestiary, shown
from benchmarks.measure import Measured, last_line
from benchmarks.rows import Row

SIZES = (2_618, 13_090, 26_180)
FAR = (1_000_000, 100_000_000)
_QUALITIES = 8


@dataclass(frozen=True)
class Point:
    """A cold study of so many photos; bytes on disk of its caches and of its own folder."""

    images: int
    measured: Measured
    cache_bytes: int
    study_bytes: int


def measure(data: Path, place: Path, sizes: Sequence[int] = SIZES) -> list[Row]:
    """All sizes, smallest first.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        sizes: how many photos.
    """
    place.mkdir(parents=True, exist_ok=True)
    config = place / "lite2-probe.toml"
    config.write_text(PROBE, encoding="utf-8")
    rows, points = list[Row](), list[Point]()
    for size in sorted(set(sizes)):
        photos, study, cache = (place / f"{kind}-{size}" for kind in ("photos", "study", "cache"))
        make(data, photos, size)
        arguments: list[str | Path] = ["study", photos, "--out", study, "--config", config]
        for way in ("cold", "warm", "audit"):
            log = place / f"{way}-{size}.log"
            command: list[str | Path] = ["audit", study] if way == "audit" else arguments
            found = bestiary(command, cache=cache, log=log)
            print(f"{size} {way}: {found}", flush=True)
            name, what = f"{way} {size:,}", shown(command)
            if found.exit_code:
                reason = last_line(log.read_text(encoding="utf-8", errors="replace"))
                rows.append(Row(name, what, status="failed", repeats=1, note=reason))
                break
            point = Point(size, found, _bytes(cache), _bytes(study))
            if way == "cold":
                points.append(point)
            rows.append(_row(name, what, point))
        for folder in (photos, study, cache):
            shutil.rmtree(folder, ignore_errors=True)
    return [*rows, *far_rows(points)]


def make(data: Path, folder: Path, size: int) -> None:
    """Write `size` photos that all differ: those of `data` first, then changed copies."""
    files = sorted(path for path in data.rglob("*") if path.suffix.casefold() in (".jpg", ".jpeg"))
    count = min(size, len(files))
    chosen = [files[number * len(files) // count] for number in range(count)]

    def write(number: int) -> None:
        file, copy = chosen[number % len(chosen)], number // len(chosen)
        target = folder / file.parent.relative_to(data) / f"{file.stem}-{copy}.jpeg"
        if not copy:
            shutil.copyfile(file, target)
            return
        # A quality and a crop of its own for every copy: 8 copies a pixel.
        pixels, quality = 1 + (copy - 1) // _QUALITIES, 88 + (copy - 1) % _QUALITIES
        with Image.open(file) as image:
            image.convert("RGB").crop((pixels, pixels, *image.size)).save(target, quality=quality)

    for parent in {file.parent for file in chosen}:
        (folder / parent.relative_to(data)).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(size)):
            pass


def _row(name: str, what: str, point: Point) -> Row:
    note = f"{point.measured.wall_s / point.images * 1000:.2f} s a 1,000 photos"
    note += f"; cache {_megabytes(point.cache_bytes)}, study {_megabytes(point.study_bytes)}"
    return Row(name, what, seconds=point.measured.wall_s, repeats=1, peak_mb=point.measured.peak_mb, note=note)


def far_rows(points: Sequence[Point]) -> list[Row]:
    """The slope between the two largest sets, and the line through them at far sizes; none where there is one set."""
    if len(points) < 2:
        return []
    near, last = points[-2:]
    more = last.images - near.images

    def slope(first: float, second: float) -> float:
        return (second - first) / more

    second_s = slope(near.measured.wall_s, last.measured.wall_s)
    memory_mb = slope(near.measured.peak_mb, last.measured.peak_mb)
    cache, study = slope(near.cache_bytes, last.cache_bytes), slope(near.study_bytes, last.study_bytes)
    between = f"between {near.images:,} and {last.images:,} photos, cold"
    note = f"a 1,000 photos: {memory_mb * 1000:.1f} MB of memory, cache {_megabytes(cache * 1000)}, study "
    rows = [
        Row("slope", f"1,000 photos more, {between}", seconds=second_s * 1000, note=note + _megabytes(study * 1000))
    ]
    for images in FAR:
        beyond = images - last.images
        seconds = last.measured.wall_s + second_s * beyond
        disk = last.cache_bytes + last.study_bytes + (cache + study) * beyond
        note = f"extrapolated: {seconds / 3600:,.1f} hours, {disk / 1e9:,.1f} GB of disk, {images:,} passes"
        peak_mb = last.measured.peak_mb + memory_mb * beyond
        what = "on a straight line, if memory sufficed"
        rows.append(Row(f"extrapolated {images:,}", what, seconds=seconds, peak_mb=peak_mb, note=note))
    return rows


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
