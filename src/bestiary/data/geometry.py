"""How an RGB image becomes a square of pixels.

In: an RGB image and a `Geometry`. Out: `(size_px, size_px, 3) uint8, RGB`. No file here.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Fit = Literal["crop", "squash", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_PAD_RGB = (127, 127, 127)


@dataclass(frozen=True)
class Geometry:
    """A square and the way to it.

    Attributes:
        size_px: side of the square.
        fit: `crop` resizes the short side to `size_px / crop_fraction` and cuts out the centre; `squash` ignores the
            aspect ratio; `pad` resizes the long side to `size_px` and fills up with mid-grey.
        interpolation: Pillow's resampling filter, antialiased but for `nearest`.
        crop_fraction: in (0, 1]; of `crop` only.
    """

    size_px: int
    fit: Fit = "crop"
    interpolation: Interpolation = "bicubic"
    crop_fraction: float = 1.0

    @property
    def bytes(self) -> int:
        """Of one square."""
        return self.size_px**2 * 3

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for cache keys."""
        return asdict(self)


def arrange(image: Image.Image, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Bring an RGB image to the square: `(size_px, size_px, 3) uint8`."""
    size = geometry.size_px
    filter_ = _RESAMPLING[geometry.interpolation]
    if geometry.fit == "squash":
        return np.asarray(image.resize((size, size), filter_))
    if geometry.fit == "pad":
        return _pad(image, size, filter_)
    return _crop(image, size, filter_, crop_fraction=geometry.crop_fraction)


def _crop(image: Image.Image, size: int, filter_: Image.Resampling, *, crop_fraction: float) -> npt.NDArray[np.uint8]:
    """Resize only the part that survives the crop: the same pixels as resizing all of it, for less work."""
    side = min(image.width, image.height) * crop_fraction
    left = (image.width - side) / 2
    top = (image.height - side) / 2
    return np.asarray(image.resize((size, size), filter_, box=(left, top, left + side, top + side)))


def _pad(image: Image.Image, size: int, filter_: Image.Resampling) -> npt.NDArray[np.uint8]:
    scale = size / max(image.width, image.height)
    width = max(1, round(image.width * scale))
    height = max(1, round(image.height * scale))
    canvas = Image.new("RGB", (size, size), _PAD_RGB)
    canvas.paste(image.resize((width, height), filter_), ((size - width) // 2, (size - height) // 2))
    return np.asarray(canvas)
