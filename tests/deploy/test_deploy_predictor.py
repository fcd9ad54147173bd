"""Predict: whatever a person may give as images, one row each, and the same answer for the same picture."""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bestiary
from bestiary.cli.main import run
from bestiary.data.images import load_rgb
from bestiary.deploy.inputs import ImageInput, expand_inputs
from bestiary.errors import UsageError
from bestiary.study.study import Study


@pytest.fixture
def photos(shapes: Path) -> list[Path]:
    return [min((shapes / name).iterdir()) for name in ("bar", "disc", "frame")]


def labels(table: pd.DataFrame) -> list[tuple[str, float]]:
    return list(zip(table["label"], table["probability"], strict=True))


def paths(inputs: list[ImageInput]) -> list[str]:
    return [given.path for given in inputs]


@pytest.mark.slow
def test_same_picture_has_the_same_answer_however_it_is_given(finished: Study, photos: list[Path]) -> None:
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in photos]
    expected = labels(bestiary.predict(finished.path, [str(path) for path in photos]))
    assert len(set(expected)) > 1
    ways: list[Any] = [
        photos,
        tuple(photos),
        iter(photos),
        pd.Series([str(path) for path in photos]),
        [path.read_bytes() for path in photos],
        [Image.open(path) for path in photos],
        arrays,
        np.stack(arrays),
        [photos[0], photos[1].read_bytes(), arrays[2]],
    ]
    for way in ways:
        assert labels(bestiary.predict(str(finished.path), way)) == expected
    singles: list[Any] = [str(photos[1]), photos[1], photos[1].read_bytes(), Image.open(photos[1]), arrays[1]]
    for single in singles:
        assert labels(bestiary.predict(finished.path, single)) == [expected[1]]


def test_pillow_image_is_turned_and_laid_over_white_as_its_file_is(finished: Study, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (20, 40, 4), dtype=np.uint8)
    for name, image in (("a.png", Image.fromarray(noise)), ("b.tiff", Image.fromarray(noise[..., :3]))):
        image.save(tmp_path / name, exif=exif)
        from_path = bestiary.predict(finished.path, tmp_path / name)
        assert labels(bestiary.predict(finished.path, Image.open(tmp_path / name))) == labels(from_path)


def test_one_image_that_is_given_many_times_is_decoded_by_one_thread_at_a_time(
    finished: Study, photos: list[Path]
) -> None:
    image = Image.open(photos[0])
    assert len(set(labels(bestiary.predict(finished.path, [image] * 40)))) == 1


def test_rows_without_a_file_are_called_by_their_place(photos: list[Path]) -> None:
    array = np.zeros((4, 5, 3), np.uint8)
    inputs = expand_inputs([photos[0], array, np.stack([array, array]), b"x", Image.new("L", (3, 3))])
    assert paths(inputs) == [str(photos[0]), "image 1", "image 2", "image 3", "image 4", "image 5"]


def test_a_text_is_one_path_and_not_its_letters(finished: Study, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shapes.parent)
    table = bestiary.predict(finished.path, shapes.name)
    assert len(table) == sum(1 for path in shapes.rglob("*.png"))
    assert set(table["error"]) == {""}


@pytest.mark.parametrize("what", ["gone.png", "text.png", "pipe", "empty.jpg", "zero"])
def test_what_cannot_be_read_is_a_row_with_its_error(finished: Study, tmp_path: Path, what: str) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    table = bestiary.predict(finished.path, tmp_path / what)
    assert table["path"].tolist() == [str(tmp_path / what)]
    assert table["error"][0]
    assert table["label"].isna().all()


