"""Splits: which image trains, which chooses, which scores.

In: the index as found, clusters of near duplicates, `split` of a config, and the splits that the study has. Out: a
DataFrame, and `splits.parquet` (format 2), which this module owns.

Columns: `image_id`; `group_id` (images of one group belong together); `split` (train, val or test; "" where the image
was dropped); `drawn` (the side that the image was drawn into); `given` (what its folder or column said then, "" where
nothing, or where `use_given` is off). An image that is gone from the data keeps its row as memory: `group_id` and
`split` are "", and `drawn` is its side, should it come back. See `present`.

A split is append-only. In this order:

1. What folders or a column give to val or test is there, whatever was drawn, and even where copies then lie on two
   sides: `straddling` counts those. A copy with no given split follows it. An image given as train, or not at
   all, can be drawn into a side to which no image is given.
2. An image that the splits of before know keeps its side. It is known by its content: a renamed file, or copies in
   another order, change nothing.
3. Images of one group stay on one side: exact copies (same SHA-256), those of one group (of a column or a pattern),
   those of one burst and, with `group_duplicates = "near"`, those of one cluster of near duplicates; groups that
   overlap are joined. A new image goes where its group is. Where a new image or a newly found copy links images of two
   sides, all of them go to test if one of them is there, else to val: no image ever leaves test.
4. All others are drawn, to bring the sides to the wanted proportions class by class: see `allotment`. Where the splits
   of before know nothing, that is the whole draw.

Strata are labels as found: no correction moves an image. Images that were dropped leave afterwards: see `without`.
Other fractions or another seed draw nothing anew: see `changed_settings`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.schema import SPLITS, SplitConfig
from bestiary.data.groups import group_ids, least_of_group, ties
from bestiary.data.index import class_names, is_dropped, readable
from bestiary.data.splits.allotment import draw
from bestiary.data.splits.refusals import refuse_lacking, refuse_too_small
from bestiary.errors import BestiaryError, CorrectionsError
from bestiary.store.hashing import fingerprint
from bestiary.store.tables import read_table, table_metadata, write_table

FILE_NAME = "splits.parquet"
FORMAT = "2"

Counts = npt.NDArray[np.int64]

# Sides as numbers, so that the largest of a group is the side that it goes to.
_SIDES = np.array(["", *SPLITS], dtype=object)
_NUMBERS = {side: number for number, side in enumerate(_SIDES)}
_TRAIN = _NUMBERS["train"]
_SETTINGS = ("seed", "folds", "test_fraction", "val_fraction", "use_given")


def split_images(
    index: pd.DataFrame,
    config: SplitConfig,
    *,
    duplicates: Counts | None = None,
    previous: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Assign every readable image to train, val or test; see the module's head for the rules.

    Args:
        index: as found, without corrections.
        config: what is asked for.
        duplicates: a cluster number for each readable image, `(n,) int64`, in the order of the index; read with
            `group_duplicates = "near"` alone. They must not depend on corrections.
        previous: the splits that the study has, of any earlier index and format. None draws all images.

    Returns:
        `image_id, group_id, split, drawn, given`: the readable images in the order of the index, then those that are
        gone.

    Raises:
        SplitError: a class has fewer images than there are sides to draw; it has none to train on; or a side is empty.
    """
    if "label_given" in index:
        raise ValueError("splits are drawn on the index as found: give it without corrections, then call `without`")
    images = readable(index)
    groups = group_ids(images, duplicates=_relevant(duplicates, config))
    given = _given(images, config)
    fractions = {"test": config.test_fraction, "val": config.val_fraction}
    fractions = {side: fraction for side, fraction in fractions.items() if not (given == side).any()}
    memory = _memory(previous, images["image_id"], given)
    remembered = _remembered(images["image_id"], given, memory)
    sides, is_open = _known_sides(given, groups, remembered, _newly_linked(images["image_id"], groups, memory))

    order = ["train", *fractions]
    pool = np.flatnonzero(is_open & np.isin(sides, ["", *order]))
    known_classes = set(images["label"].to_numpy(dtype=object)[pool[sides[pool] != ""]])
    refuse_too_small(images.iloc[pool], order, known=known_classes)
    if fractions and (sides[pool] == "").any():
        labels = images["label"].to_numpy(dtype=object)[pool]
        sides[pool] = draw(labels, groups[pool], fractions, seed=config.seed, kept=sides[pool])
    sides[sides == ""] = "train"  # val and test are given, and this image to neither
    refuse_lacking(images, sides, groups, given=~is_open, known=known_classes)

    table = pd.DataFrame(
        {
            "image_id": images["image_id"],
            "group_id": [f"g{group:07d}" for group in groups],
            "split": sides,
            "drawn": sides,
            "given": given,
        }
    )
    gone = memory[~memory["content"].isin(_contents(images["image_id"]))].assign(group_id="", split="")
    return pd.concat([table, gone[table.columns]], ignore_index=True) if len(gone) else table


