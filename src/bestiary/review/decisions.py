"""Decisions: what the page asks for → rows of `corrections.csv`, one change at a time.

In: changes as the page sends them. Out: the corrections as they then lie on disk. The file is `data.corrections`' own;
it is read anew for every request, so that a hand or another page may write it meanwhile.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bestiary.core.errors import UsageError
from bestiary.core.files import sha256_bytes
from bestiary.data.corrections import FILE_NAME, Correction, change, read_corrections, resolve
from bestiary.review.queue import ReviewQueue


class Was(BaseModel):
    """The decision that the page showed when the reader took a new one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    action: str
    label: str


class Change(BaseModel):
    """One image, and what is to become of it; `undo` takes its decision away."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image_id: str
    action: Literal["keep", "relabel", "drop", "undo"]
    label: str = ""
    was: Was | None


class Changes(BaseModel):
    """What one key press asks for. A cluster of copies may be large."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    changes: Annotated[list[Change], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Outcome:
    """Corrections by image after the changes; `stale`: images decided elsewhere meanwhile; then nothing was done."""

    corrections: Mapping[str, Correction]
    stale: tuple[str, ...] = ()


class Decisions:
    """The corrections of one study, as its review page reads and writes them; one thread at a time."""

    def __init__(self, study_dir: Path, index: pd.DataFrame, queue: ReviewQueue, *, reviewer: str) -> None:
        self._study_dir = study_dir
        self._index = index
        self._queue = queue
        self._reviewer = reviewer
        self._lock = threading.Lock()
        self._known: dict[str, Correction] = {}
        self._known_digest: str | None = None

    def read(self) -> dict[str, Correction]:
        """The corrections by image id, as `data.corrections.resolve` finds which image each row means.

        Raises:
            CorrectionsError: the file has a row that cannot be; names it.
        """
        before = self._digest()
        if before is None or before != self._known_digest:
            self._known = resolve(read_corrections(self._study_dir), self._index)
            # Of a file that is being written just now nothing is remembered.
            self._known_digest = before if before == self._digest() else None
        return self._known

    def _digest(self) -> str | None:
        file = self._study_dir / FILE_NAME
        return sha256_bytes(file.read_bytes()) if file.is_file() else None

    def carry_out(self, changes: Sequence[Change]) -> Outcome:
        """Write changes to disk, all or none; none where an image was decided elsewhere meanwhile.

        Raises:
            UsageError: a change that cannot be: an image or a class that the study does not have.
            BestiaryError: the file cannot be read or written.
        """
        for wanted in changes:
            self._check(wanted)
        with self._lock:
            there = self.read()
            stale = tuple(wanted.image_id for wanted in changes if _as_shown(there.get(wanted.image_id)) != wanted.was)
            if stale:
                return Outcome(there, stale)
            change(
                self._study_dir,
                decided=[self._row(wanted) for wanted in changes if wanted.action != "undo"],
                undone=[wanted.image_id for wanted in changes if wanted.action == "undo"],
                index=self._index,
            )
            return Outcome(self.read())

    def finish(self) -> None:
        """Wait until changes under way are on disk."""
        with self._lock:
            pass

    def _check(self, wanted: Change) -> None:
        if not self._queue.can_decide(wanted.image_id):
            raise UsageError(f"the study has no readable image {wanted.image_id!r}")
        if wanted.action != "relabel":
            if wanted.label:
                raise UsageError(f"{wanted.action} takes no class")
            return
        if wanted.label not in self._queue.class_names:
            raise UsageError(f"the study has no class {wanted.label!r}")
        if wanted.label == self._queue.label_of(wanted.image_id):
            raise UsageError(f"its label is {wanted.label!r} already: keep it instead")

    def _row(self, wanted: Change) -> Correction:
        assert wanted.action != "undo"
        return Correction(
            image_id=wanted.image_id,
            path=self._queue.path_of(wanted.image_id),
            action=wanted.action,
            label=wanted.label,
            reviewed_by=self._reviewer,
        )


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


def _as_shown(correction: Correction | None) -> Was | None:
    return None if correction is None else Was(action=correction.action, label=correction.label)
