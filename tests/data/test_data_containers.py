"""Metadata never decide whether a photo is read, in any format; and what surrounds the pixels is told."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from exif_made import ORIENTATION, entries, exif_of, tag
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bestiary.data.formats.containers import open_container
from bestiary.data.formats.exif import TURNS
from bestiary.data.images import inspect, load_rgb, rgb_of
from bestiary.errors import ImageError

Pixels = npt.NDArray[np.uint8]

NOISE = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE)

# The tag Software as a FLOAT, and others that Pillow reads and cannot write, or warns of.
ODD_TAGS = (
    tag(0x0131, 11, 1, struct.pack("<f", 1.5)),
    tag(0x011A, 2, 4, b"abc\0"),
    tag(0x0128, 3, 1, b"\x03\0"),
    tag(0x013B, 2, 4_000, struct.pack("<I", 4_000_000)),
    tag(0x8769, 4, 1, struct.pack("<I", 5)),
    tag(0x8825, 4, 1, struct.pack("<I", 4_000_000)),
    tag(0xA005, 4, 1, struct.pack("<I", 9)),
)


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def rgb(data: bytes) -> Pixels:
    return np.asarray(load_rgb(data))


def turned(pixels: Pixels, orientation: int) -> Pixels:
    image = Image.fromarray(pixels)
    return np.asarray(image.transpose(TURNS[orientation]) if orientation in TURNS else image)


def jpeg_with(segments: bytes) -> bytes:
    """Segments behind the start of a JPEG."""
    data = encode(PHOTO, "JPEG", quality=95)
    return data[:2] + segments + data[2:]


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(*chunks: bytes, behind: bool = False) -> bytes:
    """Chunks behind the header of a PNG, or behind its pixels."""
    data = encode(PHOTO, "PNG")
    place = len(data) - 12 if behind else 33
    return data[:place] + b"".join(chunks) + data[place:]


def webp_with(exif: bytes) -> bytes:
    return encode(PHOTO, "WEBP", lossless=True, exif=exif)


def tiff_with(exif: bytes, *, compression: str = "raw", big: bool = False) -> bytes:
    """A TIFF whose directory has the entries of an EXIF block besides its own, at the end of the file."""
    data = encode(PHOTO, "TIFF", compression=compression)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    own = [data[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    (added,) = struct.unpack_from("<H", exif, 14)
    more = [exif[16 + 12 * n : 28 + 12 * n] for n in range(added)]
    given = sorted([*own, *more], key=lambda entry: struct.unpack("<H", entry[:2])[0])
    block = struct.pack("<H", len(given)) + b"".join(given) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + block


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "JPEG": lambda exif: jpeg_with(segment(0xE1, exif)),
    "PNG": lambda exif: png_with(chunk(b"eXIf", exif[6:])),
    "PNG, behind the pixels": lambda exif: png_with(chunk(b"eXIf", exif[6:]), behind=True),
    "WEBP": webp_with,
    "TIFF": tiff_with,
    "TIFF, compressed": lambda exif: tiff_with(exif, compression="tiff_lzw"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_values_that_cannot_be_written_back_do_not_stop_a_photo(form: str, orientation: int) -> None:
    plain = rgb(FORMS[form](exif_of()))
    entry = tag(ORIENTATION, 3, 1, struct.pack("<H", orientation))
    data = FORMS[form](exif_of(*sorted([entry, *ODD_TAGS])))
    np.testing.assert_array_equal(rgb(data), turned(plain, orientation))
    assert inspect(data).format == form.partition(",")[0]


@pytest.mark.parametrize("form", FORMS)
@given(made=entries)
@settings(max_examples=60, deadline=None)
def test_no_exif_stops_a_photo(form: str, made: list[tuple[int, int, int, bytes]]) -> None:
    plain = rgb(FORMS[form](exif_of()))
    block = exif_of(*(tag(*entry) for entry in made if not form.startswith("TIFF") or entry[0] != 0x8769))
    shown = rgb(FORMS[form](block))
    ways = [turned(plain, orientation) for orientation in range(1, 9)]
    assert any(shown.shape == way.shape and (shown == way).all() for way in ways)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@given(junk=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_bytes_in_the_place_of_exif_stop_a_photo(form: str, junk: bytes) -> None:
    plain = rgb(FORMS[form](exif_of()))
    shown = rgb(FORMS[form](b"Exif\0\0" + junk))
    assert sorted(shown.shape) == sorted(plain.shape)
    assert sorted(shown.ravel()) == sorted(plain.ravel())


def test_odd_values_do_not_stop_an_avif() -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x0131] = 6, "abc"
    data = encode(PHOTO, "AVIF", exif=exif)
    whole = rgb(data)
    assert whole.shape == (16, 12, 3)
    entry = struct.pack(">HHI", 0x0131, 2, 4)
    assert entry in data
    np.testing.assert_array_equal(rgb(data.replace(entry, struct.pack(">HHI", 0x0131, 11, 1))), whole)
    np.testing.assert_array_equal(rgb(data.replace(b"MM\0*", b"junk")), whole)


LONG = "x" * 2_000_000


@pytest.mark.parametrize(
    "content",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG.encode())),
        chunk(b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(LONG.encode())),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG.encode())),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(LONG.encode())),
        b"".join(chunk(b"tEXt", b"k%d\0" % number + LONG.encode()) for number in range(40)),
        chunk(b"zTXt", b"Comment\0\7nothing that is known"),
        chunk(b"iCCP", b"profile\0\7"),
        chunk(b"tEXt", b"Comment\0text")[:-1] + b"?",
        chunk(b"pHYs", b"short"),
        chunk(b"gAMA", b""),
        chunk(b"acTL", struct.pack(">II", 0, 0)),
        chunk(b"fcTL", bytes(26)) + chunk(b"fcTL", bytes(26)),
        chunk(b"eXIf", b""),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 3\nxyz"),
    ],
    ids=range(14),
)
@pytest.mark.parametrize("behind", [False, True])
def test_no_text_or_profile_stops_a_png(content: bytes, behind: bool) -> None:
    np.testing.assert_array_equal(rgb(png_with(content, behind=behind)), NOISE)
    np.testing.assert_array_equal(rgb(png_with(content, chunk(b"eXIf", exif_of()[6:]), behind=behind)), NOISE)


def test_pillow_refuses_what_is_read_here() -> None:
    """The case that the rules are for; where Pillow learns it, they may go."""
    data = png_with(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG.encode())))
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(data))
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
TEXT = "\nexif\n      38\n" + exif_of(tag(ORIENTATION, 3, 1, b"\x06\0")).hex()


@pytest.mark.parametrize(
    "data",
    [
        jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
        png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
        png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP))),
        png_with(chunk(b"tEXt", b"Raw profile type exif\0" + TEXT.encode())),
        png_with(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(TEXT.encode()))),
        encode(PHOTO, "WEBP", lossless=True, xmp=XMP),
        encode(PHOTO, "TIFF", tiffinfo={700: XMP}),
    ],
    ids=["jpeg", "png", "packed png", "png text", "packed png text", "webp", "tiff"],
)
def test_orientation_in_xmp_or_text_is_followed_as_in_pillow(data: bytes) -> None:
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert expected.shape == (16, 12, 3)
    np.testing.assert_array_equal(rgb(data), expected)
    np.testing.assert_array_equal(np.asarray(rgb_of(Image.open(io.BytesIO(data)))), expected)


def test_exif_that_is_longer_than_a_segment_goes_on_in_the_next() -> None:
    block = exif_of(tag(ORIENTATION, 3, 1, b"\x06\0"))
    data = jpeg_with(segment(0xE1, block[:16]) + segment(0xE1, b"Exif\0\0" + block[16:]))
    assert rgb(data).shape == (16, 12, 3)


@pytest.mark.parametrize(
    "content",
    [
        segment(0xE2, b"MPF\0junk"),
        segment(0xE2, b"MPF\0" + exif_of(tag(0xB001, 4, 1, b"\x02\0\0\0"))[6:]),
        segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\x00"),
        segment(0xFE, bytes(60_000)),
        b"\xff\xe1\x00\x00" + segment(0xFE, b"length 0 before"),
        b"\xff\xff\xff" + segment(0xE1, b"Exif\0\0II*\0")[1:],
        segment(0xE1, b""),
    ],
    ids=range(8),
)
def test_no_segment_stops_a_jpeg(content: bytes) -> None:
    np.testing.assert_array_equal(rgb(jpeg_with(content)), rgb(jpeg_with(b"")))


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"", "JPEG"),
        (segment(0xE2, b"MPF\0" + exif_of(tag(0xB001, 4, 1, b"\x02\0\0\0"))[6:]), "MPO"),
        (segment(0xE2, b"MPF\0" + exif_of(tag(0xB001, 4, 1, b"\x01\0\0\0"))[6:]), "JPEG"),
        (segment(0xE2, b"MPF\0" + exif_of(tag(0xB001, 2, 1, b"\x02\0\0\0"))[6:]), "JPEG"),
        (
            segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>')
            + segment(0xE2, b"MPF\0" + exif_of(tag(0xB001, 4, 1, b"\x02\0\0\0"))[6:]),
            "JPEG",
        ),
    ],
    ids=["plain", "two pictures", "one picture", "a text", "gain map"],
)
def test_jpeg_of_several_pictures_is_told_as_pillow_does(content: bytes, form: str) -> None:
    container = open_container(jpeg_with(content))
    assert container is not None
    assert container.format == inspect(jpeg_with(content)).format == form


def test_adobe_s_mark_stays_since_the_colours_depend_on_it() -> None:
    inks = Image.merge("CMYK", [Image.new("L", (8, 8), value) for value in (40, 80, 120, 60)])
    data = encode(inks, "JPEG", quality=100, comment=b"gone")
    container = open_container(data)
    assert container is not None
    assert b"Adobe" in container.pixels
    assert b"gone" not in container.pixels


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"])
@pytest.mark.parametrize("big", [False, True])
def test_layout_of_a_tiff_stays(compression: str, big: bool) -> None:
    image = PHOTO.convert("1") if compression == "group4" else PHOTO
    data = encode(image, "TIFF", compression=compression, big_tiff=big, save_all=True, append_images=[image.rotate(90)])
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(rgb(data), expected)


def test_first_of_two_values_counts_where_a_tiff_may_have_one() -> None:
    data = bytearray(encode(PHOTO, "TIFF"))
    entry = data.index(struct.pack("<HHI", 284, 3, 1)) if struct.pack("<HHI", 284, 3, 1) in data else -1
    entry = data.index(struct.pack("<HHI", 277, 3, 1)) if entry < 0 else entry
    data[entry + 4 : entry + 8] = struct.pack("<I", 2)
    np.testing.assert_array_equal(rgb(bytes(data)), NOISE)


def test_more_samples_than_can_be_are_refused_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(encode(PHOTO, "TIFF"))
    entry = data.index(struct.pack("<HHI", 277, 3, 1))
    data[entry + 8 : entry + 10] = struct.pack("<H", 999)
    with pytest.raises(ImageError):
        load_rgb(bytes(data))
    assert not caplog.records


@pytest.mark.parametrize("data", [b"", b"II*\0", b"RIFF", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"])
def test_first_bytes_alone_are_no_traceback(data: bytes) -> None:
    with pytest.raises(ImageError):
        load_rgb(data)
