"""Rows: what a key press on one finding makes of the row that its image has.

In: the row as it is, or none, the key, and the finding's issue. Out: the row as it is to be, or none. Owns no file.

An image has one row, and may have several findings. Each key answers the finding at hand and leaves standing what was
answered of the image before; `audit.settled` says what a row answers.
"""

from collections.abc import Sequence
from typing import Literal

from bestiary.audit.settled import LABEL_ISSUES
from bestiary.core.issues import Issue, in_order
from bestiary.data.corrections import Correction, CorrectionAction

Key = Literal["keep", "relabel", "drop", "undo"]


def pressed(
    key: Key, issue: Issue, *, label: str = "", before: Correction | None, found: Sequence[str]
) -> Correction | None:
    """The row after a key on a finding.

    `keep` lets the finding stand: its issue joins those of the row. On a finding about the label it also takes a
    relabel back. `relabel` gives a new class, and lets the finding stand. `drop` needs no issues. `undo` takes away a
    drop, a relabel, or the answer to this finding, and leaves what else was let stand.

    Args:
        key: what was pressed.
        issue: of the finding at hand.
        label: the new class, for `relabel`.
        before: the image's row.
        found: the issues of all findings that ask about the image; what a keep that names none is taken for.

    Returns:
        A row with action, label and issues alone; None: the image is to have none.
    """
    named = _named(before, found)
    if key == "drop":
        return _row("drop")
    if key == "relabel":
        return _row("relabel", label, tuple(name for name in (*named, issue) if name not in LABEL_ISSUES))
    if key == "undo":
        rest = tuple(name for name in named if name != issue)
        return _row("keep", "", rest) if rest else None
    if before is not None and before.action == "keep" and not before.issues:
        return _row("keep")
    if before is not None and before.action == "relabel" and issue not in LABEL_ISSUES:
        return _row("relabel", before.label, (*named, issue))
    return _row("keep", "", (*named, issue))


def _named(before: Correction | None, found: Sequence[str]) -> tuple[str, ...]:
    """The issues that were let stand, each by its name."""
    if before is None or before.action == "drop":
        return ()
    return tuple(found) if before.action == "keep" and not before.issues else before.issues


def _row(action: CorrectionAction, label: str = "", issues: tuple[str, ...] = ()) -> Correction:
    return Correction("", "", action, label, issues=in_order(issues))
