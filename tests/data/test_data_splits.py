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

from bestiary.config.schema import SPLITS, SplitConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.overlay import corrected
from bestiary.data.groups import group_ids
from bestiary.data.splits import (
    allot,
    read_splits,
    split_images,
    splits_fingerprint,
    straddling_groups,
    without,
    write_splits,
)
from bestiary.errors import CorrectionsError, SplitError
from bestiary.store.tables import table_fingerprint


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


# --- near duplicates


@st.composite
def indexes_with_clusters(draw: st.DrawFn) -> tuple[pd.DataFrame, np.ndarray]:
    index = draw(indexes())
    count = int((index["error"] == "").sum())
    return index, np.array(draw(st.lists(st.integers(0, 2 * count), min_size=count, max_size=count)), dtype=np.int64)


@given(made=indexes_with_clusters(), test=fraction, val=fraction, seed=seeds)
@settings(max_examples=80, deadline=None)
def test_no_cluster_is_parted_or_it_is_an_error_that_names_a_class(
    made: tuple[pd.DataFrame, np.ndarray], test: float, val: float, seed: int
) -> None:
    index, clusters = made
    if not len(clusters):
        return
    config = SplitConfig(test_fraction=test, val_fraction=val, seed=seed)
    try:
        splits = split_images(index, config, duplicates=clusters)
    except SplitError as error:
        assert re.search(r"class 'class\d'", str(error))  # noqa: PT017 (either outcome is right)
        return
    assert_no_group_is_parted(index, splits)
    assert (splits.groupby(clusters)["split"].nunique() == 1).all()
    assert (splits.groupby(clusters)["group_id"].nunique() == 1).all()
    assert (counts(index, splits) > 0).all(axis=None)
    # Numbers of clusters are names only; single-image clusters are none.
    renamed = split_images(index, config, duplicates=clusters.max() - clusters)
    pd.testing.assert_frame_equal(splits, renamed)
    exact = config.model_copy(update={"group_duplicates": "exact"})
    alone = split_images(index, config, duplicates=np.arange(len(clusters)))
    pd.testing.assert_frame_equal(alone, split_images(index, config))
    pd.testing.assert_frame_equal(alone, split_images(index, exact, duplicates=clusters))


def test_clusters_join_contents_and_group_values() -> None:
    index = frame(["a"] * 7, contents=[1, 1, 2, 3, 4, 5, 6], groups=["", "", "", "g", "g", "", ""])
    assert group_ids(index, duplicates=np.array([0, 1, 1, 1, 2, 3, 3])).tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert group_ids(index, duplicates=np.arange(7)).tolist() == group_ids(index).tolist() == [0, 0, 1, 2, 2, 3, 4]


@given(
    sizes=st.lists(st.integers(60, 200), min_size=2, max_size=4),
    share=st.floats(0.0, 0.8),
    largest=st.integers(2, 8),
    test=st.integers(10, 30).map(lambda percent: percent / 100),
    seed=seeds,
)
@settings(max_examples=60, deadline=None)
def test_every_class_keeps_its_proportions_to_within_a_cluster(
    sizes: list[int], share: float, largest: int, test: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    index = frame(of_sizes(*sizes))
    clusters, start = [], 0
    for size in sizes:  # of one class each, as nearly all are
        own = np.arange(size)
        grouped = int(share * size)
        own[:grouped] = np.repeat(np.arange(size), random.integers(2, largest + 1, size))[:grouped]
        clusters.append(start + own)
        start += size
    splits = split_images(index, SplitConfig(test_fraction=test, seed=seed), duplicates=np.concatenate(clusters))
    found = counts(index, splits)
    for name, fraction_ in (("test", test), ("val", 0.1)):
        off = np.abs(found[name].to_numpy() - np.array(sizes) * fraction_)
        assert off.max() <= largest, (name, found, sizes)


def test_cluster_numbers_of_other_images_are_refused() -> None:
    index = frame(of_sizes(10, 10), errors=["cut"] + [""] * 19)
    with pytest.raises(ValueError, match="20 cluster numbers for 19 readable images"):
        split_images(index, SplitConfig(), duplicates=np.arange(20))


def test_a_corrected_index_is_not_split() -> None:
    with pytest.raises(ValueError, match="as found"):
        split_images(corrected(frame(of_sizes(10, 10)), []), SplitConfig())


def test_class_of_too_few_clusters_says_that_near_duplicates_may_part() -> None:
    index = frame(of_sizes(40, 10))
    clusters = np.array([*range(40), *[50] * 6, *[51] * 4])
    with pytest.raises(SplitError) as caught:
        split_images(index, SplitConfig(), duplicates=clusters)
    assert re.search(
        r"class 'class1' has no \w+ image: its 10 images form 2 groups .*\(the largest of 6 images\).*"
        r'split\.group_duplicates = "exact".* form 10 groups',
        str(caught.value),
    )
    split_images(index, SplitConfig(group_duplicates="exact"), duplicates=clusters)


def test_class_of_too_few_groups_of_copies_is_not_told_of_near_duplicates() -> None:
    index = frame(of_sizes(40, 10), contents=[*range(40), *[50] * 6, *[51] * 4])
    with pytest.raises(SplitError) as caught:
        split_images(index, SplitConfig(), duplicates=np.arange(50))
    assert "group_duplicates" not in str(caught.value)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shares", [(50, 30, 20), (80, 10, 10), (94, 3, 3), (34, 33, 33)])
def test_class_of_three_groups_gets_one_in_each_split(shares: tuple[int, ...], seed: int) -> None:
    index = frame(of_sizes(100, 100))
    clusters = np.concatenate([np.arange(100), 1000 + np.repeat([0, 1, 2], shares)])
    table = counts(index, split_images(index, SplitConfig(seed=seed), duplicates=clusters))
    assert sorted(table.loc["class1"]) == sorted(shares)


# --- corrections


def relabel(path: str, label: str) -> Correction:
    return Correction("", path, "relabel", label)


def drop(path: str) -> Correction:
    return Correction("", path, "drop")


def hexed(index: pd.DataFrame) -> pd.DataFrame:
    return index.assign(image_id=index["sha256"].str[:20])


@given(
    sizes=st.lists(st.integers(8, 20), min_size=2, max_size=3),
    near=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=6),
    choices=st.dictionaries(st.integers(0, 15), st.sampled_from(["class0", "class1", "drop", "keep"]), max_size=8),
    seed=seeds,
)
@settings(max_examples=60, deadline=None)
def test_corrections_never_move_an_image_to_another_split(
    sizes: list[int], near: list[tuple[int, int]], choices: dict[int, str], seed: int
) -> None:
    index, config = hexed(frame(of_sizes(*sizes))), SplitConfig(test_fraction=0.3, val_fraction=0.2, seed=seed)
    clusters = np.arange(len(index))
    for first, second in near:
        clusters[first] = clusters[second]
    drawn = split_images(index, config, duplicates=clusters)
    rows = [
        Correction("", f"{number}.png", what) if what in ("drop", "keep") else relabel(f"{number}.png", what)  # type: ignore[arg-type]
        for number, what in choices.items()
    ]
    try:
        table = corrected(index, rows)
        found = without(drawn, table)
    except CorrectionsError:
        assume(False)
    assert found["image_id"].tolist() == drawn["image_id"].tolist()
    assert found["group_id"].tolist() == drawn["group_id"].tolist()
    assert found["drawn"].tolist() == drawn["split"].tolist()
    dropped = {number for number, what in choices.items() if what == "drop"}
    assert found["split"].tolist() == ["" if n in dropped else split for n, split in enumerate(drawn["split"])]
    pd.testing.assert_frame_equal(without(found, table), found)
    # Whoever takes everything back has the division of before.
    pd.testing.assert_frame_equal(without(found, corrected(index, []))[["image_id", "group_id", "split"]], drawn)


