"""Splits: a partition in the asked proportion in which no group is parted."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from bestiary.core.config import SPLITS, SplitConfig
from bestiary.core.errors import SplitError
from bestiary.core.tables import table_fingerprint
from bestiary.data.splits import (
    allot,
    group_ids,
    read_splits,
    split_images,
    splits_fingerprint,
    straddling_groups,
    write_splits,
)


def frame(
    labels: Sequence[str],
    *,
    contents: Sequence[object] | None = None,
    groups: Sequence[str] | None = None,
    given_split: Sequence[str] | None = None,
    errors: Sequence[str] | None = None,
) -> pd.DataFrame:
    """An index with the columns that matter here."""
    count = len(labels)
    contents = list(range(count)) if contents is None else contents
    return pd.DataFrame(
        {
            "image_id": [f"id{number:04d}" for number in range(count)],
            "path": [f"{number}.png" for number in range(count)],
            "label": list(labels),
            "sha256": [hashlib.sha256(repr(content).encode()).hexdigest() for content in contents],
            "group_given": [""] * count if groups is None else list(groups),
            "split_given": [""] * count if given_split is None else list(given_split),
            "error": [""] * count if errors is None else list(errors),
        }
    )


def of_sizes(*sizes: int) -> list[str]:
    return [f"class{number}" for number, size in enumerate(sizes) for _ in range(size)]


def counts(index: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    joined = index.merge(splits, on="image_id", validate="one_to_one")
    return pd.crosstab(joined["label"], joined["split"]).reindex(columns=list(SPLITS), fill_value=0)


def split(index: pd.DataFrame, **config: object) -> list[str]:
    return list(split_images(index, SplitConfig(**config))["split"])  # type: ignore[arg-type]


def assert_no_group_is_parted(index: pd.DataFrame, splits: pd.DataFrame) -> None:
    joined = index.merge(splits, on="image_id")
    assert (joined.groupby("sha256")["split"].nunique() == 1).all()
    named = joined[joined["group_given"] != ""]
    assert (named.groupby("group_given")["split"].nunique() == 1).all()
    assert (joined.groupby("group_id")["split"].nunique() == 1).all()


fraction = st.integers(5, 45).map(lambda percent: percent / 100)
seeds = st.integers(0, 2**32)


@st.composite
def indexes(draw: st.DrawFn) -> pd.DataFrame:
    labels = draw(st.permutations(of_sizes(*draw(st.lists(st.integers(3, 25), min_size=2, max_size=4)))))
    count = len(labels)
    few = draw(st.integers(1, count))
    contents = draw(st.lists(st.integers(0, 3 * few), min_size=count, max_size=count))
    groups = draw(st.lists(st.sampled_from(["", "", "", "", "a", "b", "c"]), min_size=count, max_size=count))
    errors = draw(st.lists(st.sampled_from(["", "", "", "", "cut"]), min_size=count, max_size=count))
    return frame(labels, contents=contents, groups=groups, errors=errors)


@given(index=indexes(), test=fraction, val=fraction, seed=seeds)
@settings(max_examples=120, deadline=None)
def test_every_readable_image_is_in_one_split_and_every_class_in_each_or_it_is_an_error(
    index: pd.DataFrame, test: float, val: float, seed: int
) -> None:
    config = SplitConfig(test_fraction=test, val_fraction=val, seed=seed)
    if (index["error"] != "").all():
        return
    try:
        splits = split_images(index, config)
    except SplitError as error:
        assert re.search(r"class 'class\d'", str(error))  # noqa: PT017 (either outcome is right)
        return
    assert list(splits.columns) == ["image_id", "group_id", "split"]
    assert list(splits["image_id"]) == list(index.loc[index["error"] == "", "image_id"])
    assert set(splits["split"]) == set(SPLITS)
    assert_no_group_is_parted(index, splits)
    assert (counts(index, splits) > 0).all(axis=None)
    pd.testing.assert_frame_equal(splits, split_images(index, config))


@given(sizes=st.lists(st.integers(8, 60), min_size=2, max_size=6), test=fraction, val=fraction, seed=seeds)
@settings(max_examples=80, deadline=None)
def test_without_groups_sizes_are_those_of_scikit_learn(sizes: list[int], test: float, val: float, seed: int) -> None:
    labels, total = np.array(of_sizes(*sizes)), sum(sizes)
    # scikit-learn rounds up what floating point puts a hair above a whole number.
    assume(all(abs(f * total - round(f * total)) > 1e-6 or f * total == round(f * total) for f in (test, val)))
    index = frame(list(labels))
    try:
        table = counts(index, split_images(index, SplitConfig(test_fraction=test, val_fraction=val, seed=seed)))
    except SplitError:
        assume(False)
    for name, share in (("test", test), ("val", val)):
        try:
            drawn = train_test_split(labels, test_size=share, stratify=labels, random_state=seed % 2**32)[1]
        except ValueError:  # fewer images than classes
            continue
        theirs = pd.Series(drawn).value_counts().reindex(table.index, fill_value=0)
        assert table[name].sum() == len(drawn)
        assert (table[name] - theirs).abs().max() <= 1
        exact = np.array(sizes) * share
        if all(abs(value - round(value)) < 1e-9 for value in exact):
            assert list(table[name]) == list(theirs) == [round(value) for value in exact]
    assert (table["train"] == pd.Series(labels).value_counts().sort_index() - table["test"] - table["val"]).all()


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=8), share=st.floats(0.001, 0.999))
def test_allotment_is_by_largest_remainder(sizes: list[int], share: float) -> None:
    exact, taken = np.array(sizes) * share, allot(np.array(sizes), share)
    total = sum(sizes) * share
    assert taken.sum() in (int(np.ceil(total)), round(total))
    assert (np.abs(taken - exact) < 1 + 1e-6).all()
    raised = taken > exact + 1e-6
    remainders = exact - np.floor(exact)
    if raised.any() and not raised.all():
        assert remainders[raised].min() >= remainders[~raised & (taken < exact - 1e-6)].max(initial=0) - 1e-6


def test_seed_decides_and_nothing_else() -> None:
    index = frame(of_sizes(40, 60))
    assert split(index, seed=3) == split(index.copy(), seed=3)
    assert split(index, seed=3) != split(index, seed=4)
    np.random.seed(1)
    first = split(index)
    np.random.seed(2)
    assert first == split(index)


def test_the_notebooks_proportions_are_kept_exactly() -> None:
    index = frame(of_sizes(500, 300, 200))
    table = counts(index, split_images(index, SplitConfig(test_fraction=0.2, val_fraction=0.08, seed=222)))
    assert table.to_numpy().tolist() == [[360, 40, 100], [216, 24, 60], [144, 16, 40]]


@pytest.mark.parametrize("seed", range(8))
def test_copies_and_groups_stay_in_one_split_and_proportions_hold_nearly(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = of_sizes(120, 80)
    contents = random.integers(0, 150, 200).tolist()
    groups = [random.choice(["", "", "", f"owner{random.integers(0, 20)}"]) for _ in labels]
    index = frame(labels, contents=contents, groups=groups)
    splits = split_images(index, SplitConfig(seed=seed))
    assert_no_group_is_parted(index, splits)
    shares = splits["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.06)
    assert shares["val"] == pytest.approx(0.1, abs=0.06)


def test_groups_that_overlap_are_one() -> None:
    index = frame(["a"] * 6, contents=[1, 1, 2, 2, 3, 4], groups=["", "g", "g", "", "h", ""])
    assert group_ids(index).tolist() == [0, 0, 0, 0, 1, 2]


def test_group_value_that_equals_a_content_joins_nothing() -> None:
    index = frame(["a"] * 3, contents=[1, 2, 3])
    index["group_given"] = ["", index["sha256"][0], ""]
    assert group_ids(index).tolist() == [0, 1, 2]


def test_copies_with_two_labels_stay_together() -> None:
    index = frame(of_sizes(20, 20), contents=[*range(20), *range(5), *range(30, 45)])
    assert_no_group_is_parted(index, split_images(index, SplitConfig()))


@pytest.mark.parametrize(
    ("size", "words"),
    [(1, "has 1 image: too few for train and test and val"), (2, "has 2 images: too few for train and test and val")],
)
def test_class_of_one_or_two_images_is_named(size: int, words: str) -> None:
    with pytest.raises(SplitError, match=f"class 'class1' {words}.* Add images or take the class out"):
        split(frame(of_sizes(200, size)))


def test_class_of_three_images_can_be_split() -> None:
    index = frame(of_sizes(3, 3, 4))
    table = counts(index, split_images(index, SplitConfig(test_fraction=0.3, val_fraction=0.3)))
    assert (table > 0).all(axis=None)


def advice(error: SplitError) -> tuple[str, float] | None:
    found = re.search(r"smallest (\w+)_fraction above it that works is ([\d.]+)", str(error))
    return (found[1], float(found[2])) if found else None


@given(sizes=st.lists(st.integers(3, 90), min_size=2, max_size=5), small=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_fraction_named_in_the_error_works_and_none_between_it_and_the_asked_one(sizes: list[int], small: int) -> None:
    index = frame(of_sizes(*sizes))
    config = {"test_fraction": small / 1000, "val_fraction": 0.3}
    try:
        split(index, **config)
        assume(False)
    except SplitError as error:
        assume((told := advice(error)) is not None)
        assert told is not None
    name, smallest = told
    assume(name == "test")
    assert small / 1000 < smallest < 0.7
    try:
        split(index, **(config | {"test_fraction": smallest}))
    except SplitError as error:
        assert "test_fraction = " not in str(error)  # noqa: PT017 (another split may still lack an image)
    for less in np.unique(np.round(np.linspace(small / 1000, smallest - 1e-4, 6), 4)):
        with pytest.raises(SplitError, match="test_fraction"):
            split(index, **(config | {"test_fraction": float(less)}))


@pytest.mark.parametrize("sizes", [(500, 5), (3, 3), (100, 100, 7), (1000, 4, 9), (60, 3)])
def test_who_follows_the_advice_gets_a_split(sizes: tuple[int, ...]) -> None:
    index = frame(of_sizes(*sizes))
    config = {"test_fraction": 0.002, "val_fraction": 0.001}
    for _ in range(3):
        try:
            table = counts(index, split_images(index, SplitConfig(**config)))  # type: ignore[arg-type]
        except SplitError as error:
            told = advice(error)
            if told is None:
                raise
            config[f"{told[0]}_fraction"] = told[1]
        else:
            break
    else:
        pytest.fail("following the advice three times leads nowhere")
    assert (table > 0).all(axis=None)


def test_fractions_that_leave_a_class_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(SplitError, match=r"class 'class\d' has 3 images and none is left to train on"):
        split(frame(of_sizes(3, 3)), test_fraction=0.49, val_fraction=0.5)


def test_class_whose_images_are_all_copies_is_named_with_its_groups() -> None:
    index = frame(of_sizes(40, 10), contents=[*range(40), *[99] * 10])
    with pytest.raises(SplitError, match=r"class 'class1' has no \w+ image: its 10 images form 1 group"):
        split(index)


def given_frame() -> pd.DataFrame:
    return frame(of_sizes(10, 10), given_split=(["train"] * 6 + ["val"] * 2 + ["test"] * 2) * 2)


def test_given_splits_are_honoured() -> None:
    index = given_frame()
    for seed in (0, 1):
        assert split(index, seed=seed) == list(index["split_given"])


def test_given_splits_are_divided_anew_when_asked() -> None:
    index = given_frame()
    drawn = split(index, use_given=False)
    assert drawn != list(index["split_given"])
    assert drawn == split(index.assign(split_given=""))


@pytest.mark.parametrize("lacking", ["val", "test"])
def test_split_that_is_not_given_is_drawn_from_train(lacking: str) -> None:
    index = frame(of_sizes(40, 40), given_split=(["train"] * 30 + [{"val": "test", "test": "val"}[lacking]] * 10) * 2)
    index.loc[:3, "sha256"] = index.loc[0, "sha256"]
    splits = split_images(index, SplitConfig(test_fraction=0.1, val_fraction=0.1))
    held = index["split_given"] != "train"
    assert (splits["split"][held] == index["split_given"][held]).all()
    assert set(splits["split"][~held]) == {"train", lacking}
    assert (splits["split"] == lacking).sum() == 6
    assert_no_group_is_parted(index, splits)


def test_images_without_a_given_split_train_where_all_splits_are_given() -> None:
    index = given_frame()
    index.loc[9, "split_given"] = ""
    assert split(index)[9] == "train"


@pytest.mark.parametrize("place", ["val", "test"])
@pytest.mark.parametrize("by", ["content", "group"])
def test_image_without_a_given_split_goes_where_its_copy_was_given_to(place: str, by: str) -> None:
    index = given_frame()
    number = list(index["split_given"]).index(place)
    index.loc[0, "split_given"] = ""
    if by == "content":
        index.loc[0, "sha256"] = index.loc[number, "sha256"]
    else:
        index.loc[[0, number], "group_given"] = "owner"
    assert split(index)[0] == place


def test_class_that_a_given_split_leaves_out_is_named() -> None:
    index = frame(of_sizes(4, 4), given_split=["train", "train", "val", "test", "train", "train", "train", "val"])
    with pytest.raises(SplitError, match="class 'class1' has no test image"):
        split(index)


def test_only_train_folders_divide_like_no_folders() -> None:
    index = frame(of_sizes(20, 30))
    assert split(index.assign(split_given="train")) == split(index)


def test_splits_read_back_equal_and_the_fingerprint_follows_index_and_config(tmp_path: Path) -> None:
    index, config = given_frame(), SplitConfig()
    index["bytes"] = 1
    splits = split_images(index, config)
    mark = splits_fingerprint(index, config)
    write_splits(tmp_path / "study", splits, fingerprint=mark)
    pd.testing.assert_frame_equal(read_splits(tmp_path / "study"), splits)
    assert table_fingerprint(tmp_path / "study" / "splits.parquet") == mark
    others = [(index, SplitConfig(seed=1)), (index.assign(label="x"), config), (index.iloc[:-1], config)]
    assert len({mark, *(splits_fingerprint(*other) for other in others)}) == 4


def test_copies_on_two_sides_of_a_given_division_are_counted():
    splits = pd.DataFrame(
        {"image_id": list("abcd"), "group_id": ["g", "g", "h", "h"], "split": ["train", "test", "val", "val"]}
    )
    assert straddling_groups(splits) == 1
