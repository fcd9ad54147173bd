"""The files of a row store: what `meta.json` says, and one generation of rows and records as this process has read it.

In: a store's folder. Out: a `Description` and a `Generation`. Owns, in the folder, `meta.json`, `rows.bin` (the rows,
one after the other) and `keys.bin` (their records); after a compaction `rows-<n>.bin` and `keys-<n>.bin`, where
`generation` in `meta.json` is n. Files of another generation are what a crash left.

Files are only appended to, or deleted whole, never cut or replaced: a process that has mapped rows keeps them. A
generation that begins gets a new random `id`, so that a process which has read the one before notices.
"""

import contextlib
import mmap
import os
import re
import secrets
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bestiary.errors import BestiaryError
from bestiary.store.files import read_json, write_json
from bestiary.store.records import RECORD, Entries, Keys, KeyTable, Records, make_records, sound

META = "meta.json"
_FILES = re.compile(r"(rows|keys)(-[0-9]+)?\.bin")
_REST = re.compile(r"\.meta\.json\..*\.part")
_RECORDS_AT_ONCE = 1 << 20
BLOCK_BYTES = 16 << 20
# zlib lets other threads run while it sums more than 5 kB; it sums 3 GB/s, so a few threads fill the memory's bus.
_THREADED_ROW_BYTES, _THREADS = 8 << 10, min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Description:
    """What `meta.json` says: how a row looks, which generation holds now, what the rows are."""

    shape: tuple[int, ...]
    dtype: str
    about: dict[str, Any]
    number: int = 0
    identity: str = field(default_factory=lambda: secrets.token_hex(8))

    def write(self, folder: Path) -> None:
        """Put it in place in one step."""
        form = {"shape": list(self.shape), "dtype": self.dtype, "generation": self.number, "id": self.identity}
        write_json(folder / META, {**form, "about": self.about})

    @property
    def row_bytes(self) -> int:
        """The size of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def read_description(folder: Path) -> Description | None:
    """What `meta.json` says, or None where it is missing, damaged or cannot be."""
    try:
        meta = read_json(folder / META)
        shape, dtype = tuple(meta["shape"]), np.dtype(meta["dtype"]).str
        # Stores of before compaction have neither number nor id.
        number, identity, about = meta.get("generation", 0), meta.get("id", ""), meta["about"]
    except (BestiaryError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
    sizes = all(type(size) is int and size > 0 for size in shape) and type(number) is int and number >= 0
    if not sizes or not isinstance(identity, str) or not isinstance(about, dict) or np.dtype(dtype).hasobject:
        return None
    return Description(shape, dtype, about, number, identity)


def rows_file(folder: Path, number: int) -> Path:
    """Where a generation's rows lie."""
    return folder / (f"rows-{number}.bin" if number else "rows.bin")


def keys_file(folder: Path, number: int) -> Path:
    """Where a generation's records lie."""
    return folder / (f"keys-{number}.bin" if number else "keys.bin")


def data_files(folder: Path) -> list[Path]:
    """The files of all generations, the current one's among them."""
    return [path for path in _entries(folder) if _FILES.fullmatch(path.name)]


def sweep(folder: Path, keep: int | None) -> None:
    """Delete what no longer belongs to the store: other generations and half-written descriptions. Under the lock."""
    kept = () if keep is None else (rows_file(folder, keep), keys_file(folder, keep))
    leavings = [path for path in _entries(folder) if _REST.fullmatch(path.name)]
    for path in leavings + [path for path in data_files(folder) if path not in kept]:
        # Windows deletes no file that a process has mapped; it goes the next time.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)


