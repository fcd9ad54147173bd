"""Pictures for the browser: an image of the study → JPEG bytes of a stated size.

In: image ids of the index. Out: JPEG bytes. Owns no file; keeps the latest pictures in memory.

A file is found by its id, never by a path that a request names. What is sent is encoded again, so that nothing of the
file but its pixels reaches the page.
"""

import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Literal

import pandas as pd
from PIL import Image

from bestiary.data.images import load_rgb, read_bytes
from bestiary.errors import ImageError
from bestiary.store.hashing import sha256_bytes

Size = Literal["large", "small"]
LONG_SIDE_PX: dict[Size, int] = {"large": 1280, "small": 256}
_QUALITY: dict[Size, int] = {"large": 90, "small": 80}


class Pictures:
    """Pictures of the images of one index; safe to ask from several threads.

    Args:
        index: as `data.index` writes it.
        root: the folder that its paths are relative to.
        keep_bytes: memory for pictures of each size; the latest stay.
    """

    def __init__(self, index: pd.DataFrame, root: Path, *, keep_bytes: int = 48 * 2**20) -> None:
        rows = zip(index["image_id"], index["path"], index["sha256"], strict=True)
        self._files = {image_id: (root / path, digest) for image_id, path, digest in rows}
        self._stores = {size: _Latest(keep_bytes) for size in LONG_SIDE_PX}

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._files

    def get(self, image_id: str, size: Size) -> bytes:
        """The picture, its long side at most `LONG_SIDE_PX[size]`; a smaller image keeps its size.

        Raises:
            KeyError: the index has no such image.
            ImageError: the file cannot be read, or is not the one that was indexed.
        """
        path, digest = self._files[image_id]
        store = self._stores[size]
        picture = store.get(image_id)
        if picture is None:
            picture = _encode(path, digest, size)
            store.put(image_id, picture)
        return picture


def _encode(path: Path, digest: str, size: Size) -> bytes:
    data = read_bytes(path)
    if sha256_bytes(data) != digest:
        raise ImageError("the file has changed since it was indexed")
    image = load_rgb(data)
    long_side_px = LONG_SIDE_PX[size]
    image.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY[size])
    return stream.getvalue()


class _Latest:
    """The latest pictures, as many as fit."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, image_id: str) -> bytes | None:
        with self._lock:
            if image_id in self._held:
                self._held.move_to_end(image_id)
            return self._held.get(image_id)

    def put(self, image_id: str, picture: bytes) -> None:
        with self._lock:
            self._bytes += len(picture) - len(self._held.pop(image_id, b""))
            self._held[image_id] = picture
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._held.popitem(last=False)[1])
