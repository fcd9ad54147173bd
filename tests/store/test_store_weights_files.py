"""A local file of weights is known by what is in it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bestiary.errors import WeightsError
from bestiary.store import weights_files
from bestiary.store.weights_files import weights_digest, weights_path


@pytest.mark.parametrize("weights", ["auto", "packaged", "hub", "random"])
@pytest.mark.parametrize("root", [None, Path("anywhere")])
def test_weights_without_a_local_file_have_no_digest(weights: str, root: Path | None) -> None:
    assert weights_digest(weights, root=root) == ""
    assert weights_path(weights, root=root) is None


def test_the_digest_is_that_of_the_content_whatever_the_name_and_the_place(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for name in ("a.safetensors", "other/b.pth"):
        (tmp_path / name).write_bytes(b"weights")
        assert weights_digest(str(tmp_path / name), root=None) == hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "a.safetensors").write_bytes(b"other weights")
    digest = weights_digest(str(tmp_path / "a.safetensors"), root=None)
    assert digest == hashlib.sha256(b"other weights").hexdigest()


def test_a_change_of_the_same_size_is_seen_by_its_time(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(b"first")
    os.utime(file, ns=(1, 1))
    first = weights_digest(str(file), root=None)
    file.write_bytes(b"other")
    os.utime(file, ns=(2, 2))
    assert weights_digest(str(file), root=None) == hashlib.sha256(b"other").hexdigest() != first


def test_a_file_that_has_not_changed_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(b"weights")
    first = weights_digest(str(file), root=None)
    monkeypatch.setattr(weights_files, "sha256_file", lambda _: pytest.fail("read again"))
    assert weights_digest("a.pth", root=tmp_path) == first


def test_a_relative_path_is_relative_to_the_root_and_never_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "w.pth").write_bytes(b"the root's")
    (tmp_path / "w.pth").write_bytes(b"the current folder's")
    monkeypatch.chdir(tmp_path)
    assert weights_digest("w.pth", root=tmp_path / "root") == hashlib.sha256(b"the root's").hexdigest()
    with pytest.raises(WeightsError, match=r"'w.pth' is a relative path.*give the whole path"):
        weights_digest("w.pth", root=None)


def test_the_home_folder_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert weights_path("~/w.pth", root=Path("elsewhere")) == tmp_path / "w.pth"


@pytest.mark.parametrize("name", ["none.pth", ""])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=r"no such file. Give packaged, hub, random"):
        weights_digest(str(tmp_path / name), root=None)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "w.pth").write_bytes(b"x")
    monkeypatch.setattr(weights_files, "sha256_file", refuse)
    with pytest.raises(WeightsError, match=r"w.pth' cannot be read \(Permission denied\): make the file readable"):
        weights_digest("w.pth", root=tmp_path)


def test_no_torch_is_needed() -> None:
    code = "import sys, bestiary.store.weights_files; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
