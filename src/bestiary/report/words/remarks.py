"""What a reader must know before the figures: what is missing, what is too good, what is out of date.

In: a `StudyRecord`. Out: sentences for the head of the page. Owns no file.
"""

from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import straddling
from bestiary.report.words.wording import counted


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
            f"{verb} in more than one of them: the {crossing.spoiled} figures are too high."
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
