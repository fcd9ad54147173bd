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


entries = st.lists(
    st.tuples(
        st.sampled_from([ORIENTATION, 0x0131, 0x011A, 0x8769, 0x8825, 0xA005]),
        st.integers(0, 20),
        st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
        st.binary(min_size=4, max_size=4),
    ),
    max_size=8,
)
