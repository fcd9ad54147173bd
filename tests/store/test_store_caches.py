"""The cache home: what lies in it is told, and nothing but stores is cleared."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from bestiary.store.caches import (
    CacheEntry,
    bytes_by_kind,
    clear_rows,
    clear_store,
    count_rows,
    free_bytes,
    list_caches,
)
from bestiary.store.rows import RowStore

KEYS = [f"{number:032x}" for number in range(5)]


def make_store(folder: Path, *, count: int = 5) -> RowStore:
    store = RowStore(folder, shape=(4, 4, 3), dtype=np.uint8, about={"pixels": {"size_px": 4}})
    store.append(KEYS[:count], np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8))
    return store


@pytest.fixture
def home(cache: Path) -> Path:
    make_store(cache / "features" / "b", count=2)
    make_store(cache / "pixels" / "a")
    make_store(cache / "other" / "c", count=1)
    make_store(cache / "pixels" / "damaged")
    (cache / "pixels" / "damaged" / "meta.json").write_text("{")
    (cache / "activations" / "torn").mkdir(parents=True)
    (cache / "activations" / "torn" / "meta.json").write_text("")
    (cache / "datasets" / "digits" / "0").mkdir(parents=True)
    (cache / "datasets" / "digits" / "0" / "x.png").write_bytes(b"12345")
    (cache / "datasets" / "digits.json").write_text("{}")
    (cache / "pixels" / "mine").mkdir()
    (cache / "pixels" / "mine" / "notes.txt").write_text("mine")
    (cache / "other" / "web").mkdir()
    (cache / "other" / "web" / "meta.json").write_text('{"name": "no store"}')
    (cache / "readme").write_text("hello")
    return cache


def entry_of(home: Path, name: str) -> CacheEntry:
    (entry,) = [entry for entry in list_caches(home) if entry.name == name]
    return entry


def all_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_everything_is_told_by_kind_and_name(home: Path) -> None:
    found = [(entry.kind, entry.name, entry.state, entry.rows) for entry in list_caches(home)]
    assert found == [
        ("pixels", "a", "store", 5),
        ("pixels", "damaged", "damaged", None),
        ("pixels", "mine", "files", None),
        ("features", "b", "store", 2),
        ("activations", "torn", "damaged", None),
        ("datasets", "digits", "files", None),
        ("datasets", "digits.json", "files", None),
        ("", "readme", "files", None),
        ("other", "c", "store", 1),
        ("other", "web", "files", None),
    ]
    assert sum(entry.bytes for entry in list_caches(home)) == all_bytes(home)
    assert entry_of(home, "a").about == {"pixels": {"size_px": 4}}
    assert bytes_by_kind(list_caches(home)) == {
        "pixels": all_bytes(home / "pixels"),
        "features": all_bytes(home / "features"),
        "activations": 0,
        "image_statistics": 0,
        "thumbnails": 0,
        "datasets": 7,
        "other files": 5,
        "other": all_bytes(home / "other"),
    }


def test_an_empty_home_is_no_error(tmp_path: Path) -> None:
    assert list_caches(tmp_path / "none" / "none") == []
    kinds = ("pixels", "features", "activations", "image_statistics", "thumbnails", "datasets")
    assert bytes_by_kind([]) == dict.fromkeys(kinds, 0)
    # Other processes write meanwhile: as near as a disk stands still.
    assert free_bytes(tmp_path / "none" / "none") == pytest.approx(shutil.disk_usage(tmp_path).free, abs=1 << 28)


def test_last_use_is_that_of_the_mark_or_else_of_the_files(home: Path) -> None:
    store = home / "pixels" / "a"
    os.utime(store / "used", (1000, 1000))
    assert entry_of(home, "a").last_used == 1000
    RowStore(store, shape=(4, 4, 3), dtype=np.uint8, about={}).missing(KEYS)
    assert entry_of(home, "a").last_used > 1000
    (store / "used").unlink()
    for number, path in enumerate(sorted(store.iterdir())):
        os.utime(path, (2000 + number, 2000 + number))
    assert entry_of(home, "a").last_used == 2000 + len(list(store.iterdir())) - 1


def test_looking_and_counting_is_no_use(home: Path) -> None:
    os.utime(home / "pixels" / "a" / "used", (1000, 1000))
    entry = entry_of(home, "a")
    assert count_rows(entry, [*KEYS[1:3], KEYS[1], "f" * 32]) == (2, 2 * (48 + 48))
    assert entry_of(home, "a") == entry
    assert count_rows(entry_of(home, "damaged"), KEYS) == (0, 0)


def test_rows_are_counted_after_some_were_dropped(home: Path) -> None:
    before = all_bytes(home)
    rows, freed = clear_rows(entry_of(home, "a"), KEYS[:2])
    assert rows == 2
    assert freed == before - all_bytes(home) > 0
    assert entry_of(home, "a").rows == 3
    assert clear_rows(entry_of(home, "a"), KEYS[2:])[0] == 3
    assert not (home / "pixels" / "a").exists()
    assert clear_rows(entry_of(home, "damaged"), KEYS) == (0, 0)


@pytest.mark.parametrize("name", ["a", "damaged", "torn"])
def test_a_store_whole_or_damaged_is_cleared_and_nothing_else(home: Path, name: str) -> None:
    entry = entry_of(home, name)
    own = {path for path in home.rglob("*") if entry.path in (path, *path.parents)}
    before = set(home.rglob("*"))
    rows, freed = clear_store(entry)
    assert (rows, freed) == (entry.rows or 0, entry.bytes)
    assert before - set(home.rglob("*")) == own
