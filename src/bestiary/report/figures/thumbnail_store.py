"""Thumbnails that an earlier report made, so that a report that is written again encodes only what is new.

In: the bytes of image files. Out: WebP pictures. Owns `thumbnails/` in the cache home: one row store a size, keyed by
the SHA-256 of the file. Small pictures only: a row has the same length for all, and what is longer is encoded anew.
"""

import contextlib
import io
from importlib.metadata import version
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image

from bestiary.data.images import load_rgb
from bestiary.data.pixels import content_key
from bestiary.errors import BestiaryError
from bestiary.store.files import cache_home
from bestiary.store.hashing import fingerprint, sha256_bytes
from bestiary.store.rows import RowStore

_QUALITY = 60
_LENGTH_BYTES = 4
# Of 660 thumbnails, 95 in 100 take less than a quarter of a byte a pixel of their square.
_BYTES_A_PIXEL = 1 / 3


class ThumbnailStore:
    """Thumbnails of one size; threads may share it.

    Args:
        long_side_px: of a thumbnail; smaller images stay as they are.
    """

    def __init__(self, long_side_px: int) -> None:
        self._side_px = long_side_px
        length = _LENGTH_BYTES + int(long_side_px**2 * _BYTES_A_PIXEL)
        about = {
            "side_px": long_side_px,
            "quality": _QUALITY,
            "bytes": length,
            "pillow": version("pillow"),
            "rules": "thumbnails 1",
        }
        folder = cache_home() / "thumbnails" / f"{long_side_px}px-{fingerprint(about)}"
        self._store = RowStore(folder, shape=(length,), dtype=np.uint8, about=about)
        self._made: dict[str, bytes] = {}
        self._lock = Lock()

    def thumbnail(self, file: bytes) -> bytes:
        """The thumbnail of an image file, as WebP.

        Raises:
            ImageError: it cannot be decoded; the reason alone.
        """
        key = content_key(sha256_bytes(file))
        with self._lock:
            row = int(self._store.find([key])[0])
            if row >= 0:
                return _unpacked(self._store.array()[row])
        picture = _encoded(file, self._side_px)
        with self._lock:
            self._made[key] = picture
        return picture

    def keep(self) -> None:
        """Write the new ones. A report does not fail where the cache cannot be written."""
        rows = {key: row for key, picture in self._made.items() if (row := self._packed(picture)) is not None}
        self._made = {}
        if rows:
            with contextlib.suppress(BestiaryError):
                self._store.append(list(rows), np.stack(list(rows.values())))

    def _packed(self, picture: bytes) -> npt.NDArray[np.uint8] | None:
        packed = len(picture).to_bytes(_LENGTH_BYTES, "little") + picture
        (room,) = self._store.shape
        return None if len(packed) > room else np.frombuffer(packed.ljust(room, b"\0"), dtype=np.uint8)


def _unpacked(row: npt.NDArray[np.uint8]) -> bytes:
    packed = row.tobytes()
    return packed[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(packed[:_LENGTH_BYTES], "little")]


def _encoded(file: bytes, long_side_px: int) -> bytes:
    image = load_rgb(file)
    image.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=4)
    return stream.getvalue()
