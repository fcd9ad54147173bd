"""Planting: a set of drawn digits with faults of 17 kinds that the audit finds, and a list of them.

In: a folder and a seed. Out: `train/<class>/` and `test/<class>/` below it, and the faults. The same seed gives the
same bytes. Each file with a fault is named after it.

A file is listed under every kind that is true of it: the copy of a train image in test is a leak and a duplicate, a
copy in another class is a conflict and a wrong label.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from bestiary.demo.drawing import ODDITIES, SIDE_PX, Strokes, draw_digit, draw_plainly

# Images in train and in test. Those of the first five classes carry the faults.
_USUAL, _SMALL, _RARE = (80, 20), (32, 8), (10, 2)
CLASSES: MappingProxyType[str, tuple[int, int]] = MappingProxyType(
    {"0": _USUAL, "1": _USUAL, "2": _USUAL, "4": _USUAL, "7": _USUAL, "6": _USUAL, "8": _SMALL, "5": _RARE}
)
_SOUND = ("0", "1", "2", "4", "7")
_FRAMED = "6"
_FRAME_PX = 4
_WRONG_LABELS = 12


@dataclass(frozen=True)
class Fault:
    """A fault that was planted.

    Attributes:
        kind: as the audit calls it.
        place: the path of the file that carries it, from the folder on; the name of the class that does.
        original: the path of what it is a copy of, or "".
    """

    kind: str
    place: str
    original: str = ""


def plant(folder: Path, *, seed: int = 0) -> list[Fault]:
    """Draw the digits, with faults among them.

    Args:
        folder: where to; files that are there already stay, but for those of the same name.
        seed: of everything that is left to chance.
    """
    sheets = _Sheets(folder, seed)
    return [
        *_whole_classes(sheets),
        *_unreadable(sheets),
        *_copies(sheets),
        *_near_copies(sheets),
        *_wrong_labels(sheets),
        *_no_digits(sheets),
        *_poor_pictures(sheets),
    ]


class _Sheets:
    """The folder that is drawn into, and what has not been used yet."""

    def __init__(self, folder: Path, seed: int) -> None:
        from sklearn.datasets import load_digits

        values, digits = load_digits(return_X_y=True)
        self.folder = folder
        self.random = np.random.default_rng(seed)
        self._strokes = {label: iter(values[digits == int(label)].reshape(-1, 8, 8) / 16) for label in CLASSES}
        self._originals = {label: self._unused(label) for label in _SOUND}
        self._turn = 0

    def _unused(self, label: str) -> Iterator[str]:
        numbers = self.random.permutation(CLASSES[label][0])
        return (_name("train", label, number) for number in numbers)

    def strokes(self, label: str) -> Strokes:
        """Of a digit that has not been drawn."""
        return next(self._strokes[label])

    def label(self) -> str:
        """One class after the other of those that carry faults."""
        self._turn += 1
        return _SOUND[self._turn % len(_SOUND)]

    def original(self, label: str) -> str:
        """A sound train image that no other fault is a copy of."""
        return next(self._originals[label])

    def save(self, path: str, image: Image.Image) -> str:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        # Level 1 takes a third of the default's time and a tenth more room.
        image.save(place, compress_level=1, quality=60)
        return path

    def read(self, path: str) -> Image.Image:
        with Image.open(self.folder / path) as image:
            return image.convert("RGB")

    def copy(self, original: str, path: str) -> str:
        shutil.copyfile(self.folder / original, self.folder / path)
        return path

    def write(self, path: str, content: bytes) -> str:
        (self.folder / path).write_bytes(content)
        return path


def _name(split: str, label: str, number: int) -> str:
    return f"{split}/{label}/{number:03d}.png"


def _whole_classes(sheets: _Sheets) -> list[Fault]:
    """All sound images; two small classes, one of them rare, and one whose images have a white frame."""
    for label, counts in CLASSES.items():
        for split, count in zip(("train", "test"), counts, strict=True):
            for number in range(count):
                image = draw_digit(sheets.strokes(label), sheets.random)
                if label == _FRAMED:
                    image = ImageOps.expand(ImageOps.crop(image, _FRAME_PX), _FRAME_PX, "white")
                sheets.save(_name(split, label, number), image)
    small = [Fault("small_class", label) for label, counts in CLASSES.items() if counts != _USUAL]
    rare = [Fault("imbalance", label) for label, counts in CLASSES.items() if counts == _RARE]
    return [*small, *rare, Fault("shortcut", _FRAMED)]


def _unreadable(sheets: _Sheets) -> list[Fault]:
    whole = (sheets.folder / _name("train", "4", 0)).read_bytes()
    paths = [
        sheets.write("train/4/cut-short.png", whole[: len(whole) // 2]),
        sheets.write("train/1/notes.png", b"These are my notes, saved under the wrong name.\n"),
        sheets.write("train/2/empty.png", b""),
    ]
    return [Fault("unreadable", path) for path in paths]


def _copies(sheets: _Sheets) -> Iterator[Fault]:
    """Bytes copied within a class, into another class, and from train into test."""
    for number in range(3):
        label = sheets.label()
        original = sheets.original(label)
        yield Fault("exact_duplicate", sheets.copy(original, f"train/{label}/copy-{number}.png"), original)
    for number in range(3):
        label, other = sheets.label(), sheets.label()
        original = sheets.original(label)
        path = sheets.copy(original, f"train/{other}/conflict-{number}.png")
        yield Fault("label_conflict", path, original)
        yield Fault("label_error", path)
    for number in range(3):
        label = sheets.label()
        original = sheets.original(label)
        path = sheets.copy(original, f"test/{label}/leak-{number}.png")
        yield Fault("leak", path, original)
        yield Fault("exact_duplicate", path, original)


def _near_copies(sheets: _Sheets) -> Iterator[Fault]:
    """The same picture, changed: twice in train, and once in test, where it leaks."""
    for change, (ending, changed) in _CHANGES.items():
        for split in ("train", "train", "test"):
            label = sheets.label()
            original = sheets.original(label)
            path = f"{split}/{label}/{change}-of-{Path(original).stem}{ending}"
            sheets.save(path, changed(sheets.read(original)))
            yield Fault("near_duplicate", path, original)
            if split == "test":
                yield Fault("leak", path, original)


def _resized(image: Image.Image) -> Image.Image:
    return image.resize((round(0.6 * SIDE_PX),) * 2, Image.Resampling.BICUBIC)


def _cropped(image: Image.Image) -> Image.Image:
    return ImageOps.crop(image, round(0.025 * SIDE_PX))


def _brightened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.2)


# How a copy is changed, and the format that it is saved in (a JPEG of quality 60).
_CHANGES: MappingProxyType[str, tuple[str, Callable[[Image.Image], Image.Image]]] = MappingProxyType(
    {
        "re-encoded": (".jpg", lambda image: image),
        "resized": (".png", _resized),
        "cropped": (".png", _cropped),
        "mirrored": (".png", ImageOps.mirror),
        "brightened": (".png", _brightened),
    }
)


def _wrong_labels(sheets: _Sheets) -> Iterator[Fault]:
    pairs = [(true, given) for true in _SOUND for given in _SOUND if true != given]
    for number in sheets.random.permutation(len(pairs))[:_WRONG_LABELS]:
        true, given = pairs[number]
        image = draw_digit(sheets.strokes(true), sheets.random)
        yield Fault("label_error", sheets.save(f"train/{given}/really-{true}.png", image))


def _no_digits(sheets: _Sheets) -> Iterator[Fault]:
    for name, draw in ODDITIES.items():
        yield Fault("outlier", sheets.save(f"train/{sheets.label()}/{name}.png", draw(sheets.random)))


def _poor_pictures(sheets: _Sheets) -> Iterator[Fault]:
    for kind, draw in _POOR.items():
        for number in range(3):
            label = sheets.label()
            name = kind.replace("_", "-")
            image = draw(sheets.strokes(label), sheets.random)
            yield Fault(kind, sheets.save(f"train/{label}/{name}-{number}.png", image))


def _dark(strokes: Strokes, random: np.random.Generator) -> Image.Image:
    return draw_digit(strokes, random).point(lambda value: 0.25 * value)


def _light(strokes: Strokes, random: np.random.Generator) -> Image.Image:
    """Overexposed and yellowish: what is quite white would be grey as well."""
    red, green, blue = draw_digit(strokes, random).point(lambda value: 255 - 0.04 * (255 - value)).split()
    return Image.merge("RGB", (red, green, blue.point(lambda value: 0.85 * value)))


def _blurred(strokes: Strokes, random: np.random.Generator) -> Image.Image:
    return draw_digit(strokes, random).filter(ImageFilter.GaussianBlur(SIDE_PX / 24))


def _strip(strokes: Strokes, random: np.random.Generator) -> Image.Image:
    """Two thirds as high as the others and more than two times as wide, with the digit in the middle."""
    image = draw_digit(strokes, random)
    height, width = 2 * SIDE_PX // 3, 9 * SIDE_PX // 4
    edge = image.resize((1, 1), Image.Resampling.BOX, box=(0, 0, SIDE_PX, 4)).resize((width, height))
    edge.paste(image.resize((height, height), Image.Resampling.BICUBIC), ((width - height) // 2, 0))
    return edge


def _large(strokes: Strokes, random: np.random.Generator) -> Image.Image:
    return draw_digit(strokes, random, side_px=3 * SIDE_PX)


def _grey(strokes: Strokes, random: np.random.Generator) -> Image.Image:
    return ImageOps.grayscale(draw_digit(strokes, random))


_POOR: MappingProxyType[str, Callable[[Strokes, np.random.Generator], Image.Image]] = MappingProxyType(
    {
        "dark": _dark,
        "light": _light,
        "blurry": _blurred,
        "low_information": draw_plainly,
        "odd_aspect_ratio": _strip,
        "odd_size": _large,
        "grayscale": _grey,
    }
)
