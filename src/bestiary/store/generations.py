"""The data files of a row store: one generation of them, read and appended to.

In: a store's folder and its `Description`. Out: a `Generation`. Owns, in the folder, `rows.bin` and `keys.bin`, and
from the first drop on `rows-<n>.bin` and `keys-<n>.bin`; see `description`.

Three rules keep readers safe without a lock:

1. Rows are flushed to disk before their records are written. So a record on disk names a row on disk, and whatever
   follows the last recorded row was left by a crash and may be overwritten.
2. Nothing that a sound record names is ever changed. Files grow, or are deleted whole, and a deleted file stays
   readable for a process that has mapped it.
3. Who writes holds the store's lock, and has read all records before.
"""

import mmap
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bestiary.store.description import Description, keys_file, rows_file
from bestiary.store.records import RECORD, Entries, Keys, KeyTable, Records, make_records, sound

_RECORDS_AT_ONCE = 1 << 20
BLOCK_BYTES = 16 << 20
# zlib lets other threads run while it sums more than 5 kB; it sums 3 GB/s, so a few threads are as fast as memory is.
_THREADED_ROW_BYTES, _THREADS = 8 << 10, min(4, os.cpu_count() or 1)


class Generation:
    """One generation, as far as this process has read it. Nothing is read before `read_new_records`.

    Attributes:
        description: of the store, when this generation was opened.
        table: the row of each key.
        array: all rows that `table` names, memory-mapped read-only: `(rows, *shape)`.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self.description = description
        self.rows_path = rows_file(folder, description.number)
        self.keys_path = keys_file(folder, description.number)
        self.table = KeyTable()
        self.array: npt.NDArray[Any] = np.empty((0, *description.shape), dtype=description.dtype)
        # The number of the row that is appended next, and how many bytes of `keys_path` are known.
        self._next_row = 0
        self._known_bytes = 0

    def files_agree(self) -> bool:
        """Whether both files are there or neither is, and `keys_path` still has all records that were read."""
        if self.rows_path.exists() != self.keys_path.exists():
            return False
        return self._known_bytes <= (self.keys_path.stat().st_size if self.keys_path.exists() else 0)

    def read_new_records(self) -> None:
        """Read the records that were added since the last call, and map their rows. Unsound records are skipped."""
        try:
            with self.keys_path.open("rb") as stream:
                position = stream.seek(self._known_bytes)
                while raw := stream.read(_RECORDS_AT_ONCE * RECORD.itemsize):
                    records = np.frombuffer(raw, dtype=RECORD, count=len(raw) // RECORD.itemsize)
                    are_sound = sound(records)
                    # Mapped after the records were read: so their rows are on disk (rule 1).
                    self._map_rows()
                    self._add(records[are_sound & (records["row"] < len(self.array))], checked=False)
                    if are_sound.any():
                        # What follows the last sound record may be half written by another process: read it again.
                        self._known_bytes = position + (int(np.flatnonzero(are_sound)[-1]) + 1) * RECORD.itemsize
                    position += len(raw)
        except FileNotFoundError:
            return  # nothing was stored yet, or the store was deleted just now

    def append(
        self,
        keys: Keys,
        rows: npt.NDArray[Any],
        *,
        row_crcs: npt.NDArray[np.uint32] | None = None,
        checked: bool = True,
    ) -> None:
        """Write rows and then their records; both are on disk when this returns. See rule 3.

        Args:
            keys: `(n,) S32`.
            rows: `(n, *shape)`, C-contiguous, of the store's type.
            row_crcs: the checksums `(n,)` where they are known. Those of copied rows are copied, not computed again, so
                that a row that was damaged before the copy does not pass for whole after it.
            checked: the rows are known to match their checksums.
        """
        first = self._next_row
        with self.rows_path.open("r+b" if self.rows_path.exists() else "w+b") as stream:
            stream.seek(first * self.description.row_bytes)
            stream.write(rows.data)
            stream.flush()
            os.fsync(stream.fileno())
        if row_crcs is None:
            row_crcs = _checksums(_as_bytes(rows), np.arange(len(rows)))
        records = make_records(keys, first + np.arange(len(rows)), row_crcs)
        with self.keys_path.open("ab") as stream:
            # A crash may have left part of a record at the end, which would shift all later ones: it is cut off.
            whole_bytes = self.keys_path.stat().st_size // RECORD.itemsize * RECORD.itemsize
            stream.truncate(whole_bytes)
            stream.write(records.tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        self._add(records, checked=checked)
        self._known_bytes = whole_bytes + records.nbytes
        self._map_rows()

    def copy_rows(self, source: "Generation", entries: Entries, *, checked: bool) -> None:
        """Append rows of another generation under their keys, a block at a time. See rule 3."""
        for block in self._blocks(len(entries.keys)):
            part = entries.of(block)
            self.append(part.keys, np.asarray(source.array[part.rows]), row_crcs=part.row_crcs, checked=checked)
            source.release_memory(part.rows)

    def intact(self, rows: npt.NDArray[np.int64], row_crcs: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Which rows match these checksums: `(n,) bool`. Reads them in the file's order, a few blocks at a time."""
        as_bytes = _as_bytes(np.asarray(self.array))
        order = np.argsort(rows, kind="stable")
        blocks = [order[block] for block in self._blocks(len(order))]

        def check(block: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
            matches = _checksums(as_bytes, rows[block]) == row_crcs[block]
            self.release_memory(rows[block])
            return matches

        threads = _THREADS if len(blocks) > 1 and self.description.row_bytes >= _THREADED_ROW_BYTES else 1
        found = np.zeros(len(rows), dtype=bool)
        with ThreadPoolExecutor(threads) as pool:
            for block, matches in zip(blocks, pool.map(check, blocks), strict=True):
                found[block] = matches
        return found

    def release_memory(self, rows: npt.NDArray[np.int64]) -> None:
        """Give back the memory into which rows were read. They can be read again, from the system's page cache.

        Without it, checking 26,000 rows of 203 kB leaves 5.2 GB resident.
        """
        pages: Any = self.array.base
        if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and len(rows):
            size = self.description.row_bytes
            start = int(rows.min()) * size // mmap.PAGESIZE * mmap.PAGESIZE
            pages.madvise(mmap.MADV_DONTNEED, start, (int(rows.max()) + 1) * size - start)

    def _blocks(self, count: int) -> list[slice]:
        """Slices of `count` rows that have BLOCK_BYTES each, or one row where a row has more."""
        step = max(1, BLOCK_BYTES // self.description.row_bytes)
        return [slice(first, first + step) for first in range(0, count, step)]

    def _add(self, records: Records, *, checked: bool) -> None:
        self.table.add(records, checked=checked)
        if len(records):
            self._next_row = max(self._next_row, int(records["row"].max()) + 1)

    def _map_rows(self) -> None:
        with self.rows_path.open("rb") as stream:
            count = os.fstat(stream.fileno()).st_size // self.description.row_bytes
            if count > len(self.array):
                shape = (count, *self.description.shape)
                self.array = np.memmap(stream, dtype=self.description.dtype, mode="r", shape=shape)


def _as_bytes(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Rows as `(n, row_bytes) uint8`, without a copy."""
    return rows.reshape(len(rows), -1).view(np.uint8)


def _checksums(as_bytes: npt.NDArray[np.uint8], rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint32]:
    """The CRC-32 of these rows: `(n,)`."""
    return np.fromiter((zlib.crc32(as_bytes[row]) for row in rows.tolist()), dtype=np.uint32, count=len(rows))
