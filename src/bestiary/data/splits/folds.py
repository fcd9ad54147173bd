"""Folds: a cross-validation by group, in which every image is tested once and validated once.

In: the images of a study with their splits, and the folds of before. Out: a fold for each image, and the splits of each
fold. `folds.parquet`, which this module owns: `image_id, fold` (from 1).

In fold i, the images of fold i are test, those of the next fold val, and all others train. Fold 1 is the split of the
study: its test images are fold 1, its val images fold 2. The train images are drawn into the other folds as a test
split is drawn (see `allotment`): by group, stratified by class, without bias by size.

Folds are append-only, as splits are: an image keeps its fold for the life of the study.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.schema import SplitConfig
from bestiary.data.splits.allotment import draw
from bestiary.errors import SplitError
from bestiary.plurals import counted
from bestiary.store.tables import read_table, write_table

FILE_NAME = "folds.parquet"
# With fewer validation images an accuracy of 0.9 has an interval of 12 points or more.
FEW_VALIDATED = 100

Folds = npt.NDArray[np.int64]


def refuse_given(index: pd.DataFrame, config: SplitConfig) -> None:
    """Raise SplitError where folds are asked for, and the data came with a test or val split that is to hold."""
    given = sorted(set(index["split_given"]) & {"test", "val"}) if config.use_given and config.folds else []
    if given:
        raise SplitError(
            f"split.folds = {config.folds} tests every image once, and the data came with a {' and a '.join(given)} "
            "split, which is to hold: set split.use_given = false to draw anew, or split.folds = 0"
        )


def small_validation(count: int, config: SplitConfig, *, given: bool) -> str:
    """A sentence where validation is too small to rank models by; "" where it is not, or where folds cannot help.

    Args:
        count: of validation images.
        config: of the split.
        given: whether test or val came with the data.
    """
    if config.folds or count >= FEW_VALIDATED or given:
        return ""
    return (
        f"{counted(count, 'validation image')} cannot rank models that are close: with split.folds = 5 every image is "
        "validated and tested once, each model is fitted five times, and features are shared"
    )


def draw_folds(images: pd.DataFrame, config: SplitConfig, *, previous: pd.DataFrame | None = None) -> pd.DataFrame:
    """A fold for every image.

    Args:
        images: `image_id, label, group_id, drawn` of the images of the study, dropped ones too.
        config: how many folds, and the seed.
        previous: the folds of before; images that are gone keep theirs.

    Returns:
        `image_id, fold`: images first, then those that are gone.
    """
    ids, drawn = images["image_id"].to_numpy(), images["drawn"].to_numpy()
    groups = pd.factorize(images["group_id"])[0].astype(np.int64)
    known = {} if previous is None else dict(zip(previous["image_id"], previous["fold"], strict=True))
    fold = np.where(drawn == "test", 1, np.where(drawn == "val", 2, 0)).astype(np.int64)
    before = np.array([known.get(image_id, 0) for image_id in ids], dtype=np.int64)
    rest = np.flatnonzero(fold == 0)
    kept = _of_groups(np.where(before > 2, before, 0)[rest], groups[rest])
    labels = images["label"].to_numpy(dtype=object)
    for number in range(3, config.folds + 1):
        open_rows = np.flatnonzero(fold[rest] == 0)
        if not len(open_rows):
            break
        at = rest[open_rows]
        if number == config.folds:
            fold[at] = number
            break
        earlier = kept[open_rows]
        sides = np.where(earlier == number, "test", np.where(earlier > number, "train", "")).astype(object)
        share = 1 / (config.folds - number + 1)
        found = draw(labels[at], groups[at], {"test": share}, seed=config.seed + number, kept=sides)
        fold[at[found == "test"]] = number
    there = set(ids)
    gone = {image_id: number for image_id, number in known.items() if image_id not in there}
    return pd.DataFrame(
        {"image_id": [*ids, *gone], "fold": np.array([*fold, *gone.values()], dtype=np.int64)},
    )


def _of_groups(before: Folds, groups: Folds) -> Folds:
    """The lowest fold of a group, where copies that were found since tie images of several folds; 0: it has none."""
    lowest = np.full(int(groups.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    there = before > 0
    np.minimum.at(lowest, groups[there], before[there])
    found = lowest[groups]
    return np.where(found == np.iinfo(np.int64).max, 0, found)


def images_of_fold(images: pd.DataFrame, folds: pd.DataFrame, number: int, *, count: int) -> pd.DataFrame:
    """The images with `split` and `drawn` as they are in one fold.

    A class that would have no train image in this fold, because all of its groups are tested and validated in it, is
    trained on and not scored here: its images are moved to train.

    Args:
        images: of the study; an image that was dropped has no `split`.
        folds: of `draw_folds`.
        number: which fold, from 1.
        count: how many folds there are.
    """
    fold = images["image_id"].map(folds.set_index("image_id")["fold"]).to_numpy()
    drawn = np.where(fold == number, "test", np.where(fold == number % count + 1, "val", "train")).astype(object)
    is_there = (images["split"] != "").to_numpy()
    labels = images["label"].to_numpy()
    trained = set(labels[is_there & (drawn == "train")])
    drawn[[label not in trained for label in labels]] = "train"
    return images.assign(drawn=drawn, split=np.where(is_there, drawn, ""))


def write_folds(folder: Path, table: pd.DataFrame, *, fingerprint: str) -> None:
    """Write `folds.parquet`."""
    write_table(folder / FILE_NAME, table, fingerprint=fingerprint)


def read_folds(folder: Path) -> pd.DataFrame:
    """Read `folds.parquet`.

    Raises:
        FileNotFoundError: there is none.
        BestiaryError: it is damaged; names it.
    """
    return read_table(folder / FILE_NAME)
