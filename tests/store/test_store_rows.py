"""The row store: what was appended is found, and what is damaged is missing, never wrong."""

import base64
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.errors import BestiaryError
from bestiary.store.rows import RowStore

SHAPE = (2, 3)
ROW_BYTES = 12
RECORD_BYTES = 48
Rows = npt.NDArray[np.uint16]


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def row(number: int) -> Rows:
    return np.random.default_rng(number).integers(0, 1 << 16, SHAPE, dtype=np.uint16)


def open_store(folder: Path) -> RowStore:
    return RowStore(folder, shape=SHAPE, dtype=np.uint16, about={"rows": "of a test"})


def append(folder: Path, numbers: Sequence[int]) -> None:
    open_store(folder).append([key(n) for n in numbers], np.stack([row(n) for n in numbers]))


def found(folder: Path, numbers: Sequence[int]) -> list[int]:
    """Which numbers a fresh process would find; each one found must be right."""
    store = open_store(folder)
    places = store.find([key(n) for n in numbers])
    array = store.array()
    for number, place in zip(numbers, places, strict=True):
        if place >= 0:
            np.testing.assert_array_equal(array[place], row(number))
    here = [number for number, place in zip(numbers, places, strict=True) if place >= 0]
    gone = [number for number in numbers if number not in here]
    assert [numbers[position] for position in store.missing([key(n) for n in numbers])] == list(dict.fromkeys(gone))
    return here


def assert_heals(folder: Path, numbers: Sequence[int]) -> None:
    """Appending what is missing makes the store whole again."""
    lost = [n for n in numbers if n not in found(folder, numbers)]
    if lost:
        append(folder, lost)
    assert found(folder, numbers) == list(numbers)


def damage(path: Path, position: int, change: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= change
    path.write_bytes(bytes(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    append(place, [0, 1, 2])
    append(place, [3, 4])
    return place


def test_layout_on_disk_is_the_documented_one(folder: Path) -> None:
    assert (folder / "rows.bin").read_bytes() == b"".join(row(n).tobytes() for n in range(5))
    assert (folder / "keys.bin").stat().st_size == 5 * RECORD_BYTES
    assert b"of a test" in (folder / "meta.json").read_bytes()


def test_empty_store_has_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    store = open_store(tmp_path / "none")
    assert store.find([key(0)]).tolist() == [-1]
    assert store.array().shape == (0, *SHAPE)
    assert not (tmp_path / "none").exists()


batches = st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1000)), min_size=1, max_size=5), max_size=5)


