"""Delimited text: the bytes of a CSV file → its head and its rows, each with its line. The one reader for all tables.

In: bytes as spreadsheets, editors and programs write them. Out: a `DelimitedTable`, or an error that names the line.
Owns no file. What can be read in one way only is read; anything else is explained.

Read are: commas, semicolons, tabs or bars between values, whichever finds the most expected columns in the head, or
what a first line `sep=;` names; UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one; text in
Windows-1252 or Latin-1 where it holds western European words and cannot be UTF-8; quoted values; lines that end with
CR, LF or both; empty lines and rows.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bestiary.errors import DataError

UTF_8, WINDOWS_1252 = "UTF-8", "Windows-1252"
SURPLUS = "it has more values than there are columns: put quotes around a value with a comma in it"
_DELIMITERS = ",;\t|"
_SAVE_AGAIN = "Save the file again as 'CSV UTF-8'"
# The mark of UTF-32 begins with that of UTF-16: it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, UTF_8, "utf-8"),
    (codecs.BOM_UTF32_LE, "UTF-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "UTF-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "UTF-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "UTF-16", "utf-16-be"),
)
# Excel writes and reads a first line that names the delimiter; other programs add empty cells to it.
_SEPARATOR_LINE = re.compile(r'(?P<before>\s*)"?sep=(?P<delimiter>[^\w\s"]|\t)"?[,;\t ]*(?=[\r\n]|$)', re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_MOST_LISTED = 10
_LONGEST_HEAD = 100_000  # characters; csv refuses a value of 131,072
# One or two letters of western European languages that touch an ASCII letter. Windows-1252 and Latin-1 agree on them.
# Longer runs are words of another alphabet; what else lies above ASCII differs from one encoding to the next.
_WESTERN_LETTERS = re.compile(r"(?<=[A-Za-z])[À-ÖØ-öø-ý]{1,2}(?![À-ÿ])|(?<![À-ÿ])[À-ÖØ-öø-ý]{1,2}(?=[A-Za-z])")


class DelimitedRow(NamedTuple):
    """The cells of one row, at least as many as the head has, and the line on which it begins (1: the first)."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class DelimitedTable:
    """A table as text.

    Attributes:
        head: the names of the columns, without space around them; "" for one without a name. Empty: no text at all.
        head_line: the line of the head.
        rows: those with a value.
        encoding: `UTF-8`, `UTF-16`, `UTF-32` or `Windows-1252`.
    """

    head: list[str]
    head_line: int
    rows: list[DelimitedRow]
    encoding: str

    @cached_property
    def _named(self) -> int:
        """How many columns there are up to the last one with a name."""
        return max((place for place, name in enumerate(self.head, 1) if name), default=0)

    def has_surplus(self, row: DelimitedRow) -> bool:
        """Whether a row has a value behind the last named column: most often an unquoted delimiter within a value."""
        return any(cell.strip() for cell in row.cells[self._named :])


def read_delimited(
    data: bytes,
    *,
    name: str,
    columns: Collection[str],
    skip_spaces: bool = False,
    error: type[DataError] = DataError,
) -> DelimitedTable:
    """Read the bytes of a CSV file.

    Args:
        data: the whole file.
        name: of the file, for messages.
        columns: names that the head may have, in any case: they show which character divides the values.
        skip_spaces: leave out spaces after a delimiter, so that `a, "b"` has a quoted value.
        error: the kind of error to raise.

    Raises:
        DataError: the text is in no encoding that is certain, or a quote is not closed; names the line and the fix.
    """
    text, encoding = _decode(data, name=name, error=error)
    if "\0" in text[:2]:
        raise error(f"{name} has zeros between its letters, as UTF-16 without its mark has. {_SAVE_AGAIN}")
    delimiters = _DELIMITERS
    if separator := _SEPARATOR_LINE.match(text):
        # The lines after it keep their numbers.
        delimiters = separator["delimiter"] + delimiters
        text = separator["before"] + text[separator.end() :]
    rows = _rows(text, _delimiter(text, delimiters, columns), name=name, skip_spaces=skip_spaces, error=error)
    if not rows:
        return DelimitedTable([], 1, [], encoding)
    head = [cell.strip() for cell in rows[0].cells]
    padded = [DelimitedRow(row.line, row.cells + [""] * (len(head) - len(row.cells))) for row in rows[1:]]
    return DelimitedTable(head, rows[0].line, padded, encoding)


def _decode(data: bytes, *, name: str, error: type[DataError]) -> tuple[str, str]:
    """The text, and the name of its encoding."""
    mark, encoding, codec = next((known for known in _MARKS if data.startswith(known[0])), (b"", UTF_8, "utf-8"))
    body = data.removeprefix(mark)
    try:
        return body.decode(codec), encoding
    except UnicodeDecodeError as problem:
        if not mark and _is_western(body):
            return body.decode("cp1252"), WINDOWS_1252
        line = len(_LINE_END.findall(body[: problem.start].decode(codec, errors="ignore"))) + 1
        raise error(f"{name}, line {line}: this is not {encoding} text. {_SAVE_AGAIN}") from problem


def _is_western(data: bytes) -> bool:
    return _WESTERN_LETTERS.sub("", data.decode("latin-1")).isascii()


def _delimiter(text: str, delimiters: str, columns: Collection[str]) -> str:
    """The character that finds the most expected columns in the head; of equals the one that finds most columns."""
    expected = {column.casefold() for column in columns}
    first = next((line for line in _LINE_END.split(text) if line.strip()), "")[:_LONGEST_HEAD]

    def found(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
        return len(expected.intersection(cell.strip().casefold() for cell in cells)), len(cells)

    return max(delimiters, key=found)


def _rows(text: str, delimiter: str, *, name: str, skip_spaces: bool, error: type[DataError]) -> list[DelimitedRow]:
    """The rows with a value, the head among them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=skip_spaces)
    rows, line = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(DelimitedRow(line, cells))
            line = reader.line_num + 1
    except csv.Error as problem:
        raise error(f"{name}, line {line}: {problem}. Fix the quotes of this row") from problem
    return rows


def list_problems(name: str, problems: Sequence[str]) -> str:
    """What is wrong with the rows of a file, as one message: up to ten of them, and how many more there are.

    Args:
        name: of the file.
        problems: one or more, each of which names its line.
    """
    if len(problems) == 1:
        return f"{name}, {problems[0]}"
    rest = [f"and {len(problems) - _MOST_LISTED} more"] if len(problems) > _MOST_LISTED else []
    head = f"{name}: {len(problems):,} rows have to be fixed"
    return "\n  ".join([head, *problems[:_MOST_LISTED], *rest])
