"""Splits are append-only: what an image was drawn into, it stays in, while images come and go."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bestiary.config.schema import SPLITS, SplitConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.overlay import corrected
from bestiary.data.groups import group_ids
from bestiary.data.splits.split_table import (
    missing_classes,
    moved_images,
    present,
    split_images,
    without,
)
from bestiary.data.splits.straddling import straddling_groups
from bestiary.errors import SplitError
from tests.data.split_frames import assert_no_group_is_parted, counts, fraction, frame, named, of_sizes, seeds

STRENGTH = {"train": 0, "val": 1, "test": 2}


def sides(index: pd.DataFrame, splits: pd.DataFrame) -> dict[str, str]:
    """The side of each path."""
    joined = index.merge(splits, on="image_id", validate="one_to_one")
    return dict(zip(joined["path"], joined["split"], strict=True))


def pool(labels: Sequence[str], **columns: Sequence[object]) -> pd.DataFrame:
    """Images with ids of their contents, and paths that sort as they stand."""
    index = frame(labels, contents=columns.pop("contents", None)).assign(**columns)
    return named(index.assign(path=[f"{number:04d}.png" for number in range(len(index))]))


@st.composite
def histories(draw: st.DrawFn) -> tuple[pd.DataFrame, np.ndarray, list[list[bool]]]:
    """Images with copies, group values and clusters of contents; and which of them are there, step by step."""
    labels = draw(st.permutations(of_sizes(*draw(st.lists(st.integers(6, 22), min_size=2, max_size=3)))))
    count = len(labels)
    contents = draw(st.lists(st.integers(0, 2 * count), min_size=count, max_size=count))
    groups = draw(st.lists(st.sampled_from([""] * 12 + ["a", "b", "c"]), min_size=count, max_size=count))
    index = frame(labels, contents=contents, groups=groups).assign(path=[f"{n:04d}.png" for n in range(count)])
    clusters = np.array(draw(st.lists(st.integers(0, 2 * count), min_size=count, max_size=count)))
    clusters = pd.Series(clusters).groupby(index["sha256"]).transform("first").to_numpy()
    there = st.lists(st.sampled_from([True, True, True, False]), min_size=count, max_size=count)
    return index, clusters, draw(st.lists(there, min_size=2, max_size=5))


@given(made=histories(), test=fraction, val=fraction, seed=seeds, near=st.lists(st.booleans(), min_size=5, max_size=5))
@settings(max_examples=20, deadline=None)
def test_an_image_keeps_its_side_while_others_come_and_go_unless_a_copy_links_it_to_another(
    made: tuple[pd.DataFrame, np.ndarray, list[list[bool]]], test: float, val: float, seed: int, near: list[bool]
) -> None:
    """Against a model: a dictionary of the side each content was last on, and the strongest of a group."""
    whole, clusters, steps = made
    previous, known = None, {}
    for there, with_near in zip(steps, near, strict=False):
        index = named(whole[there])
        config = SplitConfig(
            test_fraction=test, val_fraction=val, seed=seed, group_duplicates="near" if with_near else "exact"
        )
        try:
            splits = split_images(index, config, duplicates=clusters[there], previous=previous)
        except SplitError:
            continue  # too few images of a class: the splits of before stand
        groups = group_ids(index, duplicates=clusters[there] if with_near else None)
        now = present(splits)
        assert now["image_id"].tolist() == index["image_id"].tolist()
        held: dict[int, list[str]] = {}
        for group, content in zip(groups, index["sha256"], strict=True):
            held.setdefault(group, []).extend([known[content]] if content in known else [])
        for group, content, side in zip(groups, index["sha256"], now["split"], strict=True):
            if held[group]:
                assert side == max(held[group], key=STRENGTH.__getitem__)
            if known.get(content) == "test":
                assert side == "test"
        assert_no_group_is_parted(index, now)
        assert straddling_groups(splits) == 0
        known |= dict(zip(index["sha256"], now["split"], strict=True))
        # All that was ever drawn is in the table, once.
        contents = splits["image_id"].str.split("-").str[0]
        assert set(contents) == {content[:20] for content in known}
        assert splits["image_id"].is_unique
        assert dict(zip(contents, splits["drawn"], strict=True)) == {key[:20]: side for key, side in known.items()}
        gone = splits[splits["group_id"] == ""]
        assert (gone["split"] == "").all()
        pd.testing.assert_frame_equal(
            split_images(index, config, duplicates=clusters[there], previous=splits), splits, check_like=False
        )
        previous = splits


@given(
    sizes=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    batches=st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5), min_size=1, max_size=10),
    shares=st.sampled_from([(0.2, 0.1), (0.1, 0.1), (0.2, 0.08), (0.15, 0.15), (0.3, 0.05)]),
    seed=seeds,
)
@settings(max_examples=15, deadline=None)
def test_proportions_stay_within_an_image_a_class_after_many_appends(
    sizes: list[int], batches: list[list[int]], shares: tuple[float, float], seed: int
) -> None:
    config = SplitConfig(test_fraction=shares[0], val_fraction=shares[1], seed=seed)
    labels = of_sizes(*sizes)
    splits = split_images(pool(labels), config)
    for batch in batches:
        labels = [*labels, *of_sizes(*batch[: len(sizes)])]
        before, index = splits, pool(labels)
        splits = split_images(index, config, previous=before)
        assert splits["split"][: len(before)].tolist() == before["split"].tolist()
        table = counts(index, splits)
        assert (table > 0).all(axis=None)
        size = table.sum(axis=1)
        for side, share in zip(("test", "val"), shares, strict=True):
            assert (table[side] - size * share).abs().max() <= 1 + 1e-6


@given(made=histories(), cut=st.floats(0.3, 1.0), seed=seeds)
@settings(max_examples=12, deadline=None)
def test_images_that_came_first_do_not_depend_on_how_the_rest_comes(
    made: tuple[pd.DataFrame, np.ndarray, list[list[bool]]], cut: float, seed: int
) -> None:
    whole, config = named(made[0].assign(group_given="")), SplitConfig(seed=seed)
    first, second = len(whole) // 3, len(whole) // 3 + int(cut * len(whole)) // 2
    try:
        begun = split_images(whole.iloc[:first], config)
        between = split_images(whole.iloc[:second], config, previous=begun)
        in_two = split_images(whole, config, previous=between)
        in_one = split_images(whole, config, previous=begun)
    except SplitError:
        assume(False)
    assert in_two["split"][:first].tolist() == in_one["split"][:first].tolist() == begun["split"].tolist()
    assert in_two["split"][:second].tolist() == between["split"].tolist()


def test_one_image_more_of_every_class_moves_none() -> None:
    labels = of_sizes(20, 20, 20, 20)
    before = split_images(pool(labels), SplitConfig())
    index = pool([*labels, "class0", "class1", "class2", "class3"])
    splits = split_images(index, SplitConfig(), previous=before)
    assert splits["split"][:80].tolist() == before["split"].tolist()
    assert moved_images(before, splits).empty


def test_many_new_images_bring_every_class_to_its_proportions() -> None:
    labels = of_sizes(60, 60, 60, 60)
    before = split_images(pool(labels), SplitConfig())
    index = pool([*labels, *of_sizes(20, 40, 0, 140)])
    splits = split_images(index, SplitConfig(), previous=before)
    assert splits["split"][:240].tolist() == before["split"].tolist()
    assert counts(index, splits).to_numpy().tolist() == [[56, 8, 16], [70, 10, 20], [42, 6, 12], [140, 20, 40]]


@given(made=histories(), seed=seeds, data=st.data())
@settings(max_examples=12, deadline=None)
def test_renamed_files_and_copies_in_another_order_change_no_side(
    made: tuple[pd.DataFrame, np.ndarray, list[list[bool]]], seed: int, data: st.DataObject
) -> None:
    index, config = named(made[0]), SplitConfig(seed=seed)
    try:
        before = split_images(index, config)
    except SplitError:
        assume(False)
    order = data.draw(st.permutations(range(len(index))))
    renamed = named(index.iloc[order].assign(path=[f"{number:04d}.jpg" for number in range(len(index))]))
    after = split_images(renamed, config, previous=before)
    by_content = dict(zip(index["sha256"], before["split"], strict=True))
    assert after["split"].tolist() == renamed["sha256"].map(by_content).tolist()


@pytest.mark.parametrize("columns", [["split"], ["split", "drawn"], ["split", "drawn", "given"]])
def test_splits_of_earlier_formats_are_kept(columns: list[str]) -> None:
    labels = of_sizes(20, 30)
    before = split_images(pool(labels), SplitConfig())
    previous = before[["image_id", "group_id", *columns]]
    if "drawn" in columns:  # an image that was dropped
        previous = previous.assign(split=["", *previous["split"][1:]])
    index = pool([*labels, *of_sizes(5, 5)])
    again = split_images(index, SplitConfig(seed=9), previous=previous)
    assert again["split"][:50].tolist() == before["split"].tolist()


def test_an_image_that_comes_back_gets_its_old_side() -> None:
    index = pool(of_sizes(20, 20))
    before = split_images(index, SplitConfig())
    test = index["image_id"][before["split"] == "test"].iloc[0]
    left = index[index["image_id"] != test]
    between = split_images(left, SplitConfig(), previous=before)
    row = between[between["image_id"] == test].iloc[0]
    assert row.to_dict() == {"image_id": test, "group_id": "", "split": "", "drawn": "test", "given": ""}
    assert present(between)["image_id"].tolist() == left["image_id"].tolist()
    # Through further images, and under another name.
    more = pool([*left["label"], *of_sizes(6, 6)], contents=[*left["sha256"], *range(900, 912)])
    between = split_images(more, SplitConfig(), previous=between)
    back = index.assign(path=[f"new/{number:04d}.png" for number in range(40)])
    splits = split_images(back, SplitConfig(), previous=between).set_index("image_id")
    assert splits["split"][test] == "test"
    assert splits["split"][index["image_id"]].tolist() == before["split"].tolist()


def test_an_image_that_cannot_be_read_any_more_is_remembered_and_takes_part_in_nothing() -> None:
    index = pool(of_sizes(20, 20))
    before = split_images(index, SplitConfig())
    cut = index.assign(error=["cut", *[""] * 39])
    splits = without(split_images(cut, SplitConfig(), previous=before), corrected(cut, []))
    assert len(splits) == 40
    assert splits.iloc[-1].to_dict() == {
        "image_id": index["image_id"][0],
        "group_id": "",
        "split": "",
        "drawn": before["split"][0],
        "given": "",
    }


def test_dropped_images_keep_their_side_when_others_come() -> None:
    labels = of_sizes(20, 20)
    index = pool(labels)
    before = split_images(index, SplitConfig())
    rows = [Correction("", path, "drop") for path in index["path"][:6]]
    more = pool([*labels, *of_sizes(4, 4)])
    after = split_images(more, SplitConfig(), previous=without(before, corrected(index, rows)))
    assert after["split"][:40].tolist() == before["split"].tolist()
    left = without(after, corrected(more, rows))
    assert left["split"][:6].tolist() == [""] * 6
    assert left["drawn"].tolist() == after["split"].tolist()


# --- copies


def with_copy(index: pd.DataFrame, *of: str, label: str = "class0", **columns: str) -> tuple[pd.DataFrame, np.ndarray]:
    """One image more, near duplicate of these paths; and the clusters."""
    row = pool([label], contents=["a copy"]).assign(path="copy.png", **columns)
    index = pd.concat([index, row], ignore_index=True)
    clusters = np.arange(len(index))
    clusters[index["path"].isin(of)] = len(index) - 1
    return index, clusters


def path_on(index: pd.DataFrame, splits: pd.DataFrame, side: str) -> str:
    return next(path for path, found in sides(index, splits).items() if found == side)


@pytest.mark.parametrize("side", SPLITS)
def test_a_new_copy_goes_where_its_image_is(side: str) -> None:
    index = pool(of_sizes(20, 20))
    before = split_images(index, SplitConfig())
    more, clusters = with_copy(index, path_on(index, before, side))
    splits = split_images(more, SplitConfig(), duplicates=clusters, previous=before)
    assert sides(more, splits) == {**sides(index, before), "copy.png": side}
    # Exact copies too, with `group_duplicates = "exact"`.
    exact = named(more.assign(sha256=more["sha256"].where(clusters != 40, "f" * 64)))
    first = split_images(exact[exact["path"] != "copy.png"], SplitConfig())
    splits = split_images(exact, SplitConfig(group_duplicates="exact"), duplicates=clusters, previous=first)
    found = sides(exact, splits)
    assert found["copy.png"] == found[path_on(index, before, side)]


@pytest.mark.parametrize(
    ("linked", "goes"),
    [(("train", "test"), "test"), (("val", "test"), "test"), (("train", "val"), "val"), (SPLITS, "test")],
)
def test_images_that_a_new_copy_links_go_to_test_or_else_to_val(linked: tuple[str, ...], goes: str) -> None:
    index = pool(of_sizes(20, 20))
    before = split_images(index, SplitConfig())
    paths = [path_on(index, before, side) for side in linked]
    more, clusters = with_copy(index, *paths)
    splits = split_images(more, SplitConfig(), duplicates=clusters, previous=before)
    assert sides(more, splits) == {**sides(index, before), **dict.fromkeys([*paths, "copy.png"], goes)}
    moved = moved_images(before, splits)
    assert dict(zip(moved["image_id"], moved["before"], strict=True)) == {
        index["image_id"][list(index["path"]).index(path)]: side
        for path, side in zip(paths, linked, strict=True)
        if side != goes
    }
    assert set(moved["now"]) == {goes}
    # And stay there, whatever becomes of the copy.
    after = split_images(index, SplitConfig(), previous=splits)
    assert sides(index, after) == {path: side for path, side in sides(more, splits).items() if path != "copy.png"}


def test_copies_that_no_longer_count_keep_their_sides() -> None:
    index = pool(of_sizes(30, 30))
    clusters = np.arange(60) // 2
    before = split_images(index, SplitConfig(), duplicates=clusters)
    splits = split_images(index, SplitConfig(group_duplicates="exact"), duplicates=clusters, previous=before)
    assert splits["split"].tolist() == before["split"].tolist()
    assert splits["group_id"].nunique() == 60


def test_a_side_that_links_made_overfull_gets_none() -> None:
    labels = of_sizes(60, 60)
    before = split_images(pool(labels), SplitConfig())
    index = pool(labels)
    test = before["split"] == "test"
    clusters = np.where(test | (before["split"] == "train") & (np.arange(120) % 3 == 0), 0, np.arange(1, 121))
    linked = split_images(index, SplitConfig(), duplicates=clusters, previous=before)
    overfull = counts(index, linked)["test"]
    assert (overfull > 25).all()
    more = pool([*labels, *of_sizes(20, 20)])
    splits = split_images(more, SplitConfig(), duplicates=np.append(clusters, range(200, 240)), previous=linked)
    table = counts(more, splits)
    assert (table["test"] == overfull).all()
    assert table["val"].tolist() == [8, 8]


# --- classes that come and go


def test_a_new_class_is_split_like_any_other() -> None:
    labels = of_sizes(40, 40)
    before = split_images(pool(labels), SplitConfig())
    index = pool([*labels, *of_sizes(0, 0, 10, 3)])
    splits = split_images(index, SplitConfig(), previous=before)
    assert counts(index, splits).to_numpy().tolist() == [[28, 4, 8], [28, 4, 8], [7, 1, 2], [1, 1, 1]]


def test_a_new_class_of_two_images_is_refused() -> None:
    labels = of_sizes(40, 40)
    before = split_images(pool(labels), SplitConfig())
    with pytest.raises(SplitError, match=r"too small to split: class 'class2' \(2 images\)"):
        split_images(pool([*labels, "class2", "class2"]), SplitConfig(), previous=before)


def lost(index: pd.DataFrame, splits: pd.DataFrame, gone: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The index without the images of these classes on these sides."""
    joined = index.merge(splits, on="image_id")
    leaves = [side in gone.get(label, ()) for label, side in zip(joined["label"], joined["split"], strict=True)]
    return index[~np.array(leaves)].reset_index(drop=True)


