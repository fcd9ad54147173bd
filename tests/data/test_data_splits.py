"""Splits: a partition in the asked proportion in which no group is parted, and what is made of it."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from bestiary.config.schema import SPLITS, SplitConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.overlay import corrected
from bestiary.data.groups import group_ids
from bestiary.data.splits.allotment import allot
from bestiary.data.splits.split_table import (
    changed_settings,
    missing_classes,
    oversized_groups,
    read_split_settings,
    read_splits,
    split_images,
    split_settings,
    splits_fingerprint,
    without,
    write_splits,
)
from bestiary.data.splits.straddling import straddling_groups
from bestiary.errors import BestiaryError, CorrectionsError, SplitError
from bestiary.store.tables import table_fingerprint, write_table
from tests.data.split_frames import (
    assert_no_group_is_parted,
    counts,
    fraction,
    frame,
    indexes,
    named,
    of_sizes,
    seeds,
)

NAMES = r"class(es)? 'class\d' \(\d+ images?\)|no image is left in (val|test)"


def assert_a_class_lacks_val_first_and_train_never(index: pd.DataFrame, splits: pd.DataFrame) -> None:
    table = counts(index, splits)
    assert (table["train"] > 0).all()
    alone = splits.groupby("group_id")["image_id"].transform("size") == 1
    singles = splits[alone].merge(index, on="image_id")["label"].value_counts().reindex(table.index, fill_value=0)
    assert (table[singles >= 3] > 0).all(axis=None)


def split(index: pd.DataFrame, **config: object) -> list[str]:
    return list(split_images(index, SplitConfig(**config))["split"])  # type: ignore[arg-type]


@given(index=indexes(), test=fraction, val=fraction, seed=seeds)
@settings(max_examples=120, deadline=None)
@pytest.mark.slow
def test_every_readable_image_is_in_one_split_and_every_class_in_each_or_it_is_an_error(
    index: pd.DataFrame, test: float, val: float, seed: int
) -> None:
    config = SplitConfig(test_fraction=test, val_fraction=val, seed=seed)
    if (index["error"] != "").all():
        return
    try:
        splits = split_images(index, config)
    except SplitError as error:
        assert re.search(NAMES, str(error))  # noqa: PT017 (either outcome is right)
        return
    assert list(splits.columns) == ["image_id", "group_id", "split", "drawn", "given"]
    assert (splits["drawn"] == splits["split"]).all()
    assert list(splits["image_id"]) == list(index.loc[index["error"] == "", "image_id"])
    assert set(splits["split"]) == set(SPLITS)
    assert_no_group_is_parted(index, splits)
    assert_a_class_lacks_val_first_and_train_never(index, splits)
    pd.testing.assert_frame_equal(splits, split_images(index, config))


@given(sizes=st.lists(st.integers(8, 60), min_size=2, max_size=6), test=fraction, val=fraction, seed=seeds)
@settings(max_examples=80, deadline=None)
def test_without_groups_sizes_are_those_of_scikit_learn(sizes: list[int], test: float, val: float, seed: int) -> None:
    labels, total = np.array(of_sizes(*sizes)), sum(sizes)
    # scikit-learn rounds up what floating point puts a hair above a whole number.
    assume(all(abs(f * total - round(f * total)) > 1e-6 or f * total == round(f * total) for f in (test, val)))
    index = frame(list(labels))
    table = counts(index, split_images(index, SplitConfig(test_fraction=test, val_fraction=val, seed=seed)))
    assert (table > 0).all(axis=None)
    assert (table["train"] == pd.Series(labels).value_counts().sort_index() - table["test"] - table["val"]).all()
    asked = {name: allot(np.array(sizes), share) for name, share in (("test", test), ("val", val))}
    # Where that gives every class an image of each side: the others have tests of their own, see `allotment`.
    assume(min(asked["test"].min(), asked["val"].min(), (sizes - asked["test"] - asked["val"]).min()) > 0)
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


@pytest.mark.parametrize(("size", "words"), [(1, "1 image"), (2, "2 images")])
def test_class_of_one_or_two_images_is_named(size: int, words: str) -> None:
    with pytest.raises(SplitError) as caught:
        split(frame(of_sizes(200, size)))
    assert str(caught.value) == (
        f"too small to split: class 'class1' ({words}). Train, val and test need an image of every class each. Add "
        "images, join classes with data.rename, or take this class out of the data: the first image of 'class1' is "
        "'200.png'"
    )


def test_all_classes_that_are_too_small_are_named_up_to_ten() -> None:
    with pytest.raises(SplitError) as caught:
        split(frame(of_sizes(20, 2, 3, 1)))
    assert "too small to split: classes 'class1' (2 images), 'class3' (1 image). Train" in str(caught.value)
    with pytest.raises(SplitError) as caught:
        split(frame(of_sizes(20, *[2] * 12)))
    assert re.findall(r"'class(\d+)' \(", str(caught.value)) == [*map(str, sorted(map(str, range(1, 13)))[:10])]
    assert "(2 images) and 2 more. Train" in str(caught.value)


@pytest.mark.parametrize(("groups", "there"), [([10], "train"), ([6, 4], "train test"), ([5, 3, 2], "train val test")])
@pytest.mark.parametrize("seed", range(5))
def test_class_of_few_groups_is_in_train_first_and_in_val_last(groups: list[int], there: str, seed: int) -> None:
    contents = [*range(40), *np.repeat([97, 98, 99][: len(groups)], groups)]
    for options in ({"contents": contents}, {}):
        index = frame(of_sizes(40, 10), **options)
        splits = split_images(index, SplitConfig(seed=seed), duplicates=None if options else np.array(contents))
        found = counts(index, splits).loc["class1"]
        assert " ".join(found.index[found > 0]) == there
        lacking = {side: ["class1"] for side in ("val", "test") if side not in there}
        assert missing_classes(splits, index) == lacking


def test_where_no_class_has_groups_enough_the_empty_side_is_named() -> None:
    index = frame(of_sizes(6, 6), contents=[0] * 6 + [1] * 6)
    with pytest.raises(SplitError, match="no image is left in val"):
        split(index)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("plain", "fbe13374b7636077"),
        ("copies", "37e74b9401d6ccca"),
        ("clusters", "11b61db1e727625c"),
        ("given", "21a91df6bbbeecd2"),
    ],
)
def test_the_draw_is_always_the_same(name: str, digest: str) -> None:
    """Digests of the draw: whoever draws the same data again gets the same sides.

    Without groups they are those of version 0.1, which put larger groups first.
    """
    owners = ["" if number % 4 else f"owner{number % 13}" for number in range(200)]
    copies = [number * 7 % 150 for number in range(200)]
    index, config, clusters = {
        "plain": (frame(of_sizes(40, 60)), SplitConfig(seed=3), None),
        "copies": (frame(of_sizes(120, 80), contents=copies, groups=owners), SplitConfig(), None),
        "clusters": (
            frame(of_sizes(50, 90, 30)),
            SplitConfig(test_fraction=0.3, seed=5),
            np.array([number * number % 130 for number in range(170)]),
        ),
        "given": (
            frame(of_sizes(40, 40), given_split=(["train"] * 30 + ["val"] * 8 + [""] * 2) * 2),
            SplitConfig(),
            None,
        ),
    }[name]
    sides = split_images(index, config, duplicates=clusters)["split"]
    assert hashlib.sha256(" ".join(sides).encode()).hexdigest()[:16] == digest


def given_frame() -> pd.DataFrame:
    return frame(of_sizes(10, 10), given_split=(["train"] * 6 + ["val"] * 2 + ["test"] * 2) * 2)


def test_given_splits_are_honoured() -> None:
    index = given_frame()
    for seed in (0, 1):
        assert split(index, seed=seed) == list(index["split_given"])


def test_given_splits_are_left_aside_when_asked() -> None:
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


@pytest.mark.parametrize("side", ["val", "test"])
def test_given_val_or_test_may_lack_a_class(side: str) -> None:
    index = given_frame()
    index.loc[(index["label"] == "class1") & (index["split_given"] == side), "split_given"] = "train"
    splits = split_images(index, SplitConfig())
    assert list(splits["split"]) == list(index["split_given"])
    assert missing_classes(splits, index) == {side: ["class1"]}
    assert missing_classes(split_images(given_frame(), SplitConfig()), given_frame()) == {}


def test_drawn_val_has_every_class_where_given_test_lacks_one() -> None:
    index = frame(of_sizes(20, 20), given_split=["train"] * 15 + ["test"] * 5 + ["train"] * 20)
    splits = split_images(index, SplitConfig())
    assert missing_classes(splits, index) == {"test": ["class1"]}
    assert (counts(index, splits)["val"] > 0).all()


def test_classes_that_are_in_given_val_or_test_alone_are_named() -> None:
    given_split = ["train"] * 3 + ["val", "test"] + ["test"] * 2 + ["val", "test"]
    index = frame(of_sizes(5, 2, 2), given_split=given_split)
    with pytest.raises(SplitError) as caught:
        split(index)
    assert str(caught.value) == (
        "nothing to train on: classes 'class1' (2 images), 'class2' (2 images). Folders or the split column put every "
        "image of these classes into val or test. Put some into train, take these classes out of the data, or set "
        "split.use_given = false to draw all sides: the first image of 'class1' is '5.png'"
    )
    # With one image more, that is a way out.
    fixed = frame(of_sizes(5, 3, 3), given_split=["train"] * 3 + ["val", "test"] + ["test"] * 6)
    assert missing_classes(split_images(fixed, SplitConfig(use_given=False)), fixed) == {}


def test_only_train_folders_split_like_no_folders() -> None:
    index = frame(of_sizes(20, 30))
    assert split(index.assign(split_given="train")) == split(index)


def test_splits_read_back_equal_with_the_settings_they_were_drawn_with(tmp_path: Path) -> None:
    index, config = given_frame(), SplitConfig(seed=4, use_given=False)
    splits = split_images(index, config)
    mark = splits_fingerprint(index, config)
    write_splits(tmp_path / "study", splits, fingerprint=mark, config=config)
    pd.testing.assert_frame_equal(read_splits(tmp_path / "study"), splits)
    assert table_fingerprint(tmp_path / "study" / "splits.parquet") == mark
    assert read_split_settings(tmp_path / "study") == split_settings(config)
    assert split_settings(config) == {
        "seed": 4,
        "folds": 0,
        "test_fraction": 0.2,
        "val_fraction": 0.1,
        "use_given": False,
    }


def test_other_folds_are_named_and_not_the_fractions_that_follow() -> None:
    before = split_settings(SplitConfig())
    assert changed_settings(before, SplitConfig(folds=5)) == ["split.folds was 0 and is 5"]
    assert changed_settings(split_settings(SplitConfig(folds=5)), SplitConfig(folds=4, seed=1)) == [
        "split.seed was 0 and is 1",
        "split.folds was 5 and is 4",
    ]
    # Of before there were folds.
    older = {name: value for name, value in before.items() if name != "folds"}
    assert changed_settings(older, SplitConfig()) == []
    assert changed_settings(older, SplitConfig(folds=5)) == ["split.folds was 0 and is 5"]


def test_changed_settings_are_named() -> None:
    before = split_settings(SplitConfig())
    assert changed_settings(before, SplitConfig(group_duplicates="exact")) == []
    assert changed_settings(before, SplitConfig(seed=2, val_fraction=0.15, use_given=False)) == [
        "split.seed was 0 and is 2",
        "split.val_fraction was 0.1 and is 0.15",
        "split.use_given was true and is false",
    ]


def test_splits_of_an_earlier_format_do_not_say_their_settings(tmp_path: Path) -> None:
    splits = split_images(given_frame(), SplitConfig())[["image_id", "group_id", "split"]]
    write_table(tmp_path / "splits.parquet", splits)
    pd.testing.assert_frame_equal(read_splits(tmp_path), splits)
    assert read_split_settings(tmp_path) is None
    assert changed_settings(read_split_settings(tmp_path), SplitConfig(seed=3)) == []


def test_splits_of_a_later_format_are_refused(tmp_path: Path) -> None:
    config = SplitConfig()
    write_splits(tmp_path, split_images(given_frame(), config), fingerprint="", config=config)
    file = tmp_path / "splits.parquet"
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"bestiary.format": b"3"}), file)
    with pytest.raises(BestiaryError, match=r"splits\.parquet has format 3, .* use a newer bestiary"):
        read_splits(tmp_path)


def test_damaged_splits_say_what_would_be_lost(tmp_path: Path) -> None:
    (tmp_path / "splits.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(BestiaryError, match=r"splits\.parquet is damaged .* drawn into test is then forgotten"):
        read_splits(tmp_path)


def test_copies_on_two_sides_of_a_given_split_are_counted() -> None:
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
@pytest.mark.slow
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
        assert re.search(NAMES, str(error))  # noqa: PT017 (either outcome is right)
        return
    assert_no_group_is_parted(index, splits)
    assert (splits.groupby(clusters)["split"].nunique() == 1).all()
    assert (splits.groupby(clusters)["group_id"].nunique() == 1).all()
    assert_a_class_lacks_val_first_and_train_never(index, splits)
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


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shares", [(50, 30, 20), (80, 10, 10), (94, 3, 3), (34, 33, 33)])
def test_class_of_three_groups_gets_one_in_each_split(shares: tuple[int, ...], seed: int) -> None:
    index = frame(of_sizes(100, 100))
    clusters = np.concatenate([np.arange(100), 1000 + np.repeat([0, 1, 2], shares)])
    table = counts(index, split_images(index, SplitConfig(seed=seed), duplicates=clusters))
    assert sorted(table.loc["class1"]) == sorted(shares)


def by_size(sizes: np.ndarray, splits: pd.DataFrame) -> pd.DataFrame:
    """Of groups of each size, the share that lies on each side."""
    first = splits.groupby("group_id")["split"].first()
    of_size = splits.groupby("group_id").size()
    return pd.crosstab(of_size, first).reindex(columns=["train", "val", "test"], fill_value=0)


@pytest.mark.parametrize(
    "kind", [pytest.param("few", marks=pytest.mark.slow), "many", pytest.param("nothing else", marks=pytest.mark.slow)]
)
def test_the_chance_of_a_group_to_be_in_test_does_not_depend_on_its_size(kind: str) -> None:
    sizes = {"few": [1] * 150 + [2] * 12 + [3] * 6 + [5] * 4 + [8] * 2, "many": [1] * 60 + [2, 3, 4, 5, 6] * 8}
    of_group = np.array(sizes.get(kind, [2, 3, 4, 5, 6] * 12))
    clusters = np.repeat(np.arange(2 * len(of_group)), np.tile(of_group, 2))
    index = frame(of_sizes(int(of_group.sum()), int(of_group.sum())))
    draws = 150
    found = sum(
        by_size(of_group, split_images(index, SplitConfig(seed=seed), duplicates=clusters)) for seed in range(draws)
    )
    count = found.sum(axis=1).to_numpy()
    for side, chance in (("test", 0.2), ("val", 0.1)):
        error = np.sqrt(chance * (1 - chance) / count)
        # Four standard errors of independent draws, and what an exchange of the last group of a class may do.
        assert (np.abs(found[side].to_numpy() / count - chance) < 4 * error + 0.02).all(), found


@given(groups=st.lists(st.integers(1, 6), min_size=20, max_size=60), test=st.sampled_from([0.15, 0.2, 0.3]), seed=seeds)
@settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_where_images_stand_alone_the_sizes_of_all_sides_are_exact(groups: list[int], test: float, seed: int) -> None:
    of_group = np.array([*groups, *[1] * 60])
    index = frame(of_sizes(int(of_group.sum()), 50))
    clusters = np.concatenate([np.repeat(np.arange(len(of_group)), of_group), 1000 + np.arange(50)])
    config = SplitConfig(test_fraction=test, seed=seed)
    pd.testing.assert_frame_equal(
        counts(index, split_images(index, config, duplicates=clusters)), counts(index, split_images(index, config))
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_group_larger_than_the_test_side_trains_and_is_told(seed: int) -> None:
    index = frame(of_sizes(100, 100))
    clusters = np.concatenate([np.zeros(40, dtype=np.int64), np.arange(1, 161)])
    splits = split_images(index, SplitConfig(seed=seed), duplicates=clusters)
    assert set(splits["split"][:40]) == {"train"}
    assert counts(index, splits).loc["class0"].tolist() == [70, 10, 20]
    (row,) = oversized_groups(splits, index, SplitConfig(seed=seed)).to_dict("records")
    assert (row["label"], row["images"], row["wanted"], row["path"]) == ("class0", 40, 20, "0.png")
    assert oversized_groups(split_images(index, SplitConfig()), index, SplitConfig()).empty


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
    # Whoever takes everything back has the split of before.
    pd.testing.assert_frame_equal(without(found, corrected(index, [])), drawn)


def test_dropped_images_leave_and_keep_where_they_were_drawn() -> None:
    index = hexed(given_frame())
    found = without(split_images(index, SplitConfig()), corrected(index, [drop("8.png"), relabel("0.png", "class1")]))
    assert list(found.columns) == ["image_id", "group_id", "split", "drawn", "given"]
    assert found["drawn"].tolist() == index["split_given"].tolist()
    assert found["split"].tolist() == [*index["split_given"][:8], "", *index["split_given"][9:]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([drop(f"{n}.png") for n in range(6)], r"of 6 \('0\.png' \.\.\.\), 6 dropped and 0 relabelled"),
        (
            [drop("0.png"), *(relabel(f"{n}.png", "class1") for n in range(1, 6))],
            r"of 6 \('0\.png' \.\.\.\), 1 dropped and 5 relabelled\. Undo one",
        ),
    ],
)
def test_corrections_that_leave_nothing_to_train_on_are_refused(rows: list[Correction], words: str) -> None:
    index = hexed(given_frame())
    drawn = split_images(index, SplitConfig())
    with pytest.raises(CorrectionsError, match=rf"leaves class 'class0' without a train image: {words}"):
        without(drawn, corrected(index, rows))
    refilled = corrected(index, [*rows, relabel("10.png", "class0")])
    assert (without(drawn, refilled)["split"] != "").sum() == 20 - sum(row.action == "drop" for row in rows)


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([drop("8.png"), drop("9.png")], {"test": ["class0"]}),
        ([drop("8.png"), relabel("9.png", "class1")], {"test": ["class0"]}),
        ([relabel("6.png", "class1"), relabel("7.png", "class1")], {"val": ["class0"]}),
        ([drop("6.png"), drop("7.png"), drop("18.png"), drop("19.png")], {"val": ["class0"], "test": ["class1"]}),
        ([drop("8.png"), drop("9.png"), relabel("18.png", "class0")], {}),
    ],
)
def test_corrections_may_leave_val_or_test_without_a_class(
    rows: list[Correction], missing: dict[str, list[str]]
) -> None:
    index = hexed(given_frame())
    table = corrected(index, rows)
    assert missing_classes(without(split_images(index, SplitConfig()), table), table) == missing


@pytest.mark.parametrize("side", ["val", "test"])
def test_corrections_that_drop_a_whole_side_are_refused(side: str) -> None:
    index = hexed(given_frame())
    rows = [drop(path) for path in index.loc[index["split_given"] == side, "path"]]
    with pytest.raises(CorrectionsError, match=rf"corrections\.csv drops every {side} image \(4\)"):
        without(split_images(index, SplitConfig()), corrected(index, rows))


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


@st.composite
def keyed_indexes(draw: st.DrawFn) -> tuple[pd.DataFrame, np.ndarray]:
    """With clusters as the audit finds them: of contents, so that copies share one."""
    index = draw(indexes())
    index = index[index["error"] == ""]
    given_split = draw(st.lists(st.sampled_from(["", "train", "val"]), min_size=len(index), max_size=len(index)))
    clusters = draw(st.lists(st.integers(0, 9), min_size=len(index), max_size=len(index)))
    index = named(index.assign(split_given=given_split))
    return index, pd.Series(clusters, index=index.index).groupby(index["sha256"]).transform("first").to_numpy()


@given(made=keyed_indexes(), random=st.randoms(use_true_random=False), data=st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_the_key_holds_no_paths_no_order_and_no_files_that_are_left_out(
    made: tuple[pd.DataFrame, np.ndarray], random: object, data: st.DataObject
) -> None:
    index, clusters = made
    assume(len(index))
    config = SplitConfig(use_given=False)
    key = splits_fingerprint(index, config, duplicates=clusters)
    order = data.draw(st.permutations(range(len(index))))
    shuffled = index.iloc[order].reset_index(drop=True)
    assert splits_fingerprint(shuffled, config, duplicates=clusters[order]) == key
    assert splits_fingerprint(shuffled, config, duplicates=10 - clusters[order]) == key
    # Renamed files are listed in another order, and copies are numbered in it.
    renamed = shuffled.assign(path=[f"{number:04d}.jpg" for number in range(len(index))], phash="", bytes=7)
    assert splits_fingerprint(named(renamed), config, duplicates=clusters[order]) == key
    unread = frame(["", "class0"], errors=["hidden or system file", "cut"])
    assert splits_fingerprint(pd.concat([index, unread], ignore_index=True), config, duplicates=clusters) == key
    # Without copies that are given to two sides, given splits change nothing of this.
    one_side = index.assign(split_given=index.groupby("sha256")["split_given"].transform("first"))
    renamed = one_side.iloc[order].assign(path=[f"{number:04d}.jpg" for number in range(len(index))])
    assert splits_fingerprint(one_side, SplitConfig(), duplicates=clusters) == splits_fingerprint(
        named(renamed), SplitConfig(), duplicates=clusters[order]
    )


def test_the_key_follows_contents_labels_given_splits_groups_and_settings() -> None:
    index = hexed(given_frame())
    others = [
        index,
        index.assign(label=["class1", *index["label"][1:]]),
        index.assign(split_given=["val", *index["split_given"][1:]]),
        index.assign(group_given=["a", "a", *[""] * 18]),
        index.assign(group_given=["a", "", "a", *[""] * 17]),
        index.iloc[:-1],
        pd.concat([index, index.iloc[[0]].assign(image_id=index["image_id"][0] + "-1")], ignore_index=True),
    ]
    keys = [splits_fingerprint(other, SplitConfig()) for other in others]
    keys += [splits_fingerprint(index, config) for config in (SplitConfig(seed=1), SplitConfig(val_fraction=0.2))]
    assert len(set(keys)) == 9
    # What is not used does not count.
    off = SplitConfig(use_given=False)
    assert splits_fingerprint(index, off) == splits_fingerprint(index.assign(split_given=""), off)


def test_the_key_says_which_copy_was_given_to_which_side() -> None:
    index = given_frame()
    index.loc[8, "sha256"] = index.loc[0, "sha256"]
    index = named(index)
    pair = index.index[index["sha256"].duplicated(keep=False)]
    swapped = index.copy()
    swapped.loc[pair, "image_id"] = index.loc[pair[::-1], "image_id"].to_numpy()
    assert splits_fingerprint(swapped, SplitConfig()) != splits_fingerprint(index, SplitConfig())
    off = SplitConfig(use_given=False)
    assert splits_fingerprint(swapped, off) == splits_fingerprint(index, off)
