"""What to fix first: findings grouped by kind, the first of each as cards with pictures side by side.

In: a `StudyRecord`. Out: `FixFirst` for `templates/fix_first.html.j2`. Owns no file.

Findings that a person has decided are left out of all counts; their number is told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from bestiary.audit.answers import asked_about, is_settled
from bestiary.audit.findings import DUPLICATE_ISSUES, ISSUES
from bestiary.report.issues import WORDS, Words
from bestiary.report.record import StudyRecord
from bestiary.report.tables import Table
from bestiary.report.words.wording import counted, is_number, percent, whole

Kind = Literal["judged", "copies", "image", "file", "class"]

_CARDS, _LABEL_CARDS = 6, 30
_OPEN_CARDS: Mapping[Kind, int] = {"judged": 6, "copies": 3, "image": 6, "file": 6, "class": 6}
_NEAR, _COPIES = 5, 6
_ABOUT_CLASSES = ("shortcut", "small_class", "imbalance")


@dataclass(frozen=True)
class Still:
    """A small picture with its label. `uri` is empty where it stands elsewhere in the page; `room`: whether it fits."""

    image_id: str
    path: str
    label: str
    note: str = ""
    uri: str = ""
    room: bool = False


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
    words: Words
    count: str
    cards: tuple[Card, ...]
    folded: tuple[Card, ...] = ()
    rest: int = 0


@dataclass(frozen=True)
class FixFirst:
    """The section. Where the study was not audited, only `lead` says something."""

    audited: bool
    lead: str
    folder: str
    groups: tuple[Group, ...] = ()
    counts: Table = field(default_factory=lambda: Table(columns=[], rows=[]))


def open_findings(study: StudyRecord) -> pd.DataFrame:
    """The findings that nobody has settled yet (see `audit.settled`), in the table's order.

    Of copies, those count that the study still has.
    """
    if study.audit is None:
        return pd.DataFrame()
    table, there = study.audit.findings, set(study.index["image_id"])

    def settled(row: Mapping[str, Any]) -> bool:
        asked = asked_about(row["issue"], row["image_id"], row["related"])
        return is_settled(row["issue"], [image_id for image_id in asked if image_id in there], study.corrections)

    is_open = [not settled(row) for row in table.to_dict("records")]
    return table[np.array(is_open, dtype=bool)].reset_index(drop=True)


def findings_fact(study: StudyRecord) -> tuple[str, str, str]:
    """The key figure under the verdict: name, figure, note."""
    if study.audit is None:
        return "Findings", "\u2013", "not audited yet"
    findings = open_findings(study)
    high = int((findings["severity"] == "high").sum())
    if findings.empty:
        return "Findings", "none", "nothing to look at"
    return "Findings", whole(len(findings)), f"to look at, {whole(high)} of them urgent" if high else "to look at"


def build_fix_first(study: StudyRecord) -> FixFirst:
    """The section without its pictures; `with_pictures` puts in those that fit into the file."""
    folder = study.folder.resolve().name
    if study.audit is None:
        return FixFirst(audited=False, lead="The data of this study have not been audited yet.", folder=folder)
    findings = open_findings(study)
    images = _Images(study.index)
    groups = tuple(_group(str(issue), rows, images) for issue, rows in findings.groupby("issue", sort=False))
    settled = len(study.audit.findings) - len(findings)
    lead = _lead(findings, settled=settled, audited=study.audit.summary.get("images"))
    return FixFirst(audited=True, lead=lead, folder=folder, groups=groups, counts=counts_table(findings))


def _lead(findings: pd.DataFrame, *, settled: int, audited: Any) -> str:
    looked = f"The audit looked at {counted(audited, 'image')}" if is_number(audited) else "The audit is done"
    since = (
        f" {counted(settled, 'further finding')} {'has' if settled == 1 else 'have'} been decided." if settled else ""
    )
    if findings.empty:
        return f"{looked} and {'leaves nothing' if settled else 'found nothing'} to look at.{since}"
    images: set[str] = set(findings["image_id"]) - {""}
    for related in findings.loc[findings["issue"].isin(DUPLICATE_ISSUES), "related"]:
        images.update(related)
    high = int((findings["severity"] == "high").sum())
    urgent = f"{counted(high, 'finding')} {'is' if high == 1 else 'are'} urgent" if high else "none is urgent"
    about = f" about {counted(len(images), 'image')}" if images else ""
    verb = "leaves" if settled else "has"
    return f"{looked} and {verb} {counted(len(findings), 'finding')}{about}; {urgent}.{since}"


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


def _kind(issue: str) -> Kind:
    if issue in DUPLICATE_ISSUES:
        return "copies"
    if issue in _ABOUT_CLASSES:
        return "class"
    if issue == "unreadable":
        return "file"
    return "judged" if issue in ("label_error", "outlier") else "image"


def _group(issue: str, rows: pd.DataFrame, images: _Images) -> Group:
    kind = _kind(issue)
    most = _LABEL_CARDS if issue == "label_error" or kind == "class" else _CARDS
    # Pictures of what hardly matters are there for those who ask.
    minor = kind == "image" and set(rows["severity"]) == {"low"}
    opened = 0 if minor else _OPEN_CARDS[kind]
    cards = tuple(_card(row, kind, images) for row in rows.head(most).to_dict("records"))
    words = WORDS[next(known for known in ISSUES if known == issue)]
    return Group(
        issue=issue,
        kind=kind,
        words=words,
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


def counts_table(findings: pd.DataFrame) -> Table:
    """How many findings each class has of each kind; a finding about copies counts for the class of its first image."""
    if findings.empty:
        return Table(columns=[], rows=[])
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
        columns=["Class", *(WORDS[issue].short for issue in issues), "All"],
        rows=rows,
        marked=frozenset({len(rows) - 1}),
        label="Findings by class and kind",
    )


def own_ids(section: FixFirst) -> list[str]:
    """The images that findings are about, and copies of them: those of unfolded cards first."""
    unfolded = [card for group in section.groups for card in group.cards]
    folded = [card for group in section.groups for card in group.folded]
    copies = {card for group in section.groups if group.kind == "copies" for card in (*group.cards, *group.folded)}
    ids = []
    for card in (*unfolded, *folded):
        ids += [card.own.image_id] if card.own else []
        ids += [still.image_id for still in card.near] if card in copies else []
    return list(dict.fromkeys(ids))


def near_ids(section: FixFirst) -> list[str]:
    """The nearest neighbours that stand beside the images of `own_ids`, the nearest of each first."""
    cards = [card for group in section.groups for card in (*group.cards, *group.folded)]
    turns = range(max((len(card.near) for card in cards), default=0))
    return list(dict.fromkeys(card.near[turn].image_id for turn in turns for card in cards if turn < len(card.near)))


def with_pictures(section: FixFirst, uris: Mapping[str, str], once: Callable[[str], str]) -> FixFirst:
    """The section with its pictures.

    Args:
        section: of `build_fix_first`.
        uris: the images that fit into the file.
        once: gives an image's data URI the first time it is asked for, and nothing afterwards.
    """

    def filled(still: Still) -> Still:
        return replace(still, uri=once(still.image_id), room=True) if still.image_id in uris else still

    def of(cards: Sequence[Card]) -> tuple[Card, ...]:
        return tuple(
            replace(card, own=card.own and filled(card.own), near=tuple(filled(still) for still in card.near))
            for card in cards
        )

    groups = tuple(replace(group, cards=of(group.cards), folded=of(group.folded)) for group in section.groups)
    return replace(section, groups=groups)


def thinned_note(section: FixFirst, uris: Mapping[str, str]) -> str:
    """What is said where not all pictures fit; empty where they do."""
    wanted = {*own_ids(section), *near_ids(section)}
    shown = len(wanted & set(uris))
    if shown == len(wanted):
        return ""
    return f"To keep this file small, {whole(shown)} of {counted(len(wanted), 'picture')} of findings are in it."