def _relevant(duplicates: Counts | None, config: SplitConfig) -> Counts | None:
    return duplicates if config.group_duplicates == "near" else None


def _given(images: pd.DataFrame, config: SplitConfig) -> npt.NDArray[np.object_]:
    return images["split_given"].to_numpy(dtype=object) if config.use_given else np.full(len(images), "", object)


def _contents(image_ids: pd.Series) -> pd.Series:
    """The id of the content: without the number that further copies have appended."""
    return image_ids.str.split("-", n=1).str[0]


def _memory(previous: pd.DataFrame | None, image_ids: pd.Series, given: npt.NDArray[np.object_]) -> pd.DataFrame:
    """The splits of before: `image_id, content, drawn, given, group`, of any format."""
    if previous is None:
        previous = pd.DataFrame(columns=["image_id", "group_id", "drawn", "given"], dtype=object)
    drawn = previous["drawn"] if "drawn" in previous else previous["split"]
    if "given" in previous:
        was_given = previous["given"]
    else:  # before format 2, when a side was given as a whole or drawn as a whole, and copies followed
        said = previous["image_id"].map(dict(zip(image_ids, given, strict=True)))
        was_given = drawn.where(drawn.isin(set(given) - {"train"}) & (said != ""), said.fillna(""))
    table = {"image_id": previous["image_id"], "drawn": drawn, "given": was_given, "group": previous["group_id"]}
    return pd.DataFrame(table, dtype=object).assign(content=_contents(previous["image_id"]))


def _remembered(image_ids: pd.Series, given: npt.NDArray[np.object_], memory: pd.DataFrame) -> Counts:
    """The side that each image had before, as a number; 0 where it had none."""
    if memory.empty:
        return np.zeros(len(image_ids), dtype=np.int64)
    rows = memory.assign(side=memory["drawn"].map(_NUMBERS).astype(np.int64))
    now = pd.DataFrame({"content": _contents(image_ids).to_numpy(), "given": given})
    same = rows.groupby(["content", "given"])["side"].max()
    anyhow = rows.groupby("content")["side"].max()
    # A file that was moved from the test folder to the train folder is not held in test by its past.
    drawn = rows[~rows["given"].isin(("val", "test"))].groupby("content")["side"].max()
    loose = now["content"].map(anyhow).where(now["given"] != "train", now["content"].map(drawn))
    exact = pd.Series(same.reindex(pd.MultiIndex.from_frame(now)).to_numpy(), dtype=float)
    return np.asarray(exact.fillna(loose.astype(float)).fillna(0).to_numpy(), dtype=np.int64)


def _newly_linked(image_ids: pd.Series, groups: Counts, memory: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether images of an image's group were in different groups before."""
    before = memory[memory["group"] != ""].drop_duplicates("content").set_index("content")["group"]
    was = pd.factorize(_contents(image_ids).map(before))[0]
    pairs = np.unique(np.stack([groups[was >= 0], was[was >= 0]], axis=1), axis=0)
    return np.bincount(pairs[:, 0], minlength=int(groups.max(initial=-1)) + 1)[groups] > 1


def _known_sides(
    given: npt.NDArray[np.object_], groups: Counts, remembered: Counts, linked: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.bool_]]:
    """The side of each image before anything is drawn, "" where none, and whether it could be drawn.

    Args:
        given: what folders or a column say, or "".
        groups: the group of each image.
        remembered: of `_remembered`.
        linked: of `_newly_linked`.
    """
    numbers = pd.Series(given).map(_NUMBERS).to_numpy(dtype=np.int64)
    free, fixed = numbers == 0, np.where(numbers > _TRAIN, numbers, 0)
    # A copy that nothing was said of goes where its group was given to: the last one, where that is two sides.
    last = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int64)
    last[groups[~free]] = numbers[~free]
    held = _largest(np.where(free, remembered, 0), groups)
    pull = _largest(np.where((remembered == 0) | linked, fixed, 0), groups)
    follows = free & (_largest(fixed, groups) > 0) & ((held > 0) | (last[groups] > _TRAIN))
    followed = np.where(held > 0, np.maximum(held, pull), last[groups])
    is_open = (fixed == 0) & ~follows
    kept = _largest(np.where(is_open, remembered, 0), groups)
    return _SIDES[np.where(is_open, kept, np.where(follows, followed, fixed))], is_open


