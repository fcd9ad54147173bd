"""A study with bursts: what is said of them, and what a study of before makes of the setting."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from bestiary.progress import Silent
from bestiary.study.study import Study

SETTINGS = ("audit.enabled=false", "split.group_duplicates=exact")


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text.strip())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twenty pairs of images, one of each class, an hour apart, then 40 of a camera without a clock."""
    rows = ["path,label,taken"]
    for number in range(80):
        label = "ab"[number % 2]
        taken = datetime(2020, 5, 1) + timedelta(hours=number // 2, seconds=number % 2)
        Image.new("RGB", (8, 8), (3 * number, 255 - 3 * number, 90)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{label},{taken.isoformat() if number < 40 else '2000:01:01 00:00:00'}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


def test_a_clock_that_was_not_set_is_said_where_its_group_is_too_large(table: Path, tmp_path: Path) -> None:
    told = Told()
    bursts = ("data.burst_s=30", "data.time_column=taken")
    study = Study.create(table, tmp_path / "out", models=["majority"], overrides=[*SETTINGS, *bursts], progress=told)
    study.index()
    splits = study.split()
    assert any("21 bursts of 2 to 40 images" in line for line in told.lines)
    (large,) = [line for line in told.lines if "belong together" in line]
    assert "Most of them have the very time 2000-01-01T00:00:00, as from a clock that was not set" in large
    assert splits["group_id"].nunique() == 21


def test_a_study_takes_bursts_up_and_keeps_its_sides(table: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    table.write_text(table.read_text().replace("2000:01:01 00:00:00", ""))
    study = Study.create(table, place, models=["majority"], overrides=SETTINGS)
    study.index()
    before = study.split()
    bursts = ("data.burst_s=30", "data.time_column=taken")
    again = Study.create(
        table, place, models=["majority"], overrides=[*SETTINGS, *bursts], when_there="force", progress=Told()
    )
    index = again.index()
    assert index.loc[index["burst"] != "", "burst"].nunique() == 20
    after = again.split()
    assert after["group_id"].nunique() == 20 + 40
    # A link between sides takes images to test, and none out of it.
    was_test = before["split"] == "test"
    assert (after.loc[was_test.to_numpy(), "split"] == "test").all()
