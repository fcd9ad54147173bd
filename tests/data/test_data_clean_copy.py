"""A clean copy: what the corrections say, whole or absent, and nothing changed where the images lie."""

import hashlib
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bestiary.config.schema import DataConfig
from bestiary.data import clean_copy as module
from bestiary.data.clean_copy import MANIFEST_COLUMNS, Applied, apply_corrections
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.overlay import corrected
from bestiary.data.index import build_index, readable
from bestiary.errors import BestiaryError, CorrectionsError, DataError, UsageError


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")
    return path


class Zoo:
    """A data folder, its study's folder, and copies of it."""

    def __init__(self, home: Path) -> None:
        self.home, self.data, self.study, self.to = home, home / "data", home / "study", home / "clean"
        self.study.mkdir()

    def fill(self, *paths: str) -> "Zoo":
        for number, path in enumerate(paths):
            picture(self.data / path, number)
        return self

    def index(self, **data: object) -> pd.DataFrame:
        return build_index(DataConfig.model_validate({"path": str(self.data)} | data))

    def apply(self, *rows: Correction, index: pd.DataFrame | None = None, **how: object) -> Applied:
        index = self.index() if index is None else index
        to = how.pop("to", self.to)
        return apply_corrections(
            index, list(rows), self.data, to, keep_out={"data": self.data, "study": self.study}, **how
        )  # type: ignore[arg-type]

    def copy(self) -> dict[str, bytes]:
        return contents(self.to)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything about a tree that could change."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_ino,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in folder.rglob("*")
    }  # fmt: skip


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    zoo = Zoo(tmp_path).fill("cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png", "dog/2.png")
    (zoo.data / "cat" / "cut.png").write_bytes((zoo.data / "cat" / "1.png").read_bytes()[:40])
    (zoo.data / "notes.txt").write_text("no image")
    return zoo


def relabel(path: str, label: str) -> Correction:
    return Correction("", path, "relabel", label)


def drop(path: str) -> Correction:
    return Correction("", path, "drop")


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
def test_a_copy_is_what_the_corrections_say_and_the_data_stay(zoo: Zoo, how: str) -> None:
    before, bytes_of = state(zoo.data), contents(zoo.data)
    found = zoo.apply(relabel("cat/1.png", "dog"), drop("cat/2.png"), Correction("", "dog/2.png", "keep"), how=how)
    assert state(zoo.data) == before
    assert zoo.copy() == {
        "cat/3.png": bytes_of["cat/3.png"],
        "dog/1.png": bytes_of["dog/1.png"],
        "dog/1-2.png": bytes_of["cat/1.png"],
        "dog/2.png": bytes_of["dog/2.png"],
    }
    assert found == Applied(zoo.to, zoo.home / "clean.manifest.csv", 4, 1, 1, 1, 1)
    assert sorted(path.name for path in zoo.home.iterdir()) == ["clean", "clean.manifest.csv", "data", "study"]
    inodes = {path.stat().st_ino for path in zoo.data.rglob("*.png")}
    for path in zoo.to.rglob("*.png"):
        assert path.is_symlink() == (how == "symlink")
        assert (path.lstat().st_ino in inodes) == (how == "hardlink")
        assert how != "symlink" or Path(os.readlink(path)).is_absolute()


def test_a_study_of_the_copy_finds_the_corrected_labels_and_no_fault(zoo: Zoo) -> None:
    rows = [relabel("cat/1.png", "dog"), drop("cat/2.png")]
    wanted = readable(corrected(zoo.index(), rows))
    zoo.apply(*rows)
    copy = build_index(DataConfig(path=str(zoo.to)))
    assert (copy["error"] == "").all()
    assert sorted(zip(copy["sha256"], copy["label"], strict=True)) == sorted(
        zip(wanted["sha256"], wanted["label"], strict=True)
    )


