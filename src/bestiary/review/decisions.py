"""Decisions: what the page asks for → rows of `corrections.csv`, one change at a time.

In: changes as the page sends them. Out: the corrections that are then on disk. `data.corrections.saved` owns the file;
it is read again for every request, so that a person or another page may write it meanwhile.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bestiary.audit.issues import ISSUES
from bestiary.data.corrections.csv_rows import FILE_NAME, Correction, CorrectionAction, refuse_unknown_issues
from bestiary.data.corrections.matching import ImageLookup
from bestiary.data.corrections.overlay import resolve
from bestiary.data.corrections.saved import read_corrections, revise
from bestiary.errors import UsageError
from bestiary.review.edits import Key, pressed
from bestiary.review.queue import ReviewQueue
from bestiary.store.hashing import sha256_bytes

# One key keeps a whole cluster of copies. 20,000 changes are 5 to 10 MB; see `server.MOST_BODY_BYTES`.
MOST_CHANGES = 20_000


def _known_issue(name: str) -> str:
    if name not in ISSUES:
        raise ValueError(f"there is no issue {name!r}")
    return name


IssueName = Annotated[str, AfterValidator(_known_issue)]


class Shown(BaseModel):
    """A decision as the page knows it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    action: CorrectionAction
    label: str
    issues: tuple[str, ...]


class Former(Shown):
    """A decision that is to be restored, with who took it and when."""

    reviewed_by: str
    reviewed_at: str


class Change(BaseModel):
    """One image, and what is to be decided about it.

    Attributes:
        image_id: which image.
        action: what was pressed on a finding (see `edits.pressed`), or `restore`: the row is to be `former` again.
        label: the new class, for `relabel`.
        issue: of the finding.
        was: the decision that the page showed when the reader took this one.
        former: for `restore`; None: no row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image_id: str
    action: Key | Literal["restore"]
    label: str = ""
    issue: IssueName
    was: Shown | None
    former: Former | None = None


class Changes(BaseModel):
    """What one key press asks for. A cluster of copies may be large."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    changes: Annotated[list[Change], Field(min_length=1, max_length=MOST_CHANGES)]


@dataclass(frozen=True)
class Outcome:
    """Corrections by image after the changes; `stale`: images decided elsewhere meanwhile; then nothing was done."""

    corrections: Mapping[str, Correction]
    stale: tuple[str, ...] = ()


class Decisions:
    """The corrections of one study, as its review page reads and writes them; one thread at a time."""

    def __init__(self, study_dir: Path, index: pd.DataFrame, queue: ReviewQueue, *, reviewer: str) -> None:
        self._study_dir = study_dir
        # Built once: the index does not change while the page is open.
        self._images = ImageLookup(index)
        self._queue = queue
        self._reviewer = reviewer
        self._lock = threading.Lock()
        # The file's digest and what it says: one value, for threads read it while another replaces it.
        self._known: tuple[str | None, dict[str, Correction]] = (None, {})

    def read(self) -> dict[str, Correction]:
        """The corrections by image id, as `data.corrections.resolve` finds which image each row means.

        Raises:
            CorrectionsError: the file has a row that cannot be; names it.
        """
        before = self._digest()
        digest, known = self._known
        if before is None or before != digest:
            known = self._by_image(read_corrections(self._study_dir))
            # Of a file that is being written just now nothing is remembered.
            self._known = (before if before == self._digest() else None, known)
        return known

    def _by_image(self, rows: list[Correction]) -> dict[str, Correction]:
        refuse_unknown_issues(rows, ISSUES)
        return resolve(rows, self._images)

    def _digest(self) -> str | None:
        try:
            return sha256_bytes((self._study_dir / FILE_NAME).read_bytes())
        except FileNotFoundError:
            return None

    def carry_out(self, changes: Sequence[Change]) -> Outcome:
        """Write changes to disk, all or none; none where an image was decided elsewhere meanwhile.

        This is checked on the rows that are replaced, under the lock that every writer takes: of two pages that decide
        on an image at the same time, also of two servers, one gets its image back as stale.

        Raises:
            UsageError: a change that cannot be: an image or a class that the study does not have.
            BestiaryError: the file cannot be read or written.
        """
        for one in changes:
            self._check(one)
        if len({one.image_id for one in changes}) < len(changes):
            raise UsageError("an image is named twice")
        stale: list[str] = []

        def plan(there: list[Correction]) -> tuple[list[Correction], list[str]]:
            found = self._by_image(there)
            stale.extend(one.image_id for one in changes if not _says(found.get(one.image_id), one.was))
            rows = {} if stale else {one.image_id: self._row(one, found.get(one.image_id)) for one in changes}
            decided = [row for row in rows.values() if row is not None]
            return decided, [image_id for image_id, row in rows.items() if row is None]

        with self._lock:
            revise(self._study_dir, plan, index=self._images)
            return Outcome(self.read(), tuple(stale))

    def finish(self) -> None:
        """Wait until changes under way are on disk."""
        with self._lock:
            pass

    def _check(self, change: Change) -> None:
        if not self._queue.can_decide(change.image_id):
            raise UsageError(f"the study has no readable image {change.image_id!r}")
        if change.action == "restore":
            if change.former is not None:
                self._check_class(change.former.action, change.former.label)
            return
        self._check_class(change.action, change.label)
        if change.action == "relabel" and change.label == self._queue.label_of(change.image_id):
            raise UsageError(f"its label is {change.label!r} already: keep it instead")

    def _check_class(self, action: str, label: str) -> None:
        if action == "relabel" or (action == "apart" and label):
            if label not in self._queue.class_names:
                raise UsageError(f"the study has no class {label!r}")
        elif label:
            raise UsageError(f"{action} takes no class")

    def _row(self, change: Change, before: Correction | None) -> Correction | None:
        """The row that the image is to have."""
        image_id, path = change.image_id, self._queue.path_of(change.image_id)
        if change.action == "restore":
            return None if change.former is None else Correction(image_id, path, **change.former.model_dump())
        row = pressed(change.action, change.issue, label=change.label, before=before)
        return None if row is None else replace(row, image_id=image_id, path=path, reviewed_by=self._reviewer)


def parse_changes(body: bytes) -> list[Change]:
    """Read what the page sent.

    Raises:
        UsageError: it is no such JSON; says where.
    """
    try:
        return Changes.model_validate_json(body).changes
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise UsageError(f"{place}: {first['msg']}") from error


def _says(correction: Correction | None, shown: Shown | None) -> bool:
    """Whether a row says what the page showed."""
    if correction is None or shown is None:
        return correction is None and shown is None
    return correction.verdict == (shown.action, shown.label) and set(correction.issues) == set(shown.issues)
