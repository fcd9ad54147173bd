"""The orientation of a photo: as Pillow reads clean files, and never an error or a warning on odd ones."""

import struct
from typing import Any

import pytest
from exif_made import ORIENTATION, entries, exif_of, tag
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from bestiary.data.formats.exif import Directory, orientation, orientation_in


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("number", range(1, 9))
def test_clean_orientation_is_read_with_or_without_its_prefix(number: int, order: str) -> None:
    block = exif_of(tag(ORIENTATION, 3, 1, struct.pack(order + "H", number), order), order=order)
    exif = Image.Exif()
    exif.load(block)
    assert orientation(exif=block) == exif[ORIENTATION] == number
    assert orientation(exif=block[6:]) == orientation(exif=b"Exif\0\0" + block) == number


RATIONAL_AT = 8 + 2 + 12 + 4


@pytest.mark.parametrize(
    ("kind", "count", "value", "expected"),
    [
        (3, 1, struct.pack("<H", 0), 1),
        (3, 1, struct.pack("<H", 9), 1),
        (3, 1, struct.pack("<H", 65535), 1),
        (1, 1, b"\x06", 6),
        (4, 1, struct.pack("<I", 6), 6),
        (8, 1, struct.pack("<h", 6), 6),
        (9, 1, struct.pack("<i", -6), 1),
        (11, 1, struct.pack("<f", 6), 6),
        (11, 1, struct.pack("<f", 6.5), 1),
        (11, 1, struct.pack("<f", float("nan")), 1),
        (11, 1, struct.pack("<f", float("inf")), 1),
        (2, 2, b"6\0", 1),
        (2, 4, b"six\0", 1),
        (7, 1, b"\x06", 1),
        (3, 2, struct.pack("<HH", 6, 1), 6),
        (3, 0, b"\x06", 1),
        (99, 1, b"\x06", 1),
        (0, 1, b"\x06", 1),
        (3, 5, struct.pack("<I", 1_000_000), 1),
    ],
)
def test_orientation_of_an_odd_type_is_its_whole_number_or_not_turned(
    kind: int, count: int, value: bytes, expected: int
) -> None:
    assert orientation(exif=exif_of(tag(ORIENTATION, kind, count, value))) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (5, struct.pack("<II", 6, 1), 6),
        (5, struct.pack("<II", 12, 2), 6),
        (5, struct.pack("<II", 13, 2), 1),
        (5, struct.pack("<II", 6, 0), 1),
        (10, struct.pack("<ii", -6, -1), 6),
        (12, struct.pack("<d", 8.0), 8),
    ],
)
def test_orientation_may_be_a_ratio(kind: int, value: bytes, expected: int) -> None:
    entry = tag(ORIENTATION, kind, 1, struct.pack("<I", RATIONAL_AT))
    assert orientation(exif=exif_of(entry, apart=value)) == expected


def test_first_of_two_orientations_counts_as_in_pillow() -> None:
    block = exif_of(*(tag(ORIENTATION, 3, 1, struct.pack("<H", number)) for number in (6, 3)))
    exif = Image.Exif()
    exif.load(block)
    assert orientation(exif=block) == exif[ORIENTATION] == 6


def test_damaged_entries_before_it_do_not_hide_the_orientation() -> None:
    wrong = tag(0x010F, 2, 4_000_000_000, struct.pack("<I", 4_000_000_000))
    assert orientation(exif=exif_of(wrong, tag(ORIENTATION, 3, 1, b"\x08\0"))) == 8


@pytest.mark.parametrize("xmp", [b'<a tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"])
def test_xmp_counts_where_exif_says_nothing(xmp: bytes) -> None:
    assert orientation(xmp=xmp) == 6
    assert orientation(exif=exif_of(tag(0x0131, 2, 1, b"\0")), xmp=xmp) == 6
    assert orientation(exif=exif_of(tag(ORIENTATION, 3, 1, b"\x03\0")), xmp=xmp) == 3
    assert orientation(exif=exif_of(tag(ORIENTATION, 2, 1, b"x")), xmp=xmp) == 1
    assert orientation_in({"xmp": xmp}) == orientation_in({"XML:com.adobe.xmp": xmp.decode()}) == 6


@pytest.mark.parametrize(
    "info", [{}, {"exif": None}, {"exif": "text"}, {"xmp": (1, 2)}, {"Raw profile type exif": "a\nb\nc\nno hex"}]
)
def test_odd_info_is_not_turned(info: dict[str, Any]) -> None:
    assert orientation_in(info) == 1


@pytest.mark.parametrize("big", [b"II+\0", b"MM\0+"])
@given(rest=st.binary(max_size=80))
@example(rest=b"\xff" * 60)
def test_no_big_tiff_fails(big: bytes, rest: bytes) -> None:
    assert Directory(big + rest).number(ORIENTATION) is None or rest


@given(block=st.binary(max_size=120), xmp=st.binary(max_size=60))
@example(block=b"II*\0\xff\xff\xff\xff", xmp=b"tiff:Orientation>9")
@example(block=b"MM\0*\0\0\0\x08", xmp=b"")
def test_no_bytes_fail(block: bytes, xmp: bytes) -> None:
    assert 1 <= orientation(exif=block, xmp=xmp) <= 8


@given(made=entries, order=st.sampled_from("<>"), cut=st.integers(0, 40))
def test_no_directory_fails(made: list[tuple[int, int, int, bytes]], order: str, cut: int) -> None:
    block = exif_of(*(tag(*entry, order) for entry in made), order=order)
    assert 1 <= orientation(exif=block[: len(block) - cut]) <= 8