def test_dropped_images_leave_and_keep_where_they_were_drawn() -> None:
    index = hexed(given_frame())
    found = without(split_images(index, SplitConfig()), corrected(index, [drop("8.png"), relabel("0.png", "class1")]))
    assert list(found.columns) == ["image_id", "group_id", "split", "drawn"]
    assert found["drawn"].tolist() == index["split_given"].tolist()
    assert found["split"].tolist() == [*index["split_given"][:8], "", *index["split_given"][9:]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([drop("8.png"), drop("9.png")], r"without a test image: of 2 \('8\.png' \.\.\.\), 2 dropped and 0 relabelled"),
        (
            [drop("8.png"), relabel("9.png", "class1")],
            r"without a test image: .* 1 dropped and 1 relabelled\. Undo one",
        ),
        (
            [relabel("6.png", "class1"), relabel("7.png", "class1")],
            r"without a val image: .* 0 dropped and 2 relabelled",
        ),
        ([drop(f"{n}.png") for n in range(6)], r"without a train image: of 6 .* 6 dropped"),
    ],
)
def test_corrections_that_leave_a_split_without_a_class_are_told_so(rows: list[Correction], words: str) -> None:
    index = hexed(given_frame())
    drawn = split_images(index, SplitConfig())
    table = corrected(index, rows)
    with pytest.raises(CorrectionsError, match=rf"corrections\.csv leaves class 'class0' {words}"):
        without(drawn, table)
    refilled = corrected(index, [*rows, *(relabel(f"{n}.png", "class0") for n in (10, 16, 18))])
    assert (without(drawn, refilled)["split"] != "").sum() == 20 - sum(row.action == "drop" for row in rows)


def test_dropped_copies_straddle_nothing() -> None:
    index = hexed(given_frame())
    index.loc[8, "sha256"] = index.loc[0, "sha256"]  # a copy in train and in test
    drawn = split_images(index, SplitConfig())
    assert straddling_groups(drawn) == 1
    assert straddling_groups(without(drawn, corrected(index, [relabel("8.png", "class1")]))) == 1
    assert straddling_groups(without(drawn, corrected(index, [drop("8.png")]))) == 0


def test_the_fingerprint_follows_clusters_and_drops_but_not_labels() -> None:
    index, config = hexed(given_frame()), SplitConfig()
    clusters = np.array([0, 0, *range(1, 19)])

    def mark(rows: list[Correction], numbers: np.ndarray = clusters, settings: SplitConfig = config) -> str:
        return splits_fingerprint(index, settings, duplicates=numbers, corrected=corrected(index, rows))

    plain = mark([])
    assert plain == mark([relabel("0.png", "class1")]) == mark([Correction("", "1.png", "keep")])
    assert plain == mark([], numbers=clusters[::-1].max() - clusters)
    assert len({plain, mark([drop("0.png")]), mark([drop("1.png")]), mark([], numbers=np.arange(20))}) == 4
    exact = SplitConfig(group_duplicates="exact")
    assert mark([], clusters, exact) == mark([], np.arange(20), exact) != plain
