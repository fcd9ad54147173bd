"""The index: every file is read, or left out with the reason."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exif_made import exif_of, tag
from PIL import Image

from bestiary.config.schema import DataConfig
from bestiary.data import index as index_module
from bestiary.data.index import (
    build_index,
    class_names,
    index_fingerprint,
    read_index,
    readable,
    stands_for_no_image,
    write_index,
)
from bestiary.errors import DataError, UsageError
from bestiary.store.tables import table_fingerprint

COLUMNS = [
    "image_id",
    "path",
    "label",
    "split_given",
    "group_given",
    "taken_at",
    "camera",
    "burst",
    "width_px",
    "height_px",
    "mode",
    "format",
    "bytes",
    "sha256",
    "phash",
    "error",
]


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (7, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes with the usual faults: copies, a cut file, a text file, an empty one, one at the root."""
    place = tmp_path / "photos"
    for number in range(3):
        picture(place / "cat" / f"{number}.png", number)
        picture(place / "dog" / f"{number}.png", 10 + number, (9, 4))
    (place / "cat" / "copy.png").write_bytes((place / "cat" / "0.png").read_bytes())
    (place / "dog" / "other copy.png").write_bytes((place / "cat" / "0.png").read_bytes())
    (place / "dog" / "cut.png").write_bytes((place / "dog" / "0.png").read_bytes()[:60])
    (place / "dog" / "text.png").write_text("no image")
    (place / "cat" / "empty.jpg").touch()
    (place / "readme.txt").write_text("about")
    return place


def index_of(root: Path, **options: object) -> pd.DataFrame:
    return build_index(DataConfig(path=str(root)), **options)  # type: ignore[arg-type]


def test_every_file_is_a_row_with_facts_or_a_reason(root: Path) -> None:
    index = index_of(root)
    assert list(index.columns) == COLUMNS
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert len(index) == len(files)
    assert set(index["path"]) == files
    errors = index.set_index("path")["error"]
    assert {path for path, error in errors.items() if error} == {
        "dog/cut.png",
        "dog/text.png",
        "cat/empty.jpg",
        "readme.txt",
    }
    assert errors["cat/empty.jpg"] == "empty file (0 bytes)"
    assert "not an image" in errors["dog/text.png"]
    unread = index[index["error"] != ""]
    assert (unread[["width_px", "height_px"]] == 0).all(axis=None)
    assert (unread[["mode", "format", "phash"]] == "").all(axis=None)


def test_facts_are_those_of_the_file(root: Path) -> None:
    row = index_of(root).set_index("path").loc["dog/1.png"]
    data = (root / "dog" / "1.png").read_bytes()
    assert (row["width_px"], row["height_px"], row["mode"], row["format"]) == (9, 4, "RGB", "PNG")
    assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert row["image_id"] == row["sha256"][:20]


def test_copies_have_ids_of_their_own_in_the_order_of_paths(root: Path) -> None:
    index = index_of(root)
    assert index["image_id"].is_unique
    short = hashlib.sha256((root / "cat" / "0.png").read_bytes()).hexdigest()[:20]
    ids = index.set_index("path")["image_id"]
    assert list(ids[["cat/0.png", "cat/copy.png", "dog/other copy.png"]]) == [short, f"{short}-1", f"{short}-2"]


def test_same_name_in_two_classes_is_two_images(root: Path) -> None:
    index = index_of(root).set_index("path")
    assert index.loc["cat/1.png", "label"] == "cat"
    assert index.loc["dog/1.png", "label"] == "dog"
    assert index.loc["cat/1.png", "image_id"] != index.loc["dog/1.png", "image_id"]


def test_missing_files_of_a_table_are_rows_with_the_reason(root: Path) -> None:
    rows = {
        "path": ["cat/0.png", "cat/none.png", "dog/0.png", "dog", "", "cat/1.png", "a\0b.png"],
        "label": ["cat", "cat", "dog", "dog", "dog", "", "dog"],
    }
    pd.DataFrame(rows).to_parquet(root / "t.parquet")
    errors = list(build_index(DataConfig(path=str(root / "t.parquet")))["error"])
    assert errors[0] == errors[2] == ""
    assert errors[1] == "cannot be read: No such file or directory"
    assert errors[3] == "cannot be read: a folder, a pipe or a device, no regular file"
    assert errors[4:6] == ["has no path", "has no label"]
    assert errors[6].startswith("cannot be read")