def test_bytes_that_are_no_image_are_a_row_with_its_error(finished: Study) -> None:
    table = bestiary.predict(finished.path, [b"no image", b""])
    assert table["path"].tolist() == ["image 0", "image 1"]
    assert "not an image" in table["error"][0]
    assert "0 bytes" in table["error"][1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "cannot classify an object of type int"),
        (None, "cannot classify an object of type NoneType"),
        ([1.5], "cannot classify an object of type float"),
        ([["a.png"]], "cannot classify an object of type list"),
        (np.zeros((4, 5), np.uint8), r"an array of shape \(4, 5\) and type uint8 is no image"),
        (np.zeros((4, 5, 3), np.float32), "type float32 is no image: give RGB"),
        (np.zeros((3, 4, 5), np.uint8), r"shape \(3, 4, 5\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
        ([], "no images given"),
        (np.zeros((0, 4, 5, 3), np.uint8), "no images given"),
        ("none/*.png", r"no file matches none/\*\.png"),
    ],
)
def test_what_is_no_image_by_its_type_is_wrong_use(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        expand_inputs(given)


class Said:
    """Progress that is written down."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def folder(tmp_path: Path, photos: list[Path]) -> Path:
    """A folder with links, circles, files of the system and files beside photos."""
    root = tmp_path / "new"
    for place in ("", "deep/er", ".hidden", "@eaDir"):
        (root / place).mkdir(parents=True, exist_ok=True)
        (root / place / "a.png").write_bytes(photos[0].read_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.png").write_bytes(photos[1].read_bytes())
    (root / "linked").symlink_to(elsewhere)
    (root / "deep" / "up").symlink_to(root)
    (root / "gone.png").symlink_to(tmp_path / "nowhere")
    for name in (".DS_Store", "Thumbs.db", "a.xmp", "a.json"):
        (root / name).write_text("x")
    os.mkfifo(root / "pipe.png")
    return root


def test_folder_is_walked_as_a_study_s_is(folder: Path) -> None:
    said = Said()
    inputs = expand_inputs(folder, progress=said)  # type: ignore[arg-type]
    errors = {os.path.relpath(given.path, folder): given.error for given in inputs}
    assert errors == {
        "a.png": "",
        "deep/er/a.png": "",
        "linked/b.png": "",
        "deep/up": "link that leads back to a folder above it",
        "gone.png": "broken link: No such file or directory",
        "pipe.png": "no regular file",
    }
    assert said.lines == ["  skipped 6 files that are hidden, of the system, or beside images"]
    (folder.parent / "link").symlink_to(folder)
    assert len(expand_inputs(folder.parent / "link")) == len(inputs)


def test_command_says_what_it_skips(finished: Study, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(finished.path), str(folder), "--out", str(folder.parent / "p.csv")]) == 0
    assert "skipped 6 files" in capsys.readouterr().err
    table = pd.read_csv(folder.parent / "p.csv")
    assert len(table) == 6
    assert table["error"].isna().sum() == 3


def test_folder_of_skipped_files_alone_has_no_images(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("x")
    with pytest.raises(UsageError, match="no images given"):
        expand_inputs(str(tmp_path))


def test_folder_that_cannot_be_listed_is_a_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(_: Any) -> Iterator[os.DirEntry[str]]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", scandir)
    (given,) = expand_inputs(folder)
    assert (given.path, given.error) == (str(folder), "folder cannot be listed: Permission denied")


def test_files_whose_names_are_no_unicode_are_read(tmp_path: Path, photos: list[Path]) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(photos[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    (given,) = expand_inputs(tmp_path)
    assert given.path == str(tmp_path / "caf\\xe9.png")
    assert np.array_equal(np.asarray(given.load()), np.asarray(load_rgb(photos[0])))


def test_patterns_and_named_files_are_taken_as_they_are(tmp_path: Path, photos: list[Path]) -> None:
    for name in ("1.png", "2.png", ".3.png", "4.json", "[5].png"):
        (tmp_path / name).write_bytes(photos[0].read_bytes())
    names = [re.sub(r".*/", "", path) for path in paths(expand_inputs(str(tmp_path / "*")))]
    assert names == ["1.png", "2.png", "4.json", "[5].png"]
    assert paths(expand_inputs(tmp_path / "[5].png")) == [str(tmp_path / "[5].png")]
    assert paths(expand_inputs([tmp_path / ".3.png"])) == [str(tmp_path / ".3.png")]


def test_avif_is_classified(finished: Study, photos: list[Path]) -> None:
    stream = io.BytesIO()
    Image.open(photos[0]).save(stream, "AVIF", quality=95)
    (label,) = bestiary.predict(finished.path, stream.getvalue())["label"]
    assert label == bestiary.predict(finished.path, photos[0])["label"][0]
