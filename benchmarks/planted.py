"""Photos with planted faults, whose answers are known.

In: a folder of class folders. Out: a changed copy of it, and what was planted where. Nothing of the original changes.

Copies are planted beside their originals, in the original's class. Every kind of change is drawn anew: each photo is
changed at most once.
"""

import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

Pairs = set[frozenset[str]]

LOOK_ALIKES = (("cow", "sheep"), ("cat", "dog"))
COPY_SHARE, SWAP_SHARE, CUT_SHARE = 0.04, 0.05, 0.01
_PREFIX = "planted"


@dataclass(frozen=True)
class Planted:
    """What was planted. Paths are relative to the folder, with `/`.

    Attributes:
        copies: path of a changed copy → (kind of change, path of its original).
        labels: path → the class it had.
        truncated: paths of files cut short.
    """

    copies: Mapping[str, tuple[str, str]]
    labels: Mapping[str, str]
    truncated: frozenset[str]


def _reencoded(image: Image.Image) -> Image.Image:
    return image


def _resized(image: Image.Image) -> Image.Image:
    return image.resize((round(image.width * 0.6), round(image.height * 0.6)), Image.Resampling.LANCZOS)


def _cropped(image: Image.Image) -> Image.Image:
    x, y = round(image.width * 0.05), round(image.height * 0.05)
    return image.crop((x, y, image.width - x, image.height - y))


def _brightened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


# Name → change and the JPEG quality it is saved with.
CHANGES: Mapping[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "quality 60": (_reencoded, 60),
    "resized to 60 %": (_resized, 90),
    "cropped by 5 % a side": (_cropped, 90),
    "flipped": (ImageOps.mirror, 90),
    "brightened by 30 %": (_brightened, 90),
}


def plant(
    data: Path,
    folder: Path,
    *,
    seed: int,
    copy_share: float = COPY_SHARE,
    swap_share: float = 0.0,
    look_alike_share: float = 0.0,
    cut_share: float = 0.0,
) -> Planted:
    """Copy a set of photos and plant faults in the copy.

    Args:
        data: a folder of class folders of JPEG files.
        folder: made anew.
        seed: which photos.
        copy_share: of all photos, copied once for each of `CHANGES`.
        swap_share: of all photos, moved to another class drawn at random.
        look_alike_share: of all photos, moved between the two classes of a pair of `LOOK_ALIKES`.
        cut_share: of all photos, cut short in the middle of the file.
    """
    draw = random.Random(seed)  # noqa: S311 - nothing secret
    files = sorted(path.relative_to(data) for path in data.rglob("*") if path.suffix.casefold() in (".jpg", ".jpeg"))
    classes = sorted({file.parts[0] for file in files})
    for file in files:
        (folder / file.parent).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data / file, folder / file)
    free = draw.sample(files, len(files))
    copies = _plant_copies(folder, free, count=round(copy_share * len(files)))
    labels = _swap(folder, _take(free, round(swap_share * len(files))), draw=draw, classes=classes)
    paired = {name: other for pair in LOOK_ALIKES for name, other in (pair, pair[::-1])}
    alike = [file for file in free if file.parts[0] in paired][: round(look_alike_share * len(files))]
    labels |= _move(folder, {file: paired[file.parts[0]] for file in alike})
    whole = [file for file in free if file not in set(alike)]
    truncated = _take(whole, round(cut_share * len(files)))
    for file in truncated:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: len(content) // 2])
    return Planted(copies, labels, frozenset(file.as_posix() for file in truncated))


def pairs_of(clusters: Iterable[Sequence[str]]) -> Pairs:
    """Every two paths of one cluster."""
    return {frozenset(pair) for cluster in clusters for pair in combinations(cluster, 2)}


def same_photo(pair: frozenset[str], planted: Planted, known: Pairs) -> bool:
    """Whether two paths show one photo: of one original, or of two that were copies before."""
    sources = frozenset(planted.copies[path][1] if path in planted.copies else path for path in pair)
    return len(sources) == 1 or sources in known


def _take(files: list[Path], count: int) -> list[Path]:
    taken = files[:count]
    del files[:count]
    return taken


def _plant_copies(folder: Path, free: list[Path], *, count: int) -> dict[str, tuple[str, str]]:
    copies = {}
    for number, (kind, (change, quality)) in enumerate(CHANGES.items()):
        for file in _take(free, count):
            target = file.with_name(f"{_PREFIX}-{number}-{file.stem}.jpeg")
            with Image.open(folder / file) as image:
                change(image.convert("RGB")).save(folder / target, quality=quality)
            copies[target.as_posix()] = (kind, file.as_posix())
    return copies


def _swap(folder: Path, files: Sequence[Path], *, draw: random.Random, classes: Sequence[str]) -> dict[str, str]:
    others = {file: draw.choice([name for name in classes if name != file.parts[0]]) for file in files}
    return _move(folder, others)


def _move(folder: Path, targets: Mapping[Path, str]) -> dict[str, str]:
    moved = {}
    for file, name in targets.items():
        target = Path(name, f"{_PREFIX}-{file.parts[0]}-{file.name}")
        (folder / file).rename(folder / target)
        moved[target.as_posix()] = file.parts[0]
    return moved