def test_a_class_whose_val_images_went_is_reported_and_filled_up_by_the_next_ones() -> None:
    index = pool(of_sizes(20, 20))
    before = split_images(index, SplitConfig())
    left = lost(index, before, {"class0": ["val"]})
    splits = split_images(left, SplitConfig(), previous=before)
    assert missing_classes(splits, left) == {"val": ["class0"]}
    more = pd.concat([left, pool(["class0"], contents=["new"]).assign(path="new.png")], ignore_index=True)
    splits = split_images(more, SplitConfig(), previous=splits)
    assert missing_classes(splits, more) == {}
    assert sides(more, splits)["new.png"] == "val"


def test_a_class_with_nothing_left_to_train_on_is_refused() -> None:
    index = pool(of_sizes(20, 20))
    before = split_images(index, SplitConfig())
    with pytest.raises(SplitError) as caught:
        split_images(lost(index, before, {"class0": ["train"]}), SplitConfig(), previous=before)
    assert str(caught.value) == (
        "nothing left to train on: class 'class0' (6 images). Every image of this class is in val or test, and stays "
        "there with its copies. Add images, or draw all images anew with `bestiary split STUDY --redraw`"
    )


@pytest.mark.parametrize("side", ["val", "test"])
def test_a_side_that_lost_all_its_images_is_refused(side: str) -> None:
    index = pool(of_sizes(20, 20))
    before = split_images(index, SplitConfig())
    with pytest.raises(SplitError, match=rf"no image is left in {side}: .* `bestiary split STUDY --redraw`"):
        split_images(lost(index, before, {"class0": [side], "class1": [side]}), SplitConfig(), previous=before)


