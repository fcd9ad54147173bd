"""The rows of `corrections.csv`: text as spreadsheets and people leave it ↔ `Correction`s.

In: the file's bytes, or corrections. Out: corrections in the file's order, or the file's text; where a row has a wrong
form, a `CorrectionsError` that names its line and the fix. Owns no file, and sees no index: `matching` finds the image
that a row is about, and whoever knows the audit checks the names of issues (`refuse_unknown_issues`).
"""

import csv
import difflib
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from bestiary.data.delimited import SURPLUS, DelimitedRow, list_problems, read_delimited
from bestiary.errors import CorrectionsError

FILE_NAME = "corrections.csv"
CORRECTIONS_COLUMNS = ("image_id", "path", "action", "label", "reviewed_by", "reviewed_at", "issues")

CorrectionAction = Literal["relabel", "drop", "keep", "apart"]
CORRECTION_ACTIONS: tuple[CorrectionAction, ...] = get_args(CorrectionAction)


@dataclass(frozen=True)
class Correction:
    """One decision about one image. Either `image_id` or `path` may be empty.

    Attributes:
        image_id: 20 hexadecimal digits of the content's SHA-256, and the number of the copy; see `data.index`.
        path: from the data root on.
        action: what is to be done with the image.
        label: the new class of a relabel; an `apart` may have one, too; else empty.
        reviewed_by: who decided.
        reviewed_at: `2026-01-31T12:00:00Z` as it is written here; any text where another program has rewritten it.
        issues: names of the audit's issues, each once: the findings that a person accepted as they are. A `keep`
            without any accepts all. Those of a `drop` were accepted before, and count again once it is undone.
        extra: values of columns that are not ours, by name.
        line: of the file; 0 where it comes from no file. Ignored when two are compared.
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
        """The values of `CORRECTIONS_COLUMNS` as they are written; issues in alphabetical order."""
        texts = {"issues": " ".join(sorted(self.issues))}
        return [texts[name] if name in texts else getattr(self, name) for name in CORRECTIONS_COLUMNS]

    def joined(self, earlier: "Correction") -> "Correction":
        """This row, which also accepts what an earlier one of the same verdict about the same image accepts."""
        accepts_all = self.action == "keep" and not (self.issues and earlier.issues)
        return replace(self, issues=() if accepts_all else _each_once((*earlier.issues, *self.issues)))


# A row, and what is wrong with it.
Problem = tuple[Correction, str]


def parse(data: bytes) -> list[Correction]:
    """The rows of a file, in their order.

    Raises:
        CorrectionsError: it is no such table, or a row has a wrong form.
    """
    table = read_delimited(data, name=FILE_NAME, columns=CORRECTIONS_COLUMNS, error=CorrectionsError)
    if not table.head:
        raise CorrectionsError(f"{FILE_NAME} is empty: delete it, or begin it with {','.join(CORRECTIONS_COLUMNS)}")
    head = _column_names(table.head, table.head_line)
    corrections, problems = [], []
    for row in table.rows:
        correction = _correction(head, row)
        problem = _surplus_problem(head, row) or form_problem(correction)
        corrections.append(correction)
        problems += [(correction, problem)] if problem else []
    refuse(problems)
    return corrections


def render(corrections: Sequence[Correction]) -> str:
    """The text of the file, sorted by path, then by image_id; columns that are not ours come last.

    Raises:
        CorrectionsError: a correction has a wrong form.
    """
    refuse_wrong_form(corrections)
    ordered = sorted(corrections, key=lambda correction: (correction.path, correction.image_id))
    extra = _each_once(name for correction in ordered for name, _ in correction.extra)
    rows = [[*CORRECTIONS_COLUMNS, *extra]]
    for correction in ordered:
        values = dict(correction.extra)
        rows.append([*correction.cells(), *(values.get(name, "") for name in extra)])
    stream = io.StringIO(newline="")
    plain, quoted = (csv.writer(stream, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in rows:
        # Python 3.11's writer leaves a lone carriage return unquoted, and its reader takes it for the end of the row.
        (quoted if "\r" in "".join(row) else plain).writerow(row)
    return stream.getvalue()


def _column_names(head: Sequence[str], line: int) -> list[str]:
    """The names of the columns; ours in lower case."""
    names = [name.casefold() if name.casefold() in CORRECTIONS_COLUMNS else name for name in head]
    if "action" not in names or not {"image_id", "path"} & set(names):
        raise CorrectionsError(
            f"{FILE_NAME}, line {line}: this should name the columns, {','.join(CORRECTIONS_COLUMNS)} (action, and "
            f"image_id or path, at least); it is {','.join(names)!r}"
        )
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise CorrectionsError(f"{FILE_NAME}, line {line}: two columns are named {twice[0]!r}: rename one")
    return names


def _correction(head: Sequence[str], row: DelimitedRow) -> Correction:
    values = dict.fromkeys(CORRECTIONS_COLUMNS, "") | dict(zip(head, row.cells, strict=False))
    # A path or a class may begin or end with a space; what is only space is empty.
    path, label = (value if (value := values[name]).strip() else "" for name in ("path", "label"))
    action: Any = values["action"].strip().casefold()
    return Correction(
        image_id=values["image_id"].strip().casefold(),
        path=path,
        action=action,
        label=label,
        reviewed_by=values["reviewed_by"].strip(),
        reviewed_at=values["reviewed_at"].strip(),
        issues=_each_once(re.findall(r"[^\s;,]+", values["issues"].casefold())),
        extra=tuple((name, values[name]) for name in head if name not in ("", *CORRECTIONS_COLUMNS)),
        line=row.line,
    )


def _each_once(names: Iterable[str]) -> tuple[str, ...]:
    """Names in their order, without repetitions."""
    return tuple(dict.fromkeys(names))


# --- what is wrong with a row


def _surplus_problem(head: Sequence[str], row: DelimitedRow) -> str:
    named = max((place for place, name in enumerate(head, 1) if name), default=0)
    if any(cell.strip() for cell in row.cells[named:]):
        return SURPLUS
    # A table that pandas has written with its row numbers, most often.
    nameless = [place for place, name in enumerate(head[:named], 1) if not name and row.cells[place - 1].strip()]
    return f"column {nameless[0]} has no name: name it, or delete it" if nameless else ""


def form_problem(correction: Correction) -> str:
    """What is wrong with the form of a correction, whatever the data are; "": nothing."""
    if not (correction.image_id or correction.path):
        return "it names no image: fill in image_id or path"
    if correction.action not in CORRECTION_ACTIONS:
        return f"action {correction.action!r} is none of {', '.join(CORRECTION_ACTIONS)}: write one of these"
    if correction.action == "relabel" and not correction.label:
        return "relabel to which class? Fill in label"
    if correction.action in ("drop", "keep") and correction.label:
        return f"label {correction.label!r} means nothing with {correction.action}: empty it, or make action relabel"
    return ""


def refuse_wrong_form(corrections: Sequence[Correction]) -> None:
    """Raise CorrectionsError where corrections have a wrong form."""
    refuse([(correction, problem) for correction in corrections if (problem := form_problem(correction))])


def refuse_unknown_issues(corrections: Sequence[Correction], known: Collection[str]) -> None:
    """Raise CorrectionsError where a row names an issue that no audit finds; for callers that know the audit.

    Args:
        corrections: as read, or as they are to be saved.
        known: the names of all issues, as the error lists them.
    """
    problems = []
    for correction in corrections:
        for name in [name for name in correction.issues if name not in known][:1]:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            problem = f"issues names {name!r}, which no audit finds: {hint}there are {', '.join(known)}"
            problems.append((correction, problem))
    refuse(problems)


def refuse(problems: Sequence[Problem]) -> None:
    """Raise CorrectionsError where there are problems: up to ten rows, and how many more."""
    if problems:
        raise CorrectionsError(list_problems(FILE_NAME, [f"{_place(row)}: {problem}" for row, problem in problems]))


def _place(correction: Correction) -> str:
    subject = correction.path or correction.image_id or "no image"
    return f"line {correction.line} ({subject})" if correction.line else f"decision on {subject}"