def test_the_manifest_says_what_became_of_each_file(zoo: Zoo) -> None:
    index = zoo.index()
    found = zoo.apply(relabel("cat/1.png", "dog"), drop("cat/2.png"), Correction("", "dog/2.png", "keep"), index=index)
    sheet = pd.read_csv(found.manifest, keep_default_na=False)
    assert tuple(sheet.columns) == MANIFEST_COLUMNS
    assert sheet["path_given"].tolist() == index["path"].tolist()
    assert sheet["image_id"].tolist() == index["image_id"].tolist()
    rows = sheet.set_index("path_given")
    assert rows["path"].to_dict() == {
        "cat/1.png": "clean/dog/1-2.png", "cat/2.png": "", "cat/3.png": "clean/cat/3.png", "cat/cut.png": "",
        "dog/1.png": "clean/dog/1.png", "dog/2.png": "clean/dog/2.png", "notes.txt": "",
    }  # fmt: skip
    assert rows["action"].to_dict() == {
        "cat/1.png": "relabel", "cat/2.png": "drop", "cat/3.png": "", "cat/cut.png": "", "dog/1.png": "",
        "dog/2.png": "keep", "notes.txt": "",
    }  # fmt: skip
    assert rows.loc["cat/1.png", ["label", "label_given"]].tolist() == ["dog", "cat"]
    assert rows.loc["cat/2.png", "left_out"] == "dropped in corrections.csv"
    assert rows.loc["notes.txt", "left_out"]
    assert (rows["left_out"] == "").sum() == found.files


def test_data_that_came_divided_stay_divided(tmp_path: Path) -> None:
    places = [f"{split}/{label}/{n}.png" for split in ("train", "valid", "test") for label in "ab" for n in range(2)]
    zoo = Zoo(tmp_path).fill(*places)
    zoo.apply(relabel("valid/a/0.png", "b"), drop("test/a/1.png"))
    copy = build_index(DataConfig(path=str(zoo.to)))
    assert sorted(copy["path"]) == sorted(
        ({path.replace("valid", "val") for path in places} - {"val/a/0.png", "test/a/1.png"}) | {"val/b/0-2.png"}
    )
    assert set(copy["split_given"]) == {"train", "val", "test"}


def test_a_table_s_images_without_a_split_go_to_train_and_one_split_is_no_division(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path).fill("x/1.png", "x/2.png", "y/1.png", "y/2.png")
    rows = [("x/1.png", "a", "test"), ("x/2.png", "a", ""), ("y/1.png", "b", "test"), ("y/2.png", "b", "")]
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(zoo.data / "t.csv", index=False)
    index = zoo.index(path=str(zoo.data / "t.csv"), split_column="split")
    zoo.apply(index=index)
    assert sorted(zoo.copy()) == ["test/a/1.png", "test/b/1.png", "train/a/2.png", "train/b/2.png"]
    for alone in ("", "train", "test"):
        to = tmp_path / f"one{alone}"
        zoo.apply(index=index.assign(split_given=alone), to=to)
        assert sorted(contents(to)) == ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]


def test_renamed_classes_give_the_folders_their_names(zoo: Zoo) -> None:
    zoo.apply(relabel("cat/1.png", "hound"), index=zoo.index(rename={"dog": "hound"}))
    assert {path.partition("/")[0] for path in zoo.copy()} == {"cat", "hound"}


def test_folders_inside_a_class_are_flattened_and_no_file_is_lost(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path).fill(
        "a/p/1.png", "a/q/1.png", "a/q/1-2.png", "a/1.PNG", "b/.hid/x.png", "b/noending", "b/c/noending"
    )
    found = zoo.apply()
    assert sorted(zoo.copy()) == ["a/1-2-2.png", "a/1-2.png", "a/1-3.png", "a/1.PNG", "b/noending", "b/noending-2"]
    assert found.renamed == 4


