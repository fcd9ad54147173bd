"""Routes: what the review page asks for → the response, as bytes.

In: the name of what is asked for, or the body of a request that changes something; `guard` has let them in.
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

Response = tuple[int, str, bytes]

_PAGE = "review.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ELSEWHERE = "This was decided elsewhere meanwhile: see what is there now, and decide again."


def text(status: int, sentence: str) -> Response:
    """A response in plain words."""
    return status, "text/plain; charset=utf-8", sentence.encode("utf-8", "replace")


class Routes:
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

    def read(self, name: str) -> Response:
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

    def _picture(self, asked: str, image_id: str) -> Response:
        for size in LONG_SIDE_PX:
            if asked == size and image_id in self._pictures:
                try:
                    return 200, "image/jpeg", self._pictures.get(image_id, size)
                except ImageError as error:
                    return text(410, str(error))
        return text(404, "The study has no such image.")

    def decide(self, body: bytes) -> Response:
        """Carry out changes. The response says what is decided on disk about their images, also where that failed."""
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
        decided = self._decided(changes, outcome.corrections)
        return 409 if reason else 200, "application/json", _json({"error": reason, **decided})

    def _after_failing(self, changes: Sequence[Change]) -> dict[str, Any]:
        """What is decided nevertheless; nothing where the file cannot be read."""
        try:
            return self._decided(changes, self._decisions.read())
        except BestiaryError:  # the response names the failure already
            return {}

    def _decided(self, changes: Sequence[Change], corrections: Mapping[str, Correction]) -> dict[str, Any]:
        """What is decided on disk about the images of changes, and about the findings that they belong to."""
        image_ids = [change.image_id for change in changes]
        return {
            "decisions": {image_id: self._queue.decision(image_id, corrections) for image_id in image_ids},
            "decided": self._queue.decided_among(image_ids, corrections),
        }


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
