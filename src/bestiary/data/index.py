"""The index: a data set → one row a file, read or left out with the reason.

In: `data` of a config. Out: a DataFrame, and `index.parquet`, which this module owns.

Columns: `image_id` (20 hexadecimal characters of the content's SHA-256; a further copy of the same bytes has `-1`,
`-2` ... appended in the order of paths, so that ids are unique), `path` (relative to the data root, with `/`), `label`,
`split_given`, `group_given`, `taken_at`, `camera`, `burst` (all three "" unless `data.burst_s` asks for bursts; an
index of before they were has none of them), `width_px`, `height_px` (as seen, after the EXIF turn), `mode`, `format`,
`bytes`, `sha256`, `phash`, `error` (empty: read). A corrected index (see `corrections`) has `label_given` besides.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.config.schema import DataConfig
from bestiary.data.bursts.chains import burst_names, camera_of
from bestiary.data.bursts.exif_shots import Shot, shot_of
from bestiary.data.datasets import data_root, is_named_set, is_table
from bestiary.data.folders.walk import BAD_FOLDER_NAME
from bestiary.data.images import ImageFacts, exif_block, inspect, read_bytes
from bestiary.data.listing import NO_IMAGES, Listed, Listing, read_listing
from bestiary.data.masks import MASK_FILE, find_masks
from bestiary.data.parallel import in_order
from bestiary.errors import ConfigError, DataError, ImageError
from bestiary.progress import SILENT, Progress
from bestiary.store.hashing import fingerprint, sha256_bytes
from bestiary.store.tables import read_table, write_table

FILE_NAME = "index.parquet"
# How the error of an image begins that a reviewer took out.
DROPPED = "dropped in corrections.csv"
# Files that a thread reads in one go, where there are many: to hand over a file takes longer than to hash a small one.
_BATCH, _FEWEST_BATCHES = 16, 32
_FACTS = ("width_px", "height_px", "mode", "format", "phash")
_UNREAD = ImageFacts(width_px=0, height_px=0, mode="", format="", phash="")


def build_index(
    data: DataConfig,
    *,
    listing: Listing | None = None,
    previous: pd.DataFrame | None = None,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Read every file of a data set.

    Every file's bytes are hashed again; only bytes that `previous` does not know are decoded.

    Args:
        data: which images, and what they are called.
        listing: its files, where they have been listed already.
        previous: an earlier index of the same data.
        progress: shows each file.

    Returns:
        One row a file, sorted as listed; see the module's head for the columns.

    Raises:
        UsageError, ConfigError, DataError: see `listing.read_listing`; also where no image can be read, where only one
            class is left, or where a class has no readable image.
    """
    root = data_root(data.path)
    listed = (listing or read_listing(data)).files
    known = _known_facts(previous)
    with progress.track("index", len(listed), unit="files") as task, ThreadPoolExecutor() as pool:
        size = max(1, min(_BATCH, len(listed) // _FEWEST_BATCHES))
        batches = [listed[start : start + size] for start in range(0, len(listed), size)]
        rows = []
        for batch in in_order(pool, lambda files: [_read_file(root, file, known, data) for file in files], batches):
            rows += batch
            task.advance(len(batch))
    index = pd.DataFrame(rows)
    if data.masks == "leave_out" and not is_table(data.path):
        index["error"] = index["error"].mask(find_masks(index, root, previous=previous), MASK_FILE)
    if data.burst_s:
        index["burst"] = _bursts(index, data)
    index.insert(0, "image_id", _unique_ids(index))
    _refuse_useless(index, data.path)
    return index


def _read_file(
    root: Path, file: Listed, known: dict[str, tuple[ImageFacts, str]], wanted: DataConfig
) -> dict[str, Any]:
    facts, error, size, digest, shot = _UNREAD, file.error, 0, "", Shot()
    if not error:
        try:
            data = read_bytes(root / file.path)
            size, digest = len(data), sha256_bytes(data)
            facts, error = known[digest] if digest in known else (inspect(data), "")
            shot = shot_of(exif_block(data)) if wanted.burst_s else shot
        except ImageError as problem:
            error = str(problem)
    return {
        "path": file.path,
        "label": file.label,
        "split_given": file.split,
        "group_given": file.group,
        "taken_at": file.taken_at if wanted.time_column else shot.taken_at,
        "camera": camera_of(file.camera, file.folder, shot) if wanted.burst_s else "",
        "burst": "",
        "width_px": facts.width_px,
        "height_px": facts.height_px,
        "mode": facts.mode,
        "format": facts.format,
        "bytes": size,
        "sha256": digest,
        "phash": facts.phash,
        "error": error,
    }


def _bursts(index: pd.DataFrame, data: DataConfig) -> list[str]:
    """The burst of each image; "" where it stands alone, has no time, or was left out.

    Raises:
        ConfigError: no image has a time.
    """
    read = index["error"] == ""
    times = index["taken_at"].where(read, "").tolist()
    if read.any() and not any(times):
        where = f"column {data.time_column!r}" if data.time_column else "EXIF"
        way_out = "" if data.time_column else ", or name the column of a table that has the times: data.time_column"
        raise ConfigError(f"data.burst_s: {where} has no time of any image. Set it to 0{way_out}")
    return burst_names(times, index["camera"].tolist(), within_s=data.burst_s)


def _known_facts(previous: pd.DataFrame | None) -> dict[str, tuple[ImageFacts, str]]:
    """What is known of contents that were read before. A refusal is read again: the reader may have learnt more."""
    if previous is None:
        return {}
    read = previous[(previous["phash"] != "") & (previous["sha256"] != "")]
    facts = read[list(_FACTS)].to_dict("records")
    return {digest: (ImageFacts(**row), "") for digest, row in zip(read["sha256"], facts, strict=True)}


def _unique_ids(index: pd.DataFrame) -> pd.Series:
    contents = index["sha256"].where(index["sha256"] != "", index["path"].map(lambda path: sha256_bytes(path.encode())))
    short = contents.str[:20]
    order = index.assign(short=short).sort_values("path", kind="stable")
    copy_number = order.groupby("short").cumcount().reindex(index.index)
    return short.where(copy_number == 0, short + "-" + copy_number.astype(str))


def _refuse_useless(index: pd.DataFrame, path: str) -> None:
    read = index[index["error"] == ""]
    files = index[~stands_for_no_image(index)]
    if read.empty:
        first = (files if len(files) else index).iloc[0]
        reason = f"{first['path']!r}: {first['error']}"
        if len(index) == 1:
            raise DataError(f"{path}: its only file is no readable image, {reason}")
        raise DataError(f"{path}: none of {len(index)} files is a readable image; the first, {reason}")
    named_badly = files["error"] == BAD_FOLDER_NAME
    for label in sorted(set(files.loc[~named_badly, "label"]) - set(read["label"]) - {""}):
        lost = files[files["label"] == label]
        count = "its only file cannot be read" if len(lost) == 1 else f"none of its {len(lost)} files can be read"
        raise DataError(
            f"class {label!r}: {count} (the first, {lost.iloc[0]['path']!r}: {lost.iloc[0]['error']}). "
            f"Fix them, or take the folder out of {path}"
        )
    if read["label"].nunique() < 2:
        raise DataError(
            f"{path} has one class only, {read['label'].iloc[0]!r}: a classifier needs two or more"
            + _where_classes_may_lie(read["path"].tolist(), path)
        )


def _where_classes_may_lie(files: Sequence[str], path: str) -> str:
    """A sentence where the only class folder holds folders: the classes may be those, a level deeper."""
    if is_table(path) or is_named_set(path):
        return ""
    folders = [file.split("/")[:-1] for file in files]
    shared = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))]
    inner = sorted({folder[len(shared)] for folder in folders if len(folder) > len(shared)})
    if not shared or len(inner) < 2:
        return ""
    shown = ", ".join(inner[:3]) + (" ..." if len(inner) > 3 else "")
    return f". If the classes are the folders in it ({shown}), give {os.path.join(path, *shared)}"


