"""What folders mean: classes, or splits with classes in them, and an error where it could be either."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.config.schema import DataConfig
from bestiary.data.folders.layout import split_of
from bestiary.data.listing import Listed, list_files
from bestiary.errors import DataError, UsageError


def fill(root: Path, *folders: str) -> Path:
    """A picture in each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "a.png").write_bytes(folder.encode())
    return root


def both(*tops: str) -> list[str]:
    return [f"{top}/{label}" for top in tops for label in ("cat", "dog")]


def places(root: Path, top_folders: str = "auto") -> dict[str, tuple[str, str]]:
    """Label and split of each folder's picture."""
    files = list_files(DataConfig.model_validate({"path": str(root), "top_folders": top_folders}))
    return {file.path.rpartition("/")[0]: (file.label, file.split) for file in files if not file.error}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("TRAIN_images", "train"), ("training set", "train"),
        ("train2017", "train"), ("images-train", "train"), ("trainData", "train"), ("seg_train", "train"),
        ("val", "val"), ("valid", "val"), ("Validation_Set", "val"),
        ("test", "test"), ("testing", "test"), ("test (1)", "test"), ("TestSet", "test"), ("holdout", "test"),
        ("cat", None), ("trainval", None), ("test-dev", None), ("trains", None), ("testudo", None), ("valley", None),
        ("evaluation", None), ("eval", None), ("tr", None), ("", None), ("2019", None), ("images", None),
        ("train test", None), ("crash test", None),
    ],
)  # fmt: skip
def test_split_is_told_by_a_folder_s_name(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_abbreviations_count_only_where_they_are_asked_for() -> None:
    assert [split_of(name, abbreviated=True) for name in ("tr", "DEV", "ts_images")] == ["train", "val", "test"]
    assert split_of("crash test", ignoring=["crash"]) == "test"
    assert split_of("train", ignoring=["train"]) == "train"


@given(st.text(max_size=20))
def test_no_name_fails(name: str) -> None:
    assert split_of(name) in (None, "train", "val", "test")


@pytest.mark.parametrize(
    "tops",
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "test/images"),
        ("train/train", "test"),
        ("asl_alphabet_train/asl_alphabet_train", "asl_alphabet_test/asl_alphabet_test"),
        ("Train/data/images", "Test/data/images"),
    ],
)
def test_classes_may_lie_a_folder_deeper_in_their_split(tmp_path: Path, tops: tuple[str, str]) -> None:
    found = places(fill(tmp_path, *both(*tops)))
    expected = {f"{top}/{label}": (label, split) for top, split in zip(tops, ("train", "test"), strict=True)
                for label in ("cat", "dog")}  # fmt: skip
    assert found == expected


def test_only_class_of_a_split_is_no_folder_to_look_into(tmp_path: Path) -> None:
    found = places(fill(tmp_path, *both("train"), "test/cat/2019", "test/cat/2020"))
    assert found["test/cat/2019"] == ("cat", "test")


def test_images_beside_splits_are_left_out_and_named(tmp_path: Path) -> None:
    root = fill(tmp_path, *both("train", "test"), "seg_pred/seg_pred", "unlabelled")
    files = list_files(DataConfig(path=str(root)))
    assert Listed("unlabelled/a.png", error="lies in no split folder") in files
    assert Listed("seg_pred/seg_pred/a.png", error="lies in no split folder") in files
    assert {(file.label, file.split) for file in files if not file.error} == {
        ("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test"),
    }  # fmt: skip


def test_test_images_without_classes_do_not_make_a_class_of_train(tmp_path: Path) -> None:
    root = fill(tmp_path, *both("train"), "test", "unlabelled")
    assert places(root) == {"train/cat": ("cat", "train"), "train/dog": ("dog", "train")}


@pytest.mark.parametrize(
    ("folders", "unclear"),
    [
        (both("Training", "evaluation"), "'evaluation'"),
        (both("A", "B"), "'A', 'B'"),
        (both("train", "test", "extra"), "'extra'"),
        ([*both("train", "test"), "extra/cat"], "'extra'"),
        ([*both("train", "test"), "cat", "dog"], "'cat', 'dog'"),
        ([*both("cat", "dog")], "'cat', 'dog'"),
    ],
)
def test_what_may_be_split_or_class_is_an_error_that_says_what_to_do(
    tmp_path: Path, folders: list[str], unclear: str
) -> None:
    with pytest.raises(DataError) as caught:
        places(fill(tmp_path, *folders))
    told = str(caught.value)
    assert f"the folder{'s' if ',' in unclear else ''} {unclear} hold" in told
    assert f"rename {unclear} to train, val or test" in told
    assert "set data.top_folders=classes" in told
    tops = {folder.partition("/")[0] for folder in folders}
    assert {label for label, _ in places(tmp_path, "classes").values()} == tops


def test_one_split_beside_other_folders_is_an_error_that_names_the_folder_to_give(tmp_path: Path) -> None:
    root = fill(tmp_path, *both("train"), "more photos")
    with pytest.raises(DataError, match=r"give .*/train alone, or move 'more photos' elsewhere.*top_folders=classes"):
        places(root)


@pytest.mark.parametrize(
    "folders",
    [
        ["train", "cat", "dog"],
        ["test/old", "cat", "dog/new"],
        ["tr", "ts"],
        ["cat/left", "dog/left", "owl/left"],
        ["cat/2019", "cat/2020", "dog/2021"],
        ["cat/a", "cat/b", "cat/c", "cat/d", "cat/e", "dog/a", "dog/b", "dog/f", "dog/g"],
        ["crash test", "drug test"],
        ["train 1", "train 2"],
    ],
)
def test_folders_that_are_plainly_classes_are_classes(tmp_path: Path, folders: list[str]) -> None:
    found = places(fill(tmp_path, *folders))
    assert found == {folder: (folder.partition("/")[0], "") for folder in folders}


def test_splits_may_lie_in_the_classes(tmp_path: Path) -> None:
    root = fill(tmp_path, *(f"{label}/{split}" for label in ("cat", "dog") for split in ("train", "test")))
    expected = {f"{label}/{split}": (label, split) for label in ("cat", "dog") for split in ("train", "test")}
    assert places(root) == places(root, "classes") == expected


def test_user_s_word_counts(tmp_path: Path) -> None:
    root = fill(tmp_path, *both("train", "test"))
    assert {label for label, _ in places(root, "classes").values()} == {"train", "test"}
    assert places(root, "splits") == places(root)
    assert places(fill(tmp_path / "lone", *both("train")), "splits")["train/cat"] == ("cat", "train")


def test_splits_by_the_user_s_word_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'data\.top_folders = "splits": .*\'evaluation\' is of no split.*rename'):
        places(fill(tmp_path, *both("train", "evaluation")), "splits")


def test_annotations_do_not_hide_that_the_others_are_splits(tmp_path: Path) -> None:
    root = fill(tmp_path, *both("train", "test"))
    (root / "annotations").mkdir()
    (root / "annotations" / "a.xml").write_text("<a/>")
    (root / "$RECYCLE.BIN").mkdir()
    (root / "$RECYCLE.BIN" / "b.png").write_text("x")
    assert set(places(root).values()) == {("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test")}