@given(
    names=st.lists(
        st.sampled_from(["1.png", "1-2.png", "1.PNG", "2.png", "x/1.png", "x/1-2.png"]), min_size=2, max_size=9
    ),
    choices=st.lists(st.sampled_from(["", "relabel", "drop"]), min_size=9, max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_every_kept_image_has_a_path_of_its_own(names: list[str], choices: list[str]) -> None:
    paths = list(dict.fromkeys(f"{'ab'[n % 2]}/{name}" for n, name in enumerate(names)))
    index = pd.DataFrame(
        {
            "image_id": [hashlib.sha256(path.encode()).hexdigest()[:20] for path in paths],
            "path": paths, "label": [path[0] for path in paths], "split_given": "", "group_given": "", "error": "",
            "format": "PNG",
        }
    )  # fmt: skip
    rows = [
        Correction("", path, choice, {"a": "b", "b": "a"}[path[0]] if choice == "relabel" else "")  # type: ignore[arg-type]
        for path, choice in zip(paths, choices, strict=False)
        if choice
    ]
    try:
        plan = module._plan(index, rows)
    except CorrectionsError:
        return
    kept = plan[plan["left_out"] == ""]
    assert kept["new_path"].str.casefold().is_unique
    assert (kept["new_path"].str.partition("/")[0] == kept["label"]).all()
    assert (plan.loc[plan["left_out"] != "", "new_path"] == "").all()
    assert plan["label_given"].tolist() == index["label"].tolist()


# --- what is refused


@pytest.mark.parametrize("place", ["data", "data/new", "data/cat", "study", "study/clean"])
def test_a_place_inside_data_or_study_is_refused(zoo: Zoo, place: str) -> None:
    with pytest.raises(UsageError, match=r"lies inside the (data|study) folder .*: choose a folder outside it"):
        zoo.apply(to=zoo.home / place)
    assert not (zoo.home / f"{place}.manifest.csv").exists()


def test_the_root_of_a_disk_is_refused(zoo: Zoo) -> None:
    with pytest.raises(UsageError, match="is the root of a disk: choose a new folder on it"):
        zoo.apply(to=Path(zoo.home.anchor))


def test_a_link_into_the_data_is_no_way_around(zoo: Zoo) -> None:
    (zoo.home / "link").symlink_to(zoo.data)
    with pytest.raises(UsageError, match="lies inside the data folder"):
        zoo.apply(to=zoo.home / "link" / "new")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_place_that_is_taken_is_refused_and_left_as_it_is(zoo: Zoo, what: str) -> None:
    taken = zoo.to if what == "file" else zoo.to / "mine.txt"
    taken.parent.mkdir(exist_ok=True)
    taken.write_text("mine")
    with pytest.raises(UsageError, match="is there and is not empty: choose a new folder"):
        zoo.apply()
    assert taken.read_text() == "mine"


def test_an_empty_folder_is_filled_and_a_manifest_of_before_replaced(zoo: Zoo) -> None:
    zoo.to.mkdir()
    zoo.apply()
    first = (zoo.home / "clean.manifest.csv").read_bytes()
    for path in sorted(zoo.to.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    zoo.apply(drop("cat/2.png"))
    assert (zoo.home / "clean.manifest.csv").read_bytes() != first


def test_a_file_in_the_manifest_s_place_is_not_written_over(zoo: Zoo) -> None:
    (zoo.home / "clean.manifest.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"clean\.manifest\.csv is there and is no manifest: choose another --to"):
        zoo.apply()
    assert (zoo.home / "clean.manifest.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("a/b", "class 'a/b' cannot be a folder: it holds '/'. Rename it: data.rename"),
        ("..", "class '..' cannot be a folder: it begins with a dot"),
        (".hidden", "it begins with a dot"),
        ("a\nb", "it holds"),
        ("k" * 256, "it is too long"),
        ("Dog", "classes 'Dog' and 'dog' differ only in upper and lower case: .* one folder. Rename one: data.rename"),
        ("dog ", "classes 'dog' and 'dog ' differ only in spaces: on some systems they would be one folder"),
        ("\uff44og", "classes 'dog' and .* differ only in how their letters are composed in Unicode: "),
        ("Thumbs.db", r"would not be read as it is meant: Thumbs\.db/.* Rename the class 'Thumbs\.db'"),
    ],
)
def test_a_class_that_can_be_no_folder_is_an_error(zoo: Zoo, label: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        zoo.apply(index=zoo.index(rename={"cat": label}))
    assert sorted(path.name for path in zoo.home.iterdir()) == ["data", "study"]


def test_classes_whose_accents_are_composed_otherwise_are_never_merged(zoo: Zoo) -> None:
    index = zoo.index(rename={"cat": "caf\u00e9", "dog": "cafe\u0301"})
    with pytest.raises(DataError, match="composed in Unicode: on some systems they would be one folder"):
        zoo.apply(index=index)
    assert sorted(path.name for path in zoo.home.iterdir()) == ["data", "study"]


def test_file_names_that_other_systems_take_for_one_do_not_meet(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path).fill("a/x/\u00e9.png", "a/y/e\u0301.png", "a/z/\u00c9.PNG", "b/1.png")
    zoo.apply()
    names = {unicodedata.normalize("NFC", path).casefold() for path in zoo.copy()}
    assert len(names) == 4


def test_images_of_a_table_whose_names_would_be_skipped_get_an_ending(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path).fill("x/1.txt", "x/Thumbs.db", "y/1.png", "y/.hidden.json")
    rows = [("x/1.txt", "a"), ("x/Thumbs.db", "a"), ("y/1.png", "b"), ("y/.hidden.json", "b")]
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(tmp_path / "t.csv", index=False)
    table = zoo.data / "t.csv"
    (tmp_path / "t.csv").rename(table)
    found = zoo.apply(index=zoo.index(path=str(table)))
    assert sorted(zoo.copy()) == ["a/1.txt.png", "a/Thumbs.db.png", "b/1.png", "b/hidden.json.png"]
    assert found.renamed == 3


def test_paths_may_be_texts(zoo: Zoo) -> None:
    places = {"data": str(zoo.data), "study": str(zoo.study)}
    found = apply_corrections(zoo.index(), [], str(zoo.data), str(zoo.to), keep_out=places)
    assert found.files == 5
    with pytest.raises(UsageError, match="lies inside the data folder"):
        apply_corrections(zoo.index(), [], str(zoo.data), str(zoo.data / "new"), keep_out=places)


def test_classes_that_would_be_taken_for_splits_are_an_error(zoo: Zoo) -> None:
    with pytest.raises(DataError, match=r"folders named test, train would be taken for splits.*data\.rename"):
        zoo.apply(index=zoo.index(rename={"cat": "train", "dog": "test"}))
    assert sorted(path.name for path in zoo.home.iterdir()) == ["data", "study"]


def test_corrections_that_cannot_be_are_told_before_anything_is_written(zoo: Zoo) -> None:
    with pytest.raises(CorrectionsError, match="no file is at this path"):
        zoo.apply(drop("cat/9.png"))
    assert sorted(path.name for path in zoo.home.iterdir()) == ["data", "study"]


def change(zoo: Zoo) -> None:
    picture(zoo.data / "dog/2.png", 99)


def delete(zoo: Zoo) -> None:
    (zoo.data / "dog/2.png").unlink()


@pytest.mark.parametrize("how", ["copy", "hardlink", "symlink"])
@pytest.mark.parametrize("happens", [change, delete])
def test_a_file_that_changed_since_the_index_leaves_no_copy(zoo: Zoo, how: str, happens: Callable[[Zoo], None]) -> None:
    index = zoo.index()
    happens(zoo)
    with pytest.raises(DataError, match=r"dog/2\.png has changed or gone since it was indexed: run `bestiary index`"):
        zoo.apply(index=index, how=how)
    assert sorted(path.name for path in zoo.home.iterdir()) == ["data", "study"]


def test_a_copy_that_is_interrupted_leaves_nothing(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = module.sha256_file, []

    def interrupt(path: Path) -> str:
        seen.append(path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(module, "sha256_file", interrupt)
    before = state(zoo.data)
    with pytest.raises(KeyboardInterrupt):
        zoo.apply()
    assert sorted(path.name for path in zoo.home.iterdir()) == ["data", "study"]
    assert state(zoo.data) == before


def test_too_little_space_is_told_before_copying_and_is_no_matter_to_links(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda place: 100)
    with pytest.raises(BestiaryError, match=r"the copy needs .* MB and the disk of .* make links"):
        zoo.apply()
    assert zoo.apply(how="hardlink").files == 5


def test_a_link_that_the_system_refuses_says_to_copy(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(BestiaryError, match=r"cannot hard-link .*Invalid cross-device link\. .*use --how copy"):
        zoo.apply(how="hardlink")
    assert sorted(path.name for path in zoo.home.iterdir()) == ["data", "study"]


def test_images_behind_links_are_linked_themselves(tmp_path: Path) -> None:
    zoo = Zoo(tmp_path).fill("a/1.png", "b/1.png")
    real = picture(tmp_path / "elsewhere.png", 7)
    (zoo.data / "a" / "2.png").symlink_to(real)
    zoo.apply(how="hardlink")
    assert not (zoo.to / "a" / "2.png").is_symlink()
    assert (zoo.to / "a" / "2.png").samefile(real)
