"""What surrounds the pixels in an image file: its format, how it is turned, and the file without the rest.

In: a file's bytes. Out: a `Container`. Owns no file.

Metadata must not decide whether a photo can be read, and Pillow reads them all: it refuses a PNG with a long text,
fails on odd EXIF values and warns on stderr, in whatever thread. So Pillow gets the file without them. Only what the
pixels depend on stays: in a JPEG the JFIF and Adobe segments, in a PNG the critical chunks and `tRNS`, in a TIFF the
tags of the first picture's layout. What does not look as its format says is left as it is, for Pillow to refuse.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import TiffTags

from bestiary.data.formats.exif import NOT_TURNED, ORIENTATION, Directory, Tag, exif_of_text, orientation, within_range
from bestiary.errors import ImageError

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

# An item's entry in an AVIF: name of the box, version 2 or 3 and flags, item id, protection index; then what it is.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Most of a PNG's compressed text that is unpacked while looking for an orientation.
_TEXT_BYTES = 1 << 22

_NUMBER_OF_IMAGES = 0xB001
_EXIF_SEGMENT, _XMP_SEGMENT, _MPO_SEGMENT = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00", b"MPF\x00"

# TIFF 6.0 and its supplements: the tags that say how the pixels lie in the file.
_LAYOUT_TAGS = frozenset(
    [
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 292, 293, 317, 320),
        *(322, 323, 324, 325, 326, 327, 328, 332, 334, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533)),
        *(32995, 32996, 32997, 32998, 37439),
    ]
)
_SAMPLES_PER_PIXEL = 277
_XMP_TAG = 700
# Of these types Pillow takes all values for one.
_BYTE_STRINGS = (1, 2, 7)
# Pillow writes to stderr where a file claims more.
_MOST_SAMPLES = 6


@dataclass(frozen=True)
class Container:
    """An image file in its parts.

    Attributes:
        format: JPEG, MPO, PNG, WEBP, GIF, BMP, TIFF, AVIF or HEIC.
        pixels: the file without its metadata.
        orientation: how the stored pixels are turned, 1 to 8 as in EXIF; of AVIF and HEIC the decoder knows it.
        exif: the EXIF block, of a TIFF its bytes, or nothing; of AVIF and HEIC the decoder knows it.
    """

    format: str
    pixels: bytes
    orientation: int = NOT_TURNED
    exif: bytes = b""


def open_container(data: bytes) -> Container | None:
    """Recognise an image file by its first bytes, and take it apart; None where it is of no format that is read.

    Raises:
        ImageError: a TIFF without a directory, or of a kind that is not read.
    """
    for signature, take_apart in _SIGNATURES.items():
        if data.startswith(signature):
            return take_apart(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    return _base_media(data) if data[4:8] == b"ftyp" else None


def _jpeg(data: bytes) -> Container:
    exif, xmp, is_mpo, has_gain_map = b"", b"", False, False
    dropped: list[slice] = []
    for marker, segment in _jpeg_segments(data):
        if marker in (0xE0, 0xEE) or not (0xE1 <= marker <= 0xEF or marker == 0xFE):
            continue
        content = data[segment.start + 4 : segment.stop]
        if marker == 0xE1 and content.startswith(_EXIF_SEGMENT):
            # A block that is longer than a segment goes on in the next.
            exif += content[len(_EXIF_SEGMENT) :] if exif else content
        elif marker == 0xE1:
            has_gain_map |= b' hdrgm:Version="' in content
            xmp = content[len(_XMP_SEGMENT) :] if content.startswith(_XMP_SEGMENT) else xmp
        elif marker == 0xE2 and content.startswith(_MPO_SEGMENT):
            is_mpo = (Directory(content[len(_MPO_SEGMENT) :]).number(_NUMBER_OF_IMAGES) or 0) > 1
        dropped.append(segment)
    name = "MPO" if is_mpo and not has_gain_map else "JPEG"
    return Container(name, _without(data, dropped), orientation(exif=exif, xmp=xmp), exif)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, slice]]:
    """Marker and place of each segment before the pixels; junk between them is skipped, as decoders do."""
    place = 2
    while (place := data.find(b"\xff", place)) >= 0:
        marker = data[place + 1] if place + 1 < len(data) else 0xD9
        if marker == 0xFF:  # padding
            place += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # no length
            place += 2
        else:
            # A length counts its own two bytes; decoders take less for that.
            end = place + 2 + max(2, int.from_bytes(data[place + 2 : place + 4]))
            if marker in (0xD9, 0xDA) or end > len(data):
                return
            yield marker, slice(place, end)
            place = end


def _png(data: bytes) -> Container:
    exif, text_exif, xmp = b"", b"", b""
    dropped: list[slice] = []
    place = len(_PNG_SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        name, content = data[place + 4 : place + 8], slice(place + 8, end - 4)
        if end > len(data) or not name.isalpha() or name == b"IEND":
            break
        if not name[:1].isupper() and name != b"tRNS":
            dropped.append(slice(place, end))
        if name == b"eXIf":
            exif = data[content]
        elif name == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\x00", content.start):
            xmp = _international_text(data[content])
        elif name in (b"tEXt", b"zTXt") and data.startswith(b"Raw profile type exif\x00", content.start):
            value = data[content].partition(b"\x00")[2]
            text_exif = exif_of_text((_unpacked(value[1:]) if name == b"zTXt" else value).decode("latin-1"))
        place = end
    exif = exif or text_exif
    return Container("PNG", _without(data, dropped), orientation(exif=exif, xmp=xmp), exif)


def _international_text(content: bytes) -> bytes:
    """The text of an iTXt chunk: behind keyword, compression flag and method, language and translated keyword."""
    rest = content.partition(b"\x00")[2]
    text = rest[2:].partition(b"\x00")[2].partition(b"\x00")[2]
    return _unpacked(text) if rest[:1] == b"\x01" else text


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _TEXT_BYTES)
    except zlib.error:
        return b""


def _webp(data: bytes) -> Container:
    """Pillow reads no tag of a WebP unless asked, so nothing has to go."""
    found = {b"EXIF": b"", b"XMP ": b""}
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        name = data[place : place + 4]
        if name in found:
            found[name] = data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return Container("WEBP", data, orientation(exif=found[b"EXIF"], xmp=found[b"XMP "]), found[b"EXIF"])


def _gif(data: bytes) -> Container:
    """The screen as large as the first frame, which is not to be disposed of: Pillow checks both sizes, and warns."""
    changed = bytearray(data)
    place = 13 + (3 << (1 + (data[10] & 7)) if len(data) > 10 and data[10] & 0x80 else 0)
    while place + 10 <= len(data) and data[place] not in b",;":
        if data[place] == 0x21:
            if data[place + 1] == 0xF9:
                changed[place + 3] &= 0b11100011
            place += 2
            while place < len(data) and data[place]:
                place += 1 + data[place]
        place += 1
    if data[place : place + 1] == b"," and place + 10 <= len(data):
        left, top, width, height = struct.unpack_from("<4H", data, place + 1)
        screen = struct.unpack_from("<2H", data, 6)
        changed[6:10] = struct.pack(
            "<2H", *(min(0xFFFF, max(pair)) for pair in zip(screen, (left + width, top + height), strict=True))
        )
    return Container("GIF", bytes(changed))


def _tiff(data: bytes) -> Container:
    directory = Directory(data)
    entries: list[bytes] = []
    apart = 0
    for number in sorted(_LAYOUT_TAGS & directory.tags.keys()):
        tag = directory.tags[number]
        apart += 0 if tag.inline else len(tag.value)
        if number == _SAMPLES_PER_PIXEL and (directory.number(number) or 0) > _MOST_SAMPLES:
            continue
        # Pillow skips the rest of tags that are together longer than the file, and warns.
        if apart <= len(data) and (entry := _entry(tag, directory)):
            entries.append(entry)
    if data.startswith(b"MM\x00\x2b"):
        raise ImageError("a big-endian BigTIFF, which is not read: save it as TIFF or PNG")
    if not entries:
        raise ImageError("damaged image: it has no TIFF directory")
    pixels = _with_directory(data, directory, entries)
    if ORIENTATION in directory.tags:
        return Container("TIFF", pixels, within_range(directory.number(ORIENTATION)), data)
    xmp = directory.tags.get(_XMP_TAG)
    return Container("TIFF", pixels, orientation(xmp=bytes(xmp.value) if xmp else b""), data)


def _with_directory(data: bytes, directory: Directory, entries: list[bytes]) -> bytes:
    """The file with a first directory of these entries alone, and no other after it."""
    count, end = ("Q", "Q") if directory.big else ("H", "I")
    block = b"".join(
        [struct.pack(directory.order + count, len(entries)), *entries, struct.pack(directory.order + end, 0)]
    )
    return data[: directory.start] + block + data[directory.start + len(block) :]


def _entry(tag: Tag, directory: Directory) -> bytes:
    """The tag's entry, with the first value alone where one is the rule; nothing where that does not fit."""
    if tag.count == 1 or tag.type in _BYTE_STRINGS or TiffTags.lookup(tag.number).length != 1:
        return bytes(tag.entry)
    inline_bytes = 8 if directory.big else 4
    if tag.value_bytes > inline_bytes:
        return b""
    head = struct.pack(directory.order + ("HHQ" if directory.big else "HHI"), tag.number, tag.type, 1)
    return head + bytes(tag.value[: tag.value_bytes]).ljust(inline_bytes, b"\x00")


