"""Answers: what the review page is given, as bytes.

In: the name of a thing asked for, or the body of a request that changes something, both already let in by `guard`.
Out: status, content type and content. Owns no file; no sockets here.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from bestiary.data.corrections.csv_rows import Correction
from bestiary.errors import BestiaryError, ImageError, UsageError
from bestiary.review.decisions import Change, Decisions, parse_changes
from bestiary.review.pictures import LONG_SIDE_PX, Pictures
from bestiary.review.queue import ReviewQueue

Answer = tuple[int, str, bytes]

_PAGE = "review.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ELSEWHERE = "It was decided elsewhere meanwhile: look at what is there now, and decide again."


def text(status: int, sentence: str) -> Answer:
    """An answer in plain words."""
    return status, "text/plain; charset=utf-8", sentence.encode("utf-8", "replace")


class Answers:
    """All that one study's page can ask for.

    Args:
        queue: the findings.
        decisions: the corrections.
        pictures: the images.
        about: `study`, `reviewer` and `root`, as the page shows them.
    """

    def __init__(
        self, queue: ReviewQueue, decisions: Decisions, pictures: Pictures, *, about: Mapping[str, str]
    ) -> None:
        self._queue = queue
        self._decisions = decisions
        self._pictures = pictures
        self._about = about
        folder = resources.files("bestiary.review").joinpath("static")
        self._static = {entry.name: (_TYPES[Path(entry.name).suffix], entry.read_bytes()) for entry in folder.iterdir()}

    def read(self, name: str) -> Answer:
        """The page, its parts, the queue, or a picture."""
        if name == "queue":
            try:
                data = {**self._about, **self._queue.page_data(self._decisions.read())}
            except BestiaryError as error:
                return text(500, str(error))
            return 200, "application/json", _json(data)
        if (name or _PAGE) in self._static:
            kind, content = self._static[name or _PAGE]
            return 200, kind, content
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == "picture":
            return self._picture(parts[1], parts[2])
        return text(404, "There is nothing here.")

    def _picture(self, wanted: str, image_id: str) -> Answer:
        for size in LONG_SIDE_PX:
            if wanted == size and image_id in self._pictures:
                try:
                    return 200, "image/jpeg", self._pictures.get(image_id, size)
                except ImageError as error:
                    return text(410, str(error))
        return text(404, "The study has no such image.")

    def decide(self, body: bytes) -> Answer:
        """Carry out changes; whatever comes of it, tell how the images concerned now stand on disk."""
        try:
            changes = parse_changes(body)
        except UsageError as error:
            return 400, "application/json", _json({"error": str(error)})
        try:
            outcome = self._decisions.carry_out(changes)
        except UsageError as error:
            return 400, "application/json", _json({"error": str(error)})
        except BestiaryError as error:
            return 500, "application/json", _json({"error": str(error), **self._after_failing(changes)})
        reason = _ELSEWHERE if outcome.stale else ""
        standing = self._standing(changes, outcome.corrections)
        return 409 if reason else 200, "application/json", _json({"error": reason, **standing})

    def _after_failing(self, changes: Sequence[Change]) -> dict[str, Any]:
        """How the images stand nevertheless; nothing where the file cannot be read."""
        try:
            return self._standing(changes, self._decisions.read())
        except BestiaryError:  # the answer tells of the failure already
            return {}

    def _standing(self, changes: Sequence[Change], corrections: Mapping[str, Correction]) -> dict[str, Any]:
        """How the images concerned, and the findings that they belong to, now stand on disk."""
        image_ids = [change.image_id for change in changes]
        return {
            "decisions": {image_id: self._queue.decision(image_id, corrections) for image_id in image_ids},
            "decided": self._queue.decided_among(image_ids, corrections),
        }


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