@given(batches=batches, reopen=st.booleans())
@settings(max_examples=40, deadline=None)
def test_last_row_appended_under_a_key_is_found(batches: list[list[tuple[int, int]]], reopen: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        store = open_store(Path(place))
        expected: dict[str, Rows] = {}
        for batch in batches:
            store.append([key(name) for name, _ in batch], np.stack([row(value) for _, value in batch]))
            expected |= {key(name): row(value) for name, value in batch}
            store = open_store(Path(place)) if reopen else store
            names = [*expected, key(99), *expected]
            places = store.find(names)
            assert places[len(expected)] == -1
            for name, number in zip(names, places, strict=True):
                assert (number >= 0) == (name in expected)
                if number >= 0:
                    np.testing.assert_array_equal(store.array()[number], expected[name])
            assert store.missing([key(99), *expected, key(98), key(99)]) == [0, len(expected) + 1]


@pytest.mark.parametrize("number", range(5))
def test_damaged_row_alone_is_missing_and_can_be_appended_again(folder: Path, number: int) -> None:
    damage(folder / "rows.bin", number * ROW_BYTES + 7)
    assert found(folder, range(5)) == [n for n in range(5) if n != number]
    assert_heals(folder, range(5))


@given(position=st.integers(0, 5 * RECORD_BYTES - 1), change=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_damaged_record_costs_its_own_row_at_most(position: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        append(Path(place), range(5))
        damage(Path(place) / "keys.bin", position, change)
        assert found(Path(place), range(5)) == [n for n in range(5) if n != position // RECORD_BYTES]
        assert_heals(Path(place), range(5))


@pytest.mark.parametrize("length", [0, 1, RECORD_BYTES - 1, RECORD_BYTES, 3 * RECORD_BYTES + 20, 5 * RECORD_BYTES - 1])
def test_torn_record_at_the_end_costs_only_itself(folder: Path, length: int) -> None:
    os.truncate(folder / "keys.bin", length)
    assert found(folder, range(5)) == list(range(length // RECORD_BYTES))
    assert_heals(folder, range(5))


@pytest.mark.parametrize("length", [0, 5, 2 * ROW_BYTES, 4 * ROW_BYTES + 11])
def test_rows_cut_short_are_missing(folder: Path, length: int) -> None:
    os.truncate(folder / "rows.bin", length)
    assert found(folder, range(5)) == list(range(length // ROW_BYTES))
    append(folder, [7])
    assert found(folder, [*range(length // ROW_BYTES), 7]) == [*range(length // ROW_BYTES), 7]
    assert_heals(folder, range(5))


@pytest.mark.parametrize("name", ["rows.bin", "keys.bin", "meta.json"])
def test_lost_file_means_that_all_rows_are_made_again(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert found(folder, range(5)) == []
    assert_heals(folder, range(5))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"{}"])
def test_damaged_description_means_that_all_rows_are_made_again(folder: Path, content: bytes) -> None:
    (folder / "meta.json").write_bytes(content)
    assert found(folder, range(5)) == []
    assert_heals(folder, range(5))


@pytest.mark.parametrize("leaving", [b"\0" * 5, b"x" * ROW_BYTES, b"y" * (3 * ROW_BYTES + 1)])
def test_rows_without_records_are_overwritten(folder: Path, leaving: bytes) -> None:
    with (folder / "rows.bin").open("ab") as stream:
        stream.write(leaving)
    assert found(folder, range(5)) == list(range(5))
    append(folder, [5])
    assert open_store(folder).find([key(5)]).tolist() == [5]
    assert found(folder, range(6)) == list(range(6))


@pytest.mark.parametrize("flush", [1, 2])
def test_interruption_while_appending_keeps_the_earlier_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, flush: int
) -> None:
    calls = []

    def interrupted(_: int) -> None:
        calls.append(1)
        if len(calls) == flush:
            raise KeyboardInterrupt

    store = open_store(folder)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.append([key(5)], row(5)[None])
    monkeypatch.undo()
    assert found(folder, range(5)) == list(range(5))
    assert_heals(folder, range(7))


@pytest.mark.parametrize("flush", [1, 2])
def test_killed_process_keeps_the_earlier_rows(folder: Path, flush: int) -> None:
    code = (
        "import os, sys\nimport numpy as np\nfrom pathlib import Path\nfrom bestiary.store import rows\n"
        "calls = []\n"
        "def fsync(_):\n    calls.append(1)\n    len(calls) == int(sys.argv[2]) and os._exit(9)\n"
        "os.fsync = fsync\n"
        "store = rows.RowStore(Path(sys.argv[1]), shape=(2, 3), dtype=np.uint16, about={})\n"
        "store.append(['k'], np.zeros((1, 2, 3), np.uint16))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder), str(flush)]).returncode == 9
    assert found(folder, range(5)) == list(range(5))
    assert_heals(folder, range(7))


@pytest.mark.parametrize(("shape", "dtype"), [((3, 2), np.uint16), ((2, 3), np.int16), ((2, 3), np.float32)])
def test_store_of_another_shape_or_type_begins_anew(folder: Path, shape: tuple[int, ...], dtype: type) -> None:
    other = RowStore(folder, shape=shape, dtype=dtype, about={})
    assert other.find([key(0)]).tolist() == [-1]
    other.append([key(0)], np.full((1, *shape), 7, dtype))
    again = RowStore(folder, shape=shape, dtype=dtype, about={})
    assert again.array()[again.find([key(0)])].tolist() == np.full((1, *shape), 7).tolist()
    assert found(folder, range(5)) == []


def test_two_stores_that_take_turns_lose_nothing(folder: Path) -> None:
    one, other = open_store(folder), open_store(folder)
    for number in range(5, 13, 2):
        one.append([key(number)], row(number)[None])
        other.append([key(number + 1)], row(number + 1)[None])
    assert found(folder, range(13)) == list(range(13))


def test_two_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\nimport numpy as np\nfrom pathlib import Path\nfrom bestiary.store.rows import RowStore\n"
        "store = RowStore(Path(sys.argv[1]), shape=(4,), dtype=np.int64, about={})\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "for n in range(int(sys.argv[2]), int(sys.argv[3])):\n"
        "    store.append([f'key{n}'], np.full((1, 4), n))\n"
    )
    ranges = [(0, 40), (30, 70)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "s"), str(first), str(last)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first, last in ranges
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    store = RowStore(tmp_path / "s", shape=(4,), dtype=np.int64, about={})
    places = store.find([f"key{n}" for n in range(70)])
    np.testing.assert_array_equal(store.array()[places], np.repeat(np.arange(70), 4).reshape(70, 4))


def test_full_disk_is_named_and_the_earlier_rows_stay_valid(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    store, limits = open_store(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    many = np.stack([row(n) for n in range(5, 5000)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(BestiaryError, match=r"cannot write .*BESTIARY_CACHE"):
            store.append([key(n) for n in range(5, 5000)], many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.find([key(n) for n in range(5)]).tolist() == list(range(5))
    assert found(folder, range(8)) == list(range(5))
    store.append([key(5)], row(5)[None])
    assert_heals(folder, range(8))


def test_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BestiaryError, match=r"cannot write .*BESTIARY_CACHE"):
        append(tmp_path / "file" / "store", [0])


def test_rows_cannot_be_changed_through_the_array(folder: Path) -> None:
    array = open_store(folder).array()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


@pytest.mark.parametrize("shape", [(1, 3, 2), (2, 2, 3), (2, 3)])
def test_rows_of_another_shape_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rows of shape"):
        open_store(folder).append([key(9)], np.zeros(shape, np.uint16))
    assert found(folder, range(5)) == list(range(5))


@pytest.mark.parametrize("wrong", ["", "k" * 33])
def test_key_of_impossible_length_is_refused(folder: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match="1 to 32 characters"):
        open_store(folder).find([wrong])


@pytest.mark.parametrize("name", ["k", "k" * 32, "ab", "abc"])
def test_keys_that_begin_alike_are_told_apart(tmp_path: Path, name: str) -> None:
    store = open_store(tmp_path)
    store.append([name], row(1)[None])
    others: Mapping[str, int] = {other: -1 for other in ("k", "k" * 32, "a", "ab", "abc", "abcd") if other != name}
    assert open_store(tmp_path).find(list(others)).tolist() == list(others.values())
    assert open_store(tmp_path).find([name]).tolist() == [0]


# Written by version 0.1, the data files in base64: keys 0, 1, "k" and 3; and the same store after a drop of key 1.
_META = '{"shape": [3], "dtype": "<i2", "generation": %d, "id": "b90049d074265a2a", "about": {}}'
STORED: list[tuple[dict[str, str], list[int]]] = [
    (
        {
            "keys.bin": "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAAAAAAAAAAAESkSDuhc6MVMDAwMDAwMDAwMDAwMDAwMDAw"
            "MDAwMDAwMDAwMDAwMDEBAAAAAAAAAMhK7Ws6C3jvawAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACAAAA"
            "AAAAAL0CsbiTs1+AMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDMDAAAAAAAAACOh4BXg+8XF",
            "meta.json": _META % 0,
            "rows.bin": "AAABAAIACgALAAwABwAIAAkAHgAfACAA",
        },
        [0, 1, 2, 3],
    ),
    (
        {
            "keys-1.bin": "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAAAAAAAAAAAESkSDuhc6MVawAAAAAAAAAAAAAAAAAAAAAA"
            "AAAAAAAAAAAAAAAAAAABAAAAAAAAAL0CsbhjYcH3MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDMCAAAA"
            "AAAAACOh4BWPt2Be",
            "meta.json": _META % 1,
            "rows-1.bin": "AAABAAIABwAIAAkAHgAfACAA",
        },
        [0, -1, 1, 2],
    ),
]


@pytest.mark.parametrize(("files", "places"), STORED, ids=["appended", "dropped"])
def test_a_store_of_an_older_version_is_read_and_goes_on(
    tmp_path: Path, files: dict[str, str], places: list[int]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode() if name == "meta.json" else base64.b64decode(content))
    keys, rows = [f"{0:032x}", f"{1:032x}", "k", f"{3:032x}"], [[0, 1, 2], [10, 11, 12], [7, 8, 9], [30, 31, 32]]
    store = RowStore.open(tmp_path)
    assert store is not None
    assert store.find(keys).tolist() == places
    assert [store.array()[place].tolist() for place in places if place >= 0] == [
        row for row, place in zip(rows, places, strict=True) if place >= 0
    ]
    store.append(["new"], np.array([[5, 5, 5]], np.int16))
    again = RowStore.open(tmp_path)
    assert again is not None
    assert again.find([*keys, "new"]).tolist() == [*places, max(places) + 1]


def test_records_are_written_as_an_older_version_wrote_them(tmp_path: Path) -> None:
    store = RowStore(tmp_path, shape=(3,), dtype=np.int16, about={})
    store.append([f"{0:032x}", f"{1:032x}", "k"], np.array([[0, 1, 2], [10, 11, 12], [7, 8, 9]], np.int16))
    store.append([f"{3:032x}"], np.array([[30, 31, 32]], np.int16))
    for name in ("keys.bin", "rows.bin"):
        assert (tmp_path / name).read_bytes() == base64.b64decode(STORED[0][0][name])
