"""What to fix first: findings grouped by kind, the first of each as cards with pictures side by side.

In: a `StudyRecord`. Out: parts of the section "What to fix first". Owns no file.

Findings that a person has decided are left out of all counts; how many they are is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from bestiary.audit.answers import asked_about, is_answered
from bestiary.audit.findings import COLUMNS
from bestiary.audit.issues import ISSUES, Issue, is_about_copies
from bestiary.report.parts import Part, Table, Text
from bestiary.report.study_record import StudyRecord
from bestiary.report.words.wording import counted, is_number, percent, whole

Kind = Literal["judged", "copies", "image", "file", "class"]

_OPEN_CARDS: Mapping[Kind, int] = {"judged": 6, "copies": 3, "image": 6, "file": 6, "class": 6}
_NEAR, _COPIES = 5, 6


@dataclass(frozen=True)
class Still:
    """A small picture with its label; `note` is its size."""

    image_id: str
    path: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Card:
    """One finding. `near`: copies, or the nearest neighbours; `more`: how many of them are not shown.

    A finding about a whole class has neither path nor picture.
    """

    reason: str
    label: str
    path: str
    own: Still | None = None
    near: tuple[Still, ...] = ()
    more: int = 0
    suggestion: str = ""
    p_label: str = ""
    p_suggestion: str = ""


@dataclass(frozen=True)
class Group:
    """All findings of one kind: the first as `cards`, further ones as `folded`; `rest` are in audit.csv only."""

    issue: str
    kind: Kind
    words: Issue
    count: str
    cards: tuple[Card, ...]
    folded: tuple[Card, ...] = ()
    rest: int = 0


@dataclass(frozen=True)
class FindingCards(Part):
    """The groups of findings, each with its cards; which pictures fit is known only when the page is put together."""

    template = "parts/finding_cards.html.j2"
    groups: tuple[Group, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing is left to look at."""
        return not self.groups


def open_findings(study: StudyRecord) -> pd.DataFrame:
    """The findings that nobody has decided yet (see `audit.answers`), in the table's order.

    Of copies, those count that the study still has. No row where the study was not audited.
    """
    if study.audit is None:
        return pd.DataFrame(columns=list(COLUMNS))
    table, there = study.audit.findings, set(study.index["image_id"])

    def decided(row: Mapping[str, Any]) -> bool:
        asked = asked_about(row["issue"], row["image_id"], row["related"])
        return is_answered(row["issue"], [image_id for image_id in asked if image_id in there], study.corrections)

    is_open = [not decided(row) for row in table.to_dict("records")]
    return table[np.array(is_open, dtype=bool)].reset_index(drop=True)


def findings_lead(study: StudyRecord) -> Text:
    """How many findings there are, and where they all are; or that the study was not audited."""
    folder = study.folder.resolve().name
    if study.audit is None:
        return Text(
            [
                f"The data of this study have not been audited yet. Run `bestiary audit {folder}` to find copies, "
                "labels that may be wrong, files that cannot be read, and more."
            ]
        )
    findings = open_findings(study)
    decided = len(study.audit.findings) - len(findings)
    lead = _lead(findings, decided=decided, audited=study.audit.summary.get("images"))
    if findings.empty:
        return Text([lead])
    return Text(
        [
            lead,
            "Findings are grouped by kind, those with the most effect on the results first, and the first few of each "
            f"kind are shown. `audit.csv` has them all. `bestiary review {folder}` shows them one by one and writes "
            "what you decide to `corrections.csv`; no image file is changed.",
        ]
    )


def _lead(findings: pd.DataFrame, *, decided: int, audited: Any) -> str:
    checked = f"The audit checked {counted(audited, 'image')}" if is_number(audited) else "The audit is done"
    since = (
        f" {counted(decided, 'further finding')} {'has' if decided == 1 else 'have'} been decided." if decided else ""
    )
    if findings.empty:
        return f"{checked} and {'has no open finding' if decided else 'found nothing'}.{since}"
    images: set[str] = set(findings["image_id"]) - {""}
    for related in findings.loc[findings["issue"].map(is_about_copies).astype(bool), "related"]:
        images.update(related)
    high = int((findings["severity"] == "high").sum())
    urgent = f"{whole(high)} {'is' if high == 1 else 'are'} urgent" if high else "none is urgent"
    about = f" about {counted(len(images), 'image')}" if images else ""
    kind = "open finding" if decided else "finding"
    return f"{checked} and has {counted(len(findings), kind)}{about}; {urgent}.{since}"


