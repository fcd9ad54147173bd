"""Files that no model sees: what is put right in one go is one finding, with its number, names and the fix."""

from pathlib import Path

import pandas as pd
import pytest
from made_photos import photo

from bestiary.audit.findings import findings_table
from bestiary.audit.unread_files import find_unread
from bestiary.config.schema import DataConfig
from bestiary.data.index import build_index
from bestiary.errors import DataError

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12345\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(4):
            photo(10 * "ab".index(label) + number, (48, 32)).save(tmp_path / label / f"{number}.jpg")
    return tmp_path


def found(root: Path) -> pd.DataFrame:
    return findings_table(find_unread(build_index(DataConfig(path=str(root)))))


def test_a_sound_set_has_none(root: Path) -> None:
    assert found(root).empty


def test_each_kind_is_one_finding_with_its_number_names_and_fix(root: Path) -> None:
    for number in range(5):
        (root / "a" / f"big{number}.jpg").write_text(LFS)
        (root / "b" / f"void{number}.jpg").write_bytes(b"")
        (root / "b" / f"video{number}.mp4").write_bytes(b"no image")
        photo(50 + number, (48, 32)).save(root / f"loose{number}.png")
    for number in range(4):
        (root / "a" / f"{number}.xml").write_text("<a/>")
        (root / "b" / f"{number}.jpg.json").write_text("{}")
        (root / "b" / f"._{number}.jpg").write_bytes(b"\0\5\x16\7")
        photo(0, (48, 32)).convert("1").save(root / "b" / f"{number}.png")
    for name in ("labels.csv", "make.py", "a/notes.txt"):
        (root / name).write_text("x")
    (root / "a" / ".DS_Store").write_bytes(b"Bud1")
    (root / "a" / "cut.jpg").write_bytes((root / "a" / "0.jpg").read_bytes()[:300])
    table = found(root)
    reasons = table["reason"].tolist()
    assert reasons[0] == (
        "5 files are Git LFS pointers and no photos (a/big0.jpg, a/big1.jpg, a/big2.jpg, ...): "
        "run `git lfs pull` where they were cloned"
    )
    expected = {
        "5 files are empty (0 bytes) (b/void0.jpg, ": ("unreadable", "medium", 5, "b"),
        "5 files are left out (b/video0.mp4, b/video1.mp4, b/video2.mp4, ...): not an image": (
            "unreadable", "medium", 5, "b"),
        "5 images lie in no class folder (loose0.png, loose1.png, loose2.png, ...): move each": (
            "misplaced", "medium", 5, ""),
        "4 masks beside photos are left out (b/0.png, b/1.png, b/2.png, ...): data.masks": ("mask", "low", 4, "b"),
        "8 files of an image's name beside it, .json, .xml (a/0.xml, ": ("other_files", "low", 8, ""),
        "3 files that are no images, .csv, .py, .txt (labels.csv, ": ("other_files", "low", 3, ""),
        "4 files that macOS wrote beside photos (b/._0.jpg, ": ("other_files", "low", 4, ""),
        "left out: truncated image": ("unreadable", "medium", 1, "a"),
    }  # fmt: skip
    for words, facts in expected.items():
        (row,) = [row for row in table.itertuples() if row.reason.startswith(words)]
        assert (row.issue, row.severity, row.images, row.label) == facts, words
    assert len(table) == 1 + len(expected)
    assert table["finding_id"].is_unique
    assert (table["path"] != "").all()
    assert table["severity"].tolist() == sorted(table["severity"], key=["high", "medium", "low"].index)


def test_one_file_of_a_kind_is_named_and_few_misplaced_among_many_matter_less(root: Path) -> None:
    (root / "a" / "void.jpg").write_bytes(b"")
    (root / "a" / "big.jpg").write_text(LFS)
    table = found(root)
    assert table["path"].tolist() == ["a/big.jpg", "a/void.jpg"]
    assert "left out: Git LFS pointer" in table["reason"][0]
    many = pd.DataFrame({"image_id": range(201), "path": [f"{n}.jpg" for n in range(201)], "label": "a", "error": ""})
    many.loc[200, ["label", "error"]] = ["", "lies in no class folder"]
    (one,) = find_unread(many)
    assert (one.severity, one.reason.split(" (")[0]) == ("low", "1 image lies in no class folder")


def test_a_set_of_pointers_alone_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_text(LFS)
    (tmp_path / "a" / "2.jpg").write_text(LFS)
    with pytest.raises(DataError, match="run `git lfs pull`"):
        build_index(DataConfig(path=str(tmp_path)))
