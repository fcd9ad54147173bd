"""Edits: what a key press on one finding makes of the row that its image has.

In: the row as it is, or none, the key, and the finding's issue. Out: the row as it is to be, or none. Owns no file.

An image has one row, and may have several findings. Each key answers the finding at hand and keeps what was answered
about the image before; `audit.answers` says what a row answers.
"""

from typing import Literal

from bestiary.audit.issues import ISSUES, is_asked_about
from bestiary.data.corrections.csv_rows import Correction, CorrectionAction

Key = Literal["keep", "relabel", "drop", "undo"]


def image_issues() -> tuple[str, ...]:
    """The issues that are decided on an image; the others are about a class, or about a file that is left out."""
    return tuple(key for key in ISSUES if is_asked_about(key))


def pressed(key: Key, issue: str, *, label: str = "", before: Correction | None) -> Correction | None:
    """The row after a key on a finding.

    `keep` accepts the finding as it is: its issue joins those of the row. On a finding about the label it also takes a
    relabel back. `relabel` gives a new class, and accepts the finding. `drop` keeps a note of what else was accepted.
    `undo` takes away a drop, a relabel, or the answer to this finding, and leaves what else was accepted.

    Args:
        key: what was pressed.
        issue: of the finding at hand.
        label: the new class, for `relabel`.
        before: the image's row; a keep that names no issue means `image_issues`.

    Returns:
        A row with action, label and issues alone; None: the image is to have none.
    """
    accepted = _accepted(before)
    rest = tuple(name for name in accepted if name != issue)
    if key == "drop":
        return _row("drop", "", rest)
    if key == "relabel":
        return _row("relabel", label, tuple(name for name in (*accepted, issue) if not ISSUES[name].answered_by_label))
    if key == "undo":
        return _row("keep", "", rest) if rest else None
    if before is not None and before.action == "keep" and not before.issues:
        return _row("keep")
    if before is not None and before.action == "relabel" and not ISSUES[issue].answered_by_label:
        return _row("relabel", before.label, (*accepted, issue))
    return _row("keep", "", (*accepted, issue))


def _accepted(before: Correction | None) -> tuple[str, ...]:
    """The issues that were accepted, each by its name."""
    if before is None:
        return ()
    return image_issues() if before.action == "keep" and not before.issues else before.issues


def _row(action: CorrectionAction, label: str = "", issues: tuple[str, ...] = ()) -> Correction:
    return Correction("", "", action, label, issues=tuple(dict.fromkeys(issues)))
