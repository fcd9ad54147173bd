"""Drawings for the demo: digits in coloured ink on coloured paper, and pictures that are no digits.

In: 8 x 8 strokes of scikit-learn's digits, and a random generator. Out: pictures of mode RGB. Owns no file.

The plain grey digits would be poor photos: to a frozen backbone they are all alike. In colour, shifted, a little noisy
and on unevenly lit paper, a linear probe recognises nine of ten digits of six classes.
"""

import colorsys
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

Strokes = npt.NDArray[np.float64]
Values = npt.NDArray[np.float64]

SIDE_PX = 96
_SHADES = 6  # patches of light and shadow a side
_SHADE_SPREAD, _NOISE_SPREAD = 7.0, 3.0  # of 255


def draw_digit(strokes: Strokes, random: np.random.Generator, *, side_px: int = SIDE_PX) -> Image.Image:
    """A digit in dark ink on pale paper.

    Args:
        strokes: `(8, 8)`, in [0, 1], 1 is ink.
        random: decides on place, colours, light and noise.
        side_px: of the picture.
    """
    ink = _ink(strokes, random, side_px)[..., None]
    paper, pen = _colour(random, saturation=0.12, value=random.uniform(0.88, 1.0)), _colour(random, 0.6, 0.25)
    return _photo(paper * (1 - ink) + pen * ink, random)


def draw_plainly(strokes: Strokes, random: np.random.Generator) -> Image.Image:
    """The same in two flat colours, as a drawing program saves it."""
    ink = (_ink(strokes, random, SIDE_PX) > 0.5)[..., None]
    return _picture(np.where(ink, _colour(random, 0.6, 0.25), _colour(random, 0.12, 0.95)))


def _ink(strokes: Strokes, random: np.random.Generator, side_px: int) -> Values:
    """`(side, side)` in [0, 1]: how much ink there is."""
    margin, shift = side_px // 12, side_px // 24
    pen = Image.fromarray(np.rint(strokes * 255).astype(np.uint8))
    left, top = (int(offset) + margin for offset in random.integers(-shift, shift + 1, 2))
    sheet = Image.new("L", (side_px, side_px), 0)
    sheet.paste(pen.resize((side_px - 2 * margin,) * 2, Image.Resampling.BICUBIC), (left, top))
    return np.clip((np.asarray(sheet, dtype=np.float64) / 255 - 0.4) * 5, 0, 1)


def _colour(random: np.random.Generator, saturation: float, value: float) -> Values:
    """A colour of any hue: `(3,)` in [0, 255]."""
    return np.array(colorsys.hsv_to_rgb(random.uniform(), saturation, value)) * 255


def _photo(colours: Values, random: np.random.Generator) -> Image.Image:
    """Colours `(height, width, 3)` under uneven light, with the noise of a camera."""
    height, width = colours.shape[:2]
    light = Image.fromarray(random.normal(0, _SHADE_SPREAD, (_SHADES, _SHADES)).astype(np.float32))
    shade = np.asarray(light.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    noise = random.normal(0, _NOISE_SPREAD, (height, width))
    return _picture(colours + (shade + noise)[..., None])


def _picture(colours: Values) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(colours, 0, 255)).astype(np.uint8))


def _snow(random: np.random.Generator) -> Image.Image:
    return _picture(random.uniform(0, 255, (SIDE_PX, SIDE_PX, 3)))


def _stripes(random: np.random.Generator) -> Image.Image:
    across = np.add.outer(np.arange(SIDE_PX), np.arange(SIDE_PX))
    return _two_colours(across // 6 % 2 == 0, random)


def _checks(random: np.random.Generator) -> Image.Image:
    tiles = np.arange(SIDE_PX) // 12
    return _two_colours(np.add.outer(tiles, tiles) % 2 == 0, random)


def _rings(random: np.random.Generator) -> Image.Image:
    along = np.arange(SIDE_PX) - SIDE_PX / 2
    return _two_colours(np.hypot.outer(along, along) // 7 % 2 == 0, random)


def _blank(random: np.random.Generator) -> Image.Image:
    return _two_colours(np.zeros((SIDE_PX, SIDE_PX), dtype=bool), random)


def _two_colours(first: npt.NDArray[np.bool_], random: np.random.Generator) -> Image.Image:
    one, other = _colour(random, 0.7, 0.8), _colour(random, 0.15, 0.95)
    return _photo(np.where(first[..., None], one, other), random)


# Pictures that show no digit.
ODDITIES: MappingProxyType[str, Callable[[np.random.Generator], Image.Image]] = MappingProxyType(
    {"snow": _snow, "stripes": _stripes, "checks": _checks, "rings": _rings, "blank": _blank}
)
