"""Which files a data set has, with the label, split and group that their place or table gives them.

In: `data` of a config. Out: one `Listed` a file, in a fixed order, none left out. No image is opened here.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bestiary.config.schema import DataConfig
from bestiary.data.datasets import data_root, default_rename, is_table
from bestiary.data.folders.layout import EMPTY_FOLDER, SPLIT_FOLDERS, Layout, empty_folders, read_layout
from bestiary.data.folders.walk import SIDECAR_FILE, SYSTEM_FILE, Found, walk
from bestiary.errors import ConfigError, DataError

__all__ = ["NO_IMAGES", "SIDECAR_FILE", "SPLIT_FOLDERS", "SYSTEM_FILE", "Listed", "list_files"]

# Rows of these errors stand for no image: nothing is lost, and nothing is to be fixed one by one.
NO_IMAGES = (SYSTEM_FILE, SIDECAR_FILE, EMPTY_FOLDER)


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
        DataError: the folder or table is empty, has images but no class folders, or has top folders that may be
            splits or classes.
    """
    root = data_root(data.path)
    listed = _from_table(Path(data.path), data) if is_table(data.path) else _from_folder(root, data)
    return _renamed(listed, data.rename or default_rename(data.path), strict=bool(data.rename))


def _from_folder(root: Path, data: DataConfig) -> list[Listed]:
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
        files = "1 file" if len(listed) == 1 else f"{len(listed)} files"
        raise DataError(
            f"{root} holds {files} but no class folders: put each class's images into a folder named "
            "after the class, or give a CSV with the columns path and label"
        )
    return listed + [Listed(path=path, error=EMPTY_FOLDER) for path in empty_folders(found, layout)]


def _place(found: Found, layout: Layout) -> Listed:
    if found.error in NO_IMAGES:
        return Listed(path=found.path, error=found.error)
    label, split, misplaced = layout.place(f"{found.path}/" if found.is_folder else found.path)
    return Listed(path=found.path, label=label, split=split, error=found.error or misplaced)


def _from_table(path: Path, data: DataConfig) -> list[Listed]:
    table = _read(path)
    wanted = {
        "path_column": data.path_column,
        "label_column": data.label_column,
        "split_column": data.split_column,
        "group_column": data.group_column,
    }
    for key, column in wanted.items():
        if column and column not in table.columns:
            raise ConfigError(
                f"data.{key}: {path} has no column {column!r}; it has {', '.join(map(str, table.columns))}"
            )
    if table.empty:
        raise DataError(f"{path} has no rows")
    columns = {name: _texts(table, column) for name, column in wanted.items()}
    listed = []
    for number in range(len(table)):
        file, label = columns["path_column"][number], columns["label_column"][number]
        split = columns["split_column"][number].casefold()
        error = "" if label else "has no label"
        if split and split not in SPLIT_FOLDERS:
            raise DataError(f"{path}, row {number + 1}: split {split!r} is none of train, val, test")
        listed.append(
            Listed(
                path=(file.replace("\\", "/") if os.sep == "\\" else file) or f"row {number + 1}",
                label=label,
                split=SPLIT_FOLDERS.get(split, ""),
                group=columns["group_column"][number],
                error=error if file else "has no path",
            )
        )
    return listed


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.casefold() == ".parquet":
            return pd.read_parquet(path)
        with warnings.catch_warnings():
            # Rows longer than the head must not move the columns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    # pandas and pyarrow raise several kinds of error on a damaged table; all of them mean just that.
    except Exception as error:
        raise DataError(f"cannot read the table {path}: {' '.join(str(error).split())}") from error


def _texts(table: pd.DataFrame, column: str) -> list[str]:
    if not column:
        return [""] * len(table)
    return ["" if pd.isna(value) else str(value).strip() for value in table[column]]


def _renamed(listed: list[Listed], rename: dict[str, str], *, strict: bool) -> list[Listed]:
    present = {file.label for file in listed}
    if strict and (unknown := sorted(set(rename) - present)):
        raise ConfigError(
            f"data.rename: no class {unknown[0]!r} in the data; classes found: {', '.join(sorted(present - {''}))}"
        )
    return [
        Listed(file.path, rename.get(file.label, file.label), file.split, file.group, file.error) for file in listed
    ]
