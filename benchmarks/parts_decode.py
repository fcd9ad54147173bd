"""Decoding: Pillow, which is ours, against its draft mode and simplejpeg; and what a study could gain.

In: a folder of photos. Out: rows of seconds a 1,000 photos on two threads, each with its difference to Pillow's pixels.
Two sets: the photos as they are, and some enlarged eight times, as cameras write them. The last row sets decoding
against a cold study. The ways run in an environment of their own: `peers/decode.py`.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.against import PROBE
from benchmarks.commands import bestiary, shown
from benchmarks.environments import Environment, EnvironmentMissingError, prepare
from benchmarks.measure import last_line, median
from benchmarks.measure import measure as run_command
from benchmarks.photos import cache_in, read
from benchmarks.rows import Row, not_run, ratio
from benchmarks.sides import SCRIPTS, keep, warm_up
from bestiary.config.schema import ModelConfig
from bestiary.models.backbones import build_backbone

ENVIRONMENT, SCRIPT, BACKBONE = "decode", "decode.py", "tf_efficientnet_lite2"
IMAGES, ENLARGED, TIMES = 500, 100, 8
WHAT = {
    "pillow": "Pillow, as ours",
    "pillow-draft": "Pillow, decoded at a half, a quarter or an eighth where that is enough",
    "simplejpeg": "simplejpeg, whole",
    "simplejpeg-scaled": "simplejpeg, decoded at the least of n/8 that is enough",
}


def measure(
    data: Path, place: Path, repeats: int, *, images: int = IMAGES, enlarged: int = ENLARGED, study: bool = True
) -> list[Row]:
    """Both sets, then the share of decoding in a study.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: of every way.
        images: how many photos as they are.
        enlarged: how many enlarged ones.
        study: whether to run the study.
    """
    place.mkdir(parents=True, exist_ok=True)
    try:
        environment = prepare(ENVIRONMENT)
        warm_up(SCRIPT, environment, log=place / "versions.log")
    except EnvironmentMissingError as error:
        return [not_run(ENVIRONMENT, "ways to decode", str(error))]
    with cache_in(place / "cache"):
        photos = read(data)
    colour = photos.images[(photos.images["format"] == "JPEG") & (photos.images["mode"] == "RGB")]
    files = [data / path for path in colour["path"]]
    few = files[:: max(1, len(files) // images)][:images]
    large = _enlarge(files[:: max(1, len(files) // enlarged)][:enlarged], place / "enlarged")
    rows = list[Row]()
    per_photo_s: dict[str, float] = {}
    for name, chosen in (("as-they-are", few), ("enlarged", large)):
        found = _run(name, chosen, environment, place, repeats)
        if isinstance(found, str):
            rows.append(Row(name, "ways to decode", status="failed", note=found))
            continue
        keep(f"decode-{name}", found)
        rows += _rows(name, found)
        if name == "as-they-are":
            per_photo_s = {way: (median(times) or 0.0) / len(chosen) for way, times in found["seconds"].items()}
    if study and per_photo_s:
        rows.append(_share(data, place, per_photo_s, len(photos.images)))
    return rows


def _enlarge(files: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir()

    def write(number: int, file: Path) -> Path:
        with Image.open(file) as image:
            size = (image.width * TIMES, image.height * TIMES)
            image.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.jpeg", quality=90)
        return folder / f"{number}.jpeg"

    with ThreadPoolExecutor() as pool:
        return list(pool.map(write, range(len(files)), files))


def _run(name: str, files: Sequence[Path], environment: Environment, place: Path, repeats: int) -> dict[str, Any] | str:
    """The script's figures, or why there are none."""
    listed, out, log = place / f"{name}.txt", place / f"{name}.json", place / f"{name}.log"
    listed.write_text("\n".join(str(file.absolute()) for file in files), encoding="utf-8")
    geometry = build_backbone(ModelConfig(backbone=BACKBONE)).preprocessing.geometry
    options = {"--size": geometry.size_px, "--crop-fraction": geometry.crop_fraction, "--repeats": repeats}
    command: list[str | Path] = [environment.python, "-I", SCRIPTS / SCRIPT, listed, out]
    command += [word for name, value in options.items() for word in (name, str(value))]
    if run_command(command, environment=environment.variables, log=log).exit_code:
        return last_line(log.read_text(encoding="utf-8", errors="replace"))
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _rows(name: str, found: dict[str, Any]) -> list[Row]:
    seconds = {way: (median(times) or 0.0) * 1000 / found["photos"] for way, times in found["seconds"].items()}
    rows = []
    for way, value in seconds.items():
        gap = found["differences"][way]
        note = f"{1000 / value:.0f} photos/s" + (
            "" if way == "pillow" else f"; pixels differ by {gap['mean']:.2f} on average, {gap['largest']} at most"
        )
        runs, times_ours = len(found["seconds"][way]), ratio(value, seconds["pillow"])
        rows.append(Row(f"{name} {way}", f"1,000 photos: {WHAT[way]}", "done", value, runs, None, None, times_ours,
                        note=note))  # fmt: skip
    enough = f"{found['large_enough']} of {found['photos']} photos"
    what = f"both sides at least twice the {found['needed_px']} px that are needed"
    return [*rows, Row(f"{name} scalable", what, note=enough)]


def _share(data: Path, place: Path, per_photo_s: dict[str, float], images: int) -> Row:
    """A study decodes each photo twice: for the index, at full size, and for the network."""
    config, log = place / "lite2-probe.toml", place / "study.log"
    config.write_text(PROBE, encoding="utf-8")
    arguments: list[str | Path] = ["study", data, "--out", place / "study", "--config", config]
    found = bestiary(arguments, cache=place / "study-cache", log=log)
    if found.exit_code:
        reason = last_line(log.read_text(encoding="utf-8", errors="replace"))
        return Row("study", shown(arguments), status="failed", note=reason)

    def share(seconds: float) -> str:
        return f"{seconds:.1f} s, {seconds / found.wall_s:.0%}"

    whole, gained = images * per_photo_s["pillow"], images * (per_photo_s["pillow"] - per_photo_s["simplejpeg"])
    note = (
        f"estimated from the rows above: decoding and resizing {images:,} photos once {share(whole)}, twice (index and "
        f"network) {share(2 * whole)}; simplejpeg would save at most {share(2 * gained)}"
    )
    return Row("study", f"cold: {shown(arguments)}", seconds=found.wall_s, repeats=1, note=note)
