"""What a reader must know before the figures: what is missing, what is too good, what is out of date.

In: a `StudyRecord`. Out: sentences for the head of the page. Owns no file.
"""

from collections.abc import Mapping
from typing import Any

from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import interval, straddling
from bestiary.report.words.wording import counted, percent, percent_interval


def remarks(study: StudyRecord, *, audit_key: str | None = None) -> list[str]:
    """The remarks on a study; words between backticks are commands.

    Args:
        study: the study.
        audit_key: the fingerprint of an audit made now; None: not known, and nothing is said about it.
    """
    found = []
    if study.splits.empty:
        found.append("The images have not been split yet.")
    elif (crossing := straddling(study.splits)).groups:
        verb = "is" if crossing.groups == 1 else "are"
        found.append(
            f"The splits came with the data, and {counted(crossing.groups, 'group')} of images that belong together "
            f"{verb} in more than one of them: the {crossing.spoiled} figures may be too high."
            + _without_leaks(study.comparison)
        )
    if not study.compared:
        found.append("The models have not been compared yet.")
    if study.audit and audit_key not in (None, study.audit.summary.get("fingerprint")):
        name = study.folder.resolve().name
        found.append(
            f"Data, corrections or settings changed after the audit: run `bestiary audit {name}` to update it."
        )
    if study.data_root is None:
        found.append("The folder of the images was not found: placeholders stand in for all pictures.")
    return found


def _without_leaks(comparison: Mapping[str, Any]) -> str:
    """The winner's test accuracy without leaked images; empty where there are none, or no winner."""
    rows = [row for row in comparison.get("models", []) if row["model"] == comparison.get("winner")]
    winner: Mapping[str, Any] = rows[0] if rows else {}
    figures = winner.get("test_leak_free")
    if not figures:
        return ""
    if not figures["n"]:
        return " Every test image has a copy, or an image of its group, in train or validation."
    left, everything = interval(figures, "accuracy"), interval(winner.get("test"), "accuracy")
    count = counted(figures["n_leaked"], "test image")
    return (
        f" Without the {count} that {'has' if figures['n_leaked'] == 1 else 'have'} one in train or validation, the "
        f"test accuracy of {winner['model']} is {percent(left['value'])} ({percent_interval(left)}) instead of "
        f"{percent(everything['value'])}."
    )
