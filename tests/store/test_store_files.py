"""Files are whole or absent, whatever happens while they are written."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.errors import BestiaryError, StudyError
from bestiary.store import hashing
from bestiary.store.files import cache_home, read_json, write_atomically, write_bytes, write_json, write_text
from bestiary.store.hashing import fingerprint, sha256_file
from bestiary.store.locks import exclusive
from bestiary.timing import now_utc

OLD = b"the old file, whole"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "study" / "file.bin"
    write_bytes(path, OLD)
    return path


def assert_untouched(path: Path) -> None:
    assert path.read_bytes() == OLD
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_writer_that_raises_leaves_the_old_file_and_no_part(old: Path, problem: type[BaseException]) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half of the n")
        raise problem

    with pytest.raises(problem):
        write_atomically(old, write)
    assert_untouched(old)


@pytest.mark.parametrize("call", ["pathlib.Path.touch", "os.fsync", "os.replace", "pathlib.Path.write_bytes"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_disk_that_cannot_be_written_is_named_and_changes_nothing(
    old: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(call, fail)
    with pytest.raises(BestiaryError) as caught:
        write_bytes(old, b"new")
    monkeypatch.undo()
    assert str(old) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    mend = "Free some space" if number == errno.ENOSPC else "Choose a place you may write to"
    assert mend in str(caught.value)
    assert_untouched(old)


def test_file_that_outgrows_the_disk_leaves_the_old_one(old: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(BestiaryError, match="cannot write"):
            write_bytes(old, bytes(2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_untouched(old)


def test_folder_below_a_file_is_an_error_with_the_path(old: Path) -> None:
    with pytest.raises(BestiaryError, match=r"below"):
        write_bytes(old / "below", b"new")
    assert_untouched(old)


@pytest.mark.parametrize("moment", ["in the writer", "before the rename"])
def test_killed_writer_leaves_the_old_file_whole(old: Path, moment: str) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom bestiary.store import files\n"
        "def write(temporary):\n"
        "    temporary.write_bytes(b'half')\n"
        "    if sys.argv[2] == 'in the writer': os._exit(9)\n"
        "files.os.replace = lambda *_: os._exit(9)\n"
        "files.write_atomically(Path(sys.argv[1]), write)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(old), moment]).returncode == 9
    assert old.read_bytes() == OLD
    write_bytes(old, b"the next one")
    assert old.read_bytes() == b"the next one"


def test_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_text_is_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ä\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\nb\n"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=json_values.filter(lambda value: "\\ud" not in json.dumps(value)))
def test_json_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, object()])
def test_value_that_is_not_json_leaves_the_old_file(old: Path, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(old, value)
    assert_untouched(old)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xff", b'{"a": 1'])
def test_damaged_json_is_named_with_the_mend(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(BestiaryError, match=r"metrics\.json is damaged .*Delete it"):
        read_json(path)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(inner) for key, inner in reversed(value.items())}
    return [reordered(inner) for inner in value] if isinstance(value, list) else value


@given(value=json_values)
def test_fingerprint_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    assert fingerprint(value) == fingerprint(reordered(value))
    assert len(fingerprint(value)) == 16


@given(one=json_values, other=json_values)
def test_fingerprint_tells_different_values_apart(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint(one) == fingerprint(other)) == same


def test_order_in_a_list_matters() -> None:
    assert fingerprint([1, 2]) != fingerprint([2, 1])


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 17])
def test_hash_of_a_file_read_in_chunks_is_that_of_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(hashing, "_CHUNK_BYTES", 8)
    data = bytes(range(size))
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_lock_keeps_a_second_process_out_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "lock"
    code = (
        "import sys\nfrom pathlib import Path\nfrom bestiary.store.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1]), busy='x'):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StudyError, match="another one works here"), exclusive(path, busy="another one works here"):
            pytest.fail("two processes hold one lock")
        other.communicate()
    with exclusive(path, busy="still held"):
        pass


def test_lock_of_a_killed_process_does_not_stay(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom bestiary.store.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1]), busy='x'):\n    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")]).returncode == 9
    with exclusive(tmp_path / "lock", busy="still held"):
        pass


def test_lock_is_released_and_the_error_kept_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="inside"), exclusive(tmp_path / "lock", busy="busy"):
        raise OSError("inside")
    with exclusive(tmp_path / "lock", busy="still held"):
        pass


def test_lock_in_a_place_that_cannot_be_written_is_no_busy_study(old: Path) -> None:
    with pytest.raises(BestiaryError, match="cannot write") as caught, exclusive(old / "lock", busy="busy"):
        pass
    assert not isinstance(caught.value, StudyError)


def test_cache_home_is_where_the_user_says(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_home() == cache
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BESTIARY_CACHE", "~/mine")
    assert cache_home() == tmp_path / "mine"
    monkeypatch.setenv("BESTIARY_CACHE", "here")
    assert cache_home() == Path.cwd() / "here"
    monkeypatch.delenv("BESTIARY_CACHE")
    assert cache_home().is_absolute()
    assert cache_home().name.casefold() == "bestiary"


def test_time_is_written_in_utc_to_the_second() -> None:
    from datetime import UTC, datetime

    read = datetime.strptime(now_utc(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - read).total_seconds()) < 3600