def finding_cards(study: StudyRecord) -> FindingCards | None:
    """The groups of findings that nobody has decided yet."""
    if study.audit is None:
        return None
    findings, images = open_findings(study), _Images(study.index)
    return FindingCards(
        tuple(_group(str(issue), rows, images) for issue, rows in findings.groupby("issue", sort=False))
    )


class _Images:
    """What the index knows of an image."""

    def __init__(self, index: pd.DataFrame) -> None:
        columns = ["path", "label", "width_px", "height_px", "error"]
        self._rows = dict(zip(index["image_id"], index[columns].to_dict("records"), strict=True))

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._rows and not self._rows[image_id]["error"]

    def still(self, image_id: str) -> Still:
        row = self._rows[image_id]
        size = f"{whole(row['width_px'])}\u00a0\u00d7\u00a0{whole(row['height_px'])}" if row["width_px"] else ""
        return Still(image_id=image_id, path=str(row["path"]), label=str(row["label"]), note=size)


def _kind(issue: Issue) -> Kind:
    return "judged" if issue.with_neighbours else issue.about


def _group(issue: str, rows: pd.DataFrame, images: _Images) -> Group:
    about = ISSUES[issue]
    kind, most = _kind(about), about.most_cards
    # Pictures of what hardly matters are there for those who ask.
    minor = kind == "image" and set(rows["severity"]) == {"low"}
    opened = 0 if minor else _OPEN_CARDS[kind]
    cards = tuple(_card(row, kind, images) for row in rows.head(most).to_dict("records"))
    return Group(
        issue=issue,
        kind=kind,
        words=about,
        count=whole(len(rows)),
        cards=cards[:opened],
        folded=cards[opened:],
        rest=len(rows) - len(cards),
    )


def _card(row: Mapping[str, Any], kind: Kind, images: _Images) -> Card:
    own = str(row["image_id"])
    related = [str(image_id) for image_id in row["related"] if str(image_id) in images]
    shown = {"copies": _COPIES - 1, "judged": _NEAR}.get(kind, 0)
    return Card(
        reason=_sentence(str(row["reason"])),
        label=str(row["label"]),
        path=str(row["path"]),
        own=images.still(own) if own in images else None,
        near=tuple(images.still(image_id) for image_id in related[:shown]),
        more=max(len(related) - shown, 0) if kind == "copies" else 0,
        suggestion=str(row["suggestion"]),
        p_label=percent(row["p_label"]) if is_number(row["p_label"]) else "",
        p_suggestion=percent(row["p_suggestion"]) if is_number(row["p_suggestion"]) else "",
    )


def _sentence(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".!?" else f"{text}."


def counts_table(study: StudyRecord) -> Table | None:
    """How many findings each class has of each kind; a finding about copies counts for the class of its first image."""
    findings = open_findings(study)
    if findings.empty:
        return None
    present = set(findings["issue"])
    issues = [issue for issue in ISSUES if issue in present]
    labels = sorted(set(findings["label"]) - {""}) + ([""] if (findings["label"] == "").any() else [])
    counts = findings.groupby(["label", "issue"]).size().to_dict()
    rows = []
    for label in labels:
        own = [counts.get((label, issue), 0) for issue in issues]
        rows.append([label or "(no class)", *(whole(n) if n else "" for n in own), whole(sum(own))])
    totals = [int((findings["issue"] == issue).sum()) for issue in issues]
    rows.append(["All", *map(whole, totals), whole(len(findings))])
    return Table(
        ["Class", *(ISSUES[issue].short for issue in issues), "All"],
        rows,
        marked=frozenset({len(rows) - 1}),
        label="Findings by class and kind",
        title="Findings by class",
    )


def own_ids(part: FindingCards) -> list[str]:
    """The images that findings are about, and copies of them: those of unfolded cards first."""
    unfolded = [card for group in part.groups for card in group.cards]
    folded = [card for group in part.groups for card in group.folded]
    copies = {card for group in part.groups if group.kind == "copies" for card in (*group.cards, *group.folded)}
    ids = []
    for card in (*unfolded, *folded):
        ids += [card.own.image_id] if card.own else []
        ids += [still.image_id for still in card.near] if card in copies else []
    return list(dict.fromkeys(ids))


def near_ids(part: FindingCards) -> list[str]:
    """The nearest neighbours that stand beside the images of `own_ids`, the nearest of each first."""
    cards = [card for group in part.groups for card in (*group.cards, *group.folded)]
    turns = range(max((len(card.near) for card in cards), default=0))
    return list(dict.fromkeys(card.near[turn].image_id for turn in turns for card in cards if turn < len(card.near)))