def stands_for_no_image(index: pd.DataFrame) -> pd.Series:
    """Which rows are no lost images: system files, files and masks beside photos, folders without images: booleans."""
    return index["error"].isin([*NO_IMAGES, MASK_FILE])


def readable(index: pd.DataFrame) -> pd.DataFrame:
    """The rows of images that were read."""
    return index[index["error"] == ""].reset_index(drop=True)


def is_dropped(index: pd.DataFrame) -> pd.Series:
    """Which rows are of readable images that corrections took out: booleans."""
    return index["error"].str.startswith(DROPPED)


def class_names(index: pd.DataFrame) -> list[str]:
    """The classes that have a readable image, in alphabetical order."""
    return sorted(readable(index)["label"].unique())


def index_fingerprint(index: pd.DataFrame) -> str:
    """Changes with any file, path, label, given split, group, time or refusal; not with who dropped an image."""
    columns = ["image_id", "path", "label", "split_given", "group_given", "sha256", "error"]
    # A corrected index in which no label differs is the index as found.
    if "label_given" in index and (index["label_given"] != index["label"]).any():
        columns.append("label_given")
    # Where no times were read, the key is that of an index of before they were.
    if "burst" in index and (index["taken_at"] != "").any():
        columns += ["taken_at", "camera", "burst"]
    errors = index["error"].mask(is_dropped(index), DROPPED)
    return fingerprint(index[columns].assign(error=errors).to_numpy().tolist())


def write_index(study_dir: str | Path, index: pd.DataFrame) -> None:
    """Write `index.parquet`."""
    write_table(Path(study_dir) / FILE_NAME, index, fingerprint=index_fingerprint(index))


def read_index(study_dir: str | Path) -> pd.DataFrame:
    """Read `index.parquet`."""
    return read_table(Path(study_dir) / FILE_NAME)
