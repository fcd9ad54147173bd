"""Measures: an RGB image → the numbers by which quality and shortcuts are judged, and a small grey picture.

In: decoded images. Out: arrays. Owns no file; `image_statistics` caches what comes out.

It goes in two steps. `sketch` takes of an image what Pillow computes, without the interpreter's lock, in threads.
`measure` turns many sketches into numbers at once. CleanVision's own functions, called image by image, hold the lock
for most of their time: of 2,618 photos of 300 px on two cores 5.6 s, where this takes 2.6 s.
The formulas of brightness and entropy are CleanVision's (0.3.7, `image_property`), and a test holds the numbers to it.

Brightness is that of 12,544 pixels taken at equal distances, which keeps its distribution, where averaging would narrow
it. Blur and colour are measured on small copies, made in two steps, first by averaging whole blocks of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

# To be raised with any change of a measure: cached rows of older versions are then measured again.
VERSION = 2
GREY_PX = 64

_PERCENTILES = (1, 5, 10, 15, 90, 95, 99)
# brightness to entropy: as CleanVision calculates and names them; brightness in [0, 1], entropy in bits.
# edge_blur, blur_effect: how soft the strongest edges and all of them are, in [0, 1]; see `_blur`.
# contrast: standard deviation of luminance, in [0, 0.5].
# saturation: mean of (max - min) of R, G and B, in [0, 1].
# chroma: what 99 % of the picture stays below of (max - min), in [0, 1]; near 0 in a grey photo, whatever its mode.
# colourfulness: Hasler and Suesstrunk's M3 (2003, Proc. SPIE 5007:87) for channels in [0, 1].
# tint_red, tint_green: the shares of red and green in the mean colour, in [0, 1], where a pixel weighs as much as it is
# coloured; a third each where there is no colour.
# border_*: how much of the height or width one even shade takes up at that side, in [0, 1].
# border_shade: the mean luminance of these, in [0, 1], or 0.5 where there is no border.
COLUMNS = (
    "brightness",
    *(f"brightness_perc_{percentile}" for percentile in _PERCENTILES),
    "entropy",
    "edge_blur",
    "blur_effect",
    "contrast",
    "saturation",
    "chroma",
    "colourfulness",
    "tint_red",
    "tint_green",
    "border_top",
    "border_bottom",
    "border_left",
    "border_right",
    "border_shade",
)
_SIDES = ("top", "bottom", "left", "right")

_SAMPLE_PX = 112
_FOCUS_PX, _REBLUR_WIDTH_PX, _TOO_SMALL_PX = 128, 5, 64
# The strongest edges: this share of all differences between neighbours. Below a mean difference of so many grey levels
# of 255 there is no edge to judge by.
_STRONGEST, _FAINTEST_EDGE = 0.02, 3.0
# Small copies are made from one of at least twice their size a side, as with Pillow's reducing_gap=2.
_REDUCED_PX = 2 * GREY_PX
# Borders are looked for in a copy of at most so many pixels a side: of a 50-megapixel photo one line in 16 is seen.
_BORDER_PX = 512
# Of 255. JPEG at quality 75 strays by up to 8 beside an edge.
_EVEN = 16
_RED_GREEN_BLUE = np.array([0.241, 0.691, 0.068], dtype=np.float32)  # of CleanVision's perceived brightness
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Sketch:
    """What Pillow computes of one image.

    Attributes:
        small: the image squashed to `(64, 64, 3) uint8`, antialiased.
        grey: the luminance of that, `(64, 64) uint8`.
        focus: luminance of the image squashed to at most `(128, 128) uint8`; never enlarged.
        sample: pixels at equal distances, `(112, 112, 3) uint8`.
        numbers: entropy, shares of the four borders, shade of the borders.
    """

    small: npt.NDArray[np.uint8]
    grey: npt.NDArray[np.uint8]
    focus: npt.NDArray[np.uint8]
    sample: npt.NDArray[np.uint8]
    numbers: list[float]


def sketch(image: Image.Image) -> Sketch:
    """Sketch an image of mode `RGB`."""
    reduced = _reduced(image)
    small = reduced.resize((GREY_PX, GREY_PX), Image.Resampling.BILINEAR)
    focus_px = (min(image.width, _FOCUS_PX), min(image.height, _FOCUS_PX))
    focus = reduced.resize(focus_px, Image.Resampling.BILINEAR).convert("L")
    sample = image.resize((_SAMPLE_PX, _SAMPLE_PX), Image.Resampling.NEAREST)
    return Sketch(
        np.asarray(small),
        np.asarray(small.convert("L")),
        np.asarray(focus),
        np.asarray(sample),
        [image.entropy(), *_borders(image)],
    )


def squashed(image: Image.Image, side_px: int) -> npt.NDArray[np.uint8]:
    """The luminance of an image of mode `RGB` squashed to a square, antialiased: `(side_px, side_px) uint8`."""
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L"))


def measure(sketches: Sequence[Sketch]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Sketches in numbers, `(n, len(COLUMNS)) float32` in their order, and their grey, `(n, 64, 64) uint8`."""
    numbers = np.array([sketched.numbers for sketched in sketches])
    columns = [
        *_brightness(np.stack([sketched.sample for sketched in sketches])),
        numbers[:, 0],
        *_blurs([sketched.focus for sketched in sketches]),
        *_colour(np.stack([sketched.small for sketched in sketches])),
        *numbers[:, 1:].T,
    ]
    return np.stack(columns, axis=1).astype(np.float32), np.stack([sketched.grey for sketched in sketches])


