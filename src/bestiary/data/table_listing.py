"""Image tables: a CSV or Parquet table → the files that it names, with their label, split and group.

In: `data` of a config. Out: an `ImageTable`: one `Listed` a file, in the table's order, and notes on how the table
was read. Owns no file, and opens no image.

Columns are found by their names, in any case where only one fits; `auto` takes a column named `split` or `group` where
there is one. Paths start at the table's folder. Where none of them is there, but they are in one of the folders above
it or in the working directory, they start there. A backslash is read as `/` unless it is in a file's name. A file
that several rows name counts once; rows that contradict each other are an error.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bestiary.config.schema import AUTO_COLUMN, DataConfig
from bestiary.data.bursts.times import FORMS, as_time, is_number
from bestiary.data.delimited import SURPLUS, UTF_8, WINDOWS_1252, list_problems, read_delimited
from bestiary.errors import ConfigError, DataError

# What each column is looked for as where the config says `auto`.
_AUTO_NAMES = {"split_column": "split", "group_column": "group"}
# Those that may be left empty.
_OPTIONAL = (*_AUTO_NAMES, "time_column", "camera_column")
_COLUMNS = ("path_column", "label_column", *_OPTIONAL)


@dataclass(frozen=True)
class Listed:
    """A file that the data set has.

    Attributes:
        error: why it is left out before anybody opened it.
        taken_at: when it was taken, of a table with a time column, as `bursts.times.as_time` has it.
        camera: what a camera column says.
        folder: what the folders above it may say of a camera; filled in where bursts are asked for.
    """

    path: str
    label: str = ""
    split: str = ""
    group: str = ""
    error: str = ""
    taken_at: str = ""
    camera: str = ""
    folder: str = ""


@dataclass(frozen=True)
class ImageTable:
    """A table as it was read.

    Attributes:
        rows: one a file.
        columns: the names of the columns that were used, by `path`, `label`, `split` and `group`.
        notes: what a person should know of how the table was read, a sentence each, such as where the split came from.
    """

    rows: list[Listed]
    columns: dict[str, str]
    notes: list[str]


class _Entry(NamedTuple):
    """One row of the table. `place`: `line 7` of a CSV, `row 6` of a Parquet table."""

    place: str
    path: str
    label: str
    split: str
    group: str
    time: str
    camera: str


@dataclass(frozen=True)
class _Table:
    """A table: the names of its columns, the place of each row, and what reads the cells of one column as text."""

    head: list[str]
    places: list[str]
    read_column: Callable[[int], list[str]]
    encoding: str = UTF_8

    def texts(self, column: int | None) -> list[str]:
        """The cells of a column, without space around them; empty ones where there is none."""
        return [""] * len(self.places) if column is None else [text.strip() for text in self.read_column(column)]


def read_image_table(data: DataConfig, *, split_names: Mapping[str, str]) -> ImageTable:
    """Read the table at `data.path`.

    Args:
        data: the table, and which of its columns are used.
        split_names: what a cell of the split column may say, in lower case, and the split that it means.

    Raises:
        ConfigError: a column that the table does not have.
        DataError: the table cannot be read or has no rows; a split of an unknown name; a time that cannot be read; rows
            that say different things of one file; paths that are in several folders. Names up to ten rows.
    """
    path = Path(data.path)
    table = _read_parquet(path) if path.suffix.casefold() == ".parquet" else _read_csv(path, data)
    columns = {key: _find_column(table.head, key, getattr(data, key), path) for key in _COLUMNS}
    if not table.places:
        raise DataError(f"{path} has no rows: write one for each image below the names of the columns")
    cells = {key: table.texts(column) for key, column in columns.items()}
    root = path.parent
    base = _base_folder(cells["path_column"], root)
    rows = zip(
        table.places,
        [_spelled(text, base, root) for text in cells["path_column"]],
        cells["label_column"],
        _splits(table.places, cells["split_column"], split_names, path, is_auto=data.split_column == AUTO_COLUMN),
        cells["group_column"],
        _times(table.places, cells["time_column"], path),
        cells["camera_column"],
        strict=True,
    )
    entries, repeats = _one_per_file([_Entry(*row) for row in rows], path)
    used = {
        key.removesuffix("_column"): table.head[column]
        for key, column in columns.items()
        if column is not None and any(cells[key])
    }
    notes = _notes(path, table.encoding, used, base, repeats)
    return ImageTable([_row(entry) for entry in entries], used, notes)


def _row(entry: _Entry) -> Listed:
    error = "" if entry.label else "has no label"
    if not entry.path:
        error = "has no path"
    place, label, split, group = entry.path or entry.place, entry.label, entry.split, entry.group
    return Listed(place, label, split, group, error, taken_at=entry.time, camera=entry.camera)


def _notes(
    path: Path, encoding: str, used: Mapping[str, str], base: Path, repeats: Sequence[tuple[_Entry, _Entry]]
) -> list[str]:
    notes = []
    if encoding == WINDOWS_1252:
        notes.append(
            f"{path.name} is not UTF-8 and was read as Windows-1252: where names look wrong, save it as 'CSV UTF-8'"
        )
    if base != path.parent:
        notes.append(f"the paths in {path.name} start at {base}, not at the table's folder")
    if "split" in used:
        notes.append(f'split taken from column {used["split"]!r} (data.split_column = "" ignores it)')
    if "group" in used:
        notes.append(f"images with one value of column {used['group']!r} stay in one split (data.group_column)")
    if repeats:
        entry, first = repeats[0]
        count = "1 row names a file" if len(repeats) == 1 else f"{len(repeats):,} rows name files"
        notes.append(
            f"{count} that an earlier row names, counted once: {entry.place} ({entry.path}), see {first.place}"
        )
    return notes


# --- the table as text


def _read_csv(path: Path, data: DataConfig) -> _Table:
    names = {_AUTO_NAMES[key] if _is_auto(key, getattr(data, key)) else getattr(data, key) for key in _COLUMNS}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the table {path}: {error.strerror or error}") from error
    table = read_delimited(content, name=str(path), columns=names - {""}, skip_spaces=True)
    if not table.head:
        raise DataError(f"{path} is empty: it should begin with the names of the columns, such as path,label")
    surplus = [f"line {row.line}" for row in table.rows if table.has_surplus(row)]
    if surplus:
        raise DataError(list_problems(str(path), [f"{line}: {SURPLUS}" for line in surplus]))
    return _Table(
        head=table.head,
        places=[f"line {row.line}" for row in table.rows],
        read_column=lambda column: [row.cells[column] for row in table.rows],
        encoding=table.encoding,
    )


def _read_parquet(path: Path) -> _Table:
    try:
        # An integer column with an empty cell stays one of integers.
        table = pd.read_parquet(path, dtype_backend="numpy_nullable")
    # pandas and pyarrow raise several kinds of error on a damaged table; all of them mean just that.
    except Exception as error:
        raise DataError(f"cannot read the table {path}: {' '.join(str(error).split())}") from error
    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    return _Table(
        head=[str(name) for name in table.columns],
        places=[f"row {number + 1}" for number in range(len(table))],
        read_column=lambda column: [_text(value, path) for value in table.iloc[:, column]],
    )


def _text(value: object, path: Path) -> str:
    if not pd.api.types.is_scalar(value):
        raise DataError(
            f"{path}: a cell holds a list or a record, {value!r:.60}. Write one text or number a cell, or name another "
            "column"
        )
    return "" if pd.isna(value) else str(value)


# --- columns


def _is_auto(key: str, name: str) -> bool:
    return key in _AUTO_NAMES and name == AUTO_COLUMN


def _find_column(head: Sequence[str], key: str, name: str, path: Path) -> int | None:
    """The position of a column: by its name as written, else in any case; None where none is asked for or found."""
    if not name:
        if key in _OPTIONAL:
            return None
        raise ConfigError(f"data.{key} is empty: write the name of a column of {path}")
    is_auto = _is_auto(key, name)
    sought = _AUTO_NAMES[key] if is_auto else name
    exact = [place for place, column in enumerate(head) if column == sought]
    fitting = exact or [place for place, column in enumerate(head) if column.casefold() == sought.casefold()]
    if len(fitting) > 1:
        raise ConfigError(f"data.{key}: {path} has {len(fitting)} columns named {sought!r}: rename all but one of them")
    if not fitting and not is_auto:
        named = ", ".join(column for column in head if column)
        raise ConfigError(f"data.{key}: {path} has no column {name!r}; it has {named}")
    return fitting[0] if fitting else None


def _splits(
    places: Sequence[str], texts: Sequence[str], names: Mapping[str, str], path: Path, *, is_auto: bool
) -> list[str]:
    """The split that each cell means; "" for an empty one."""
    allowed = ", ".join(dict.fromkeys(names.values()))
    way_out = ', or set data.split_column = "" to ignore the column' if is_auto else ", or leave it empty"
    problems = [
        f"{place}: split {text!r} is none of {allowed}. Write one of these{way_out}"
        for place, text in zip(places, texts, strict=True)
        if text and text.casefold() not in names
    ]
    if problems:
        raise DataError(list_problems(str(path), problems))
    return [names.get(text.casefold(), "") for text in texts]


def _times(places: Sequence[str], texts: Sequence[str], path: Path) -> list[str]:
    """The time that each cell means, in one form; "" for an empty one.

    Raises:
        DataError: a cell is no time, or some are dates and some are numbers; names the rows.
    """
    times, problems = [], []
    for place, text in zip(places, texts, strict=True):
        try:
            times.append(as_time(text))
        except ValueError as reason:
            times.append("")
            problems.append(f"{place}: time {text!r} {reason}. Write it as {FORMS}, or leave it empty")
    dated = [(place, text) for place, text in zip(places, times, strict=True) if text and not is_number(text)]
    counted = [(place, text) for place, text in zip(places, times, strict=True) if text and is_number(text)]
    if dated and counted:
        # The rarer form is likelier to be the slip.
        (place, text), (other, as_wanted) = (
            (dated[0], counted[0]) if len(dated) < len(counted) else (counted[0], dated[0])
        )
        problems.append(f"{place}: time {text!r}, but {as_wanted!r} in {other}: write all as dates, or all as numbers")
    if problems:
        raise DataError(list_problems(str(path), problems))
    return times


# --- paths


def _base_folder(paths: Iterable[str], root: Path) -> Path:
    """The folder at which the paths start.

    It is the table's own, unless it has none of them, and exactly one of the folders above it and the working directory
    has some.
    """
    named = [path for path in dict.fromkeys(paths) if path]

    def has_some(folder: Path) -> bool:
        return any(_existing(folder, path) for path in named)

    if has_some(root):
        return root
    having = [folder for folder in dict.fromkeys([*root.absolute().parents, Path.cwd()]) if has_some(folder)]
    if len(having) > 1:
        raise DataError(
            f"the paths of the table are not in its folder {root}, but in each of {', '.join(map(str, having))}: write "
            "them from the table's folder on"
        )
    return having[0] if having else root


def _existing(folder: Path, path: str) -> str:
    """The path as a file in `folder` has it: as written, else with `/` for backslashes; "" where there is none."""
    spellings = dict.fromkeys((path, path.replace("\\", "/")))
    return next((spelling for spelling in spellings if os.path.isfile(os.path.join(folder, spelling))), "")


def _spelled(path: str, base: Path, root: Path) -> str:
    """A path from the table's folder on, with `/`; whole where the file lies elsewhere."""
    if "\\" in path:
        plain = path.replace("\\", "/")
        path = plain if os.sep == "\\" else _existing(base, path) or plain
    if base is root or not path:
        return path
    folder, place = root.absolute(), base / path
    return (place.relative_to(folder) if place.is_relative_to(folder) else place).as_posix()


# --- files that several rows name


def _one_per_file(entries: Sequence[_Entry], path: Path) -> tuple[list[_Entry], list[tuple[_Entry, _Entry]]]:
    """The entries, each file once, and the pairs of an entry that is left out and the one that stands for it.

    Raises:
        DataError: two entries of one file have different labels, splits, groups, times or cameras.
    """
    kept: dict[str, _Entry] = {}
    repeats, problems = [], []
    folder = str(path.parent.absolute())
    for entry in entries:
        key = os.path.normpath(os.path.join(folder, entry.path)) if entry.path else entry.place
        first = kept.setdefault(key, entry)
        if first is entry:
            continue
        repeats.append((entry, first))
        for name in ("label", "split", "group", "time", "camera"):
            before, now = getattr(first, name), getattr(entry, name)
            if before and now and before != now:
                problems.append(
                    f"{entry.place}: {entry.path!r} has {name} {now!r}, but {name} {before!r} in {first.place}. Delete "
                    "one of the two rows"
                )
            elif now and not before:
                kept[key] = first = first._replace(**{name: now})
    if problems:
        raise DataError(list_problems(str(path), problems))
    return list(kept.values()), repeats