def _largest(values: Counts, groups: Counts) -> Counts:
    """Of each image, the largest value within its group."""
    largest = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(largest, groups, values)
    return largest[groups]


def without(splits: pd.DataFrame, corrected: pd.DataFrame) -> pd.DataFrame:
    """Let the images leave that corrections dropped; all others stay on the side they were drawn into.

    Args:
        splits: of `split_images`, of this function, or read back.
        corrected: of `corrections.overlay.corrected`.

    Returns:
        The same rows, with `drawn` as it was, and `split` the same, or "" where the image was dropped or is gone.

    Raises:
        CorrectionsError: no image of a class is left to train on, or none at all to choose or score on.
    """
    drawn = splits["drawn"] if "drawn" in splits else splits["split"]
    stays = (splits["group_id"] != "") & splits["image_id"].isin(readable(corrected)["image_id"])
    table = splits.assign(split=drawn.where(stays, ""), drawn=drawn)
    joined = present(table).merge(corrected[["image_id", "path", "label", "label_given"]], on="image_id")
    train = joined[joined["drawn"] == "train"]
    trained_on = joined.loc[joined["split"] == "train", "label"].unique()
    for label in sorted(set(train["label_given"]) - set(trained_on)):
        rows = train[train["label_given"] == label]
        dropped = int((rows["split"] == "").sum())
        first = repr(rows["path"].iloc[0]) + (" ..." if len(rows) > 1 else "")
        raise CorrectionsError(
            f"corrections.csv leaves class {label!r} without a train image: of {len(rows)} ({first}), {dropped} "
            f"dropped and {len(rows) - dropped} relabelled. Undo one, or add images of the class"
        )
    for side in sorted(set(joined["drawn"]) - set(joined["split"])):
        raise CorrectionsError(
            f"corrections.csv drops every {side} image ({int((joined['drawn'] == side).sum())}). Undo one row, or add "
            "images"
        )
    return table


def present(splits: pd.DataFrame) -> pd.DataFrame:
    """The rows of images that the data have: without the memory of those that are gone."""
    return splits[splits["group_id"] != ""].reset_index(drop=True)


def missing_classes(splits: pd.DataFrame, index: pd.DataFrame) -> dict[str, list[str]]:
    """Which classes have no image on a side: class names by side, of sides that lack one.

    A given split, an image that went, or a correction may leave val or test without a class; its figures are then of
    the other classes alone. Train lacks none.

    Args:
        splits: of `split_images` or `without`.
        index: the labels that count: as found, or corrected.
    """
    labels = splits["image_id"].map(index.set_index("image_id")["label"])
    there = set(zip(labels, splits["split"], strict=True))
    names = class_names(index)
    missing = {side: [name for name in names if (name, side) not in there] for side in SPLITS}
    return {side: lacking for side, lacking in missing.items() if lacking}


def oversized_groups(splits: pd.DataFrame, index: pd.DataFrame, config: SplitConfig) -> pd.DataFrame:
    """Groups too large for the test side: of one of their classes they alone have more images than test is to have.

    Args:
        splits: of `split_images` or `without`.
        index: as found.
        config: what was asked for.

    Returns:
        `group_id, label, images, wanted, path` (of the first image), the largest first; nothing where test is given.
    """
    table = present(splits).merge(index[["image_id", "path", "label"]], on="image_id")
    if config.use_given and (table["given"] == "test").any():
        return pd.DataFrame(columns=["group_id", "label", "images", "wanted", "path"])
    wanted = np.ceil(table["label"].value_counts() * config.test_fraction).astype(np.int64)
    groups = table.groupby(["group_id", "label"], as_index=False).agg(images=("image_id", "size"), path=("path", "min"))
    groups["wanted"] = groups["label"].map(wanted)
    large = groups[(groups["images"] > groups["wanted"]) & (groups["images"] > 1)]
    return large.sort_values(["images", "group_id"], ascending=[False, True]).reset_index(drop=True)


