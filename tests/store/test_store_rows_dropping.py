"""Dropping rows: what stays is whole, whatever is interrupted and whoever reads or writes meanwhile."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bestiary.errors import BestiaryError
from bestiary.store import generations, rows
from bestiary.store.rows import RowStore, remove_store

SHAPE = (3, 4)
STEPS = ("fsync", "replace", "unlink")


def key(number: int) -> str:
    return f"{number:032x}"


def made(numbers: Sequence[int]) -> np.ndarray:
    """The one row that belongs to each key."""
    return np.stack([np.full(SHAPE, number, np.int32) * 7 + 1 for number in numbers])


def open_store(folder: Path) -> RowStore:
    return RowStore(folder, shape=SHAPE, dtype=np.int32, about={"rows": "of a test"})


def append(store: RowStore, numbers: Sequence[int]) -> None:
    store.append([key(n) for n in numbers], made(numbers))


def held(store: RowStore, numbers: Sequence[int]) -> set[int]:
    """The numbers that a store finds, each with exactly its row."""
    places = store.find([key(n) for n in numbers])
    array = store.array()
    here = [(number, place) for number, place in zip(numbers, places.tolist(), strict=True) if place >= 0]
    for number, place in here:
        np.testing.assert_array_equal(array[place], made([number])[0])
    return {number for number, _ in here}


def drop(store: RowStore, numbers: Sequence[int]) -> int:
    return store.drop([key(n) for n in numbers])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = open_store(tmp_path / "store")
    append(store, range(6))
    append(store, range(6, 10))
    return store.folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "BLOCK_BYTES", 2 * 48)
    monkeypatch.setattr(generations, "_RECORDS_AT_ONCE", 3)


def test_dropped_rows_give_their_space_back(folder: Path) -> None:
    assert drop(open_store(folder), [1, 2, 9, 77, 1]) == 3
    assert names(folder) == {"rows-1.bin", "keys-1.bin", "meta.json", "lock", "used"}
    assert (folder / "rows-1.bin").stat().st_size == 7 * 48
    assert (folder / "keys-1.bin").stat().st_size == 7 * 48
    assert held(open_store(folder), range(12)) == {0, 3, 4, 5, 6, 7, 8}
    assert b"of a test" in (folder / "meta.json").read_bytes()


def test_rows_of_older_records_go_with_a_drop(folder: Path) -> None:
    append(open_store(folder), [3, 3, 4])
    assert drop(open_store(folder), [0]) == 1
    assert (folder / "rows-1.bin").stat().st_size == 9 * 48
    assert held(open_store(folder), range(10)) == set(range(1, 10))


def test_nothing_to_drop_changes_nothing(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert drop(open_store(folder), [55, 56]) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert drop(open_store(folder / "none"), [1]) == 0
    assert not (folder / "none").exists()


def test_a_store_of_another_shape_is_left_alone(folder: Path) -> None:
    assert RowStore(folder, shape=(5,), dtype=np.int32, about={}).drop([key(1)]) == 0
    assert held(open_store(folder), range(10)) == set(range(10))


def test_nothing_is_left_of_a_store_that_loses_all(folder: Path) -> None:
    assert drop(open_store(folder), range(10)) == 10
    assert not folder.exists()
    append(open_store(folder), [4])
    assert held(open_store(folder), range(10)) == {4}


def test_a_damaged_row_is_not_taken_for_whole_after_a_drop(folder: Path) -> None:
    with (folder / "rows.bin").open("r+b") as stream:
        stream.seek(4 * 48 + 5)
        stream.write(b"\xff")
    assert drop(open_store(folder), [0]) == 1
    assert held(open_store(folder), range(10)) == {1, 2, 3, 5, 6, 7, 8, 9}


@dataclass
class Model:
    """What a store must hold, and what each of the objects that are open on it has found."""

    disk: set[int] = field(default_factory=set)
    there: bool = False
    found: list[set[int]] = field(default_factory=lambda: [set(), set(), set()])


numbers_of = st.lists(st.integers(0, 7), min_size=1, max_size=6)
steps = st.lists(
    st.tuples(st.sampled_from(["append", "drop", "find", "reopen", "remove"]), st.integers(0, 2), numbers_of),
    max_size=14,
)


@given(steps=steps)
@example(steps=[("append", 0, [1]), ("remove", 0, [0]), ("append", 0, [0]), ("drop", 1, [1]), ("append", 0, [0])])
@example(
    steps=[
        ("append", 1, [1]),
        ("append", 0, [1]),
        ("append", 1, [0]),
        ("remove", 0, [0]),
        ("append", 1, [0]),
    ]
)
@settings(max_examples=120, deadline=None)
@pytest.mark.slow
def test_three_objects_on_one_store_agree_with_a_set(steps: list[tuple[str, int, list[int]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, model = Path(place) / "store", Model()
        stores = [open_store(folder) for _ in range(3)]
        for what, which, numbers in steps:
            store, found = stores[which], model.found[which]
            if what == "append":
                append(store, numbers)
                found |= set(numbers)
                model.disk |= found
                model.there = True
            elif what == "drop" and model.there:
                before = model.disk | found
                assert drop(store, numbers) == len(before & set(numbers))
                model.disk = before - set(numbers)
                if before & set(numbers):
                    found.clear()
                model.there = bool(model.disk)
            elif what == "find":
                seen = held(store, range(10))
                assert seen >= found
                found |= seen
            elif what == "reopen":
                stores[which] = open_store(folder)
                found.clear()
            elif what == "remove":
                remove_store(folder)
                model.disk, model.there = set(), False
            assert held(open_store(folder), range(10)) == model.disk
            assert folder.exists() == model.there
            for other in stores:
                array = other.array()
                assert len(array) == 0 or np.isin(array[:, 0, 0], [0, *(made(range(10))[:, 0, 0])]).all()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_drop_leaves_each_row_right(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    real = getattr(os, step)
    for nth in range(1, 40):
        calls: list[object] = []

        def failing(*arguments: object, count: int = nth, calls: list[object] = calls) -> object:
            calls.append(arguments)
            if len(calls) == count:
                raise error
            return real(*arguments)

        store = open_store(folder)
        with monkeypatch.context() as patch:
            patch.setattr(os, step, failing)
            try:
                drop(store, [nth % 10, (nth + 3) % 10])
            except (BestiaryError, KeyboardInterrupt):
                pass
            else:
                break
        assert held(store, range(10)) >= set(range(10)) - {nth % 10, (nth + 3) % 10}
        assert held(open_store(folder), range(10)) >= set(range(10)) - {nth % 10, (nth + 3) % 10}
        append(store, range(10))
        assert held(open_store(folder), range(10)) == set(range(10))
        assert len(names(folder)) == 5, names(folder)
    else:
        pytest.fail("the drop never came to its end")
    assert nth > 1, f"no call of {step} failed"


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from bestiary.store import generations, rows
generations.BLOCK_BYTES = 2 * 48
step, nth, calls = sys.argv[2], int(sys.argv[3]), []
real = getattr(os, step)
def killing(*arguments):
    calls.append(1)
    if len(calls) == nth:
        os._exit(9)
    return real(*arguments)
store = rows.RowStore(Path(sys.argv[1]), shape=(3, 4), dtype=np.int32, about={})
setattr(os, step, killing)
store.drop([f"{n:032x}" for n in (2, 5, 8)])
"""


