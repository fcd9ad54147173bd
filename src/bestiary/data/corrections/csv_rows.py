"""The rows of `corrections.csv`: text as spreadsheets and people leave it ↔ decisions of a sound form.

In: the file's bytes, or `Correction`s. Out: the one or the other, or a `CorrectionsError` that names line and mend. No
file here, and no index: whether a row means an image is asked in `corrections`.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from bestiary.errors import CorrectionsError
from bestiary.issue_names import ISSUES, in_order

FILE_NAME = "corrections.csv"
CORRECTIONS_COLUMNS = ("image_id", "path", "action", "label", "reviewed_by", "reviewed_at", "issues")

_MOST_TOLD = 10
# Excel writes and reads a first line that names the sign between values; other programs add empty cells to it.
_SEPARATOR_LINE = re.compile(r'(?P<before>\s*)"?sep=(?P<sign>[^\w\s"]|\t)"?[,;\t ]*(?=[\r\n]|$)', re.IGNORECASE)

CorrectionAction = Literal["relabel", "drop", "keep"]
CORRECTION_ACTIONS: tuple[CorrectionAction, ...] = get_args(CorrectionAction)


@dataclass(frozen=True)
class Correction:
    """One decision about one image. Either `image_id` or `path` may be empty.

    Attributes:
        issues: names of `core.issues.ISSUES`: the findings that were looked at and let stand. Of a `keep` without any
            it is all; a `relabel` answers what is about the label besides, a `drop` everything (`audit.settled`). Those
            of a `drop` were let stand before, and stand again once it is taken back.
        reviewed_at: `2026-01-31T12:00:00Z` as it is written here; any text where another program has rewritten it.
        extra: values of columns that are not ours, by name.
        line: where it stands in the file; 0 where it comes from no file. Does not count when two are compared.
    """

    image_id: str
    path: str
    action: CorrectionAction
    label: str = ""
    reviewed_by: str = ""
    reviewed_at: str = ""
    issues: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    line: int = field(default=0, compare=False)

    @property
    def verdict(self) -> tuple[str, str]:
        """What two rows about one image must agree on."""
        return self.action, self.label

    def cells(self) -> list[str]:
        """The values of `CORRECTIONS_COLUMNS`, as they are written."""
        texts = {"issues": " ".join(in_order(self.issues))}
        return [texts[name] if name in texts else getattr(self, name) for name in CORRECTIONS_COLUMNS]

    def joined(self, other: "Correction") -> "Correction":
        """This row, with what another of the same verdict about the same image answers besides."""
        is_all = self.action == "keep" and not (self.issues and other.issues)
        return replace(self, issues=() if is_all else in_order((*self.issues, *other.issues)))


Problem = tuple[Correction, str]


def parse(data: bytes) -> list[Correction]:
    """The rows of a file, in their order.

    Raises:
        CorrectionsError: it is no such table, or a row has a wrong form.
    """
    rows = list(_rows(data))
    if not rows:
        raise CorrectionsError(f"{FILE_NAME} is empty: delete it, or begin it with {','.join(CORRECTIONS_COLUMNS)}")
    head = _head(*rows[0])
    corrections, problems = [], []
    for line, cells in rows[1:]:
        correction, problem = _correction(head, cells, line)
        corrections.append(correction)
        problems += [(correction, problem)] if problem else []
    refuse(problems)
    return corrections


def render(corrections: Sequence[Correction]) -> str:
    """The text of the file, sorted by path, then by image_id; columns that are not ours come last.

    Raises:
        CorrectionsError: a correction has a wrong form.
    """
    refuse([(correction, fault) for correction in corrections if (fault := fault_of(correction))])
    ordered = sorted(corrections, key=lambda correction: (correction.path, correction.image_id))
    extra = list(dict.fromkeys(name for correction in ordered for name, _ in correction.extra))
    stream = io.StringIO(newline="")
    plain, quoted = (csv.writer(stream, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    rows = [[*CORRECTIONS_COLUMNS, *extra]]
    for correction in ordered:
        others = dict(correction.extra)
        rows.append([*correction.cells(), *(others.get(name, "") for name in extra)])
    for row in rows:
        # Python 3.11's writer leaves a lone carriage return bare, and its reader takes it for the end of the row.
        (quoted if "\r" in "".join(row) else plain).writerow(row)
    return stream.getvalue()


def _rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row begins, and its cells; rows without a value are passed over."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorrectionsError(f"{FILE_NAME} is not UTF-8 text: save it anew as 'CSV UTF-8'") from error
    signs = ",;\t"
    if told := _SEPARATOR_LINE.match(text):
        # The lines after it keep their numbers.
        signs, text = told["sign"] + signs, told["before"] + text[told.end() :]
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(signs, key=lambda sign: len(_ours(first.split(sign))))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise CorrectionsError(f"{FILE_NAME}, line {line}: {error}. Mend the quotes of this row") from error


def _ours(cells: Sequence[str]) -> set[str]:
    return {cell.strip(' "').casefold() for cell in cells} & set(CORRECTIONS_COLUMNS)


def _head(line: int, cells: list[str]) -> list[str]:
    """The names of the columns; ours in lower case."""
    names = [cell.strip() for cell in cells]
    names = [name.casefold() if name.casefold() in CORRECTIONS_COLUMNS else name for name in names]
    if "action" not in names or not {"image_id", "path"} & set(names):
        raise CorrectionsError(
            f"{FILE_NAME}, line {line}: this should name the columns, {','.join(CORRECTIONS_COLUMNS)} (action, and "
            f"image_id or path, at least); it is {','.join(names)!r}"
        )
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise CorrectionsError(f"{FILE_NAME}, line {line}: two columns are named {twice[0]!r}: rename one")
    return names


def _correction(head: Sequence[str], cells: Sequence[str], line: int) -> tuple[Correction, str]:
    """A row, and what is wrong with its form."""
    values = dict.fromkeys(CORRECTIONS_COLUMNS, "") | dict(zip(head, cells, strict=False))
    # A path or a class may begin or end with a space; what is only space is empty.
    path, label = (value if (value := values[name]).strip() else "" for name in ("path", "label"))
    action: Any = values["action"].strip().casefold()
    correction = Correction(
        image_id=values["image_id"].strip().casefold(),
        path=path,
        action=action,
        label=label,
        reviewed_by=values["reviewed_by"].strip(),
        reviewed_at=values["reviewed_at"].strip(),
        issues=in_order(re.findall(r"[^\s;,]+", values["issues"].casefold())),
        extra=tuple((name, values.get(name, "")) for name in head if name not in ("", *CORRECTIONS_COLUMNS)),
        line=line,
    )
    unnamed = [cell for name, cell in zip(head, cells, strict=False) if not name] + list(cells[len(head) :])
    if any(cell.strip() for cell in unnamed):
        return correction, "it has more values than there are columns: put quotes around a value with a comma in it"
    return correction, fault_of(correction)


def fault_of(correction: Correction) -> str:
    """What is wrong with a correction, whatever the data are; empty: nothing."""
    if not (correction.image_id or correction.path):
        return "it names no image: fill in image_id or path"
    if correction.action not in CORRECTION_ACTIONS:
        return f"action {correction.action!r} is none of {', '.join(CORRECTION_ACTIONS)}: write one of these"
    if correction.action == "relabel" and not correction.label:
        return "relabel to which class? Fill in label"
    if correction.action != "relabel" and correction.label:
        return f"label {correction.label!r} means nothing with {correction.action}: empty it, or make action relabel"
    return _unknown_issue(correction)


def _unknown_issue(correction: Correction) -> str:
    unknown = [name for name in correction.issues if name not in ISSUES]
    if not unknown:
        return ""
    close = difflib.get_close_matches(unknown[0], ISSUES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"issues names {unknown[0]!r}, which no audit finds: {hint}there are {', '.join(ISSUES)}"


def refuse(problems: Sequence[Problem]) -> None:
    """Raise where there are problems: up to ten rows, and how many more."""
    if not problems:
        return
    told = [f"{_place(correction)}: {problem}" for correction, problem in problems[:_MOST_TOLD]]
    if len(problems) == 1:
        raise CorrectionsError(f"{FILE_NAME}, {told[0]}")
    rest = [f"and {len(problems) - _MOST_TOLD} more"] if len(problems) > _MOST_TOLD else []
    raise CorrectionsError("\n  ".join([f"{FILE_NAME}: {len(problems)} rows cannot be carried out", *told, *rest]))


def _place(correction: Correction) -> str:
    subject = correction.path or correction.image_id or "no image"
    return f"line {correction.line} ({subject})" if correction.line else f"decision on {subject}"
