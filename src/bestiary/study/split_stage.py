"""The split as a stage of a study: append-only.

In: a study at work. Out: `splits.parquet`, through `data.splits`.
"""

from bestiary.data.splits import (
    split_images,
    splits_fingerprint,
    straddling_groups,
    write_splits,
)
from bestiary.store.tables import table_fingerprint
from bestiary.study.work import Work


def splits_key(work: Work) -> str:
    """Changes with which images there are, what ties them together, which are dropped, and the split's settings."""
    snapshot = work.snapshot
    return splits_fingerprint(
        snapshot.index, snapshot.config.split, duplicates=snapshot.cluster_numbers, corrected=snapshot.corrected
    )


def has_splits(work: Work, key: str) -> bool:
    """Whether the splits of these images lie there."""
    return table_fingerprint(work.paths.splits) == key


def make_splits(work: Work, key: str) -> None:
    """Give every image that has none a side; those that have one keep it."""
    snapshot = work.snapshot
    splits = split_images(snapshot.index, snapshot.config.split, duplicates=snapshot.cluster_numbers)
    snapshot.put(splits_table=splits)
    write_splits(work.paths.folder, snapshot.splits, fingerprint=key)
    sizes = snapshot.splits["split"].value_counts()
    work.progress.say("  split: " + ", ".join(f"{sizes[name]:,} {name}" for name in ("train", "val", "test")))
    if leaks := straddling_groups(snapshot.splits):
        work.progress.say(f"  {leaks:,} groups of copies lie in more than one given split: scores will be too good")