def _brightness(samples: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    """Brightness of the mean colour, and percentiles of the pixels' brightness (nearest rank)."""
    pixels = samples.reshape(len(samples), -1, 3).astype(np.float32) / 255
    of_mean = np.sqrt(pixels.mean(axis=1) ** 2 @ _RED_GREEN_BLUE)
    # The root keeps the order, and is taken of a few only.
    squares = np.sort(pixels**2 @ _RED_GREEN_BLUE, axis=1)
    ranks = [round(percentile / 100 * (squares.shape[1] - 1)) for percentile in _PERCENTILES]
    return [of_mean, *np.sqrt(squares[:, ranks]).T]


def _blurs(focused: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    """`_blur` of pictures of several sizes: `(2, n) float32`; 0 where a side is too short to tell."""
    found = np.zeros((2, len(focused)), dtype=np.float32)
    shapes = np.array([grey.shape for grey in focused])
    for shape in np.unique(shapes, axis=0):
        if shape.min() >= _TOO_SMALL_PX:
            rows = np.flatnonzero((shapes == shape).all(axis=1)).tolist()
            found[:, rows] = _blur(np.stack([focused[row] for row in rows]))
    return found


def _blur(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The share of the change across edges that blurring leaves, of `(n, height, width)`: `(2, n)`.

    Crete's blur effect (2007, Proc. SPIE 6492:64920I), of the strongest edges and of all neighbours. A sky, or a
    background out of focus, is soft in most places, and so a photo whose subject is sharp may have a large effect over
    all; its strongest edges are sharp. It is the larger one of rows and columns: motion blurs one of the two.
    """
    of_strongest, of_all, half = [], [], _REBLUR_WIDTH_PX // 2
    for lines in (grey, grey.transpose(0, 2, 1)):
        sums = np.cumsum(np.pad(lines, ((0, 0), (0, 0), (1, 0))), axis=-1, dtype=np.float32)
        blurred = (sums[..., _REBLUR_WIDTH_PX:] - sums[..., :-_REBLUR_WIDTH_PX]) / _REBLUR_WIDTH_PX
        change = np.abs(np.diff(lines[..., half:-half].astype(np.float32), axis=-1)).reshape(len(lines), -1)
        lost = np.maximum(change - np.abs(np.diff(blurred, axis=-1)).reshape(len(lines), -1), 0)
        of_all.append(1 - lost.sum(axis=1) / np.maximum(change.sum(axis=1), 1))
        last = change.shape[1] - max(round(_STRONGEST * change.shape[1]), 1)
        strongest = change >= np.partition(change, last, axis=1)[:, last, None]
        whole, count = (change * strongest).sum(axis=1), strongest.sum(axis=1)
        effect = 1 - (lost * strongest).sum(axis=1) / np.maximum(whole, 1)
        of_strongest.append(np.where(whole >= _FAINTEST_EDGE * count, effect, 0))
    return np.stack([np.maximum(*of_strongest), np.maximum(*of_all)])


def _colour(small: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
    """Contrast, saturation, chroma, colourfulness, tints: of small pictures, where chroma noise is averaged away."""
    pixels = small.reshape(len(small), -1, 3).astype(np.float32) / 255
    red, green, blue = np.moveaxis(pixels, -1, 0)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    deviation = np.hypot(red_green.std(axis=1), yellow_blue.std(axis=1))
    mean = np.hypot(red_green.mean(axis=1), yellow_blue.mean(axis=1))
    chroma = np.sort(spread, axis=1)[:, round(0.99 * (spread.shape[1] - 1))]
    weighted = (pixels * spread[..., None]).sum(axis=1)
    whole = weighted.sum(axis=1)
    tints = [np.where(whole > 0, weighted[:, band] / np.where(whole > 0, whole, 1), 1 / 3) for band in (0, 1)]
    return [(pixels @ _LUMINANCE).std(axis=1), spread.mean(axis=1), chroma, deviation + 0.3 * mean, *tints]


def _borders(image: Image.Image) -> list[float]:
    """The share of each side that is border: top, bottom, left, right; and the shade of all of them."""
    if max(image.size) > _BORDER_PX:
        image = image.resize(_within(image, _BORDER_PX), Image.Resampling.NEAREST)
    width, height = image.size
    outermost = {
        "top": (0, 0, width, 1),
        "bottom": (0, height - 1, width, height),
        "left": (0, 0, 1, height),
        "right": (width - 1, 0, width, height),
    }
    even = [side for side, box in outermost.items() if _spread(image.crop(box).convert("L")) <= _EVEN]
    if not even:  # as in nine photos of ten
        return [0.0, 0.0, 0.0, 0.0, 0.5]
    grey = np.asarray(image.convert("L"))
    lines = {"top": grey, "bottom": grey[::-1], "left": grey.T, "right": grey.T[::-1]}
    bands = {side: lines[side][: _even_lines(lines[side])] for side in even}
    shares = [len(bands[side]) / len(lines[side]) if side in bands else 0.0 for side in _SIDES]
    shade = sum(float(band.sum()) for band in bands.values()) / sum(band.size for band in bands.values()) / 255
    return [*shares, shade]


def _spread(line: Image.Image) -> int:
    values = np.asarray(line)
    return int(values.max()) - int(values.min())


def _even_lines(lines: npt.NDArray[np.uint8]) -> int:
    """How many lines from the first on are, taken together, of one shade."""
    lowest = np.minimum.accumulate(lines.min(axis=1))
    highest = np.maximum.accumulate(lines.max(axis=1))
    return int(np.count_nonzero(highest - lowest <= _EVEN))


def _within(image: Image.Image, most_px: int) -> tuple[int, int]:
    """The size at which the long side is `most_px`, as CleanVision rounds it; never enlarged."""
    ratio = max(image.size) / most_px
    return image.size if ratio <= 1 else (max(int(image.width // ratio), 1), max(int(image.height // ratio), 1))


def _reduced(image: Image.Image) -> Image.Image:
    factors = (max(image.width // _REDUCED_PX, 1), max(image.height // _REDUCED_PX, 1))
    return image if factors == (1, 1) else image.reduce(factors)
