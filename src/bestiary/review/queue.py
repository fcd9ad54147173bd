"""The queue: findings, index and corrections → what the review page lists, and what is decided.

In: the findings table, the index as the files are, the corrections of each image. Out: plain data for the page, and
`Progress`. Owns no file.

A finding is one of three kinds. `image`: the decision is about its own image. `cluster`: copies of one another, each of
which can be decided on. `note`: nothing to decide (about a whole class, a file that is left out already, or an image
that the study no longer has). The only record of a decision is the corrections file: whether a finding is decided
follows from it, so that nothing is lost with the page or the server.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from bestiary.audit.answers import answers, asked_about, is_answered
from bestiary.audit.issues import ISSUES, is_about_copies
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.index import class_names, readable

Kind = Literal["image", "cluster", "note"]


@dataclass(frozen=True)
class Progress:
    """How many findings are decided, of those that ask for a decision."""

    decided: int
    total: int
    by_issue: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Item:
    """One finding as the page shows it. `members`: images to decide on; `nearby`: images only shown."""

    finding: Mapping[str, Any]
    kind: Kind
    members: tuple[str, ...]
    nearby: tuple[str, ...]

    @property
    def finding_id(self) -> str:
        return str(self.finding["finding_id"])


class ReviewQueue:
    """All findings of a study in the order of the table."""

    def __init__(self, findings: pd.DataFrame, index: pd.DataFrame) -> None:
        """Read both tables once.

        Args:
            findings: as `audit.findings` writes them.
            index: as `data.index` writes it, without corrections.
        """
        columns = ["path", "label", "width_px", "height_px", "bytes", "split_given", "error"]
        rows = index[columns].to_dict("records")
        self._images = dict(zip(index["image_id"], rows, strict=True))
        self._there = set(readable(index)["image_id"])
        self.class_names = class_names(index)
        self.items = [self._item(row) for row in findings.to_dict("records")]
        self._items_of: dict[str, list[Item]] = {}
        for item in self.items:
            for image_id in item.members:
                self._items_of.setdefault(image_id, []).append(item)

    def _item(self, finding: dict[str, Any]) -> Item:
        related = [str(image_id) for image_id in finding["related"]]
        asked = asked_about(finding["issue"], str(finding["image_id"]), related)
        members = tuple(image_id for image_id in asked if image_id in self._there)
        if is_about_copies(finding["issue"]):
            return Item(finding, "cluster" if members else "note", members, ())
        nearby = tuple(image_id for image_id in related if image_id in self._there)
        return Item(finding, "image" if members else "note", members, nearby)

    def can_decide(self, image_id: str) -> bool:
        """Whether the study has this image and could read it."""
        return image_id in self._there

    def path_of(self, image_id: str) -> str:
        """Relative to the data root."""
        return str(self._images[image_id]["path"])

    def label_of(self, image_id: str) -> str:
        """The class as found, whatever a correction says."""
        return str(self._images[image_id]["label"])

    def issues_of(self, image_id: str) -> tuple[str, ...]:
        """The issues of all findings that ask about an image."""
        found = {item.finding["issue"] for item in self._items_of.get(image_id, [])}
        return tuple(issue for issue in ISSUES if issue in found)

    def is_decided(self, item: Item, corrections: Mapping[str, Correction]) -> bool:
        """Whether a finding asks for nothing more; see `audit.answers`. A note is never decided."""
        return is_answered(item.finding["issue"], item.members, corrections)

    def decided_among(self, image_ids: list[str], corrections: Mapping[str, Correction]) -> dict[str, bool]:
        """For each finding that one of these images belongs to, whether it is decided now."""
        items = {item.finding_id: item for image_id in image_ids for item in self._items_of.get(image_id, [])}
        return {finding_id: self.is_decided(item, corrections) for finding_id, item in items.items()}

    def progress(self, corrections: Mapping[str, Correction]) -> Progress:
        """How far the review is, in all and by issue."""
        by_issue: dict[str, tuple[int, int]] = {}
        for item in self.items:
            if item.kind != "note":
                decided, total = by_issue.get(item.finding["issue"], (0, 0))
                by_issue[item.finding["issue"]] = (decided + self.is_decided(item, corrections), total + 1)
        return Progress(
            decided=sum(decided for decided, _ in by_issue.values()),
            total=sum(total for _, total in by_issue.values()),
            by_issue=by_issue,
        )

    def page_data(self, corrections: Mapping[str, Correction]) -> dict[str, Any]:
        """What the page lists: every image named once, findings naming images by their place in that list."""
        own = [str(item.finding["image_id"]) for item in self.items]
        named = {image_id for item in self.items for image_id in (*item.members, *item.nearby)}
        shown = sorted(named | {image_id for image_id in own if image_id in self._images})
        place = {image_id: number for number, image_id in enumerate(shown)}
        issues = {item.finding["issue"] for item in self.items}
        return {
            "class_names": self.class_names,
            "issues": [
                {"issue": issue, "title": ISSUES[issue].short, "question": ISSUES[issue].question}
                for issue in ISSUES
                if issue in issues
            ],
            "images": [{"id": image_id, **self._images[image_id]} for image_id in shown],
            "findings": [self._entry(item, place, corrections) for item in self.items],
            "decisions": {i: self.decision(i, corrections) for i in shown if i in corrections},
        }

    def decision(self, image_id: str, corrections: Mapping[str, Correction]) -> dict[str, Any] | None:
        """The correction of an image as the page knows it, with the issues of its findings that it answers."""
        correction = corrections.get(image_id)
        if correction is None:
            return None
        texts = {name: getattr(correction, name) for name in ("action", "label", "reviewed_by", "reviewed_at")}
        answered = [issue for issue in self.issues_of(image_id) if answers(correction, issue)]
        return {**texts, "issues": list(correction.issues), "answered": answered}

    def _entry(self, item: Item, place: Mapping[str, int], corrections: Mapping[str, Correction]) -> dict[str, Any]:
        finding = item.finding
        texts = {name: str(finding[name]) for name in ("issue", "severity", "label", "action", "suggestion", "reason")}
        return {
            "id": item.finding_id,
            "kind": item.kind,
            **texts,
            "path": str(finding["path"]),
            "image": place.get(str(finding["image_id"]), -1),
            "members": [place[image_id] for image_id in item.members],
            "nearby": [place[image_id] for image_id in item.nearby],
            "p_label": _number(finding["p_label"]),
            "p_suggestion": _number(finding["p_suggestion"]),
            "decided": self.is_decided(item, corrections),
        }


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)
