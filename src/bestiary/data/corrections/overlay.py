"""Corrections: what people decided about images, laid over the index; no image file is touched.

In: `corrections.csv`, written by the review page or by hand, and the index as the files are. Out: the index that later
stages see. Owns `corrections.csv` in the study folder, and `.corrections.lock` beside it.

Columns: `image_id`, `path`, `action` (relabel, drop, keep), `label` (the new class of a relabel, else empty),
`reviewed_by`, `reviewed_at` (written as ISO 8601, UTC; any text is read), `issues` (the findings that were looked at
and let stand: names of `core.issues` with a space, `;` or `,` between them; a keep that names none means all). A row
may name its image by `image_id` or by `path` alone; `matching` says which image is meant. A drop or a keep with a
`reviewed_at`, of an image that has gone from the data since, is carried out already, and is passed over. Columns may
stand in any order, and all but `action` and one of the first two may be missing; columns of other names are kept and
mean nothing here. What spreadsheets do to a file (byte order mark, other line ends, quotes, `;` or tab between values,
a line `sep=;`, empty lines and cells at the end) is read; anything else that is not as above is an error that names
line and mend.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bestiary.data.corrections.csv_rows import (
    CORRECTION_ACTIONS,
    CORRECTIONS_COLUMNS,
    FILE_NAME,
    Correction,
    CorrectionAction,
    Problem,
    fault_of,
    parse,
    refuse,
    render,
)
from bestiary.data.corrections.matching import Gone, Places, loose
from bestiary.data.index import DROPPED, read_index, readable
from bestiary.data.index import FILE_NAME as INDEX_FILE
from bestiary.errors import CorrectionsError
from bestiary.store.files import write_text
from bestiary.store.hashing import fingerprint as hash_of
from bestiary.store.locks import exclusive
from bestiary.timing import now_utc

__all__ = [
    "CORRECTIONS_COLUMNS",
    "CORRECTION_ACTIONS",
    "DROPPED",
    "FILE_NAME",
    "Correction",
    "CorrectionAction",
    "change",
    "corrected",
    "corrections_fingerprint",
    "decide",
    "passed_over",
    "read_corrections",
    "resolve",
    "revise",
    "undo",
    "write_corrections",
]

_LOCK = ".corrections.lock"
_LOCK_WAIT_S = 10.0


def read_corrections(study_dir: Path) -> list[Correction]:
    """The rows of `corrections.csv`, in the file's order; none where there is no file.

    Raises:
        CorrectionsError: the file is not such a table, or a row has a wrong form; names lines and mends.
    """
    try:
        data = (study_dir / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CorrectionsError(f"cannot read {study_dir / FILE_NAME}: {error.strerror or error}") from error
    return parse(data)


def write_corrections(study_dir: Path, corrections: Sequence[Correction]) -> None:
    """Write `corrections.csv`, whole or not at all, sorted by path, then by image_id.

    Raises:
        CorrectionsError: a correction has a wrong form.
        BestiaryError: the file cannot be written.
    """
    write_text(study_dir / FILE_NAME, render(corrections))


def corrections_fingerprint(corrections: Sequence[Correction]) -> str:
    """Changes with any row, but not with their order, with a row that is there twice, or with columns not ours."""
    return hash_of(sorted({tuple(correction.cells()) for correction in corrections}))


def resolve(corrections: Sequence[Correction], index: pd.DataFrame) -> dict[str, Correction]:
    """Which image of the index each row means: the rows by the `image_id` that the index has now.

    Of several rows that agree on an image, the last is taken, and answers what any of them does. Values are the rows as
    they stand in the file: an image that has moved since has another path in the index. A drop or a keep is passed over
    where its image, or this copy of it, has gone since it was reviewed: what it asked for is so.

    Args:
        corrections: as read.
        index: as the files are.

    Raises:
        CorrectionsError: a row means no image of the index, or none for certain; a class that the index does not have;
            two rows that disagree. Names up to ten rows, and the mend of each.
    """
    if not corrections:
        return {}
    placed = zip(corrections, _places(corrections, Places(index)), strict=True)
    return _by_image([(row, place) for row, place in placed if not _is_moot(row, place)], index)


def _by_image(placed: Sequence[tuple[Correction, int | str]], index: pd.DataFrame) -> dict[str, Correction]:
    """As `resolve`, of rows with the places of their images."""
    classes, ids = sorted(set(readable(index)["label"])), index["image_id"].to_numpy()
    problems: list[Problem] = []
    found: dict[str, Correction] = {}
    for correction, position in placed:
        settled = replace(correction, label=_class(correction.label, classes), line=correction.line)
        before = None if isinstance(position, str) else found.get(ids[position])
        if isinstance(position, str):
            problems.append((correction, position))
        elif settled.label and settled.label not in classes:
            problems.append((correction, _unknown_class(settled.label, classes)))
        elif before is not None and before.verdict != settled.verdict:
            said = " ".join(before.verdict).strip()
            problems.append((correction, f"line {before.line} says {said!r} of the same image: delete one of the two"))
        else:
            found[ids[position]] = settled if before is None else settled.joined(before)
    refuse(problems)
    return {image_id: found[image_id] for image_id in ids if image_id in found}


def passed_over(corrections: Sequence[Correction], index: pd.DataFrame) -> list[tuple[Correction, str]]:
    """The rows that `resolve` passes over, since their images have gone, and why it thinks so."""
    if not corrections:
        return []
    positions = _places(corrections, Places(index))
    return [
        (correction, str(position))
        for correction, position in zip(corrections, positions, strict=True)
        if _is_moot(correction, position)
    ]


def _is_moot(correction: Correction, position: int | str) -> bool:
    """Whether a row has nothing left to do. One that does not say when it was reviewed may be of no image ever."""
    return isinstance(position, Gone) and correction.action != "relabel" and bool(correction.reviewed_at)


def _places(corrections: Sequence[Correction], places: Places) -> list[int | str]:
    """Where the images of rows are, or why they are nowhere.

    A copy that is left where another was dropped and then deleted is not dropped, too.
    """
    named = [(correction.image_id, correction.path) for correction in corrections]
    return places.find(named, strict=[correction.action == "drop" for correction in corrections])


def _class(label: str, classes: Sequence[str]) -> str:
    return label if label in classes else label.strip() if label.strip() in classes else label


def _unknown_class(label: str, classes: Sequence[str]) -> str:
    cased = {name.casefold(): name for name in classes}
    close = difflib.get_close_matches(label.strip().casefold(), cased, n=1)
    hint = f"did you mean {cased[close[0]]!r}? " if close else ""
    shown = ", ".join(classes[:20]) + (" ..." if len(classes) > 20 else "")
    return f"the data have no class {label!r}: {hint}classes are {shown}"


def corrected(index: pd.DataFrame, corrections: Sequence[Correction]) -> pd.DataFrame:
    """The index that later stages see.

    `label` is the corrected class; `label_given`, a new column, the class as found; an image that was dropped has an
    `error` that begins with `index.DROPPED`, as if it could not be read. A file that cannot be read keeps its reason.

    Raises:
        CorrectionsError: as `resolve`; also where a class is left without an image.
    """
    found = resolve(corrections, index)
    table = index.assign(label_given=index["label"])
    place = {image_id: number for number, image_id in enumerate(index["image_id"])}
    labels, errors = table["label"].tolist(), table["error"].tolist()
    for image_id, correction in found.items():
        number = place[image_id]
        if correction.action == "relabel":
            labels[number] = correction.label
        elif correction.action == "drop" and not errors[number]:
            errors[number] = _dropped(correction, table["path"].iloc[number])
    table["label"], table["error"] = labels, errors
    _refuse_emptied(index, table)
    return table


def _dropped(correction: Correction, path: str) -> str:
    who = f" (by {correction.reviewed_by})" if correction.reviewed_by else ""
    moved = correction.path and loose(correction.path) != loose(path)
    return f"{DROPPED}{who}" + (f", where it is {correction.path!r}" if moved else "")


def _refuse_emptied(index: pd.DataFrame, table: pd.DataFrame) -> None:
    was, now = readable(index), readable(table)
    if emptied := sorted(set(was["label"]) - set(now["label"])):
        rows = table[(table["label_given"] == emptied[0]) & (index["error"] == "")]
        dropped = int((rows["error"] != "").sum())
        raise CorrectionsError(
            f"{FILE_NAME} leaves class {emptied[0]!r} without an image: of {len(rows)}, {dropped} dropped and "
            f"{len(rows) - dropped} relabelled. Undo some of these rows; to make two classes one, use data.rename"
        )


def decide(study_dir: Path, correction: Correction, *, index: pd.DataFrame | None = None) -> list[Correction]:
    """Save a decision at once, in place of what was decided about this image before; see `change`."""
    return change(study_dir, decided=[correction], index=index)


def undo(study_dir: Path, image_id: str, *, index: pd.DataFrame | None = None) -> list[Correction]:
    """Take the decision about an image back, at once; see `change`."""
    return change(study_dir, undone=[image_id], index=index)


def change(
    study_dir: Path,
    *,
    decided: Sequence[Correction] = (),
    undone: Sequence[str] = (),
    index: pd.DataFrame | None = None,
) -> list[Correction]:
    """Save decisions about several images in one step: all of them or none; see `revise`.

    Args:
        study_dir: the study's folder.
        decided: `image_id` and `path` as the index has them; without `reviewed_at` they get the time now.
        undone: ids of images whose decision is taken back.
        index: as the files are; read from the study where it is not given.
    """
    return revise(study_dir, lambda rows: (decided, undone), index=index)


def revise(
    study_dir: Path,
    plan: Callable[[list[Correction]], tuple[Sequence[Correction], Sequence[str]]],
    *,
    index: pd.DataFrame | None = None,
) -> list[Correction]:
    """Read the rows, let `plan` say what is to be changed, and save it, in one step: nobody writes in between.

    The file is read anew under a lock of its own, so that rows of another tab or of a text editor stay, and a running
    study holds nobody up. A decision keeps what a person wrote into columns of their own.

    Args:
        study_dir: the study's folder.
        plan: gets the rows as they are; gives `decided` and `undone` as `change` takes them, both empty for no change.
        index: as the files are; read from the study where it is not given.

    Returns:
        The rows that went or were replaced.

    Raises:
        CorrectionsError: the index has no such image or class, two decisions disagree, or the file has a row of a wrong
            form; nothing is saved.
        StudyError: the file has been locked for ten seconds.
    """
    if index is None and (study_dir / INDEX_FILE).exists():
        index = read_index(study_dir)
    with _held(study_dir):
        rows = read_corrections(study_dir)
        decided, undone = plan(rows)
        refuse([(correction, fault) for correction in decided if (fault := fault_of(correction))])
        paths, places = {}, None
        if index is not None:
            places = Places(index)
            _by_image(list(zip(decided, _places(decided, places), strict=True)), index)
            paths = dict(zip(index["image_id"].tolist(), index["path"].tolist(), strict=True))
        named = [(row.image_id, row.path) for row in decided] + [(i, paths.get(i, "")) for i in undone]
        now = now_utc()
        added = [replace(row, reviewed_at=row.reviewed_at or now) for row in decided]
        goes = _are_about(rows, named, places)
        gone = [row for row, is_about in zip(rows, goes, strict=True) if is_about]
        if gone or added:
            stay = [row for row, is_about in zip(rows, goes, strict=True) if not is_about]
            write_corrections(study_dir, [*stay, *_with_extra(added, gone)])
    return gone


def _are_about(rows: Sequence[Correction], named: Sequence[tuple[str, str]], places: Places | None) -> list[bool]:
    """Which rows are about one of the images that ids and paths name; those that mean no image now, by either."""
    images = set() if places is None else set(places.find(named))
    meant = [""] * len(rows) if places is None else _places(rows, places)
    names = {name for image in named for name in _names(*image)}
    return [
        place in images if isinstance(place, int) else not names.isdisjoint(_former_names(row, place))
        for place, row in zip(meant, rows, strict=True)
    ]


def _names(image_id: str, path: str) -> list[tuple[str, str]]:
    """What an image may go by: its id, and its path as `matching` compares it."""
    return [("id", image_id)] * bool(image_id) + [("path", loose(path))] * bool(path)


def _former_names(row: Correction, why: str) -> list[tuple[str, str]]:
    """What the image of a row went by that means none now. The id of a copy that has gone may be another's by now."""
    return _names("" if isinstance(why, Gone) and row.path else row.image_id, row.path)


def _with_extra(added: Sequence[Correction], gone: Sequence[Correction]) -> Iterator[Correction]:
    """A person's own columns stay with the image when its decision changes."""
    extra: dict[tuple[str, str], dict[str, str]] = {}
    for row in gone:
        for name in _names(row.image_id, row.path):
            extra.setdefault(name, {}).update(row.extra)
    for row in added:
        kept = {key: value for name in _names(row.image_id, row.path) for key, value in extra.get(name, {}).items()}
        yield replace(row, extra=tuple({**kept, **dict(row.extra)}.items()))


@contextmanager
def _held(study_dir: Path) -> Iterator[None]:
    busy = f"another process has held {study_dir / FILE_NAME} for {_LOCK_WAIT_S:g} s: stop it, or try again"
    with exclusive(study_dir / _LOCK, busy=busy, wait_s=_LOCK_WAIT_S):
        yield
