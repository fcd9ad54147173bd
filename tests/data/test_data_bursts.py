"""Bursts: times from tables and EXIF, cameras, and that photos taken in one go stay on one side."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from exif_made import entries, exif_of, shot_exif, tag
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from split_frames import frame

from bestiary.config.schema import DataConfig, SplitConfig
from bestiary.data.bursts.chains import burst_names, camera_of, folder_of_camera
from bestiary.data.bursts.exif_shots import Shot, shot_of
from bestiary.data.bursts.notes import burst_notes
from bestiary.data.bursts.times import as_time, microseconds
from bestiary.data.groups import group_names
from bestiary.data.images import exif_block
from bestiary.data.index import build_index, index_fingerprint, read_index, write_index
from bestiary.data.splits.split_table import split_images, splits_fingerprint
from bestiary.errors import ConfigError, DataError

NOON = "2020:05:01 12:00:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-05-01 12:00:03", "2020-05-01T12:00:03"),
        ("2020-05-01T12:00:03.25Z", "2020-05-01T12:00:03.250000+00:00"),
        ("2020:05:01 12:00:03", "2020-05-01T12:00:03"),
        ("2020-05-01 12:00", "2020-05-01T12:00:00"),
        ("20200501120003", "2020-05-01T12:00:03"),
        ("1588334403.5", "1588334403.5"),
        ("0", "0"),
        ("", ""),
        ("0000:00:00 00:00:00", ""),
        ("    :  :     :  :  ", ""),
    ],
)
def test_times_are_read_in_the_forms_that_tables_and_cameras_write(text: str, expected: str) -> None:
    assert as_time(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2020-05-01", "a day without"),
        ("2020:05:01", "a day without"),
        ("20200501", "a day without"),
        ("2020-05-01T12", "no minutes"),
        ("1588334403000", "milliseconds"),
        ("05/01/2020 12:00", "no time that can be read"),
        ("noon", "no time that can be read"),
        ("nan", "no time that can be read"),
    ],
)
def test_what_is_no_time_says_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        as_time(text)


def test_offsets_count_in_utc() -> None:
    by_clock, utc = microseconds(as_time("2020-05-01T12:00:00+02:00"))
    assert (by_clock - (utc or 0)) == 7_200_000_000
    assert microseconds(as_time("2020-05-01T12:00:00"))[1] is None


# --- chains


def bursts_of(seconds: Sequence[float], within_s: float) -> list[set[int]]:
    names = burst_names([str(second) for second in seconds], ["a"] * len(seconds), within_s=within_s)
    together = pd.Series(range(len(names))).groupby(names).agg(set)
    return sorted((places for name, places in together.items() if name), key=min)


def test_a_sequence_lasts_as_long_as_it_goes_on() -> None:
    assert bursts_of([0, 30, 60, 90.5, 200, 230], 30) == [{0, 1, 2}, {4, 5}]


def test_cameras_have_bursts_of_their_own_and_no_time_is_alone() -> None:
    times = ["0", "1", "2", "", ""]
    assert burst_names(times, ["a", "b", "a", "a", "a"], within_s=5) == ["a 0", "", "a 0", "", ""]


def test_clocks_are_compared_in_utc_only_where_all_offsets_are_known() -> None:
    noon, same = "2020-05-01T12:00:00+02:00", "2020-05-01T10:00:05+00:00"
    assert burst_names([noon, same], ["", ""], within_s=30) == [noon] * 2
    assert burst_names([noon, same, "2020-05-01T12:00:10"], [""] * 3, within_s=30) == [noon, "", noon]


photos = st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab"), st.booleans()), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(photos, st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_order_of_files_changes_nothing_and_gaps_decide(rows, within_s, random) -> None:
    def named(rows: list[tuple[int, str, bool]]) -> list[str]:
        times = [str(second) if is_known else "" for second, _, is_known in rows]
        return burst_names(times, [camera for _, camera, _ in rows], within_s=within_s)

    order = random.sample(range(len(rows)), len(rows))
    names = named(rows)
    assert named([rows[place] for place in order]) == [names[place] for place in order]
    for camera in "ab":
        taken = sorted((row[0], name) for row, name in zip(rows, names, strict=True) if row[1] == camera and row[2])
        for (before, its), (after, other) in pairwise(taken):
            assert (after - before <= within_s) == (its == other != "")
    assert all(name == "" for row, name in zip(rows, names, strict=True) if not row[2])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "x", "y", "z"]), st.integers(0, 900)), min_size=10, max_size=30),
    st.integers(0, 99),
)
def test_bursts_and_groups_that_overlap_stay_on_one_side(rows, seed) -> None:
    # Twelve images stand alone, so that every class can be split whatever else belongs together.
    index = frame(["cat", "dog"] * 6 + ["cat"] * len(rows), groups=[""] * 12 + [group for group, _ in rows])
    times = [""] * 12 + [str(second) for _, second in rows]
    index["burst"] = burst_names(times, [""] * len(index), within_s=15)
    sides = split_images(index, SplitConfig(seed=seed))
    joined = index.merge(sides, on="image_id").assign(name=group_names(index))
    for column in ("group_given", "burst", "name"):
        tied = joined[joined[column] != ""]
        assert (tied.groupby(column)[["split", "group_id"]].nunique() == 1).all(axis=None), column
    assert (joined[joined["name"] != ""].groupby("group_id")["name"].nunique() == 1).all()


def test_an_index_of_before_bursts_is_split_as_it_was() -> None:
    old = frame(["cat", "dog"] * 20, groups=["a", "a", *[""] * 38])
    now = old.assign(taken_at="", camera="", burst="")
    assert split_images(old, SplitConfig()).equals(split_images(now, SplitConfig()))
    assert splits_fingerprint(old, SplitConfig()) == splits_fingerprint(now, SplitConfig())
    with_burst = now.assign(burst=[*[""] * 38, "b", "b"])
    assert splits_fingerprint(with_burst, SplitConfig()) != splits_fingerprint(now, SplitConfig())


# --- cameras


@pytest.mark.parametrize(
    ("named", "shot", "expected"),
    [
        ("hu_1", Shot(model="Canon", serial="7"), "hu_1"),
        ("", Shot(model="Canon", serial="7"), "Canon 7"),
        ("", Shot(model="Canon"), "north/2020 Canon"),
        ("", Shot(), "north/2020"),
    ],
)
def test_a_camera_is_what_says_most_of_it(named: str, shot: Shot, expected: str) -> None:
    assert camera_of(named, "north/2020", shot) == expected


def test_folders_of_classes_and_splits_are_no_cameras() -> None:
    assert folder_of_camera("train/vole/north/2020/1.jpg", "vole") == "north/2020"
    assert folder_of_camera("north/2020/1.jpg", "vole") == "north/2020"
    assert folder_of_camera("vole/1.jpg", "vole") == ""


# --- EXIF


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_says_when_and_with_what(order: str) -> None:
    exif = shot_exif(NOON, parts="25", offset="+02:00", make="Canon", model="Canon EOS 60D", serial="0042", order=order)
    assert shot_of(exif) == Shot("2020-05-01T12:00:00.250000+02:00", "Canon EOS 60D", "0042")


def test_odd_exif_is_read_as_far_as_it_goes() -> None:
    assert shot_of(shot_exif(NOON, offset="+99:00", make="A", model="B", serial="000")) == Shot(
        "2020-05-01T12:00:00", "A B", ""
    )
    assert shot_of(shot_exif("0000:00:00 00:00:00", digitized=NOON)).taken_at == "2020-05-01T12:00:00"
    assert shot_of(shot_exif("2020:13:01 12:00:00")) == Shot()
    assert shot_of(shot_exif(saved=NOON)) == Shot()  # when it was saved last


@settings(max_examples=200, deadline=None)
@given(entries, st.binary(max_size=40), st.sampled_from("<>"))
def test_no_exif_stops_the_reader(made, apart: bytes, order: str) -> None:
    shot_of(exif_of(*(tag(*entry, order) for entry in made), order=order, apart=apart))
    shot_of(apart)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_with_exif_has_its_time(form: str) -> None:
    exif = Image.Exif()
    exif.load(shot_exif(NOON, make="Acme"))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, form, exif=exif)
    assert shot_of(exif_block(stream.getvalue())) == Shot("2020-05-01T12:00:00", "Acme")


def test_what_is_no_image_has_no_exif() -> None:
    assert exif_block(b"") == exif_block(b"II*\0") == exif_block(b"BM") == exif_block(b"notes") == b""


# --- data sets


def photo(path: Path, shade: int, exif: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade, 255 - shade, (37 * shade) % 256)).save(path, exif=exif)


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """Two cameras whose photos of one minute lie in two class folders; four frames a burst, ten minutes apart."""
    start = datetime(2020, 5, 1, 12)
    for number in range(48):
        taken = start + timedelta(minutes=10 * (number // 4), seconds=7 * (number % 4))
        label = ("empty", "vole")[number % 4 % 2]
        exif = shot_exif(f"{taken:%Y:%m:%d %H:%M:%S}", model="Trap", serial=("7", "8")[number // 24])
        photo(tmp_path / "photos" / label / f"{number:02d}.jpg", 5 * number, exif)
    return tmp_path / "photos"


def test_bursts_go_across_class_folders_and_stay_on_one_side(trapped: Path) -> None:
    index = build_index(DataConfig(path=str(trapped), burst_s=30))
    assert index["burst"].nunique() == 12
    assert (index.groupby("burst")["label"].nunique() == 2).all()
    assert set(index["camera"]) == {"Trap 7", "Trap 8"}
    sides = split_images(index, SplitConfig(group_duplicates="exact")).merge(index, on="image_id")
    assert (sides.groupby("burst")["split"].nunique() == 1).all()
    assert burst_notes(index) == ["12 bursts of 4 images stay in one split each (data.burst_s)"]
    assert (build_index(DataConfig(path=str(trapped), burst_s=5))["burst"] == "").all()


def test_a_study_of_before_reads_times_when_they_are_asked_for(trapped: Path, tmp_path: Path) -> None:
    plain = build_index(DataConfig(path=str(trapped)))
    assert (plain["taken_at"] == "").all()
    old = plain.drop(columns=["taken_at", "camera", "burst"])
    assert index_fingerprint(old) == index_fingerprint(plain)
    write_index(tmp_path, old)
    index = build_index(DataConfig(path=str(trapped), burst_s=30), previous=read_index(tmp_path))
    assert index["burst"].nunique() == 12
    assert index_fingerprint(index) != index_fingerprint(plain)


def table_of(folder: Path, rows: Sequence[Sequence[str]], head: Sequence[str] = ("path", "label", "when")) -> Path:
    for row in rows:
        photo(folder / row[0], int(row[0].split(".")[0]))
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return folder / "list.csv"


def test_a_table_s_times_and_cameras_count_and_an_empty_cell_is_alone(tmp_path: Path) -> None:
    rows = [("1.jpg", "a", "10", "x"), ("2.jpg", "b", "20", "x"), ("3.jpg", "b", "20", "y"), ("4.jpg", "a", "", "x")]
    table = table_of(tmp_path, rows, ("path", "label", "when", "who"))
    photo(tmp_path / "4.jpg", 4, shot_exif(NOON))
    index = build_index(DataConfig(path=str(table), burst_s=30, time_column="when", camera_column="who"))
    assert index["burst"].tolist() == ["x 10", "x 10", "", ""]
    assert index["taken_at"].tolist() == ["10", "20", "20", ""]
    together = build_index(DataConfig(path=str(table), burst_s=30, time_column="when"))
    assert together["burst"].tolist() == ["10", "10", "10", ""]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (("2020-05-01", "2020-05-01 12:00"), r"line 2: time '2020-05-01' is a day without.*Write it as 2020-05-01 12:"),
        (("2020-05-01 12:00", "7"), r"line 3: time '7', but '2020-05-01T12:00:00' in line 2: write all as dates"),
        (("soon", ""), "line 2: time 'soon' is no time that can be read"),
    ],
)
def test_times_that_cannot_be_read_are_named_by_row(tmp_path: Path, cells: tuple[str, str], words: str) -> None:
    table = table_of(tmp_path, [("1.jpg", "a", cells[0]), ("2.jpg", "b", cells[1])])
    with pytest.raises(DataError, match=words):
        build_index(DataConfig(path=str(table), burst_s=30, time_column="when"))


def test_bursts_without_times_are_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path, [("1.jpg", "a", ""), ("2.jpg", "b", "")])
    with pytest.raises(ConfigError, match=r"burst_s: EXIF has no time of any image.*data\.time_column"):
        build_index(DataConfig(path=str(table), burst_s=30))
    with pytest.raises(ConfigError, match="column 'when' has no time"):
        build_index(DataConfig(path=str(table), burst_s=30, time_column="when"))
    with pytest.raises(ConfigError, match="no column 'taken'"):
        build_index(DataConfig(path=str(table), burst_s=30, time_column="taken"))
    with pytest.raises(ConfigError, match=r"data\.time_column is a column of a table"):
        build_index(DataConfig(path=str(tmp_path), burst_s=30, time_column="when"))
    with pytest.raises(ValueError, match=r"time_column is for bursts: set data\.burst_s"):
        DataConfig(time_column="when")


def test_a_clock_that_was_not_set_is_said(tmp_path: Path) -> None:
    for number in range(24):
        photo(tmp_path / "ab"[number % 2] / f"{number}.jpg", 5 * number, shot_exif("2000:01:01 00:00:00"))
    lines = burst_notes(build_index(DataConfig(path=str(tmp_path), burst_s=30)))
    assert lines[0] == "1 burst of 24 images stays in one split (data.burst_s)"
    assert "24 images have the very time 2000-01-01T00:00:00, as from a clock that was not set" in lines[1]
