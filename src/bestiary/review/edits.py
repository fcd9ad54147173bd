"""Edits: what a key press on one finding makes of the row that its image has.

In: the row as it is, or none, the key, and the finding's issue. Out: the row as it is to be, or none. Owns no file.

An image has one row, and may have several findings. Each key answers the finding at hand and keeps what was answered
about the image before; `audit.answers` says what a row answers.
"""

from typing import Literal

from bestiary.audit.issues import ISSUES, is_about_copies, is_asked_about
from bestiary.data.corrections.csv_rows import Correction, CorrectionAction

Key = Literal["keep", "relabel", "drop", "apart", "undo"]


def image_issues() -> tuple[str, ...]:
    """The issues that are decided on an image; the others are about a class, or about a file that is left out."""
    return tuple(key for key in ISSUES if is_asked_about(key))


def pressed(key: Key, issue: str, *, label: str = "", before: Correction | None) -> Correction | None:
    """The row after a key on a finding.

    `keep` accepts the finding as it is: its issue joins those of the row. On a finding about the label it also takes a
    relabel back, and on one about copies an `apart`. `relabel` gives a new class, and accepts the finding. `drop` keeps
    a note of what else was accepted. `apart` says that the image is no copy of the others; a new class stays. `undo`
    takes away a drop, a relabel, an apart on findings about copies, or the answer to this finding, and leaves what else
    was accepted.

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
    is_apart = before is not None and before.action == "apart"
    if key == "drop":
        return _row("drop", "", rest)
    if key == "apart":
        named = tuple(name for name in accepted if not is_about_copies(name))
        return _row("apart", before.label if before else "", named)
    if key == "relabel":
        named = tuple(name for name in (*accepted, issue) if not ISSUES[name].answered_by_label)
        return _row("apart" if is_apart else "relabel", label, named)
    if before is not None and is_apart:
        return _about_one_apart(key, issue, before)
    if key == "undo":
        return _row("keep", "", rest) if rest else None
    return _kept(issue, accepted, before)


def _kept(issue: str, accepted: tuple[str, ...], before: Correction | None) -> Correction:
    if before is not None and before.action == "keep" and not before.issues:
        return _row("keep")
    if before is not None and before.action == "relabel" and not ISSUES[issue].answered_by_label:
        return _row("relabel", before.label, (*accepted, issue))
    return _row("keep", "", (*accepted, issue))


def _about_one_apart(key: Key, issue: str, before: Correction) -> Correction | None:
    """`keep` or `undo` on an image that is set apart."""
    if is_about_copies(issue):
        named = (*before.issues, issue) if key == "keep" else before.issues
        if before.label:
            return _row("relabel", before.label, named)
        return _row("keep", "", named) if named else None
    label = "" if ISSUES[issue].answered_by_label else before.label
    rest = tuple(name for name in before.issues if name != issue)
    return _row("apart", label, (*rest, issue) if key == "keep" else rest)


def _accepted(before: Correction | None) -> tuple[str, ...]:
    """The issues that were accepted, each by its name."""
    if before is None:
        return ()
    return image_issues() if before.action == "keep" and not before.issues else before.issues


def _row(action: CorrectionAction, label: str = "", issues: tuple[str, ...] = ()) -> Correction:
    return Correction("", "", action, label, issues=tuple(dict.fromkeys(issues)))