def _entries(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else ()


class Generation:
    """One generation: its key table and its map, always of the same files and of the same moment.

    Attributes:
        table: the row of each key.
        array: the rows that the table may name, memory-mapped read-only: `(rows, *shape)`.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self.description = description
        self.rows_path = rows_file(folder, description.number)
        self.keys_path = keys_file(folder, description.number)
        self.table = KeyTable()
        self.array: npt.NDArray[Any] = np.empty((0, *description.shape), dtype=description.dtype)
        self._next_row = 0
        self._read_bytes = 0

    def is_whole(self) -> bool:
        """Whether both files are there, or none yet, and no record that was read has gone."""
        if self.rows_path.exists() != self.keys_path.exists():
            return False
        return self._read_bytes <= (self.keys_path.stat().st_size if self.keys_path.exists() else 0)

    def read_on(self) -> None:
        """Take in the records that were added since the last time, and map the rows."""
        try:
            with self.keys_path.open("rb") as stream:
                position = stream.seek(self._read_bytes)
                while raw := stream.read(_RECORDS_AT_ONCE * RECORD.itemsize):
                    records = np.frombuffer(raw, dtype=RECORD, count=len(raw) // RECORD.itemsize)
                    good = sound(records)
                    # Rows are on disk before their records: mapped after the records are read, they are all there.
                    self._map()
                    self._take(records[good & (records["row"] < len(self.array))], checked=False)
                    if good.any():
                        # Past the last sound record another may be about to be written: it is read again.
                        self._read_bytes = position + (int(np.flatnonzero(good)[-1]) + 1) * RECORD.itemsize
                    position += len(raw)
        except FileNotFoundError:
            return  # nothing is stored yet, or it was cleared just now

    def append(
        self,
        keys: Keys,
        rows: npt.NDArray[Any],
        *,
        row_crcs: npt.NDArray[np.uint32] | None = None,
        checked: bool = True,
    ) -> None:
        """Write rows `(n, *shape)`, flush them, then their records. Under the lock, after `read_on`.

        Args:
            keys: `(n,) S32`.
            rows: C-contiguous, of the store's type.
            row_crcs: where known; they are carried over, so that a row damaged before is found out after.
            checked: the rows are known to be intact.
        """
        # Whatever lies past the last recorded row is the leaving of a crash.
        first = self._next_row
        with self.rows_path.open("r+b" if self.rows_path.exists() else "w+b") as stream:
            stream.seek(first * self.description.row_bytes)
            stream.write(rows.data)
            stream.flush()
            os.fsync(stream.fileno())
        if row_crcs is None:
            row_crcs = _crcs(_flat(rows), np.arange(len(rows)))
        records = make_records(keys, first + np.arange(len(rows)), row_crcs)
        with self.keys_path.open("ab") as stream:
            # A torn record at the end would shift every later one: cut it off first.
            whole = self.keys_path.stat().st_size // RECORD.itemsize * RECORD.itemsize
            stream.truncate(whole)
            stream.write(records.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        self._take(records, checked=checked)
        self._read_bytes = whole + records.nbytes
        self._map()

    def take_over(self, old: "Generation", entries: Entries, *, checked: bool) -> None:
        """Append rows of another generation under their keys, block by block. Under the lock."""
        step = max(1, BLOCK_BYTES // self.description.row_bytes)
        for first in range(0, len(entries.keys), step):
            part = entries.of(slice(first, first + step))
            self.append(part.keys, np.asarray(old.array[part.rows]), row_crcs=part.row_crcs, checked=checked)
            old.release(part.rows)

    def intact(self, rows: npt.NDArray[np.int64], row_crcs: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Which rows have these checksums: `(n,) bool`. Reads in the file's order, holds a few blocks at a time."""
        flat = _flat(np.asarray(self.array))
        order = np.argsort(rows, kind="stable")
        step = max(1, BLOCK_BYTES // self.description.row_bytes)
        blocks = [order[first : first + step] for first in range(0, len(order), step)]

        def check(block: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
            good = _crcs(flat, rows[block]) == row_crcs[block]
            self.release(rows[block])
            return good

        found = np.zeros(len(rows), dtype=bool)
        if len(blocks) > 1 and self.description.row_bytes >= _THREADED_ROW_BYTES:
            with ThreadPoolExecutor(_THREADS) as pool:
                found[order] = np.concatenate(list(pool.map(check, blocks)))
        elif blocks:
            found[order] = np.concatenate([check(block) for block in blocks])
        return found

    def release(self, rows: npt.NDArray[np.int64]) -> None:
        """Let go of the memory in which rows were read: they stay in the system's page cache, and can be read again.

        Without it, checking 26,000 rows of 203 kB leaves 5.2 GB resident.
        """
        pages: Any = self.array.base
        if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and len(rows):
            size = self.description.row_bytes
            start = int(rows.min()) * size // mmap.PAGESIZE * mmap.PAGESIZE
            pages.madvise(mmap.MADV_DONTNEED, start, (int(rows.max()) + 1) * size - start)

    def _take(self, records: Records, *, checked: bool) -> None:
        self.table.add(records, checked=checked)
        if len(records):
            self._next_row = max(self._next_row, int(records["row"].max()) + 1)

    def _map(self) -> None:
        with self.rows_path.open("rb") as stream:
            count = os.fstat(stream.fileno()).st_size // self.description.row_bytes
            if count > len(self.array):
                shape = (count, *self.description.shape)
                self.array = np.memmap(stream, dtype=self.description.dtype, mode="r", shape=shape)


def _flat(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return rows.reshape(len(rows), -1).view(np.uint8)


def _crcs(flat: npt.NDArray[np.uint8], rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint32]:
    return np.fromiter((zlib.crc32(flat[row]) for row in rows.tolist()), dtype=np.uint32, count=len(rows))
