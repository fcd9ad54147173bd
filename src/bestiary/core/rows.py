"""A store of equal-sized rows on disk, keyed by content: the one mechanism under the pixel and feature caches.

In: keys (hexadecimal strings) and arrays of one shape. Out: a memory-mapped array of rows. Owns, in its folder,
`rows.bin` (the rows, one after the other), `keys.bin` (one fixed-size record a row: key, row number, checksums) and
`meta.json` (shape, data type, what the rows are).

Rows are only ever appended, under a lock: first the rows, flushed to disk, then their records. A crash in between
leaves rows that no record names; they are overwritten. A record or a row whose checksum does not match counts as
missing, so a damaged entry is computed again. Two processes may append to one store.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bestiary.core.errors import BestiaryError
from bestiary.core.files import cannot_write, read_json, write_json

_RECORD = np.dtype([("key", "S32"), ("row", "<u8"), ("row_crc", "<u4"), ("record_crc", "<u4")])
_CHECKED_BYTES = 1 << 24


class RowStore:
    """Rows of one shape and data type, found by key.

    Args:
        folder: where the store lies; made when the first row is appended.
        shape: the shape of one row, such as (224, 224, 3).
        dtype: the data type of the rows.
        about: what the rows are, kept in `meta.json` for people and for `doctor`.
    """

    def __init__(self, folder: Path, *, shape: tuple[int, ...], dtype: npt.DTypeLike, about: dict[str, Any]) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._about = about
        self._row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._checked: set[bytes] = set()
        self._load_records()

    def find(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row numbers of the keys, -1 where a key is missing or its row is damaged: `(n,) int64`."""
        self._check([_encode(key) for key in dict.fromkeys(keys)])
        return np.array([self._rows.get(_encode(key), (-1, 0))[0] for key in keys], dtype=np.int64)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions in `keys` whose row is missing or damaged, one for each distinct key, in order."""
        wanted: dict[str, int] = {}
        for position in np.flatnonzero(self.find(keys) < 0):
            wanted.setdefault(keys[int(position)], int(position))
        return list(wanted.values())

    def array(self) -> npt.NDArray[Any]:
        """All rows, memory-mapped read-only: `(rows, *shape)`. Index it with what `find` returned."""
        count = self._rows_path.stat().st_size // self._row_bytes if self._rows_path.exists() else 0
        if count == 0:
            return np.empty((0, *self.shape), dtype=self.dtype)
        return np.memmap(self._rows_path, dtype=self.dtype, mode="r", shape=(count, *self.shape))

    def append(self, keys: Sequence[str], rows: npt.NDArray[Any]) -> None:
        """Add rows `(n, *shape)` under their keys; they are on disk when this returns.

        Raises:
            BestiaryError: the disk is full or the folder is read-only; what was stored before stays valid.
        """
        if rows.shape != (len(keys), *self.shape):
            raise ValueError(f"rows of shape {rows.shape} for {len(keys)} keys of shape {self.shape}")
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        try:
            with self._lock():
                self._write(keys, rows)
        except OSError as error:
            raise BestiaryError(
                f"{cannot_write(self.folder, error)} The cache may lie elsewhere: set BESTIARY_CACHE."
            ) from error

    def _write(self, keys: Sequence[str], rows: npt.NDArray[Any]) -> None:
        self._load_records()
        # Whatever lies past the last recorded row is the leaving of a crash.
        first = max((row + 1 for row, _ in self._rows.values()), default=0)
        with self._rows_path.open("r+b" if self._rows_path.exists() else "w+b") as stream:
            stream.seek(first * self._row_bytes)
            stream.write(rows.data)
            stream.flush()
            os.fsync(stream.fileno())
        records = np.zeros(len(keys), dtype=_RECORD)
        for number, key in enumerate(keys):
            records[number]["key"] = _encode(key)
            records[number]["row"] = first + number
            records[number]["row_crc"] = zlib.crc32(rows[number].tobytes())
            records[number]["record_crc"] = _record_crc(records[number])
        with self._keys_path.open("ab") as stream:
            # A torn record at the end would shift every later one: cut it off first.
            whole = self._keys_path.stat().st_size // _RECORD.itemsize * _RECORD.itemsize
            stream.truncate(whole)
            stream.write(records.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        for record in records:
            self._rows[bytes(record["key"])] = (int(record["row"]), int(record["row_crc"]))
            self._checked.add(bytes(record["key"]))

    def _load_records(self) -> None:
        self._rows = {}
        if not self._keys_path.exists() or not self._rows_path.exists():
            return
        if not self._meta_fits():
            return
        raw = self._keys_path.read_bytes()
        records = np.frombuffer(raw[: len(raw) // _RECORD.itemsize * _RECORD.itemsize], dtype=_RECORD)
        count = self._rows_path.stat().st_size // self._row_bytes
        for record in records:
            if int(record["row"]) < count and int(record["record_crc"]) == _record_crc(record):
                self._rows[bytes(record["key"])] = (int(record["row"]), int(record["row_crc"]))

    def _check(self, keys: Sequence[bytes]) -> None:
        """Compare each row's checksum, once a process; forget the rows that differ."""
        unchecked = [key for key in keys if key in self._rows and key not in self._checked]
        if not unchecked:
            return
        array = self.array()
        for key in unchecked:
            row, crc = self._rows[key]
            if zlib.crc32(array[row].tobytes()) == crc:
                self._checked.add(key)
            else:
                del self._rows[key]

    def _meta_fits(self) -> bool:
        try:
            meta = read_json(self._meta_path)
        except (BestiaryError, OSError):
            return False
        if not isinstance(meta, dict):
            return False
        return bool(meta.get("shape") == list(self.shape) and meta.get("dtype") == self.dtype.str)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(str(self.folder / "lock")):
            if not self._meta_fits():
                self._keys_path.unlink(missing_ok=True)
                self._rows_path.unlink(missing_ok=True)
                write_json(self._meta_path, {"shape": list(self.shape), "dtype": self.dtype.str, "about": self._about})
            yield

    @property
    def _rows_path(self) -> Path:
        return self.folder / "rows.bin"

    @property
    def _keys_path(self) -> Path:
        return self.folder / "keys.bin"

    @property
    def _meta_path(self) -> Path:
        return self.folder / "meta.json"


def _encode(key: str) -> bytes:
    encoded = key.encode()
    if not 0 < len(encoded) <= 32:
        raise ValueError(f"a key has 1 to 32 characters, not {key!r}")
    return encoded


def _record_crc(record: np.void) -> int:
    return zlib.crc32(record.tobytes()[: _RECORD.itemsize - 4])