@pytest.mark.parametrize("side", ["val", "test"])
def test_a_new_group_goes_to_a_side_that_has_none_of_its_class(side: str) -> None:
    index = pool(of_sizes(40, 40))
    before = split_images(index, SplitConfig())
    left = lost(index, before, {"class0": [side]})
    new = pool(["class0"] * 5, contents=["a", "b", "c", "d", "e"]).assign(path=[f"new{n}" for n in range(5)])
    more = pd.concat([left, new], ignore_index=True)
    clusters = np.where(more["path"].str.startswith("new"), 0, np.arange(1, len(more) + 1))
    splits = split_images(more, SplitConfig(), duplicates=clusters, previous=before)
    assert missing_classes(splits, more) == {}
    assert sides(more, splits)["new0"] == side


# --- given splits


def given_pool(*, test: str = "") -> pd.DataFrame:
    """Ten of each class to train, two to val; test is drawn, unless its two of each class are given to it."""
    return pool(of_sizes(14, 14), split_given=(["train"] * 10 + ["val"] * 2 + [test or "train"] * 2) * 2)


def test_given_splits_are_honoured_over_what_was_drawn() -> None:
    before = split_images(given_pool(), SplitConfig())
    index = given_pool(test="test")
    splits = split_images(index, SplitConfig(), previous=before)
    test = splits["split"] == "test"
    assert test[index["split_given"] == "test"].all()
    # What lies in the train folder and was drawn into test when there was no test folder stays in test.
    assert (splits["split"][before["split"] == "test"] == "test").all()
    assert test.sum() == ((index["split_given"] == "test") | (before["split"] == "test")).sum()


