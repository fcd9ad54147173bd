"""Which files a data set has, with the label, split and group that their place or table gives them.

In: `data` of a config. Out: one `Listed` a file, in a fixed order, none left out. No image is opened here.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from bestiary.config.schema import DataConfig
from bestiary.data.bursts.chains import folder_of_camera
from bestiary.data.datasets import data_root, default_rename, is_table
from bestiary.data.folders.layout import EMPTY_FOLDER, SPLIT_FOLDERS, Layout, empty_folders, read_layout
from bestiary.data.folders.path_groups import path_groups
from bestiary.data.folders.walk import SIDECAR_FILE, SYSTEM_FILE, Found, walk
from bestiary.data.table_listing import Listed, read_image_table
from bestiary.errors import ConfigError, DataError
from bestiary.plurals import counted

__all__ = [
    "NO_IMAGES",
    "SIDECAR_FILE",
    "SPLIT_FOLDERS",
    "SYSTEM_FILE",
    "Listed",
    "Listing",
    "list_files",
    "read_listing",
]

# Rows of these errors stand for no image: nothing is lost, and nothing is to be fixed one by one.
NO_IMAGES = (SYSTEM_FILE, SIDECAR_FILE, EMPTY_FOLDER)


@dataclass(frozen=True)
class Listing:
    """A data set as it was listed.

    Attributes:
        files: one a file.
        notes: what a person should know of how a table was read, such as where its split comes from; none for folders.
    """

    files: list[Listed]
    notes: list[str]


def read_listing(data: DataConfig) -> Listing:
    """All files of the data set, and notes on how it was read; a table is read once for both.

    Raises:
        UsageError, ConfigError, DataError: see `list_files`.
    """
    root = data_root(data.path)
    if is_table(data.path):
        table = read_image_table(data, split_names=SPLIT_FOLDERS)
        listed, notes = table.rows, table.notes
    else:
        listed, notes = _from_folder(root, data), []
    listed = _grouped(listed, data.group_pattern) if data.group_pattern else listed
    if data.burst_s:
        listed = [replace(file, folder=folder_of_camera(file.path, file.label)) for file in listed]
    listed = _renamed(listed, data.rename or default_rename(data.path), strict=bool(data.rename))
    return Listing(listed, notes)


def list_files(data: DataConfig) -> list[Listed]:
    """All files of the data set, renamed labels included, sorted by path (folders) or in the table's order.

    Raises:
        UsageError: no such folder or table.
        ConfigError: a column or a `rename` key that the data does not have; a `group_pattern` that is none, or that no
            path has; a column of a table that there is none.
        DataError: the folder or table is empty, has images but no class folders, or has top folders that may be
            splits or classes.
    """
    return read_listing(data).files


def _from_folder(root: Path, data: DataConfig) -> list[Listed]:
    for column in ("time_column", "camera_column"):
        if getattr(data, column):
            raise ConfigError(
                f"data.{column} is a column of a table, and {root} is none: leave it empty, and EXIF says"
            )
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DataError(f"cannot list {root}: {error.strerror}. Give yourself permission to read it.") from error
    found = list(walk(root))
    layout = read_layout(data.path, found, data.top_folders)
    listed = [_place(item, layout) for item in found if item.error or not item.is_folder]
    if not listed:
        raise DataError(f"{root} is empty: it should hold one folder a class, with that class's images in it")
    if not any(file.label for file in listed):
        raise DataError(
            f"{root} holds {counted(len(listed), 'file')} but no class folders: put each class's images into a "
            "folder named after the class, or give a CSV with the columns path and label"
        )
    return listed + [Listed(path=path, error=EMPTY_FOLDER) for path in empty_folders(found, layout)]


def _place(found: Found, layout: Layout) -> Listed:
    if found.error in NO_IMAGES:
        return Listed(path=found.path, error=found.error)
    label, split, misplaced = layout.place(f"{found.path}/" if found.is_folder else found.path)
    return Listed(path=found.path, label=label, split=split, error=found.error or misplaced)


def _grouped(listed: list[Listed], pattern: str) -> list[Listed]:
    """The same, with the groups that paths say where no column does; files that are left out have none."""
    images = [file for file in listed if file.label and not file.error]
    groups = dict(zip(images, path_groups([file.path for file in images], pattern), strict=True))
    return [replace(file, group=file.group or groups.get(file, "")) for file in listed]


def _renamed(listed: list[Listed], rename: dict[str, str], *, strict: bool) -> list[Listed]:
    present = {file.label for file in listed}
    if strict and (unknown := sorted(set(rename) - present)):
        raise ConfigError(
            f"data.rename: no class {unknown[0]!r} in the data; classes found: {', '.join(sorted(present - {''}))}"
        )
    return [replace(file, label=rename.get(file.label, file.label)) for file in listed]
