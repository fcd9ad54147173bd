"""Named sets, and where any data path lies."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from bestiary.config.schema import DataConfig
from bestiary.data.datasets import data_root, default_rename, fetch_animals10, is_named_set, is_table, write_digits
from bestiary.data.listing import list_files
from bestiary.errors import BestiaryError, DataError, UsageError


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_digits_are_scikit_learns_written_once(elsewhere: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = data_root("digits")
    assert root == cache / "datasets" / "digits"
    values, labels = load_digits(return_X_y=True)
    files = list_files(DataConfig(path="digits"))
    assert len(files) == 1797
    assert {file.error for file in files} == {""}
    by_number = {int(Path(file.path).stem): file for file in files}
    for number in range(0, 1797, 97):
        assert by_number[number].label == str(labels[number])
        shown = np.asarray(Image.open(root / by_number[number].path)).astype(float)
        assert shown.shape == (32, 32)
        assert np.abs(shown[2::4, 2::4] / 255 * 16 - values[number].reshape(8, 8)).max() < 0.05
    assert np.bincount([int(file.label) for file in files]).tolist() == np.bincount(labels).tolist()
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda **_: pytest.fail("written again"))
    assert write_digits() == root


def test_digits_that_were_cut_off_are_written_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    real = Image.Image.save

    def save(image: Image.Image, *arguments: Any, **options: Any) -> None:
        saved.append(1)
        if len(saved) == 100:
            raise KeyboardInterrupt
        real(image, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(KeyboardInterrupt):
        write_digits()
    write_digits()
    assert len(saved) == 100 + 1797
    assert sum(1 for _ in (cache / "datasets" / "digits").rglob("*.png")) == 1797


def test_digits_that_cannot_be_written_are_an_error_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BestiaryError, match=r"cannot write .*digits"):
        write_digits()


def test_folder_of_that_name_goes_before_a_named_set(elsewhere: Path) -> None:
    assert is_named_set("digits")
    (elsewhere / "digits").mkdir()
    assert not is_named_set("digits")
    assert data_root("digits") == Path("digits")
    assert not is_named_set("./animals10")
    assert default_rename("digits") == {}


def test_paths_may_be_paths(elsewhere: Path) -> None:
    (elsewhere / "t.csv").touch()
    assert is_table(Path("t.csv"))
    assert data_root(Path("t.csv")) == Path()
    assert is_named_set(Path("digits"))
    assert not is_named_set(elsewhere)


def test_folder_that_is_called_like_a_table_is_a_folder(elsewhere: Path) -> None:
    (elsewhere / "photos.csv" / "cat").mkdir(parents=True)
    assert not is_table("photos.csv")
    assert data_root("photos.csv") == Path("photos.csv")


@pytest.mark.parametrize("name", ["digit", "cifar10", "no/such/folder", "table.csv"])
def test_unknown_name_is_wrong_use_and_lists_the_named_sets(elsewhere: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"no such folder: {name}.*digits, animals10"):
        data_root(name)


def test_tables_are_told_by_their_ending(elsewhere: Path) -> None:
    assert [is_table(path) for path in ("a.csv", "b/c.PARQUET", "a.txt", "csv", "digits")] == [True, True] + [False] * 3
    (elsewhere / "t").mkdir()
    (elsewhere / "t" / "a.csv").touch()
    assert data_root("t/a.csv") == Path("t")


def test_animals10_that_was_not_fetched_names_the_command(elsewhere: Path) -> None:
    with pytest.raises(DataError, match=r"bestiary fetch animals10.*bestiary\[kaggle\]"):
        data_root("animals10")


def test_fetch_without_kagglehub_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UsageError, match=r"install bestiary\[kaggle\]"):
        fetch_animals10()


def kagglehub(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> None:
    def dataset_download(handle: str) -> str:
        assert handle == "alessiocorrado99/animals10"
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=dataset_download))


def test_fetch_without_a_network_says_how_to_go_on_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    kagglehub(monkeypatch, ConnectionError("no route\nto host"))
    with pytest.raises(DataError, match=r"could not download .*no route to host.*in a browser.*raw-img"):
        fetch_animals10()


def test_fetched_set_is_remembered_and_known_by_english_names(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = elsewhere / "download"
    for folder in ("cane", "gatto", "ragno"):
        (archive / "raw-img" / folder).mkdir(parents=True)
        (archive / "raw-img" / folder / "a.jpeg").touch()
    kagglehub(monkeypatch, archive)
    assert fetch_animals10() == archive / "raw-img"
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert data_root("animals10") == archive / "raw-img"
    assert [file.label for file in list_files(DataConfig(path="animals10"))] == ["dog", "cat", "spider"]
    mine = DataConfig(path="animals10", rename={"cane": "hound"})
    assert [file.label for file in list_files(mine)] == ["hound", "gatto", "ragno"]


def test_download_of_another_form_is_an_error(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kagglehub(monkeypatch, elsewhere)
    with pytest.raises(DataError, match="no folder raw-img"):
        fetch_animals10()


def test_fetched_set_that_was_deleted_must_be_fetched_again(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "raw-img").mkdir()
    kagglehub(monkeypatch, elsewhere)
    fetch_animals10()
    (elsewhere / "raw-img").rmdir()
    with pytest.raises(DataError, match="bestiary fetch animals10"):
        data_root("animals10")
