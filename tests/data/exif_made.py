"""EXIF blocks made by hand, clean and odd."""

import struct

from hypothesis import strategies as st

ORIENTATION = 0x0112


def tag(number: int, kind: int, count: int, value: bytes, order: str = "<") -> bytes:
    """An entry with its value inline."""
    return struct.pack(order + "HHI", number, kind, count) + value.ljust(4, b"\0")[:4]


def exif_of(*entries: bytes, order: str = "<", apart: bytes = b"") -> bytes:
    """An EXIF block; `apart` comes behind the directory."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return (
        b"Exif\0\0" + head + struct.pack(order + "H", len(entries)) + b"".join(entries) + struct.pack(order + "I", 0)
    ) + apart


def shot_exif(
    taken: str = "", *, parts: str = "", offset: str = "", make: str = "", model: str = "", serial: str = "",
    digitized: str = "", saved: str = "", order: str = "<",
) -> bytes:  # fmt: skip
    """An EXIF block as cameras write it: the first directory, and that of the EXIF tags behind it."""
    inner = {0x9003: taken, 0x9004: digitized, 0x9011: offset, 0x9291: parts, 0xA431: serial}
    outer = {0x010F: make, 0x0110: model, 0x0132: saved}
    blocks = {number: text.encode() + b"\0" for number, text in {**outer, **inner}.items() if text}
    first, second = ([number for number in blocks if number in part] for part in (outer, inner))
    start = 8 + 2 + 12 * (len(first) + 1) + 4
    place = start + 2 + 12 * len(second) + 4
    apart, entries_of = b"", {}
    for number, text in blocks.items():
        value = text if len(text) <= 4 else struct.pack(order + "I", place + len(apart))
        entries_of[number] = tag(number, 2, len(text), value, order)
        apart += b"" if len(text) <= 4 else text
    inner_directory = (
        struct.pack(order + "H", len(second)) + b"".join(entries_of[number] for number in second) + bytes(4)
    )
    pointer = tag(0x8769, 4, 1, struct.pack(order + "I", start), order)
    return exif_of(*(entries_of[number] for number in first), pointer, order=order, apart=inner_directory + apart)


entries = st.lists(
    st.tuples(
        st.sampled_from([ORIENTATION, 0x0131, 0x011A, 0x8769, 0x8825, 0xA005]),
        st.integers(0, 20),
        st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
        st.binary(min_size=4, max_size=4),
    ),
    max_size=8,
)
