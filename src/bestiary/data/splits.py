"""Splits: which image trains, which chooses, which scores.

In: the index as found, clusters of near duplicates, and `split` of a config. Out: a DataFrame `image_id, group_id,
split`, and `splits.parquet`, which this module owns and where `drawn` stands besides: see `without`.

Images of one group stay on one side, unless folders or a column say otherwise: a given split is honoured, and
`straddling_groups` counts what leaks through it. Exact copies (same SHA-256) always share a group, and so do images
with the same value of the group column and, with `group_duplicates = "near"`, those of one cluster; groups that overlap
are joined. Each class is divided in the asked proportion by largest remainder, so that totals equal scikit-learn's
`train_test_split(stratify=...)`; larger groups go first, each to where its classes lack most, and single images fill up
exactly. A class that groups left without an image of a split gets the smallest group that can be spared.

Splits are drawn over images and labels as found: no correction moves an image to another split. Images that were
dropped leave afterwards.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.schema import SPLITS, SplitConfig
from bestiary.data.groups import group_ids
from bestiary.data.index import index_fingerprint, is_dropped, readable
from bestiary.errors import CorrectionsError, SplitError
from bestiary.store.hashing import fingerprint
from bestiary.store.tables import read_table, write_table

FILE_NAME = "splits.parquet"

Counts = npt.NDArray[np.int64]


def split_images(index: pd.DataFrame, config: SplitConfig, *, duplicates: Counts | None = None) -> pd.DataFrame:
    """Assign every readable image to train, val or test.

    Splits given by folders or a column are honoured unless `use_given` is off; a split that is not given is drawn
    from the images given as train, and images without one are divided like any others.

    Args:
        index: as found, without corrections.
        config: how to divide.
        duplicates: a cluster number for each readable image, `(n,) int64`, in the order of the index; looked at with
            `group_duplicates = "near"` alone. They must not depend on corrections.

    Returns:
        `image_id, group_id, split`, in the order of the index.

    Raises:
        SplitError: a class is too small, or its groups too large, for every split to get an image of it; names the
            class and the smallest fraction that works.
    """
    if "label_given" in index:
        raise ValueError("splits are drawn on the index as found: give it without corrections, then call `without`")
    images = readable(index)
    groups = group_ids(images, duplicates=_wanted(duplicates, config))
    given = images["split_given"].to_numpy(dtype=object) if config.use_given else np.full(len(images), "", object)
    given = _follow_group(given, groups)
    fractions = _fractions_to_draw(given, config)
    split = np.where(given == "", "train", given).astype(object)
    # Where val or test must be drawn, every image that is given as train or not at all may be drawn.
    open_positions = np.flatnonzero((given == "") | (given == "train")) if fractions else np.array([], dtype=int)
    if len(open_positions):
        drawn = _draw(images["label"].to_numpy()[open_positions], groups[open_positions], fractions, seed=config.seed)
        split[open_positions] = drawn
    _refuse_empty(images, split, groups)
    return pd.DataFrame({"image_id": images["image_id"], "group_id": _group_names(groups), "split": split})


def _wanted(duplicates: Counts | None, config: SplitConfig) -> Counts | None:
    return duplicates if config.group_duplicates == "near" else None


def _follow_group(given: npt.NDArray[np.object_], groups: Counts) -> npt.NDArray[np.object_]:
    """An image with no given split goes where its group was given to, so that copies do not part."""
    known = {group: split for group, split in zip(groups, given, strict=True) if split}
    return np.array([split or known.get(group, "") for group, split in zip(groups, given, strict=True)], dtype=object)


def _fractions_to_draw(given: npt.NDArray[np.object_], config: SplitConfig) -> dict[str, float]:
    wanted = {"test": config.test_fraction, "val": config.val_fraction}
    return {name: fraction for name, fraction in wanted.items() if not np.any(given == name)}


def _group_names(groups: Counts) -> list[str]:
    return [f"g{group:07d}" for group in groups]


def allot(sizes: Counts, fraction: float) -> Counts:
    """How many of each class a fraction takes, by largest remainder; the total is `ceil(fraction * sum(sizes))`.

    Ties go to the larger class, then to the earlier one.
    """
    exact = sizes * fraction
    counts = np.floor(exact + 1e-9).astype(np.int64)
    lacking = math.ceil(fraction * int(sizes.sum()) - 1e-9) - int(counts.sum())
    order = np.lexsort((np.arange(len(sizes)), -sizes, -np.round(exact - counts, 9)))
    counts[order[:lacking]] += 1
    return counts


def _draw(
    labels: npt.NDArray[np.object_], groups: Counts, fractions: Mapping[str, float], *, seed: int
) -> npt.NDArray[np.object_]:
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    sizes = np.bincount(codes, minlength=len(names))
    targets = {split: allot(sizes, fraction) for split, fraction in fractions.items()}
    _refuse_too_small(names, sizes, fractions, targets)
    targets["train"] = sizes - sum(targets.values())
    order = [split for split in SPLITS if split in targets]
    lacking = np.stack([targets[split] for split in order]).astype(float)  # (splits, classes)

    random = np.random.default_rng(seed)
    members = _members(groups, random)
    split = np.empty(len(labels), dtype=object)
    for positions in members:
        if len(positions) == 1:
            continue
        needs = np.bincount(codes[positions], minlength=len(names))
        split[positions] = order[_best_split(lacking, needs)]
        lacking[order.index(split[positions[0]])] -= needs
    singles = np.array([positions[0] for positions in members if len(positions) == 1], dtype=int)
    for number in range(len(names)):
        of_class = singles[codes[singles] == number]
        split[of_class] = np.repeat(order, _fill(lacking[:, number], len(of_class)))
    _spare_for_empty(split, codes, groups, order)
    return split


def _spare_for_empty(split: npt.NDArray[np.object_], codes: Counts, groups: Counts, order: Sequence[str]) -> None:
    """Give each split that lacks a class the smallest group with it whose move leaves no other class empty."""
    places = np.array([order.index(name) for name in split], dtype=np.int64)
    counts = np.zeros((len(order), int(codes.max()) + 1), dtype=np.int64)
    np.add.at(counts, (places, codes), 1)
    for place, number in np.argwhere(counts == 0):
        if counts[place, number]:  # a group that moved before has brought it
            continue
        candidates, sizes = np.unique(groups[np.isin(groups, groups[codes == number])], return_counts=True)
        for group in candidates[np.argsort(sizes, kind="stable")]:
            members = np.flatnonzero(groups == group)
            needs, source = np.bincount(codes[members], minlength=counts.shape[1]), places[members[0]]
            if (counts[source] > needs)[needs > 0].all():
                counts[source], counts[place] = counts[source] - needs, counts[place] + needs
                places[members], split[members] = place, order[place]
                break


def _members(groups: Counts, random: np.random.Generator) -> list[Counts]:
    """The positions of each group, larger groups first, in random order among equals."""
    order = random.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    members = np.split(order, starts[1:])
    shuffled = [members[number] for number in random.permutation(len(members))]
    return sorted(shuffled, key=len, reverse=True)


def _best_split(lacking: npt.NDArray[np.float64], needs: Counts) -> int:
    """The split whose lack, relative to what it still wants, is served best by a group that has `needs`."""
    overshoot = np.maximum(needs - lacking, 0).sum(axis=1)
    share = (np.minimum(needs, np.maximum(lacking, 0)) / np.maximum(lacking.sum(axis=1, keepdims=True), 1)).sum(axis=1)
    # Least overshoot first; among equals the split with most room, so that val and test are not filled with copies.
    return int(np.lexsort((share, overshoot))[0])


def _fill(lacking: npt.NDArray[np.float64], count: int) -> Counts:
    """Divide `count` single images by what the splits lack; a split that groups overfilled gets none."""
    room = np.maximum(lacking, 0)
    if room.sum() == 0:
        return np.array([count] + [0] * (len(lacking) - 1), dtype=np.int64)
    counts = np.floor(room * count / room.sum()).astype(np.int64)
    remainder = room * count / room.sum() - counts
    counts[np.argsort(-remainder, kind="stable")[: count - int(counts.sum())]] += 1
    return counts


def _refuse_too_small(
    names: npt.NDArray[np.str_], sizes: Counts, fractions: Mapping[str, float], targets: Mapping[str, Counts]
) -> None:
    number = int(np.argmin(sizes))
    if sizes[number] <= len(fractions):
        raise SplitError(
            f"class {str(names[number])!r} has {sizes[number]} image{'s' if sizes[number] != 1 else ''}: too few for "
            f"train and {' and '.join(fractions)}. Add images or take the class out"
        )
    for split, counts in targets.items():
        if counts.min() > 0:
            continue
        number = int(np.argmin(np.where(counts == 0, sizes, sizes.max() + 1)))
        smallest = _smallest_fraction(sizes, above=fractions[split])
        raise SplitError(
            f"class {str(names[number])!r} has {sizes[number]} images: split.{split}_fraction = {fractions[split]:g} "
            f"gives it no {split} image. The smallest {split}_fraction above it that works is {smallest:g}; or add "
            "images, or take the class out"
        )
    left = sizes - sum(targets.values())
    if left.min() < 1:
        number = int(np.argmin(left))
        raise SplitError(
            f"class {str(names[number])!r} has {sizes[number]} images and none is left to train on: lower "
            f"split.test_fraction or split.val_fraction, or add images"
        )


def _smallest_fraction(sizes: Counts, *, above: float) -> float:
    """The smallest fraction above one that fails, of four digits as it will be typed, that gives every class an image.

    Largest remainders are not monotone: some smaller fraction may work too.
    """
    steps = (step / 10_000 for step in range(int(above * 10_000) + 1, 10_000))
    return next((fraction for fraction in steps if allot(sizes, fraction).min() > 0), 1.0)


def _refuse_empty(images: pd.DataFrame, split: npt.NDArray[np.object_], groups: Counts) -> None:
    labels = images["label"].to_numpy(dtype=object)
    table = pd.crosstab(pd.Series(labels, name="label"), pd.Series(split, name="split"))
    for name in SPLITS:
        counts = table.get(name, pd.Series(0, index=table.index))
        if not len(empty := counts.index[counts == 0]):
            continue
        of_class = labels == empty[0]
        sizes = np.unique(groups[of_class], return_counts=True)[1]
        mend = "Add images, or take the class out"
        if (exact := len(np.unique(group_ids(images)[of_class]))) > len(sizes):
            mend += (
                f'; or set split.group_duplicates = "exact", whereupon near duplicates may part and they form {exact} '
                "groups"
            )
        raise SplitError(
            f"class {empty[0]!r} has no {name} image: its {of_class.sum()} images form {len(sizes)} groups of copies "
            f"or of one group value (the largest of {sizes.max()} images), which stay together, or its given split "
            f"leaves it out. {mend}"
        )


def without(splits: pd.DataFrame, corrected: pd.DataFrame) -> pd.DataFrame:
    """Let the images leave that corrections dropped; all others stay in the split they were drawn into.

    Args:
        splits: of `split_images`, or of this function.
        corrected: of `corrections.corrected`.

    Returns:
        `image_id, group_id, split, drawn`: the same rows. `drawn` is the split that an image was drawn into, `split`
        the same, or "" where the image was dropped.

    Raises:
        CorrectionsError: a split is left without an image of a class.
    """
    drawn = splits["drawn"] if "drawn" in splits else splits["split"]
    gone = splits["image_id"].isin(corrected.loc[is_dropped(corrected), "image_id"])
    table = splits.assign(split=drawn.mask(gone, ""), drawn=drawn)
    joined = table.merge(corrected[["image_id", "path", "label", "label_given"]], on="image_id")
    present = set(zip(joined["label"], joined["split"], strict=True))
    for label, split in sorted(set(zip(joined["label_given"], joined["drawn"], strict=True)) - present):
        rows = joined[(joined["label_given"] == label) & (joined["drawn"] == split)]
        dropped = int((rows["split"] == "").sum())
        first = repr(rows["path"].iloc[0]) + (" ..." if len(rows) > 1 else "")
        raise CorrectionsError(
            f"corrections.csv leaves class {label!r} without a {split} image: of {len(rows)} ({first}), {dropped} "
            f"dropped and {len(rows) - dropped} relabelled. Undo one, add images, or draw another division (split.seed)"
        )
    return table


def straddling_groups(splits: pd.DataFrame) -> int:
    """How many groups lie in more than one split: none, unless the data came divided so."""
    kept = splits[splits["split"] != ""]
    return int((kept.groupby("group_id")["split"].nunique() > 1).sum())


def splits_fingerprint(
    index: pd.DataFrame,
    config: SplitConfig,
    *,
    duplicates: Counts | None = None,
    corrected: pd.DataFrame | None = None,
) -> str:
    """Changes with the index as found, with how it is divided, with clusters that count, and with which are dropped.

    It does not change with corrected labels: call `without` on splits that are read back, for its check.
    """
    clusters = _wanted(duplicates, config)
    numbers = None if clusters is None else pd.factorize(clusters)[0].tolist()
    gone = [] if corrected is None else sorted(corrected.loc[is_dropped(corrected), "image_id"])
    return fingerprint([index_fingerprint(index), config.model_dump(mode="json"), numbers, gone, "rules 2"])


def write_splits(study_dir: Path, splits: pd.DataFrame, *, fingerprint: str) -> None:
    """Write `splits.parquet`."""
    write_table(study_dir / FILE_NAME, splits, fingerprint=fingerprint)


def read_splits(study_dir: Path) -> pd.DataFrame:
    """Read `splits.parquet`."""
    return read_table(study_dir / FILE_NAME)
