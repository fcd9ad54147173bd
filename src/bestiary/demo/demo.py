"""Demo: a whole study of drawn digits with faults of every kind among them, and what was found of these.

In: a folder to write to. Out: `<out>/coloured-digits/` (images), `<out>/study/` (a study of the recipe `demo`), and a
comparison of what was found with what was planted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.audit.findings import read_findings
from bestiary.audit.issues import ISSUES, is_about_copies
from bestiary.data.corrections.saved import read_corrections
from bestiary.data.index import read_index
from bestiary.demo.planting import Fault, plant
from bestiary.errors import StudyConflictError
from bestiary.plurals import counted
from bestiary.progress import SILENT, Progress
from bestiary.study.study import Study

_IMAGES, _STUDY, _MARK = "coloured-digits", "study", ".bestiary-demo"


def run_demo(out: Path, *, progress: Progress = SILENT) -> dict[str, Any]:
    """Draw some 700 digits with faults, study them, and compare what was found with what was planted.

    Raises:
        StudyConflictError: `out` holds something that is no demo.
    """
    _claim(out)
    faults = plant(out / _IMAGES)
    kinds = len({fault.kind for fault in faults})
    progress.say(f"  scikit-learn's digits in colour, with faults of {kinds} kinds, in {out / _IMAGES}")
    study = Study.create(out / _IMAGES, out / _STUDY, recipe="demo", when_there="force", progress=progress)
    if decided := len(read_corrections(study.path)):
        progress.say(f"  corrections.csv has {counted(decided, 'decision')}: a fault that is corrected is not found")
    result = study.run()
    return {
        "faults": compare(faults, read_findings(study.path), read_index(study.path)),
        "comparison": result.comparison,
        "winner": result.winner,
        "report": result.report,
        "model": result.model,
    }


def _claim(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / _MARK).exists())):
        raise StudyConflictError(f"{out} is there and is no demo: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()


def compare(faults: Sequence[Fault], findings: pd.DataFrame, index: pd.DataFrame) -> list[dict[str, Any]]:
    """What was found of what was planted, one row a kind.

    A planted fault is found where a finding of its kind names its file, and the file that it is a copy of; or its
    class. A finding is a false alarm where nothing that it names was planted with that kind.

    Returns:
        Rows of `kind`; `planted`, `found` and `missed` (faults); `false_alarms` (findings) and `at_other_faults` (those
        of them that name a file with a fault of another kind); `missed_paths` (or classes).
    """
    paths = index.set_index("image_id")["path"].to_dict()
    everywhere = {fault.place for fault in faults}
    rows = []
    for kind in ISSUES:
        planted = [fault for fault in faults if fault.kind == kind]
        places = {fault.place for fault in planted}
        named = [_named(finding, paths) for finding in findings[findings["issue"] == kind].itertuples()]
        missed = [fault.place for fault in planted if not any({fault.place, fault.original} - {""} <= n for n in named)]
        alarms = [names for names in named if not names & places]
        rows.append(
            {
                "kind": kind,
                "planted": len(planted),
                "found": len(planted) - len(missed),
                "missed": len(missed),
                "false_alarms": len(alarms),
                "at_other_faults": sum(bool(names & everywhere) for names in alarms),
                "missed_paths": missed,
            }
        )
    return rows


def _named(finding: Any, paths: dict[str, str]) -> set[str]:
    """The files that a finding is about (those of a cluster are copies of one another), or its class."""
    if not finding.image_id:
        return {finding.label}
    related = finding.related if is_about_copies(finding.issue) else ()
    return {paths[image_id] for image_id in (finding.image_id, *related)}
