"""Rare classes: left out, merged or refused, and the study goes on."""

import pandas as pd
import pytest

from bestiary.audit.balance import find_rare
from bestiary.audit.unread_files import find_unread
from bestiary.config.schema import DataConfig
from bestiary.data.index import class_names, readable
from bestiary.data.splits.rare_classes import FEWEST_IMAGES, apply_rare, is_rare
from bestiary.errors import DataError
from tests.data.split_frames import frame, of_sizes


@pytest.mark.parametrize("size", [1, 2])
def test_a_class_of_fewer_than_three_images_is_left_out_with_a_finding(size: int) -> None:
    index = apply_rare(frame(of_sizes(5, size, 3)), "leave_out")
    assert class_names(index) == ["class0", "class2"]
    assert len(readable(index)) == 8
    assert set(index.loc[is_rare(index), "label"]) == {"class1"}
    (finding,) = find_rare(index)
    assert (finding.issue, finding.label, finding.severity) == ("rare_class", "class1", "high")
    assert str(size) in finding.reason
    assert find_unread(index) == []


def test_images_that_cannot_be_read_do_not_count() -> None:
    index = frame(of_sizes(5, 3, 4), errors=["", "cut", *[""] * 3, "cut", *[""] * 6])
    left = apply_rare(index, "leave_out")
    assert class_names(left) == ["class0", "class2"]
    assert (left["error"] == "cut").sum() == 2


def test_rare_classes_are_merged_and_left_out_where_they_are_still_too_few() -> None:
    index = frame(of_sizes(5, 2, 1, 4))
    merged = apply_rare(index, "merge:other")
    assert merged["label"].value_counts().to_dict() == {"class0": 5, "class3": 4, "other": 3}
    assert not is_rare(merged).any()
    few = apply_rare(frame(of_sizes(5, 2, 4)), "merge:other")
    assert set(few.loc[is_rare(few), "label"]) == {"other"}
    assert index["label"].nunique() == 4  # what was given is left alone


def test_nothing_changes_where_it_is_refused_or_nothing_is_rare() -> None:
    index = frame(of_sizes(5, 2))
    pd.testing.assert_frame_equal(apply_rare(index, "refuse"), index)
    enough = frame(of_sizes(FEWEST_IMAGES, 5))
    pd.testing.assert_frame_equal(apply_rare(enough, "leave_out"), enough)


def test_a_class_with_a_given_side_is_not_rare() -> None:
    index = frame(of_sizes(5, 2), given_split=[*["train"] * 4, "test", "train", "test"])
    assert not is_rare(apply_rare(index, "leave_out")).any()


def test_what_is_left_must_be_two_classes() -> None:
    few = r"'class1' \(2 images\), 'class2' \(1 image\)\. Add images"
    with pytest.raises(DataError, match="1 class has 3 images or more.* Too small: " + few):
        apply_rare(frame(of_sizes(5, 2, 1)), "leave_out")


@pytest.mark.parametrize("wrong", ["merge:", "merge: ", "drop", ""])
def test_other_ways_are_no_config(wrong: str) -> None:
    with pytest.raises(ValueError, match="rare"):
        DataConfig(rare=wrong)