def _base_media(data: bytes) -> Container | None:
    """AVIF and HEIC, recognised by the brands in the first box."""
    end = min(int.from_bytes(data[:4]), len(data))
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        return Container("AVIF", _without_exif_items(data))
    return Container("HEIC", data) if brands & _HEIC_BRANDS else None


def _without_exif_items(data: bytes) -> bytes:
    """The file with its EXIF items named otherwise: the turn of an AVIF stands in the picture's own properties."""
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4]) or len(data) - place
        if data[place + 4 : place + 8] == b"meta":
            meta = data[place : place + size]
            return data[:place] + _EXIF_ITEM.sub(rb"\1free", meta) + data[place + size :]
        if size < 8:
            break
        place += size
    return data


def _without(data: bytes, dropped: list[slice]) -> bytes:
    if not dropped:
        return data
    view = memoryview(data)
    starts = [0, *(part.stop for part in dropped)]
    stops = [*(part.start for part in dropped), len(data)]
    return b"".join(view[start:stop] for start, stop in zip(starts, stops, strict=True))


_SIGNATURES: dict[bytes, Callable[[bytes], Container]] = {
    b"\xff\xd8\xff": _jpeg,
    _PNG_SIGNATURE: _png,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    **dict.fromkeys((b"II\x2a\x00", b"MM\x00\x2a", b"MM\x2a\x00", b"II\x00\x2a"), _tiff),
    **dict.fromkeys((b"II\x2b\x00", b"MM\x00\x2b"), _tiff),
    b"BM": lambda data: Container("BMP", data),
}
