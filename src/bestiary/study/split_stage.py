"""The split as a stage of a study: append-only.

In: a study at work. Out: `splits.parquet`, through `data.splits`.
"""

from bestiary.data.splits.folds import refuse_given, small_validation
from bestiary.data.splits.split_table import (
    changed_settings,
    missing_classes,
    moved_images,
    oversized_groups,
    read_split_settings,
    read_splits,
    split_images,
    splits_fingerprint,
    without,
    write_splits,
)
from bestiary.data.splits.straddling import straddling_groups
from bestiary.errors import StudyError
from bestiary.plurals import counted
from bestiary.store.tables import table_fingerprint
from bestiary.study.work import Work


def splits_key(work: Work) -> str:
    """Changes with which images there are, what ties them together, which are dropped, and the split's settings."""
    snapshot = work.snapshot
    return splits_fingerprint(
        snapshot.index, snapshot.config.split, duplicates=snapshot.cluster_numbers, corrected=snapshot.corrected
    )


def has_splits(work: Work, key: str) -> bool:
    """Whether the splits of these images lie there, and need not be drawn again."""
    return not work.redraw and table_fingerprint(work.paths.splits) == key


def make_splits(work: Work, key: str) -> None:
    """Give every image that has none a side; those that have one keep it, unless they are to be drawn again.

    Raises:
        StudyError: the settings are not those that the sides were drawn with.
        SplitError: a class is too small; see `data.splits.split_images`.
    """
    snapshot, config, folder = work.snapshot, work.snapshot.config.split, work.paths.folder
    refuse_given(snapshot.index, config)
    previous = None
    if work.paths.splits.exists() and not work.redraw:
        if changed := changed_settings(read_split_settings(folder), config):
            raise StudyError(
                f"{'; '.join(changed)}. An image stays on the side that it was drawn into for the life of a study, so "
                f"that figures stay comparable: set the old value again, begin another study, or draw all sides again "
                f"with `bestiary split {folder} --redraw` (or `bestiary study ... --redraw`)"
            )
        previous = read_splits(folder)
    drawn = split_images(snapshot.index, config, duplicates=snapshot.cluster_numbers, previous=previous)
    table = without(drawn, snapshot.corrected)
    write_splits(folder, table, fingerprint=key, config=config)
    snapshot.put(splits_table=table)
    _say(work)
    images = snapshot.images
    given = bool(images["given"].isin(("test", "val")).any())
    if advice := small_validation(int((images["split"] == "val").sum()), config, given=given):
        work.progress.say(f"  {advice}")
    _say_skipped(work)
    if previous is not None and (moved := len(moved_images(previous, drawn))):
        work.progress.say(
            f"  {counted(moved, 'image')} changed sides, for new copies or for splits given with the data"
        )


def _say_skipped(work: Work) -> None:
    if skipped := work.snapshot.skipped_corrections:
        row, reason = skipped[0]
        count = counted(len(skipped), "decision")
        work.progress.say(f"  skipped: {count} about images that are gone; {row.path or row.image_id}: {reason}")


def _say(work: Work) -> None:
    splits = work.snapshot.splits
    sizes = splits["split"].value_counts()
    work.progress.say("  split: " + ", ".join(f"{sizes.get(name, 0):,} {name}" for name in ("train", "val", "test")))
    if leaks := straddling_groups(splits):
        work.progress.say(
            f"  {counted(leaks, 'group')} of copies {'lies' if leaks == 1 else 'lie'} on more than one given side: "
            "scores will be too good"
        )
    large = oversized_groups(splits, work.snapshot.index, work.snapshot.config.split)
    if len(large):
        first = large.iloc[0]
        more = f", and {counted(len(large) - 1, 'group')} more" if len(large) > 1 else ""
        work.progress.say(
            f"  {counted(int(first['images']), 'image')} of {first['label']!r} belong together ({first['path']} ...), "
            f"and test is to have {first['wanted']}: no draw can put so large a group there{more}"
            + _by_time(work, first["group_id"])
        )
    for side, names in missing_classes(splits, work.snapshot.corrected).items():
        shown = ", ".join(map(repr, names[:5])) + (" ..." if len(names) > 5 else "")
        work.progress.say(f"  {side} has no image of {counted(len(names), 'class', 'classes')}: {shown}")


def _by_time(work: Work, group_id: str) -> str:
    """Where most images of a group have one time: what may have made it so large."""
    if not work.snapshot.config.data.burst_s:
        return ""
    splits = work.snapshot.splits
    of_group = splits.loc[splits["group_id"] == group_id, "image_id"]
    times = work.snapshot.index.set_index("image_id")["taken_at"][of_group]
    if 2 * (times[times != ""] == times.mode().iloc[0]).sum() <= len(times):
        return ""
    return f". Most of them have the very time {times.mode().iloc[0]}, as from a clock that was not set (data.burst_s)"