def test_file_without_permission_is_a_row_with_the_reason(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    index = index_of(root).set_index("path")
    assert index.loc["cat/1.png", "error"] == "cannot be read: Permission denied"
    assert index.loc["cat/1.png", "sha256"] == ""
    assert index["image_id"].is_unique


def forget_how_to_decode(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Count what is decoded from here on."""
    decoded: list[bytes] = []
    real = index_module.inspect

    def inspect(data: bytes):  # type: ignore[no-untyped-def]
        decoded.append(data)
        return real(data)

    monkeypatch.setattr(index_module, "inspect", inspect)
    return decoded


def test_index_with_an_earlier_one_equals_a_fresh_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_index(tmp_path / "study", index_of(root))
    before = read_index(tmp_path / "study")
    picture(root / "cat" / "new.png", 77)
    picture(root / "cat" / "1.png", 78)
    (root / "dog" / "2.png").rename(root / "dog" / "moved.png")
    (root / "cat" / "2.png").unlink()
    (root / "dog" / "cut.png").write_bytes((root / "dog" / "0.png").read_bytes())
    decoded = forget_how_to_decode(monkeypatch)
    again = index_of(root, previous=before)
    # Two new contents, and the two refusals, which are tried again.
    assert sorted(decoded) == sorted(
        (root / path).read_bytes() for path in ("cat/new.png", "cat/1.png", "cat/empty.jpg", "dog/text.png")
    )
    pd.testing.assert_frame_equal(again, index_of(root))


def test_nothing_is_decoded_again_when_nothing_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("cat/empty.jpg", "dog/cut.png", "dog/text.png", "readme.txt"):
        (root / path).unlink()
    before = index_of(root)
    decoded = forget_how_to_decode(monkeypatch)
    pd.testing.assert_frame_equal(index_of(root, previous=before), before)
    assert decoded == []


def test_change_that_keeps_size_and_time_is_noticed(root: Path) -> None:
    path = root / "cat" / "1.bmp"
    picture(path, 5)
    before, times = index_of(root), path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = index_of(root, previous=before)
    assert set(after["image_id"]) != set(before["image_id"])
    assert index_fingerprint(after) != index_fingerprint(before)


def test_index_reads_back_equal_with_its_fingerprint(root: Path, tmp_path: Path) -> None:
    index = index_of(root)
    write_index(tmp_path / "study", index)
    pd.testing.assert_frame_equal(read_index(tmp_path / "study"), index)
    assert table_fingerprint(tmp_path / "study" / "index.parquet") == index_fingerprint(index)


@pytest.mark.parametrize("column", ["path", "label", "split_given", "group_given", "sha256", "error"])
def test_fingerprint_changes_with_every_column_that_matters(root: Path, column: str) -> None:
    index = index_of(root)
    changed = index.copy()
    changed.loc[2, column] = "else"
    assert index_fingerprint(changed) != index_fingerprint(index)
    assert index_fingerprint(index.copy()) == index_fingerprint(index)


def test_classes_are_those_with_a_readable_image_in_alphabetical_order(root: Path) -> None:
    index = index_of(root)
    assert class_names(index) == ["cat", "dog"]
    assert len(readable(index)) == 8
    assert (readable(index)["error"] == "").all()


def test_missing_folder_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        index_of(tmp_path / "none")


def test_one_class_is_an_error_that_names_it(tmp_path: Path) -> None:
    picture(tmp_path / "d" / "cat" / "a.png")
    with pytest.raises(DataError, match="one class only, 'cat'"):
        index_of(tmp_path / "d")


@pytest.mark.parametrize("above", ["images", "archive/dataset", "train"])
def test_classes_a_level_deeper_are_an_error_that_names_the_folder_to_give(tmp_path: Path, above: str) -> None:
    for label in ("cat", "dog", "elk", "owl"):
        picture(tmp_path / "d" / above / label / "a.png")
    place = str(tmp_path / "d" / above)
    top = above.partition("/")[0]
    words = f"one class only, '{top}': .* the folders in it (cat, dog, elk ...), give {place}"
    with pytest.raises(DataError) as caught:
        index_of(tmp_path / "d")
    assert re.search(re.escape(words).replace(r"\.\*", ".*"), str(caught.value))
    assert class_names(index_of(tmp_path / "d" / above)) == ["cat", "dog", "elk", "owl"]


def test_one_class_without_folders_in_it_has_no_other_folder_to_give(tmp_path: Path) -> None:
    picture(tmp_path / "d" / "cat" / "old" / "a.png")
    picture(tmp_path / "d" / "cat" / "b.png")
    with pytest.raises(DataError, match=r"two or more$"):
        index_of(tmp_path / "d")


def test_class_whose_folder_has_an_odd_name_is_lost_file_by_file(root: Path) -> None:
    odd = root / os.fsdecode(b"caf\xe9")
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    for number in range(12):
        (odd / f"{number}.png").write_bytes((root / "cat" / "0.png").read_bytes())
    index = index_of(root)
    lost = index[index["path"].str.startswith("caf\\xe9/")]
    assert len(lost) == 12
    assert lost["error"].str.contains("not valid UTF-8: rename the folder").all()
    assert class_names(index) == ["cat", "dog"]


def test_rows_that_stand_for_no_image_are_told_from_lost_images(root: Path) -> None:
    (root / "owl").mkdir()
    (root / "cat" / "0.xmp").write_text("<x/>")
    (root / "cat" / ".DS_Store").write_text("x")
    index = index_of(root)
    assert set(index.loc[stands_for_no_image(index), "path"]) == {"readme.txt", "cat/0.xmp", "cat/.DS_Store", "owl"}
    assert set(index.loc[index["path"] == "owl", "label"]) == {""}


def test_file_that_vanishes_after_it_was_listed_is_a_row(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = index_module.read_listing

    def read_listing(data: DataConfig):  # type: ignore[no-untyped-def]
        found = real(data)
        (root / "cat" / "1.png").unlink()
        return found

    monkeypatch.setattr(index_module, "read_listing", read_listing)
    index = index_of(root).set_index("path")
    assert index.loc["cat/1.png", "error"] == "cannot be read: No such file or directory"


def test_metadata_of_photos_do_not_reach_the_terminal(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Odd EXIF in many threads at once; warnings are errors here."""
    odd = exif_of(
        tag(0x0112, 3, 1, b"\x06\0"), tag(0x0131, 11, 1, b"\0\0\x80\x3f"), tag(0x013B, 2, 999, b"\xff\xff\0\0")
    )
    for number in range(30):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(root / "cat" / f"odd{number}.jpg", exif=odd)
    index = index_of(root).set_index("path")
    assert {index.loc[f"cat/odd{number}.jpg", "error"] for number in range(30)} == {""}
    assert (index.loc["cat/odd3.jpg", "width_px"], index.loc["cat/odd3.jpg", "height_px"]) == (6, 8)
    assert capfd.readouterr() == ("", "")


def test_two_classes_renamed_to_one_are_one_class(root: Path) -> None:
    with pytest.raises(DataError, match="one class only, 'pet'"):
        build_index(DataConfig(path=str(root), rename={"cat": "pet", "dog": "pet"}))


def test_class_without_a_readable_image_is_an_error_with_the_first_reason(root: Path) -> None:
    (root / "owl").mkdir()
    (root / "owl" / "a.png").touch()
    (root / "owl" / "b.png").write_text("no")
    with pytest.raises(DataError, match=r"class 'owl': none of its 2 files .*'owl/a\.png': empty file") as caught:
        index_of(root)
    assert "take the folder out" in str(caught.value)


def test_no_readable_image_at_all_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "a.png").touch()
    with pytest.raises(DataError, match=r"none of 2 files is a readable image; the first, 'cat/a\.png': empty file"):
        index_of(tmp_path / "d")


def test_empty_class_folder_is_no_class(root: Path) -> None:
    (root / "owl").mkdir()
    (root / "elk").mkdir()
    (root / "elk" / ".DS_Store").write_text("x")
    assert class_names(index_of(root)) == ["cat", "dog"]


def test_files_with_odd_names_are_read(tmp_path: Path) -> None:
    names = ["a b.png", "line\nbreak.png", "käse 猫.png", "<script>alert(1)<script>.png"]
    for number, name in enumerate(names):
        picture(tmp_path / "d" / "cat" / name, number)
        picture(tmp_path / "d" / "d o\ng" / name, 50 + number)
    index = index_of(tmp_path / "d")
    assert (index["error"] == "").all()
    assert set(index["path"]) == {f"{label}/{name}" for label in ("cat", "d o\ng") for name in names}


def test_progress_is_told_of_every_file(root: Path) -> None:
    from contextlib import contextmanager

    told: list[int] = []

    class Task:
        def advance(self, count: int = 1, *, note: str = "") -> None:
            told.append(count)

    class Teller:
        def say(self, text: str) -> None: ...

        @contextmanager
        def track(self, label: str, total: int, *, unit: str):  # type: ignore[no-untyped-def]
            told.append(-total)
            yield Task()

    index = index_of(root, progress=Teller())
    assert told[0] == -len(index)
    assert sum(told) == 0


@pytest.mark.slow
def test_real_photos_are_all_read(animals10: Path) -> None:
    index = index_of(animals10)
    assert len(index) == sum(1 for path in animals10.rglob("*") if path.is_file())
    assert len(class_names(index)) == 10
