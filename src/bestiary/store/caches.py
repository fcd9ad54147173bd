"""What lies in the cache home: stores of rows, and folders of other files; how large, and when last used.

In: the cache home. Out: one `CacheEntry` for each thing in it; `clear_store` and `clear_rows` take stores out. Owns no
file: stores are those of `rows`, one folder each under the folder of their kind, and nothing else is ever deleted.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bestiary.store.description import META, data_files, keys_file, read_description
from bestiary.store.records import RECORD
from bestiary.store.rows import LOCK, USED, RowStore, remove_store

CacheKind = Literal["pixels", "features", "activations", "image_statistics", "thumbnails"]
KINDS: tuple[CacheKind, ...] = ("pixels", "features", "activations", "image_statistics", "thumbnails")


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache home.

    Attributes:
        kind: the folder it lies in: pixels, features, activations, image_statistics, thumbnails, datasets, or another;
            empty for a file beside them.
        name: its own name.
        path: where it lies.
        state: a `store` of rows; one that is `damaged`, whose description cannot be read; or `files` of another sort.
        rows: how many rows were recorded; None where that is not known.
        bytes: its size on disk.
        last_used: when it was last read or written, in seconds since 1970.
        about: what the rows are.
    """

    kind: str
    name: str
    path: Path
    state: Literal["store", "damaged", "files"]
    rows: int | None
    bytes: int
    last_used: float
    about: dict[str, Any]


def list_caches(home: Path) -> list[CacheEntry]:
    """All that lies in the cache home, by kind and name; nothing where there is no such folder."""
    found = []
    for path in _sorted(home):
        if path.is_dir():
            found += [_look(path.name, inner) for inner in _sorted(path)]
        else:
            found.append(_look("", path))
    return sorted(found, key=lambda entry: (_rank(entry.kind), entry.kind, entry.name))


def bytes_by_kind(entries: Sequence[CacheEntry]) -> dict[str, int]:
    """The size of each kind; the known kinds are there even where they are empty."""
    sizes = dict.fromkeys((*KINDS, "datasets"), 0)
    for entry in entries:
        name = entry.kind or "other files"
        sizes[name] = sizes.get(name, 0) + entry.bytes
    return sizes


def free_bytes(home: Path) -> int:
    """Free space on the disk of the cache home, there already or not."""
    return shutil.disk_usage(next(place for place in (home, *home.parents) if place.exists())).free


def count_rows(entry: CacheEntry, keys: Sequence[str]) -> tuple[int, int]:
    """How many of these keys a store has, and how many bytes their rows are."""
    described, store = read_description(entry.path), RowStore.open(entry.path)
    if described is None or store is None:
        return 0, 0
    count = store.count(keys)
    return count, count * (described.row_bytes + RECORD.itemsize)


def clear_store(entry: CacheEntry) -> tuple[int, int]:
    """Delete a whole store; returns the rows and the bytes that went.

    Raises:
        BestiaryError: another process holds it, or it may not be deleted.
    """
    remove_store(entry.path)
    return entry.rows or 0, entry.bytes - _measure(entry.path)[0]


def clear_rows(entry: CacheEntry, keys: Sequence[str]) -> tuple[int, int]:
    """Take the rows of these keys out of a store; returns the rows and the bytes that went.

    Raises:
        BestiaryError: another process holds it, or the disk is too full to copy what stays.
    """
    store, before = RowStore.open(entry.path), _measure(entry.path)[0]
    dropped = store.drop(keys) if store else 0
    return dropped, before - _measure(entry.path)[0]


def _look(kind: str, path: Path) -> CacheEntry:
    size, changed = _measure(path)
    described = read_description(path) if path.is_dir() else None
    if described is not None:
        keys, used = keys_file(path, described.number), path / USED
        rows = _size(keys) // RECORD.itemsize
        last_used = used.stat().st_mtime if used.exists() else changed
        return CacheEntry(kind, path.name, path, "store", rows, size, last_used, described.about)
    # Only what bestiary itself writes is taken for a store that was damaged.
    own = bool(data_files(path)) or (kind in KINDS and any((path / name).exists() for name in (META, LOCK, USED)))
    return CacheEntry(kind, path.name, path, "damaged" if own else "files", None, size, changed, {})


def _measure(path: Path) -> tuple[int, float]:
    """Bytes of all files, and when the newest was written; files that go meanwhile count nothing."""
    size, newest = 0, 0.0
    for file in path.rglob("*") if path.is_dir() else (path,):
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        if file.is_file():
            size, newest = size + status.st_size, max(newest, status.st_mtime)
    return size, newest


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _rank(kind: str) -> int:
    order = (*KINDS, "datasets")
    return order.index(kind) if kind in order else len(order)
