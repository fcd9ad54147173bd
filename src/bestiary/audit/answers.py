"""Answers: which findings a person has answered, by the corrections of their images. The one rule for all who ask.

In: a finding's issue and images, and corrections by image id. Out: yes or no. Owns no file.

A row of `corrections.csv` answers findings of its image: a `drop` all of them; a `keep` those that it names, and all
where it names none; a `relabel` those about the label, and those that it names; an `apart` those about copies, and
where it has a label those of a relabel. So a photo that was kept although it is dark is still asked about where its
label looks wrong.
"""

from collections.abc import Iterable, Mapping, Sequence

from bestiary.audit.issues import ISSUES, is_about_copies
from bestiary.data.corrections.csv_rows import Correction

Decisions = Mapping[str, Correction]


def answers(correction: Correction, issue: str) -> bool:
    """Whether a correction answers the findings of one issue about its image."""
    if correction.action == "drop":
        return True
    if correction.action == "keep":
        return not correction.issues or issue in correction.issues
    if correction.action == "apart" and is_about_copies(issue):
        return True
    return (bool(correction.label) and ISSUES[issue].answered_by_label) or issue in correction.issues


def asked_about(issue: str, image_id: str, related: Iterable[str]) -> tuple[str, ...]:
    """The images that a finding asks about: copies of one another, or its own; none where it is about a class."""
    if not image_id:
        return ()
    return tuple(dict.fromkeys([image_id, *related])) if is_about_copies(issue) else (image_id,)


def is_answered(issue: str, members: Sequence[str], decisions: Decisions) -> bool:
    """Whether a finding asks for nothing more.

    One about an image is answered when that image is; one about copies when each of them is, or when all but one are
    dropped or set apart. One that asks about no image never is.

    Args:
        issue: the finding's.
        members: of `asked_about`.
        decisions: corrections by image id.
    """
    there = [decisions[image_id] for image_id in members if image_id in decisions]
    # Of files with the same bytes, to say that they are no copies answers nothing.
    contents = [image_id.partition("-")[0] for image_id in members]
    if len(set(contents)) < len(contents) and any(correction.action == "apart" for correction in there):
        there = [correction for correction in there if correction.action != "apart"]
    if members and len(there) == len(members) and all(answers(correction, issue) for correction in there):
        return True
    gone = sum(correction.action in ("drop", "apart") for correction in there)
    return is_about_copies(issue) and len(members) > 1 and gone == len(members) - 1


def answered(decisions: Decisions, issue: str) -> frozenset[str]:
    """The images for which one issue is answered."""
    return frozenset(image_id for image_id, correction in decisions.items() if answers(correction, issue))


def apart_ids(decisions: Decisions) -> frozenset[str]:
    """The images that are no copies of those in their cluster."""
    return frozenset(image_id for image_id, correction in decisions.items() if correction.action == "apart")


def answers_key(decisions: Decisions) -> list[tuple[str, list[str]]]:
    """What of the decisions answers findings, to be hashed: neither who decided nor when."""
    return sorted(
        (image_id, [issue for issue in ISSUES if answers(correction, issue)])
        for image_id, correction in decisions.items()
    )