def moved_images(previous: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Which images are on another side than before: `image_id, before, now`.

    Only a given split, or a copy that links two sides, moves an image.

    Args:
        previous: the splits of before, as they were given to `split_images`.
        splits: what it returned.
    """
    now = present(splits)
    given = now["given"].to_numpy(dtype=object)
    before = _SIDES[_remembered(now["image_id"], given, _memory(previous, now["image_id"], given))]
    table = pd.DataFrame({"image_id": now["image_id"], "before": before, "now": now["drawn"]})
    return table[(before != "") & (before != now["drawn"].to_numpy(dtype=object))].reset_index(drop=True)


def split_settings(config: SplitConfig) -> dict[str, Any]:
    """What was asked for when images were drawn: plain values, which the file carries."""
    return {name: getattr(config, name) for name in _SETTINGS}


def changed_settings(previous: Mapping[str, Any] | None, config: SplitConfig) -> list[str]:
    """Which settings differ from those that images were drawn with, a phrase each; they draw nothing anew.

    `group_duplicates` is none of them: it decides which images belong together, and sides are kept all the same.

    Args:
        previous: of `read_split_settings`; None where the file is of an earlier format and does not say.
        config: the study's now.
    """
    if previous is None:
        return []
    now, before = split_settings(config), {"folds": 0, **previous}
    if now["folds"] != before["folds"]:  # the fractions follow from it
        now = {name: value for name, value in now.items() if not name.endswith("fraction")}
    return [
        f"split.{name} was {_toml(before[name])} and is {_toml(value)}"
        for name, value in now.items()
        if name in before and before[name] != value
    ]


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def splits_fingerprint(
    index: pd.DataFrame,
    config: SplitConfig,
    *,
    duplicates: Counts | None = None,
    corrected: pd.DataFrame | None = None,
) -> str:
    """Changes with what a split depends on, and with nothing else.

    That is, of every readable image: its content, label as found and given split, which others belong with it, and
    whether it is dropped; and the config. Paths, the order of rows, files that cannot be read, numbers of clusters and
    corrected labels do not count.
    """
    images = readable(index)
    contents, given = _contents(images["image_id"]), _given(images, config)
    clusters = _relevant(duplicates, config)
    # What ties images together is named by its least content. Groups themselves would take scipy's graphs, whose import
    # alone takes as long as all the rest of a study with nothing to do.
    of_values = [np.where(names != "", least_of_group(contents, names), "").tolist() for names in ties(images)]
    of_cluster = [""] * len(images) if clusters is None else least_of_group(contents, clusters)
    # Where copies were given to two sides, it matters which of them bears which id.
    pairs = pd.DataFrame({"content": contents, "given": given}).drop_duplicates()
    parted = contents.isin(pairs.loc[pairs["content"].duplicated(), "content"])
    gone = set() if corrected is None else set(corrected.loc[is_dropped(corrected), "image_id"])
    rows = zip(
        contents.mask(parted, images["image_id"]),
        images["label"],
        given,
        *of_values,
        of_cluster,
        images["image_id"].isin(gone).tolist(),
        strict=True,
    )
    return fingerprint([sorted(rows), config.model_dump(mode="json"), "rules 5"])


def write_splits(study_dir: Path, splits: pd.DataFrame, *, fingerprint: str, config: SplitConfig) -> None:
    """Write `splits.parquet`, with the settings it was drawn with. `splits` has the images that are gone, too."""
    metadata = {"format": FORMAT, "settings": json.dumps(split_settings(config))}
    write_table(study_dir / FILE_NAME, splits, fingerprint=fingerprint, metadata=metadata)


def read_splits(study_dir: Path) -> pd.DataFrame:
    """Read `splits.parquet`, of this format or an earlier one, which lacks `given` and may lack `drawn`.

    Raises:
        FileNotFoundError: there is none.
        BestiaryError: it is damaged, or of a later format.
    """
    file = study_dir / FILE_NAME
    try:
        table = read_table(file)
    except BestiaryError as error:
        raise BestiaryError(
            f"{error} Which images were drawn into test is then forgotten, and all are drawn anew: restore the file "
            "from a copy if there is one."
        ) from error
    if (found := _metadata(file).get("format", FORMAT)) != FORMAT:
        raise BestiaryError(f"{file} has format {found}, and this bestiary reads format {FORMAT}: use a newer bestiary")
    return table


def read_split_settings(study_dir: Path) -> dict[str, Any] | None:
    """The settings that `splits.parquet` was drawn with, as `split_settings` has them; None where it does not say."""
    settings = _metadata(study_dir / FILE_NAME).get("settings")
    return None if settings is None else dict(json.loads(settings))


def _metadata(file: Path) -> dict[str, str]:
    return table_metadata(file) or {}
