"""Folds: every image in one, groups whole, classes even, append-only; and the splits of each fold."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.config.schema import SplitConfig
from bestiary.data.splits.folds import draw_folds, images_of_fold, refuse_given, small_validation
from bestiary.data.splits.split_table import split_images
from bestiary.errors import SplitError
from tests.data.split_frames import frame, of_sizes


def images_of(index: pd.DataFrame, config: SplitConfig, previous: pd.DataFrame | None = None) -> pd.DataFrame:
    """The images of a study, as `draw_folds` takes them."""
    return split_images(index, config, previous=previous).merge(index[["image_id", "label"]], on="image_id")


indexes = st.builds(
    lambda sizes, group_size: frame(
        of_sizes(*sizes), groups=[f"g{number // group_size}" if number % 3 else "" for number in range(sum(sizes))]
    ),
    st.lists(st.integers(6, 60), min_size=2, max_size=4),
    st.integers(1, 6),
)


@settings(max_examples=40, deadline=None)
@given(indexes, st.integers(3, 8), st.integers(0, 1000))
def test_every_image_is_tested_once_and_validated_once_with_its_group(
    index: pd.DataFrame, count: int, seed: int
) -> None:
    config = SplitConfig(folds=count, seed=seed)
    images = images_of(index, config)
    folds = draw_folds(images, config)
    assert folds["image_id"].tolist() == images["image_id"].tolist()
    assert folds["fold"].between(1, count).all()
    assert (folds["fold"].eq(1).to_numpy() == images["drawn"].eq("test").to_numpy()).all()
    assert (folds["fold"].eq(2).to_numpy() == images["drawn"].eq("val").to_numpy()).all()
    assert (images.merge(folds).groupby("group_id")["fold"].nunique() == 1).all()
    tested, validated, spared = [], [], 0
    for number in range(1, count + 1):
        sides = images_of_fold(images, folds, number, count=count)
        assert set(sides["label"]) == set(sides.loc[sides["split"] == "train", "label"])
        spared += int((folds["fold"].eq(number).to_numpy() & sides["split"].eq("train").to_numpy()).sum())
        tested += sides.loc[sides["split"] == "test", "image_id"].tolist()
        validated += sides.loc[sides["split"] == "val", "image_id"].tolist()
    # But for classes that would have no train image in a fold.
    assert len(tested) == len(set(tested)) == len(images) - spared
    assert len(validated) == len(set(validated))


@pytest.mark.parametrize("count", [3, 5, 10])
def test_folds_are_of_equal_size_in_each_class(count: int) -> None:
    index = frame(of_sizes(100, 60, 40))
    config = SplitConfig(folds=count)
    images = images_of(index, config)
    table = pd.crosstab(images["label"], draw_folds(images, config)["fold"].to_numpy())
    assert table.shape == (3, count)
    # Test and val are rounded up, as scikit-learn does.
    assert (table.max(axis=1) - table.min(axis=1) <= 2).all()
    assert table.sum().max() - table.sum().min() <= 3


def test_an_image_keeps_its_fold_and_new_ones_fill_them() -> None:
    config = SplitConfig(folds=5)
    index = frame(of_sizes(40, 40))
    first = images_of(index.iloc[::2].reset_index(drop=True), config)
    before = draw_folds(first, config)
    splits = split_images(index.iloc[::2].reset_index(drop=True), config)
    images = images_of(index, config, previous=splits)
    after = draw_folds(images, config, previous=before)
    kept = after.set_index("image_id")["fold"][before["image_id"]]
    assert kept.tolist() == before["fold"].tolist()
    sizes = after["fold"].value_counts()
    assert sizes.max() - sizes.min() <= 2
    # What is gone keeps its fold, should it come back.
    fewer = draw_folds(first.iloc[5:].reset_index(drop=True), config, previous=before)
    assert fewer.set_index("image_id")["fold"][before["image_id"]].tolist() == before["fold"].tolist()
    again = draw_folds(first, config, previous=fewer)
    assert again["fold"].tolist() == before["fold"].tolist()


def test_a_copy_found_later_joins_the_fold_of_its_group() -> None:
    config = SplitConfig(folds=5)
    images = images_of(frame(of_sizes(40, 40)), config)
    before = draw_folds(images, config)
    by_fold = before[before["fold"] > 2].groupby("fold")["image_id"].first()
    tied = images.assign(group_id=images["group_id"].where(~images["image_id"].isin(by_fold), "tied"))
    after = draw_folds(tied, config, previous=before).set_index("image_id")["fold"]
    assert set(after[by_fold]) == {3}
    assert (after.drop(by_fold.tolist()) == before.set_index("image_id")["fold"].drop(by_fold.tolist())).all()


def test_a_class_of_few_groups_is_trained_on_where_it_would_be_missing() -> None:
    index = frame(of_sizes(40, 6), groups=[""] * 40 + ["a", "a", "a", "b", "b", "b"])
    config = SplitConfig(folds=5)
    images = images_of(index, config)
    folds = draw_folds(images, config)
    for number in range(1, 6):
        sides = images_of_fold(images, folds, number, count=5)
        assert "class1" in set(sides.loc[sides["split"] == "train", "label"])


def test_dropped_images_are_on_no_side() -> None:
    config = SplitConfig(folds=3)
    images = images_of(frame(of_sizes(30, 30)), config)
    folds = draw_folds(images, config)
    images.loc[:4, "split"] = ""
    for number in (1, 2, 3):
        assert (images_of_fold(images, folds, number, count=3)["split"][:5] == "").all()


def test_splits_that_came_with_the_data_are_refused_with_the_way_out() -> None:
    index = frame(of_sizes(10, 10), given_split=["test"] * 5 + [""] * 15)
    with pytest.raises(SplitError, match=r"came with a test split.*use_given = false.*folds = 0"):
        refuse_given(index, SplitConfig(folds=5))
    refuse_given(index, SplitConfig(folds=5, use_given=False))
    refuse_given(index, SplitConfig())
    refuse_given(frame(of_sizes(10, 10), given_split=["train"] * 20), SplitConfig(folds=5))


def test_sides_are_a_fold_each() -> None:
    config = SplitConfig(folds=8, test_fraction=0.3)
    assert (config.test_fraction, config.val_fraction) == (0.125, 0.125)
    for wrong in (1, 2, 21, -1):
        with pytest.raises(ValueError, match="folds"):
            SplitConfig(folds=wrong)


def test_folds_are_offered_where_validation_is_small() -> None:
    offered = small_validation(40, SplitConfig(), given=False)
    assert offered.startswith("40 validation images cannot rank models that are close: with split.folds = 5")
    assert small_validation(40, SplitConfig(folds=5), given=False) == ""
    assert small_validation(100, SplitConfig(), given=False) == ""
    assert small_validation(40, SplitConfig(), given=True) == ""
