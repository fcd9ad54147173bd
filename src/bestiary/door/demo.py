"""Demo: the whole way on scikit-learn's digits, with faults planted among them.

In: a folder to write to. Out: `<out>/digits/` (images), `<out>/study/` (a study of the recipe `demo`), and what was
found of what was planted.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bestiary.core.errors import StudyConflictError
from bestiary.core.progress import SILENT, Progress
from bestiary.data.datasets import write_digits
from bestiary.data.index import read_index
from bestiary.data.splits import read_splits
from bestiary.door.printing import print_comparison, print_rows
from bestiary.door.workflow import Study

_A_CLASS = 60
_MARK = ".bestiary-demo"


@dataclass(frozen=True)
class Fault:
    """A fault and the file that carries it."""

    what: str
    path: str


def run_demo(out: Path, *, progress: Progress = SILENT) -> dict[str, Any]:
    """Write 600 digits with faults, study them, and compare what was found with what was planted.

    Raises:
        StudyConflictError: `out` holds something that is no demo.
    """
    _claim(out)
    progress.say(f"  600 of scikit-learn's digits, with faults, in {out / 'digits'}")
    faults = plant(out / "digits")
    study = Study.create(out / "digits", out / "study", recipe="demo", when_there="force", progress=progress)
    result = study.run()
    return {
        "planted": [{"fault": fault.what, "path": fault.path, "found": _finding(study, fault)} for fault in faults],
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


def plant(folder: Path) -> list[Fault]:
    """Copy 60 digits a class and plant a truncated file, a text file named .png, an empty file and three copies."""
    source = write_digits()
    for label in sorted(entry.name for entry in source.iterdir()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for image in sorted((source / label).iterdir())[:_A_CLASS]:
            shutil.copyfile(image, folder / label / image.name)
    whole = min((folder / "3").iterdir())
    (folder / "3" / "truncated.png").write_bytes(whole.read_bytes()[:60])
    (folder / "5" / "notes.png").write_text("These are my notes, saved under the wrong name.\n", encoding="utf-8")
    (folder / "6" / "empty.png").write_bytes(b"")
    for number, image in enumerate(sorted((folder / "7").glob("[0-9]*.png"))[:3]):
        shutil.copyfile(image, folder / "7" / f"copy-{number}.png")
    return [
        Fault("truncated image", "3/truncated.png"),
        Fault("text file named .png", "5/notes.png"),
        Fault("empty file", "6/empty.png"),
        *[Fault("exact copy", f"7/copy-{number}.png") for number in range(3)],
    ]


def _finding(study: Study, fault: Fault) -> str:
    """What the study's tables say of a planted file; empty where it was not found."""
    index = read_index(study.path)
    row = index[index["path"] == fault.path].iloc[0]
    if row["error"]:
        return f"left out: {row['error']}"
    same = index[(index["sha256"] == row["sha256"]) & (index["path"] != row["path"])]
    splits = read_splits(study.path).set_index("image_id")["split"]
    together = splits[[row["image_id"], *same["image_id"]]].nunique() == 1
    if same.empty or not together:
        return ""
    return f"copy of {same.iloc[0]['path']}; both in {splits[row['image_id']]}"


def print_demo(result: dict[str, Any]) -> None:
    """For a person: what was planted and found, the table of models, the report's path."""
    rows = [(row["fault"], row["path"], row["found"] or "MISSED") for row in result["planted"]]
    found = sum(bool(row["found"]) for row in result["planted"])
    print_rows(("planted", "file", "found"), rows)
    print(f"\n{found} of {len(rows)} planted faults found\n")
    print_comparison(result["comparison"])
    print(f"\nwinner   {result['winner']}\nreport   {result['report']}\nmodel    {result['model']}")
