"""Which files a data set has, with the label, split and group that their place or table gives them.

In: `data` of a config. Out: one `Listed` a file, in a fixed order, none left out. No image is opened here.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bestiary.config.schema import DataConfig
from bestiary.data.datasets import data_root, default_rename, is_table
from bestiary.data.table_listing import read_image_table
from bestiary.errors import ConfigError, DataError

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
SYSTEM_FILE = "hidden or system file"
_SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "__macosx"}

_Identity = tuple[int, int]


@dataclass(frozen=True)
class Listed:
    """A file that the data set has. `error` says why it is left out before anybody opened it."""

    path: str
    label: str = ""
    split: str = ""
    group: str = ""
    error: str = ""


def list_files(data: DataConfig) -> list[Listed]:
    """All files of the data set, renamed labels included, sorted by path (folders) or in the table's order.

    Raises:
        UsageError: no such folder or table.
        ConfigError: a column or a `rename` key that the data does not have.
        DataError: the folder or table is empty, or has images but no class folders.
    """
    root = data_root(data.path)
    listed = _from_table(data) if is_table(data.path) else _from_folder(root)
    return _renamed(listed, data.rename or default_rename(data.path), strict=bool(data.rename))


def table_notes(data: DataConfig) -> list[str]:
    """What a person should know of how a table is read, such as where its split comes from; none for folders."""
    return read_image_table(data, split_names=SPLIT_FOLDERS).notes if is_table(data.path) else []


def _from_table(data: DataConfig) -> list[Listed]:
    rows = read_image_table(data, split_names=SPLIT_FOLDERS).rows
    return [Listed(row.path, row.label, row.split, row.group, row.error) for row in rows]


def _from_folder(root: Path) -> list[Listed]:
    try:
        names = [entry.name for entry in os.scandir(root) if os.path.isdir(entry) and not _is_system(entry.name)]
    except OSError as error:
        raise DataError(f"cannot list {root}: {error.strerror}. Give yourself permission to read it.") from error
    by_split = bool(names) and all(name.casefold() in SPLIT_FOLDERS for name in names) and len(names) > 1
    listed = [_place(path, error, by_split=by_split) for path, error in _walk(root)]
    if not listed:
        raise DataError(f"{root} is empty: it should hold one folder a class, with that class's images in it")
    if not any(file.label for file in listed):
        raise DataError(
            f"{root} holds {len(listed)} files but no class folders: put each class's images into a folder named "
            "after the class, or give a CSV with the columns path and label"
        )
    return listed


def _place(path: str, error: str, *, by_split: bool) -> Listed:
    """Label and split from the folders: [split/]class/.../file."""
    parts = path.split("/")
    split = SPLIT_FOLDERS[parts[0].casefold()] if by_split and parts[0].casefold() in SPLIT_FOLDERS else ""
    folders = parts[1:-1] if split else parts[:-1]
    label = folders[0] if folders else ""
    if not error and any(_is_system(part) for part in parts):
        return Listed(path=path, error=SYSTEM_FILE)
    if not error and not label:
        error = "lies in no class folder"
    return Listed(path=path, label=label, split=split, error=error)


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """Every file below root: its path from there, and why it is left out. Links are followed, but not in circles."""
    pending: list[tuple[Path, str, tuple[_Identity, ...]]] = [(root, "", (_identity(os.fspath(root)),))]
    while pending:
        folder, prefix, ancestors = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            yield _printable(prefix.rstrip("/")), f"folder cannot be listed: {error.strerror}"
            continue
        folders: list[tuple[Path, str, tuple[_Identity, ...]]] = []
        for entry in entries:
            path = prefix + entry.name
            if _printable(path) != path:
                yield _printable(path), "file name is not valid UTF-8: rename it"
                continue
            try:
                is_folder = entry.is_dir()
                identity = _identity(entry.path)
            except OSError as error:
                yield path, f"broken link: {error.strerror}"
                continue
            if not is_folder:
                yield path, "" if entry.is_file() else "no regular file"
            elif identity in ancestors:
                yield path, "link that leads back to a folder above it"
            else:
                folders.append((Path(entry.path), path + "/", (*ancestors, identity)))
        pending.extend(reversed(folders))


def _identity(path: str) -> _Identity:
    status = os.stat(path)  # not DirEntry.stat, whose numbers are 0 on Windows
    return status.st_dev, status.st_ino


def _printable(path: str) -> str:
    """The path where it is valid Unicode; else with its odd bytes written out."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _renamed(listed: list[Listed], rename: dict[str, str], *, strict: bool) -> list[Listed]:
    present = {file.label for file in listed}
    if strict and (unknown := sorted(set(rename) - present)):
        raise ConfigError(
            f"data.rename: no class {unknown[0]!r} in the data; classes found: {', '.join(sorted(present - {''}))}"
        )
    return [
        Listed(file.path, rename.get(file.label, file.label), file.split, file.group, file.error) for file in listed
    ]
