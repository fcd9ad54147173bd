"""Answers: which findings a person has decided, by the corrections of their images. The one rule for all who ask.

In: a finding's issue and images, and corrections by image id. Out: yes or no. Owns no file.

A row of `corrections.csv` answers findings of its image: a `drop` all of them; a `keep` those that it names, and all
where it names none; a `relabel` those about the label, and those that it names. So a photo that was kept although it is
dark is still asked about where its label looks wrong.
"""

from collections.abc import Iterable, Mapping, Sequence

from bestiary.audit.issues import ISSUE
from bestiary.data.corrections.overlay import Correction

# What a new label answers by itself.
LABEL_ISSUES: tuple[str, ...] = tuple(key for key, issue in ISSUE.items() if issue.relabel_answers)

Decisions = Mapping[str, Correction]


def answers(correction: Correction, issue: str) -> bool:
    """Whether a correction answers the findings of one issue about its image."""
    if correction.action == "drop":
        return True
    if correction.action == "keep":
        return not correction.issues or issue in correction.issues
    return ISSUE[issue].relabel_answers or issue in correction.issues


def asked_about(issue: str, image_id: str, related: Iterable[str]) -> tuple[str, ...]:
    """The images that a finding asks about: copies of one another, or its own; none where it is about a class."""
    if not image_id:
        return ()
    return tuple(dict.fromkeys([image_id, *related])) if ISSUE[issue].are_copies else (image_id,)


def is_decided(issue: str, members: Sequence[str], decisions: Decisions) -> bool:
    """Whether a finding asks for nothing more.

    One about an image is decided when that is answered; one about copies when each of them is, or when all but one are
    dropped. One that asks about no image never is.

    Args:
        issue: the finding's.
        members: of `asked_about`.
        decisions: corrections by image id.
    """
    there = [decisions[image_id] for image_id in members if image_id in decisions]
    if members and len(there) == len(members) and all(answers(correction, issue) for correction in there):
        return True
    dropped = sum(correction.action == "drop" for correction in there)
    return ISSUE[issue].are_copies and len(members) > 1 and dropped == len(members) - 1


def answered(decisions: Decisions, issue: str) -> frozenset[str]:
    """The images for which one issue is answered."""
    return frozenset(image_id for image_id, correction in decisions.items() if answers(correction, issue))


def answers_key(decisions: Decisions) -> list[tuple[str, list[str]]]:
    """What of the decisions answers findings, to be hashed: neither who decided nor when."""
    return sorted(
        (image_id, [issue for issue in ISSUE if answers(correction, issue)])
        for image_id, correction in decisions.items()
    )
