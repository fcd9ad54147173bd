"""`corrections.csv` on disk: read, and changed one decision or several at a time.

In: decisions, from the review page, a notebook or a spreadsheet. Out: rows, and the file. Owns `corrections.csv` in the
study folder, and `.corrections.lock` beside it.

Columns: `image_id`, `path`, `action` (relabel, drop, keep), `label` (the new class of a relabel, else empty),
`reviewed_by`, `reviewed_at` (written as ISO 8601, UTC; any text is read), `issues` (findings that a person accepted as
they are: names with a space, `;` or `,` between them; a keep that names none accepts all). A row may name its image by
`image_id` or by `path` alone. Columns may be in any order, and all but `action` and one of the first two may be
missing; columns of other names are kept and mean nothing here. What spreadsheets do to a file is read, as
`data.delimited` says; anything else that is not as above is an error that names the line and the fix.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bestiary.data.corrections.csv_rows import FILE_NAME, Correction, parse, refuse_wrong_form, render
from bestiary.data.corrections.matching import ImageLookup, NamedImage, NoMatch, comparable
from bestiary.data.corrections.overlay import match_rows, one_per_image
from bestiary.data.index import FILE_NAME as INDEX_FILE
from bestiary.data.index import read_index
from bestiary.errors import CorrectionsError
from bestiary.store.files import write_text
from bestiary.store.locks import exclusive
from bestiary.timing import now_utc

_LOCK = ".corrections.lock"
_LOCK_WAIT_S = 10.0

# The rows as they are → decisions to save, and ids of images whose decision is undone.
Plan = Callable[[list[Correction]], tuple[Sequence[Correction], Sequence[str]]]


def read_corrections(study_dir: Path) -> list[Correction]:
    """The rows of `corrections.csv`, in the file's order; none where there is no file.

    Raises:
        CorrectionsError: the file is not such a table, or a row has a wrong form; names lines and fixes.
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


def decide(
    study_dir: Path, correction: Correction, *, index: pd.DataFrame | ImageLookup | None = None
) -> list[Correction]:
    """Save a decision at once, in place of what was decided about this image before; see `revise`."""
    return change(study_dir, decided=[correction], index=index)


def undo(study_dir: Path, image_id: str, *, index: pd.DataFrame | ImageLookup | None = None) -> list[Correction]:
    """Take the decision about an image back, at once; see `revise`."""
    return change(study_dir, undone=[image_id], index=index)


def change(
    study_dir: Path,
    *,
    decided: Sequence[Correction] = (),
    undone: Sequence[str] = (),
    index: pd.DataFrame | ImageLookup | None = None,
) -> list[Correction]:
    """Save decisions about several images in one step: all of them or none; see `revise`.

    Args:
        study_dir: the study's folder.
        decided: `image_id` and `path` as the index has them; without `reviewed_at` they get the time now.
        undone: ids of images whose decision is taken back.
        index: as `revise`.
    """
    return revise(study_dir, lambda rows: (decided, undone), index=index)


def revise(study_dir: Path, plan: Plan, *, index: pd.DataFrame | ImageLookup | None = None) -> list[Correction]:
    """Read the rows, let `plan` say what is to be changed, and save it, in one step: nobody writes in between.

    The file is read again under a lock of its own, so that rows of another page or of a text editor stay, and a running
    study holds nobody up. A decision keeps what a person wrote into columns of their own.

    Args:
        study_dir: the study's folder.
        plan: gets the rows as they are; gives `decided` and `undone` as `change` takes them, both empty for no change.
        index: as the files are, or a lookup of it, which saves building one; read from the study where it is not given.

    Returns:
        The rows that were removed or replaced.

    Raises:
        CorrectionsError: the index has no such image or class, two decisions disagree, or the file has a row of a wrong
            form; nothing is saved.
        StudyError: the file has been locked for ten seconds.
    """
    images = _lookup(study_dir, index)
    with _locked(study_dir):
        rows = read_corrections(study_dir)
        decided, undone = plan(rows)
        refuse_wrong_form(decided)
        if images is not None:  # refuse what a run of the study would refuse
            one_per_image(zip(decided, match_rows(decided, images), strict=True), images)
        named = [NamedImage(row.image_id, row.path) for row in decided]
        named += [NamedImage(image_id, images.path_of.get(image_id, "") if images else "") for image_id in undone]
        removed, kept = _divide(rows, named, images)
        if removed or decided:
            now = now_utc()
            added = [replace(row, reviewed_at=row.reviewed_at or now) for row in decided]
            write_corrections(study_dir, [*kept, *_with_own_columns(added, removed)])
    return removed


def _lookup(study_dir: Path, index: pd.DataFrame | ImageLookup | None) -> ImageLookup | None:
    if index is not None:
        return ImageLookup.of(index)
    return ImageLookup(read_index(study_dir)) if (study_dir / INDEX_FILE).exists() else None


@contextmanager
def _locked(study_dir: Path) -> Iterator[None]:
    busy = f"another process has held {study_dir / FILE_NAME} for {_LOCK_WAIT_S:g} s: stop it, or try again"
    with exclusive(study_dir / _LOCK, busy=busy, wait_s=_LOCK_WAIT_S):
        yield


def _divide(
    rows: Sequence[Correction], named: Sequence[NamedImage], images: ImageLookup | None
) -> tuple[list[Correction], list[Correction]]:
    """The rows about one of the named images, and the others.

    A row whose image is in the index is about that image. One whose image is not, or any row where there is no index,
    is about the image whose id or path it has.
    """
    positions = {match for match in images.find(named) if isinstance(match, int)} if images else set()
    names = {name for image in named for name in _names(image.image_id, image.path)}
    matches = match_rows(rows, images) if images else [NoMatch("no index")] * len(rows)
    removed: list[Correction] = []
    kept: list[Correction] = []
    for row, match in zip(rows, matches, strict=True):
        is_about = match in positions if isinstance(match, int) else bool(names & _former_names(row, match))
        (removed if is_about else kept).append(row)
    return removed, kept


def _names(image_id: str, path: str) -> set[tuple[str, str]]:
    """What an image may be known by: its id, and its path as `matching` compares it."""
    names = {("id", image_id), ("path", comparable(path) if path else "")}
    return {name for name in names if name[1]}


def _former_names(row: Correction, match: NoMatch) -> set[tuple[str, str]]:
    """What the image of a row was known by that is about none now.

    Where a copy has gone, its id may be that of another copy by now: then the path alone counts.
    """
    return _names("" if match.is_gone and row.path else row.image_id, row.path)


def _with_own_columns(added: Sequence[Correction], removed: Sequence[Correction]) -> Iterator[Correction]:
    """The decisions that are added, with what removed rows about the same images have in a person's own columns."""
    own: dict[tuple[str, str], dict[str, str]] = {}
    for row in removed:
        for name in _names(row.image_id, row.path):
            own.setdefault(name, {}).update(row.extra)
    for row in added:
        kept: dict[str, str] = {}
        for name in sorted(_names(row.image_id, row.path)):
            kept.update(own.get(name, {}))
        yield replace(row, extra=tuple({**kept, **dict(row.extra)}.items()))
