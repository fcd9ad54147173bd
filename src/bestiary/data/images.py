"""One image file → RGB, strictly.

In: a file or its bytes. Out: an 8-bit RGB Pillow image, or an `ImageError` whose message is the reason. No file here.

The rules, the same everywhere in bestiary:
- JPEG (also MPO), PNG, WebP, GIF, BMP and TIFF, told by content and not by the file's ending; of several frames the
  first.
- Turned as its EXIF orientation says.
- Grey is repeated in three channels; palettes are looked up; CMYK, YCbCr and Lab are converted by Pillow, without
  colour profiles, as torchvision and timm do.
- 16-bit grey is divided by 257. A floating-point image has no stated range and is refused.
- Transparency is laid over white.
- A file that is cut short, empty, no image, or of more pixels than Pillow's limit against decompression bombs is
  refused. Nothing is filled in.
"""

import io
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from bestiary.errors import ImageError

# JPEG includes MPO, which Pillow's JPEG reader recognises. The plugins are imported by name because Pillow's loading of
# them on first use is not safe in many threads at once.
FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
    )
)

# What Pillow's decoders raise on damaged data, found by cutting and flipping bytes in files of every format.
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, IndexError, EOFError, OverflowError, TypeError)

# Pillow warns above this many pixels and refuses above twice as many; here its own refusal is the limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class ImageFacts:
    """What a decoded file says of itself. Width and height are as seen, after the EXIF turn."""

    width_px: int
    height_px: int
    mode: str
    format: str
    phash: str


def load_rgb(source: Path | bytes) -> Image.Image:
    """Decode a file, or its bytes, to an RGB image of mode `RGB`, turned as EXIF says.

    Raises:
        ImageError: the reason alone, such as "truncated" or "not an image"; the caller knows the file's name.
    """
    return _decode(read_bytes(source))[1]


def read_bytes(source: Path | bytes) -> bytes:
    """The bytes of a file; bytes are handed through.

    Raises:
        ImageError: the file is missing, is a folder or may not be read.
    """
    if isinstance(source, bytes):
        return source
    try:
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(source.stat().st_mode):
            raise ImageError("cannot be read: a folder, a pipe or a device, no regular file")
        return source.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def inspect(data: bytes) -> ImageFacts:
    """Decode a file's bytes wholly and tell what it is; the perceptual hash is imagehash's 64-bit pHash.

    Raises:
        ImageError: as `load_rgb`.
    """
    import imagehash

    image, rgb = _decode(data)
    return ImageFacts(
        width_px=rgb.width,
        height_px=rgb.height,
        mode=image.mode,
        format=image.format or "",
        phash=str(imagehash.phash(rgb)),
    )


def _decode(data: bytes) -> tuple[Image.Image, Image.Image]:
    """The image as Pillow opens it, wholly decoded, and the same as RGB."""
    if not data:
        raise ImageError("empty file (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        image.load()
        return image, _to_rgb(image)
    except UnidentifiedImageError as error:
        raise ImageError("not an image that bestiary reads (JPEG, PNG, WebP, GIF, BMP, TIFF)") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"decompression bomb: {error}") from error
    except MemoryError as error:
        raise ImageError("too large to decode in this machine's memory") from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        kind = "truncated" if "truncated" in reason.casefold() else "damaged"
        raise ImageError(f"{kind} image: {reason}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey_to_rgb(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _deep_grey_to_rgb(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        raise ImageError("floating-point image: its range is not stated; save it with 8 or 16 bits")
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("32-bit integer image beyond 16 bits: save it with 8 or 16 bits")
    if (transparent := image.info.get("transparency")) is not None:
        values = np.where(values == transparent, 65535, values)
    return Image.fromarray((values.astype(np.uint32) // 257).astype(np.uint8)).convert("RGB")
