"""The demo: faults of every kind are planted, the same each time, and what is found of them is counted honestly."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image, UnidentifiedImageError

from bestiary.audit.findings import ISSUES, Finding, findings_table
from bestiary.cli.main import run
from bestiary.demo.demo import compare, run_demo
from bestiary.demo.planting import CLASSES, Fault, plant
from bestiary.errors import StudyConflictError

OF_CLASSES = {"shortcut", "small_class", "imbalance"}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Fault]]:
    folder = tmp_path_factory.mktemp("planted")
    return folder, plant(folder)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_kind_that_the_audit_knows_is_planted(planted: tuple[Path, list[Fault]]) -> None:
    assert {fault.kind for fault in planted[1]} == set(ISSUES) - {
        *("other_files", "misplaced", "mask"),
        "similar_classes",
        "rare_class",
        "same_scene",
    }


@pytest.mark.slow
def test_the_same_seed_plants_the_same_bytes_and_another_one_others(
    planted: tuple[Path, list[Fault]], tmp_path: Path
) -> None:
    folder, faults = planted
    assert plant(tmp_path / "again") == faults
    assert digests(tmp_path / "again") == digests(folder)
    plant(tmp_path / "other", seed=1)
    assert digests(tmp_path / "other")["train/0/000.png"] != digests(folder)["train/0/000.png"]


def test_no_two_files_are_equal_but_the_planted_copies(planted: tuple[Path, list[Fault]]) -> None:
    folder, faults = planted
    files = pd.Series(digests(folder))
    copies = [fault for fault in faults if fault.original]
    for fault in copies:
        equal = files[fault.place] == files[fault.original]
        assert equal == ("near_duplicate" not in kinds_of(fault.place, faults)), fault
    exact = {
        frozenset({fault.place, fault.original}) for fault in copies if files[fault.place] == files[fault.original]
    }
    assert {frozenset(paths) for paths in files.groupby(files).groups.values() if len(paths) > 1} == exact


def test_faults_are_where_and_what_they_are_said_to_be(planted: tuple[Path, list[Fault]]) -> None:
    folder, faults = planted
    originals: dict[str, str] = {}
    for fault in faults:
        if fault.kind in OF_CLASSES:
            assert fault.place in CLASSES
            continue
        split, label, _ = fault.place.split("/")
        assert (folder / fault.place).is_file()
        if fault.original:
            # A picture carries one copy, lest one fault hide another.
            assert originals.setdefault(fault.original, fault.place) == fault.place
            original_split, original_label, _ = fault.original.split("/")
            assert (split != original_split) == ("leak" in kinds_of(fault.place, faults))
            assert (label != original_label) == (fault.kind == "label_conflict")
        if fault.kind == "unreadable":
            with pytest.raises((OSError, UnidentifiedImageError)), Image.open(folder / fault.place) as image:
                image.load()
        else:
            with Image.open(folder / fault.place) as image:
                image.load()


def kinds_of(place: str, faults: Sequence[Fault]) -> set[str]:
    return {fault.kind for fault in faults if fault.place == place}


def test_classes_have_the_sizes_that_are_said_and_one_has_a_frame(planted: tuple[Path, list[Fault]]) -> None:
    folder, faults = planted
    carrying = {fault.place.split("/")[1] for fault in faults if "/" in fault.place}
    whole = {fault.kind: fault.place for fault in faults if fault.kind in OF_CLASSES}
    for label, counts in CLASSES.items():
        for split, count in zip(("train", "test"), counts, strict=True):
            files = list((folder / split / label).iterdir())
            assert len(files) >= count
            assert (len(files) > count) <= (label in carrying)
            framed = [is_framed(file) for file in files if file.stem.isdigit()]
            assert all(framed) if label == whole["shortcut"] else not any(framed)
    assert carrying.isdisjoint(whole.values())


def is_framed(file: Path) -> bool:
    with Image.open(file) as image:
        width, height = image.size
        return {image.getpixel((x, y)) for x in (0, width - 1) for y in range(height)} == {(255, 255, 255)}


FAULTS = [
    Fault("exact_duplicate", "a/copy.png", "a/1.png"),
    Fault("exact_duplicate", "a/copy-2.png", "a/2.png"),
    Fault("label_error", "a/really-b.png"),
    Fault("dark", "b/dark.png"),
    Fault("unreadable", "b/cut.png"),
    Fault("small_class", "c"),
]
PATHS = sorted({path for fault in FAULTS for path in (fault.place, fault.original) if "/" in path} | {"b/9.png"})


def finding(kind: Any, path: str, *related: str, label: str = "") -> Finding:
    """A finding at a path; image ids are paths with a sign before them."""
    image_id = f"#{path}" if path else ""
    return Finding(
        kind,
        "low",
        0.5,
        "check",
        "",
        image_id=image_id,
        path=path,
        label=label,
        related=tuple(f"#{p}" for p in related),
    )


def compared(*findings: Finding) -> dict[str, dict[str, Any]]:
    index = pd.DataFrame({"image_id": [f"#{path}" for path in PATHS], "path": PATHS})
    return {row.pop("kind"): row for row in compare(FAULTS, findings_table(findings), index)}


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in ("planted", "found", "missed", "false_alarms", "at_other_faults"))


def test_without_findings_all_is_missed() -> None:
    rows = compared()
    assert list(rows) == list(ISSUES)
    assert counts(rows["exact_duplicate"]) == (2, 0, 2, 0, 0)
    assert rows["exact_duplicate"]["missed_paths"] == ["a/copy.png", "a/copy-2.png"]
    assert rows["small_class"]["missed_paths"] == ["c"]
    assert counts(rows["blurry"]) == (0, 0, 0, 0, 0)


def test_a_fault_is_found_by_a_finding_of_its_kind_alone() -> None:
    rows = compared(
        finding("label_error", "a/really-b.png", label="a"),
        finding("unreadable", "b/cut.png"),
        finding("small_class", "", label="c"),
        finding("light", "b/dark.png"),
    )
    assert all(counts(rows[kind]) == (1, 1, 0, 0, 0) for kind in ("label_error", "unreadable", "small_class"))
    assert counts(rows["dark"]) == (1, 0, 1, 0, 0)
    assert counts(rows["light"]) == (0, 0, 0, 1, 1)


def test_a_copy_is_found_with_its_original_alone_whichever_the_finding_stands_at() -> None:
    rows = compared(
        finding("exact_duplicate", "a/1.png", "a/copy.png"), finding("exact_duplicate", "a/copy-2.png", "b/9.png")
    )
    assert counts(rows["exact_duplicate"]) == (2, 1, 1, 0, 0)
    assert rows["exact_duplicate"]["missed_paths"] == ["a/copy-2.png"]


def test_false_alarms_name_nothing_that_was_planted_with_their_kind() -> None:
    rows = compared(
        finding("dark", "b/9.png"),
        finding("dark", "b/dark.png"),
        finding("exact_duplicate", "a/1.png", "b/9.png"),
        finding("small_class", "", label="b"),
        finding("dark", "", label="a"),
    )
    assert counts(rows["dark"]) == (1, 1, 0, 2, 0)
    assert counts(rows["exact_duplicate"]) == (2, 0, 2, 1, 0)
    assert counts(rows["small_class"]) == (1, 0, 1, 1, 0)


def test_neighbours_of_an_image_are_not_what_its_finding_is_about() -> None:
    rows = compared(finding("label_error", "b/9.png", "a/really-b.png", label="b"))
    assert counts(rows["label_error"]) == (1, 0, 1, 1, 0)


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(StudyConflictError, match="no demo"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_second_call_into_the_same_folder_recomputes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--out", str(tmp_path / "d"), "-q"]) == 0
    first = capsys.readouterr().out
    study = tmp_path / "d" / "study"
    times = {path: path.stat().st_mtime_ns for path in study.rglob("*") if path.is_file() and path.name != ".lock"}
    assert run(["demo", "--out", str(tmp_path / "d"), "-q"]) == 0
    assert capsys.readouterr().out == first
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
