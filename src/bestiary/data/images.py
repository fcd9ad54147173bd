"""One image file → RGB, strictly.

In: a file, its bytes, or an image that Pillow has opened. Out: an 8-bit RGB Pillow image, or an `ImageError` whose
message is the reason. No file here.

The rules, the same everywhere in bestiary:
- JPEG (also MPO), PNG, WebP, GIF, BMP, TIFF, AVIF and, with the extra `heic`, HEIC, recognised by content and not by
  the file's ending; of several frames the first.
- Turned as its EXIF or XMP orientation says. No other metadata are read with the pixels: whatever is in them, a photo
  whose pixels can be decoded is read. `exif_block` hands them out for themselves.
- Grey is repeated in three channels; palettes are looked up; CMYK, YCbCr and Lab are converted by Pillow, without
  colour profiles, as torchvision and timm do.
- 16-bit grey is divided by 257. A floating-point image has no stated range and is refused.
- Transparency is laid over white.
- A file that is cut short, empty, no image, or of more than twice `PIL.Image.MAX_IMAGE_PIXELS` pixels is refused.
  Nothing is filled in.

Nothing here warns, and no setting of Pillow or of the process is changed: it runs in many threads, as a guest.
"""

import io
import math
import stat
import struct
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from bestiary.data.formats.containers import Container, open_container
from bestiary.data.formats.exif import orientation_in, turned
from bestiary.data.formats.libtiff import silent_libtiff
from bestiary.errors import ImageError

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")

# Called by themselves: `Image.open` warns of large images, and loads plugins on first use, which is not safe in many
# threads at once.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "MPO": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}

# What Pillow's decoders raise on damaged data, found by cutting and flipping bytes in files of every format.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, RuntimeError, LookupError, ArithmeticError)
_DAMAGED_BLOCKS = (struct.error, zlib.error)

EMPTY_FILE = "empty file (0 bytes)"
LFS_POINTER = "Git LFS pointer, and the photo itself is not here: run `git lfs pull`"
_LFS_BEGINS = b"version https://git-lfs.github.com/spec/"

# More than any image within the limit of pixels has: a video, a disk image. Reading it would fill the memory.
_MOST_BYTES = 1 << 31


@dataclass(frozen=True)
class ImageFacts:
    """What a decoded file says of itself. Width and height are as seen, after the EXIF turn."""

    width_px: int
    height_px: int
    mode: str
    format: str
    phash: str


def load_rgb(source: str | Path | bytes) -> Image.Image:
    """Decode a file, or its bytes, to an RGB image of mode `RGB`, turned as EXIF says.

    Raises:
        ImageError: the reason alone, such as "truncated" or "not an image"; the caller knows the file's name.
    """
    return _decode(read_bytes(source))[1]


def rgb_of(image: Image.Image) -> Image.Image:
    """An image that Pillow has opened, turned and converted as `load_rgb` does.

    The image is loaded in passing, so two threads must not share it.

    Raises:
        ImageError: it cannot be decoded, or has no stated range.
    """
    try:
        image.load()
        return _to_rgb(turned(image, orientation_in(image.info)))
    except MemoryError as error:
        raise ImageError("too large to decode in this machine's memory") from error
    except (*_DAMAGE, *_DAMAGED_BLOCKS) as error:
        raise _damage(error) from error


def read_bytes(source: str | Path | bytes) -> bytes:
    """The bytes of a file; bytes are handed through. Pipes, sockets and devices are not opened.

    Raises:
        ImageError: the file is missing, is a folder, may not be read, or is larger than any image.
    """
    if isinstance(source, bytes):
        return source
    path = Path(source)
    try:
        status = path.stat()
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("cannot be read: a folder, a pipe or a device, no regular file")
        if status.st_size > _MOST_BYTES:
            raise ImageError(f"larger than any image: {status.st_size / 1e9:,.1f} GB")
        # Some files of the system (in /proc) claim to be empty, and wait when they are read.
        return path.read_bytes() if status.st_size else b""
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def inspect(data: bytes) -> ImageFacts:
    """Decode a file's bytes wholly and say what it is; the perceptual hash is imagehash's 64-bit pHash.

    Raises:
        ImageError: as `load_rgb`.
    """
    import imagehash

    image, rgb, form = _decode(data)
    return ImageFacts(
        width_px=rgb.width, height_px=rgb.height, mode=image.mode, format=form, phash=str(imagehash.phash(rgb))
    )


