"""A store of equal-sized rows on disk, keyed by content: the one mechanism under all caches.

In: keys (hexadecimal strings) and arrays of one shape. Out: a memory-mapped array of rows. Owns a store's folder: the
data files (see `generations`), `meta.json` (see `description`), `lock`, and `used`, whose time is that of the last use.

Rows are only ever appended, under a lock: first the rows, flushed to disk, then their records. A crash in between
leaves rows that no record names; they are overwritten. A record or a row whose checksum does not match counts as
missing, so a damaged entry is computed again. Several processes may append to one store.

`drop` copies what stays into a new generation and then changes `meta.json` in one step. A process that has the old
generation mapped goes on reading it, and changes to the new one in its next `append`. So row numbers from `find` always
belong to the `array` of the same object.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from bestiary.errors import BestiaryError
from bestiary.store.description import META, Description, delete_leftovers, read_description
from bestiary.store.files import cannot_write
from bestiary.store.generations import Generation
from bestiary.store.records import Entries, encode_keys

LOCK, USED = "lock", "used"
_BUSY_WAIT_S = 2.0


class RowStore:
    """Rows of one shape and data type, found by key.

    Args:
        folder: where the store lies; made when the first row is appended.
        shape: the shape of one row, such as (224, 224, 3).
        dtype: the data type of the rows.
        about: what the rows are, kept in `meta.json` for people and for `bestiary cache`.
    """

    def __init__(self, folder: Path, *, shape: tuple[int, ...], dtype: npt.DTypeLike, about: dict[str, Any]) -> None:
        self.folder = folder
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._about = about
        self._marked = self._is_tidy = False
        self._generation = self._load()

    @classmethod
    def open(cls, folder: Path) -> "RowStore | None":
        """The store that lies in a folder, as its `meta.json` describes it; None where that is damaged or missing."""
        described = read_description(folder)
        if described is None:
            return None
        return cls(folder, shape=described.shape, dtype=described.dtype, about=described.about)

    def find(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row numbers of the keys, -1 where a key is missing or its row is damaged: `(n,) int64`.

        They are valid until the next `append` or `drop`. A key that this object has found stays found: if another
        process drops its row meanwhile, `append` puts it back.
        """
        self._mark_used()
        return self._generation.table.find(encode_keys(keys), intact=self._generation.intact)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions in `keys` whose row is missing or damaged, one for each distinct key, in order."""
        wanted: dict[str, int] = {}
        for position in np.flatnonzero(self.find(keys) < 0):
            wanted.setdefault(keys[int(position)], int(position))
        return list(wanted.values())

    def array(self) -> npt.NDArray[Any]:
        """All rows, memory-mapped read-only: `(rows, *shape)`. Index it with what `find` returned."""
        return self._generation.array

    def count(self, keys: Sequence[str]) -> int:
        """How many of the keys, each counted once, have a row. Checks no row, and does not count as a use."""
        return int((self._generation.table.find(encode_keys(list(dict.fromkeys(keys))), intact=None) >= 0).sum())

    def append(self, keys: Sequence[str], rows: npt.NDArray[Any]) -> None:
        """Add rows `(n, *shape)` under their keys; they are on disk when this returns.

        Raises:
            BestiaryError: the disk is full or the folder is read-only; what was stored before stays valid.
        """
        if rows.shape != (len(keys), *self.shape):
            raise ValueError(f"rows of shape {rows.shape} for {len(keys)} keys of shape {self.shape}")
        encoded = encode_keys(keys)
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        try:
            with _locked(self.folder):
                self._catch_up()
                self._generation.append(encoded, rows)
        except OSError as error:
            raise BestiaryError(
                f"{cannot_write(self.folder, error)} The cache may lie elsewhere: set BESTIARY_CACHE."
            ) from error
        self._mark_used()

    def drop(self, keys: Sequence[str]) -> int:
        """Take the rows of these keys out and give their space back; returns how many there were.

        What stays is copied first, so for a while the disk holds it twice. A store of which nothing stays is removed.

        Raises:
            BestiaryError: another process holds the store, or the disk is full; what is to stay is valid.
        """
        dropped = encode_keys(list(dict.fromkeys(keys)))
        if not self.folder.is_dir():
            return 0
        try:
            with _locked(self.folder, wait_s=_BUSY_WAIT_S):
                if not self._fits(read_description(self.folder)):
                    return 0
                self._catch_up()
                entries = self._generation.table.entries()
                stays = ~np.isin(entries.keys, dropped)
                if not stays.any():
                    _delete(self.folder)
                    self._generation = self._load()
                elif not stays.all():
                    self._compact(entries.of(stays))
        except OSError as error:
            raise BestiaryError(
                f"{cannot_write(self.folder, error)} Clearing whole stores needs no space: --older-than, or --all."
            ) from error
        return int((~stays).sum())

    def _compact(self, entries: Entries) -> None:
        """Write the next generation, of these rows alone."""
        old, self._is_tidy = self._generation, False
        described = Description(self.shape, self.dtype.str, old.description.about, old.description.number + 1)
        try:
            new = Generation(self.folder, described)
            new.copy_rows(old, entries, checked=False)
            described.write(self.folder)
            self._generation = new
        finally:
            # Whether it was finished or not: meta.json says which generation is valid, and the other is deleted.
            if valid := read_description(self.folder):
                delete_leftovers(self.folder, keep=valid.number)
                self._is_tidy = True

    def _catch_up(self) -> None:
        """Read what other processes have done since; then `_generation` is the one on disk. Under the lock."""
        described, known = read_description(self.folder), self._generation
        is_known = described is not None and described.identity == known.description.identity
        if is_known and known.files_agree():
            known.read_new_records()
            self._tidy_up()
            return
        # Files that disagree are deleted and made again, and not written over: a process may have their rows mapped.
        if is_known or not self._fits(described) or not Generation(self.folder, described).files_agree():
            _delete(self.folder, keep_lock=True)
            described = self._describe()
            described.write(self.folder)
        current = Generation(self.folder, described)
        current.read_new_records()
        # A key that `find` has found must not be missing now: the caller has computed nothing for it. Put it back.
        found = known.table.entries(checked=True)
        lost = current.table.find(found.keys, intact=current.intact) < 0
        current.copy_rows(known, found.of(lost), checked=True)
        self._generation = current
        self._tidy_up()

    def _load(self) -> Generation:
        while True:
            described = read_description(self.folder)
            if not self._fits(described):
                return Generation(self.folder, self._describe())
            generation = Generation(self.folder, described)
            generation.read_new_records()
            # Reading needs no lock: if the files were replaced meanwhile, the description was too.
            if read_description(self.folder) == described:
                return generation

    def _describe(self) -> Description:
        return Description(self.shape, self.dtype.str, self._about)

    def _fits(self, described: Description | None) -> TypeGuard[Description]:
        return described is not None and (described.shape, described.dtype) == (self.shape, self.dtype.str)

    def _tidy_up(self) -> None:
        if not self._is_tidy:
            delete_leftovers(self.folder, keep=self._generation.description.number)
            self._is_tidy = True

    def _mark_used(self) -> None:
        if not self._marked and (self.folder / META).exists():
            self._marked = True
            # A cache that may only be read serves as well; its age is then that of its files.
            with contextlib.suppress(OSError):
                (self.folder / USED).touch()


def remove_store(folder: Path) -> None:
    """Delete a store, whole or damaged. Files in its folder that are no store's stay.

    Raises:
        BestiaryError: another process holds the store, or it may not be deleted.
    """
    if not folder.is_dir():
        return
    try:
        with _locked(folder, wait_s=_BUSY_WAIT_S):
            _delete(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _delete(folder: Path, *, keep_lock: bool = False) -> None:
    # The description first: without it no reader takes what is left for a store.
    (folder / META).unlink(missing_ok=True)
    delete_leftovers(folder, keep=None)
    if keep_lock:
        return
    (folder / USED).unlink(missing_ok=True)
    # Windows deletes no lock that is held, and no system a folder that holds files of others.
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
        folder.rmdir()


@contextmanager
def _locked(folder: Path, *, wait_s: float = -1) -> Iterator[None]:
    """Hold a store's lock, waiting at most `wait_s` seconds for it; -1: as long as it takes."""
    from filelock import FileLock, Timeout

    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(path))
        try:
            path.touch()
            before = path.stat().st_ino
            lock.acquire(timeout=wait_s)
        except Timeout as error:
            raise BestiaryError(
                f"the cache {folder} is in use by another process: wait for it or stop it, and run the command again"
            ) from error
        except FileNotFoundError:  # the store was removed just now
            continue
        try:
            # Where the file was deleted while we waited, we hold a lock that nobody else will see: try again.
            if path.exists() and path.stat().st_ino == before:
                yield
                return
        finally:
            lock.release()
