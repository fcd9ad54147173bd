"""Groups from names: what a pattern finds in paths, and that images of one group stay on one side."""

from pathlib import Path

import pytest
from PIL import Image

from bestiary.config.schema import DataConfig, SplitConfig
from bestiary.data.folders.path_groups import path_groups
from bestiary.data.index import build_index
from bestiary.data.listing import list_files
from bestiary.data.splits.split_table import split_images
from bestiary.errors import ConfigError

PATHS = ["ill/patient1_a.png", "ill/patient12_b.png", "well/patient1_c.png", "well/other.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"(patient\d+)_", ["patient1", "patient12", "patient1", ""]),
        (r"(pat)ient(?P<group>\d+)", ["1", "12", "1", ""]),
        (r"^([^/]+)/", ["ill", "ill", "well", "well"]),
        (r"patient(\d*?)_|other", ["1", "12", "1", ""]),
    ],
)
def test_a_named_or_the_first_group_counts(pattern: str, expected: list[str]) -> None:
    assert path_groups(PATHS, pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(patient", "no regular expression"), (r"patient\d+", "has no group"), ("(dog)", "no path.*ill/patient1_a.png")],
)
def test_patterns_that_cannot_be_are_explained(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        path_groups(PATHS, pattern)


def test_images_of_one_patient_stay_on_one_side(tmp_path: Path) -> None:
    for label, shade in (("ill", 60), ("well", 160)):
        (tmp_path / label).mkdir()
        for patient in range(12):
            for shot in range(3):
                Image.new("RGB", (16, 16), (shade, 5 * patient, 40 * shot)).save(
                    tmp_path / label / f"{label}{patient:02d}_{shot}.png"
                )
    (tmp_path / "ill" / "notes.txt").write_text("x")
    index = build_index(DataConfig(path=str(tmp_path), group_pattern=r"([a-z]+\d\d)_"))
    assert index["group_given"].nunique() == 24 + 1  # and of the notes, none
    splits = split_images(index, SplitConfig(group_duplicates="exact"))
    patients = splits.merge(index, on="image_id").groupby("group_given")["split"].nunique()
    assert (patients == 1).all()


def test_a_column_says_more_than_a_name(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,group\na1_0.png,x,north\na1_1.png,y,\n")
    listed = list_files(DataConfig(path=str(tmp_path / "list.csv"), group_pattern=r"(a\d)_"))
    assert [file.group for file in listed] == ["north", "a1"]