def test_a_file_that_is_moved_from_the_test_folder_to_the_train_folder_trains() -> None:
    index = given_pool(test="test")
    before = split_images(index, SplitConfig())
    moved = index.assign(split_given=["train" if n == 12 else side for n, side in enumerate(index["split_given"])])
    splits = split_images(moved, SplitConfig(), previous=before)
    assert splits["split"].tolist() == moved["split_given"].tolist()


def test_sides_stay_when_given_splits_no_longer_count() -> None:
    index = given_pool(test="test")
    before = split_images(index, SplitConfig())
    for again in (
        split_images(index, SplitConfig(use_given=False), previous=before),
        split_images(index.assign(split_given=""), SplitConfig(), previous=before),
    ):
        assert again["split"].tolist() == before["split"].tolist()


@pytest.mark.parametrize(("said", "goes"), [("", "test"), ("train", "train")])
def test_a_copy_given_to_test_takes_an_image_with_it_of_which_nothing_was_said(said: str, goes: str) -> None:
    index = given_pool(test="test")
    index.loc[0, "split_given"] = said
    before = split_images(index, SplitConfig())
    assert before["split"][0] == "train"
    more, clusters = with_copy(index, "0000.png", split_given="test")
    splits = split_images(more, SplitConfig(), duplicates=clusters, previous=before)
    assert sides(more, splits) == {**sides(index, before), "0000.png": goes, "copy.png": "test"}
    assert straddling_groups(splits) == (goes == "train")


