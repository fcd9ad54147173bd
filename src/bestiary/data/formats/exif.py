"""Directories of tags, and how a photo was held: the orientation in its metadata, read tolerantly.

In: a directory of tags (EXIF, TIFF, the index of an MPO), or XMP, as bytes. Out: its tags; an orientation, 1 to 8; 1 is
"not turned". Owns no file.

Pillow's own reader is not used here: it warns on stderr of tags that do not matter, and writes all tags back when it
turns an image, which fails for values that it could read. Nothing here raises, warns or depends on any other tag.
"""

import contextlib
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

ORIENTATION = 0x0112
NOT_TURNED = 1
# How to turn the stored pixels for each orientation (EXIF 2.32, tag 0x0112).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Bytes of one value of each type (TIFF 6.0, section 2, and BigTIFF).
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q"}
_RATIOS = {5: "II", 10: "ii"}

# A BigTIFF may claim 2 to the power of 64.
_MOST_ENTRIES = 65_535

_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
EXIF_PREFIX = re.compile(rb"^(?:Exif\x00\x00){1,2}")


@dataclass(frozen=True)
class Tag:
    """One entry of a directory whose value lies within the data.

    Attributes:
        number: which tag.
        type: of its values, 1 to 18.
        count: how many values.
        value: their bytes, in the order of the directory.
        inline: whether they stand in the entry itself.
        entry: the bytes of the entry.
    """

    number: int
    type: int
    count: int
    value: memoryview
    inline: bool
    entry: memoryview

    @property
    def value_bytes(self) -> int:
        """Bytes of one value."""
        return _TYPE_BYTES[self.type]


class Directory:
    """The first directory of tags in TIFF or EXIF bytes; empty where there is none.

    Tags whose type is unknown or whose value lies outside the data are left out; of two with one number the first
    counts, as in Pillow.

    Args:
        data: from the byte-order mark on.
        start: where another directory of theirs stands, such as the EXIF tags'; None for the first.

    Attributes:
        order: `<` or `>`, as in `struct`; empty where there is no directory.
        big: whether it is a BigTIFF's.
        start: where the number of entries stands.
        tags: by number.
    """

    def __init__(self, data: bytes, *, start: int | None = None) -> None:
        self.order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        self.big = data[2:4] in (b"\x2b\x00", b"\x00\x2b")
        self.start = 0
        self.tags: dict[int, Tag] = {}
        # The data may end within the directory, or before it.
        with contextlib.suppress(struct.error, OverflowError):
            for tag in self._entries(memoryview(data), start):
                self.tags.setdefault(tag.number, tag)

    @property
    def entry_bytes(self) -> int:
        """Bytes of one entry."""
        return 20 if self.big else 12

    def _entries(self, data: memoryview, start: int | None) -> Iterator[Tag]:
        if not self.order:
            return
        offset_format = self.order + ("Q" if self.big else "I")
        inline_bytes = 8 if self.big else 4
        (first,) = struct.unpack_from(offset_format, data, 8 if self.big else 4)
        self.start = first if start is None else start
        (count,) = struct.unpack_from(self.order + ("Q" if self.big else "H"), data, self.start)
        place = self.start + (8 if self.big else 2)
        for _ in range(min(count, _MOST_ENTRIES)):
            number, kind, values = struct.unpack_from(self.order + ("HHQ" if self.big else "HHI"), data, place)
            where = place + self.entry_bytes - inline_bytes
            (offset,) = struct.unpack_from(offset_format, data, where)
            size = _TYPE_BYTES.get(kind, 0) * values
            inline = size <= inline_bytes
            value = data[where : where + size] if inline else data[offset : offset + size]
            whole = 0 < size == len(value)
            entry = data[place : place + self.entry_bytes]
            if whole:
                yield Tag(number, kind, values, value, inline, entry)
            place += self.entry_bytes

    def number(self, tag: int) -> int | None:
        """The first value of a tag where it is a whole number, of whatever numeric type; else None."""
        found = self.tags.get(tag)
        if found is None:
            return None
        if found.type in _NUMBERS:
            (value,) = struct.unpack_from(self.order + _NUMBERS[found.type], found.value)
            return int(value) if value == value // 1 else None
        if found.type in _RATIOS:
            above, below = struct.unpack_from(self.order + _RATIOS[found.type], found.value)
            return above // below if below and above % below == 0 else None
        return None


def orientation(*, exif: bytes = b"", xmp: bytes = b"") -> int:
    """How the stored pixels are turned: 1 to 8. What is damaged, of an odd type or out of range is 1, not turned.

    Args:
        exif: an EXIF block, with or without the `Exif` that JPEGs begin it with.
        xmp: an XMP packet; it counts where the EXIF block has no orientation.
    """
    directory = Directory(EXIF_PREFIX.sub(b"", exif))
    if ORIENTATION in directory.tags:
        return within_range(directory.number(ORIENTATION))
    found = _XMP_ORIENTATION.search(xmp)
    return within_range(int(found[1])) if found else NOT_TURNED


def orientation_in(info: Mapping[Any, Any]) -> int:
    """As `orientation`, from the `info` of an image that Pillow has opened."""
    exif = info.get("exif") or exif_of_text(str(info.get("Raw profile type exif", "")))
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    xmp = xmp.encode(errors="replace") if isinstance(xmp, str) else xmp
    return orientation(exif=exif if isinstance(exif, bytes) else b"", xmp=xmp if isinstance(xmp, bytes) else b"")


def exif_of_text(text: str) -> bytes:
    """The EXIF block that ImageMagick writes into a text of a PNG, in hexadecimal after three lines; or nothing."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def within_range(value: int | None) -> int:
    """The value where it is an orientation; else "not turned"."""
    return value if value in TURNS else NOT_TURNED


def turned(image: Image.Image, how: int) -> Image.Image:
    """The image as it is meant to be seen; the very same image where nothing is to turn."""
    return image.transpose(TURNS[how]) if how in TURNS else image