@pytest.mark.parametrize(
    ("step", "nth"), [("fsync", 1), ("fsync", 2), ("fsync", 5), ("replace", 1), ("unlink", 1), ("unlink", 2)]
)
def test_a_drop_that_is_killed_leaves_each_row_right(folder: Path, step: str, nth: int) -> None:
    old = open_store(folder)
    assert subprocess.run([sys.executable, "-c", KILLED, str(folder), step, str(nth)]).returncode == 9
    done = step == "unlink"
    assert held(open_store(folder), range(10)) == set(range(10)) - ({2, 5, 8} if done else set())
    assert held(old, range(10)) == set(range(10))
    append(open_store(folder), [20])
    generation = 1 if done else 0
    left = {"rows.bin", "keys.bin"} if not done else {f"rows-{generation}.bin", f"keys-{generation}.bin"}
    assert names(folder) == {*left, "meta.json", "lock", "used"}
    assert drop(open_store(folder), [2, 5, 8]) == (0 if done else 3)
    assert held(open_store(folder), range(21)) == {0, 1, 3, 4, 6, 7, 9, 20}


def test_a_full_disk_is_named_with_what_needs_no_space(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(BestiaryError, match=r"cannot write .*whole stores needs no space"):
            drop(open_store(folder), [1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(folder) == {"rows.bin", "keys.bin", "meta.json", "lock", "used"}
    assert held(open_store(folder), range(10)) == set(range(10))


def test_find_and_array_that_straddle_a_drop_speak_of_one_generation(folder: Path) -> None:
    reader = open_store(folder)
    places = reader.find([key(n) for n in range(10)])
    drop(open_store(folder), [0, 1, 2])
    append(open_store(folder), [30, 31, 32, 33])
    np.testing.assert_array_equal(reader.array()[places], made(range(10)))
    array = reader.array()
    drop(open_store(folder), [30])
    np.testing.assert_array_equal(array[reader.find([key(n) for n in range(10)])], made(range(10)))


def test_an_append_after_another_s_drop_takes_up_the_new_generation(folder: Path) -> None:
    writer = open_store(folder)
    drop(open_store(folder), [0, 1, 2])
    append(writer, [40])
    assert held(writer, range(41)) == {3, 4, 5, 6, 7, 8, 9, 40}
    assert held(open_store(folder), range(41)) == {3, 4, 5, 6, 7, 8, 9, 40}


@pytest.mark.parametrize("clear", [lambda folder: drop(open_store(folder), [0, 1, 2, 3]), remove_store])
def test_what_a_process_found_is_not_missing_after_its_append(folder: Path, clear: Callable[[Path], object]) -> None:
    writer = open_store(folder)
    assert writer.missing([key(1), key(2), key(41)]) == [2]
    clear(folder)
    append(writer, [41])
    assert held(writer, [1, 2, 41]) == {1, 2, 41}
    assert held(open_store(folder), range(42)) >= {1, 2, 41}
    assert held(open_store(folder), [0, 3]) == set(), "what it never asked for stays away"


@pytest.mark.parametrize("times", [1, 2])
def test_a_store_made_anew_is_not_taken_for_the_old_one(folder: Path, times: int) -> None:
    writer = open_store(folder)
    for _ in range(times):
        remove_store(folder)
        append(open_store(folder), range(50, 60))
    append(writer, [0])
    assert held(writer, range(60)) == {0, *range(50, 60)}


def test_lost_records_do_not_let_rows_in_use_be_written_over(folder: Path) -> None:
    writer = open_store(folder)
    places = writer.find([key(n) for n in range(5, 10)])
    array = writer.array()
    os.truncate(folder / "keys.bin", 48)
    append(writer, range(60, 70))
    np.testing.assert_array_equal(array[places], made(range(5, 10)))
    assert held(writer, range(70)) >= {*range(5, 10), *range(60, 70)}


@pytest.mark.parametrize("moment", [(rows, "read_description"), (generations.Generation, "_map_rows")])
def test_a_store_that_changes_while_it_is_opened_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moment: tuple[object, str]
) -> None:
    where, name = moment
    real = getattr(where, name)

    def interrupted(*arguments: object) -> object:
        result = real(*arguments) if name == "read_description" else None
        monkeypatch.setattr(where, name, real)
        drop(open_store(folder), [0, 1, 2])
        remove_store(folder)
        append(open_store(folder), [5, 80])
        drop(open_store(folder), [80])
        return result if name == "read_description" else real(*arguments)

    monkeypatch.setattr(where, name, interrupted)
    assert held(open_store(folder), range(81)) == {5}


READER = """
import sys, time
from pathlib import Path
import numpy as np
from bestiary.store.rows import RowStore
def open_store():
    return RowStore(Path(sys.argv[1]), shape=(3, 4), dtype=np.int32, about={})
def row(n):
    return np.full((3, 4), n, np.int32) * 7 + 1
random, what = np.random.default_rng(int(sys.argv[3])), sys.argv[2]
store, end, turns = open_store(), time.monotonic() + 1.5, 0
while time.monotonic() < end:
    numbers = random.integers(0, 40, 6).tolist()
    keys = [f"{n:032x}" for n in numbers]
    if what == "drop":
        try:
            store.drop(keys[:2])
        except Exception as error:
            assert "in use by another process" in str(error), error
    else:
        missing = store.missing(keys)
        if what == "append" and missing:
            store.append([keys[at] for at in missing], np.stack([row(numbers[at]) for at in missing]))
        places = store.find(keys)
        array = store.array()
        for number, place in zip(numbers, places.tolist()):
            assert place >= 0 or what == "read", "asked for, made, and missing again"
            assert place < 0 or (array[place] == row(number)).all(), (number, array[place])
    turns += 1
    if random.random() < 0.3:
        store = open_store()
print(turns)
"""


def test_processes_that_read_append_and_drop_at_once_never_see_a_wrong_row(tmp_path: Path) -> None:
    jobs = ["append", "append", "read", "drop"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", READER, str(tmp_path / "store"), what, str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, what in enumerate(jobs)
    ]
    for process in processes:
        out, error = process.communicate()
        assert process.returncode == 0, error
        assert int(out) > 5
    held(open_store(tmp_path / "store"), range(40))


HOLDER = """
import sys
from pathlib import Path
from bestiary.store.rows import _locked
with _locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_store_in_use_by_another_process_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_BUSY_WAIT_S", 0.2)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for act in (lambda: drop(open_store(folder), [1]), lambda: remove_store(folder)):
        with pytest.raises(BestiaryError, match=rf"{folder} is in use by another process: wait"):
            act()
    holder.communicate("go\n")
    assert held(open_store(folder), range(10)) == set(range(10))
    assert drop(open_store(folder), [1]) == 1


WAITER = """
import sys
from pathlib import Path
import numpy as np
from bestiary.store.rows import RowStore
store = RowStore(Path(sys.argv[1]), shape=(3, 4), dtype=np.int32, about={})
print("ready", flush=True)
number = int(sys.argv[2])
store.append([f"{number:032x}"], np.full((1, 3, 4), number, np.int32) * 7 + 1)
"""


def test_those_who_wait_for_the_lock_of_a_store_that_is_removed_all_get_in_one_by_one(folder: Path) -> None:
    with rows._locked(folder):
        waiters = [
            subprocess.Popen(
                [sys.executable, "-c", WAITER, str(folder), str(number)], stdout=subprocess.PIPE, text=True
            )
            for number in (70, 71, 72)
        ]
        for waiter in waiters:
            assert waiter.stdout is not None
            assert waiter.stdout.readline() == "ready\n"
        rows._delete(folder)
    for waiter in waiters:
        waiter.communicate()
        assert waiter.returncode == 0
    assert held(open_store(folder), range(73)) == {70, 71, 72}


def test_files_of_others_stay_when_a_store_is_removed(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "rows-x.bin").write_text("mine too")
    (folder / ".meta.json.abc.part").write_text("{")
    remove_store(folder)
    assert names(folder) == {"notes.txt", "rows-x.bin"}
    remove_store(folder / "none")


def test_counting_is_no_use_and_finding_is(folder: Path) -> None:
    os.utime(folder / "used", (1, 1))
    store = open_store(folder)
    assert store.count([key(1), key(2), key(1), key(99)]) == 2
    store.array()
    assert (folder / "used").stat().st_mtime == 1
    store.find([key(1)])
    assert (folder / "used").stat().st_mtime > 1
    os.utime(folder / "used", (1, 1))
    store.find([key(1)])
    assert (folder / "used").stat().st_mtime == 1, "once for each time that it is opened"
    append(open_store(folder), [50])
    assert (folder / "used").stat().st_mtime > 1


def test_a_store_that_may_only_be_read_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refused)
    assert held(open_store(folder), range(12)) == set(range(10))


def test_a_store_of_before_generations_is_read_and_goes_on(folder: Path) -> None:
    meta = folder / "meta.json"
    meta.write_text('{"shape": [3, 4], "dtype": "<i4", "about": {"rows": "old"}}')
    store = open_store(folder)
    assert held(store, range(12)) == set(range(10))
    append(store, [11])
    assert drop(open_store(folder), [0]) == 1
    assert held(open_store(folder), range(12)) == {*range(1, 10), 11}
    assert b"old" in meta.read_bytes()


@pytest.mark.parametrize(
    "meta",
    [
        '{"shape": [3, 4], "dtype": "<i4", "about": []}',
        '{"shape": [3, 4], "dtype": "O", "about": {}}',
        '{"shape": [3, 4], "dtype": "what", "about": {}}',
        '{"shape": [3, -4], "dtype": "<i4", "about": {}}',
        '{"shape": [3, true], "dtype": "<i4", "about": {}}',
        '{"shape": 3, "dtype": "<i4", "about": {}}',
        '{"shape": [3, 4], "dtype": "<i4", "about": {}, "generation": "../x"}',
        '{"shape": [3, 4], "dtype": "<i4", "about": {}, "generation": -1}',
        '{"shape": [3, 4], "dtype": "<i4", "about": {}, "id": 5}',
        '{"dtype": "<i4"}',
        "[1]",
        "x",
    ],
)
def test_a_description_that_cannot_be_opens_nothing(folder: Path, meta: str) -> None:
    (folder / "meta.json").write_text(meta)
    assert RowStore.open(folder) is None
    assert held(open_store(folder), range(10)) == set()


PEAK = r"""
import re, sys
from pathlib import Path
from bestiary.store.rows import RowStore
def peak():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
store = RowStore.open(Path(sys.argv[1]))
before = peak()
assert (store.find([f"{n:032x}" for n in range(192)]) >= 0).all()
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux")
def test_checking_rows_does_not_hold_them_all_in_memory(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "store", shape=(1 << 20,), dtype=np.uint8, about={})
    for first in range(0, 192, 32):
        store.append([key(n) for n in range(first, first + 32)], np.full((32, 1 << 20), first, np.uint8))
    done = subprocess.run([sys.executable, "-c", PEAK, str(store.folder)], capture_output=True, text=True, check=True)
    # Four threads hold a block of 16 MB each.
    assert float(done.stdout) < 110