def test_so_does_a_copy_that_is_found_later() -> None:
    index = given_pool(test="test")
    index.loc[0, "split_given"] = ""
    before = split_images(index, SplitConfig())
    clusters = np.arange(28)
    clusters[0] = 12  # given to test
    splits = split_images(index, SplitConfig(), duplicates=clusters, previous=before)
    assert sides(index, splits) == {**sides(index, before), "0000.png": "test"}


def test_an_image_that_was_drawn_into_test_stays_there_though_its_copy_is_given_to_val() -> None:
    index = pool(of_sizes(14, 14), split_given=["train"] * 10 + ["val"] * 2 + [""] * 16)
    before = split_images(index, SplitConfig())
    path = next(path for path, side in sides(index[14:], before).items() if side == "test")
    more, clusters = with_copy(index, path, split_given="val")
    splits = split_images(more, SplitConfig(), duplicates=clusters, previous=before)
    assert sides(more, splits) == {**sides(index, before), "copy.png": "val"}
    assert straddling_groups(splits) == 1


@given(
    labels=st.permutations(of_sizes(12, 12)),
    given_split=st.lists(st.sampled_from(["", "train", "val", "test"]), min_size=24, max_size=24),
    contents=st.lists(st.integers(0, 40), min_size=24, max_size=24),
    test=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_nothing_new_changes_nothing_whatever_is_given(
    labels: list[str], given_split: list[str], contents: list[int], test: bool
) -> None:
    said = [side if test or side != "test" else "train" for side in given_split]
    index = pool(labels, contents=contents, split_given=said)
    try:
        splits = split_images(index, SplitConfig())
    except SplitError:
        assume(False)
    for columns in (["split"], ["split", "drawn"], ["split", "drawn", "given"]):
        previous = splits[["image_id", "group_id", *columns]]
        pd.testing.assert_frame_equal(split_images(index, SplitConfig(seed=1), previous=previous), splits)