def exif_block(data: bytes) -> bytes:
    """The EXIF block of an image file, of a TIFF its bytes; nothing where it has none, or is no image."""
    try:
        container = open_container(data)
        if container is None:
            return b""
        if container.format == "AVIF" and AvifImagePlugin.SUPPORTED:
            # As it was: a container leaves EXIF out.
            return _bytes(AvifImagePlugin.AvifImageFile(io.BytesIO(data)).info.get("exif"))
        if container.format == "HEIC":
            return _bytes(import_module("pillow_heif").open_heif(io.BytesIO(data)).info.get("exif"))
    except (ImageError, ImportError, MemoryError, *_DAMAGE, *_DAMAGED_BLOCKS):
        return b""
    return container.exif


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _decode(data: bytes) -> tuple[Image.Image, Image.Image, str]:
    """The image as it is stored, wholly decoded; the same as RGB; and its format."""
    if not data:
        raise ImageError(EMPTY_FILE)
    try:
        container = open_container(data)
        if container is None and data.startswith(_LFS_BEGINS):
            raise ImageError(LFS_POINTER)
        if container is None:
            raise ImageError(f"not an image that bestiary reads ({', '.join(FORMATS)})")
        image = _stored(container)
        # Only an AVIF's reader knows its turn; of the others nothing but pixels is left.
        orientation = orientation_in(image.info) if container.format == "AVIF" else container.orientation
        return image, _to_rgb(turned(image, orientation)), container.format
    except Image.DecompressionBombError as error:
        raise ImageError(f"decompression bomb: {error}") from error
    except MemoryError as error:
        raise ImageError("too large to decode in this machine's memory") from error
    except (*_DAMAGE, *_DAMAGED_BLOCKS) as error:
        raise _damage(error) from error


def _damage(error: Exception) -> ImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    # Pillow hands on what its header's values led it into, such as a KeyError that is a number alone.
    if isinstance(error.__cause__ or error, (TypeError, LookupError, ArithmeticError, struct.error)):
        reason = f"its header makes no sense ({reason})"
    kind = "truncated" if "truncated" in reason.casefold() else "damaged"
    return ImageError(f"{kind} image: {reason}")


def _stored(container: Container) -> Image.Image:
    """The pixels as they are stored."""
    if container.format == "HEIC":
        return _heic(container.pixels)
    if container.format == "AVIF" and not AvifImagePlugin.SUPPORTED:
        raise ImageError("AVIF: the installed Pillow was built without it")
    image = _READERS[container.format](io.BytesIO(container.pixels))
    _refuse_large(image.size)
    if container.format == "TIFF" and image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        # Its reader would make the same, and warn.
        image.im = Image.new(image.mode, image.size).im
    with silent_libtiff() if container.format == "TIFF" else nullcontext():
        image.load()
    return image


def _heic(data: bytes) -> Image.Image:
    try:
        pillow_heif = import_module("pillow_heif")
    except ImportError as error:
        raise ImageError("HEIC: install bestiary[heic] to read it, or save it as JPEG") from error
    # Decodes to 8 bits, turned as the file's own properties say.
    file = pillow_heif.open_heif(io.BytesIO(data))
    _refuse_large(file.size)
    image: Image.Image = file.to_pillow()
    return image


def _refuse_large(size: tuple[int, int]) -> None:
    """Refuse what Pillow refuses; it checks this in `Image.open`, which warns from half as many on."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and size[0] * size[1] > 2 * most:
        raise ImageError(f"decompression bomb: {size[0]:,} x {size[1]:,} pixels are more than {2 * most:,}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey_to_rgb(image)
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
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
