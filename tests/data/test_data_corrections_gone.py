"""Corrections of images that have gone or moved: what is carried out already is skipped, and no other copy is hit."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bestiary.data.corrections.csv_rows import FILE_NAME, Correction
from bestiary.data.corrections.overlay import corrected, resolve, skipped
from bestiary.data.corrections.saved import decide, read_corrections, undo, write_corrections
from bestiary.data.index import is_dropped
from bestiary.errors import CorrectionsError
from tests.data.test_data_corrections import content_id, index, index_of, meant

__all__ = ["index"]

WHEN = "2026-01-31T12:00:00Z"


def drop(path: str = "", image_id: str = "") -> Correction:
    return Correction(image_id, path, "drop", reviewed_at=WHEN)


@pytest.mark.parametrize("action", ["drop", "keep"])
@pytest.mark.parametrize(
    ("path", "image_id"),
    [
        ("cat/9.jpg", content_id(9)),
        ("", content_id(9)),
        ("", content_id("t") + "-3"),
        ("old/t.jpg", content_id(1) + "-1"),
    ],
)
def test_a_drop_or_keep_of_an_image_that_has_gone_is_skipped(
    index: pd.DataFrame, action, path: str, image_id: str
) -> None:
    gone = Correction(image_id, path, action, reviewed_at=WHEN)
    rows = [replace(gone, line=2), replace(gone, line=3), drop("cat/1.jpg")]
    assert meant(index, *rows) == ["cat/1.jpg"]
    assert [row for row, _ in skipped(rows, index)] == rows[:2]
    table = corrected(index, rows)
    assert table.loc[is_dropped(table), "path"].tolist() == ["cat/1.jpg"]
    assert (table["label"] == index["label"]).all()
    # A row that nobody says to have reviewed may never have meant an image.
    with pytest.raises(CorrectionsError, match=r"line 2.*no longer in the data|line 2.*no image of this image_id"):
        resolve([replace(gone, reviewed_at="", line=2)], index)


@pytest.mark.parametrize("action", ["drop", "keep"])
@pytest.mark.parametrize(
    ("path", "image_id", "words"),
    [
        ("cat/9.jpg", "", "no file is at this path"),  # nobody knows that there ever was one
        ("cat/1.jpg", content_id(9), "the file has changed since it was reviewed"),
        ("cat/1.jpg", content_id(9)[:-1], "image_id .* is none"),
        ("old/t.jpg", content_id("t"), "the file has moved, and .* have its bytes: give the path"),
    ],
)
def test_a_drop_or_keep_that_is_not_certainly_of_a_gone_image_stays_an_error(
    index: pd.DataFrame, action, path: str, image_id: str, words: str
) -> None:
    with pytest.raises(CorrectionsError, match=words):
        resolve([Correction(image_id, path, action, reviewed_at=WHEN, line=2)], index)


@pytest.mark.parametrize(
    ("there", "dropped"),
    [
        (["cat/5.jpg", "dog/zz.jpg"], "dog/zz.jpg"),
        (["cat/5.jpg", "dog/zz.jpg"], "cat/5.jpg"),  # of the other one the id is now that of the one dropped
        (["cat/5.jpg", "cat/6.jpg", "dog/zz.jpg"], "cat/5.jpg"),
        (["cat/5.jpg", "cat/6.jpg", "dog/zz.jpg"], "cat/6.jpg"),
        (["cat/5.jpg", "cat/6.jpg", "dog/zz.jpg"], "dog/zz.jpg"),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_a_copy_that_was_dropped_and_then_deleted_drops_no_other(there: list[str], dropped: str, kept: bool) -> None:
    others = [("cat/1.jpg", "cat", 1), ("dog/2.jpg", "dog", 2)]
    before = index_of(*others, *((path, path[:3], "t") for path in there))
    ids = dict(zip(before["path"], before["image_id"], strict=True))
    rows = [drop(dropped, ids[dropped])]
    rows += [Correction(ids[path], path, "keep") for path in there if kept and path != dropped]
    assert corrected(before, rows)["error"].astype(bool).sum() == 1
    after = index_of(*others, *((path, path[:3], "t") for path in there if path != dropped))
    assert not corrected(after, rows)["error"].any()
    assert dropped not in meant(after, *rows)


@pytest.mark.parametrize("to", ["dog/5.jpg", "zoo/cat/5.jpg", "a/5.jpg", "cat/1 5.jpg"])
@pytest.mark.parametrize("action", ["drop", "keep", "relabel"])
def test_a_row_follows_its_file_where_that_has_moved(to: str, action) -> None:
    others = [("cat/1.jpg", "cat", 1), ("dog/2.jpg", "dog", 2)]
    row = Correction(content_id("t"), "cat/5.jpg", action, "dog" * (action == "relabel"))
    assert meant(index_of(*others, (to, "cat", "t")), row) == [to]


def test_a_gone_image_s_row_counts_again_when_the_file_is_back(index: pd.DataFrame, tmp_path: Path) -> None:
    write_corrections(tmp_path, [drop("cat/1.jpg", content_id(1)), drop("cat/2.jpg", content_id(2))])
    before = (tmp_path / FILE_NAME).read_bytes()
    left = index[index["path"] != "cat/1.jpg"].reset_index(drop=True)
    assert meant(left, *read_corrections(tmp_path)) == ["cat/2.jpg"]
    assert (tmp_path / FILE_NAME).read_bytes() == before
    undo(tmp_path, content_id(2), index=left)  # a decision on another image leaves the row
    assert meant(index, *read_corrections(tmp_path)) == ["cat/1.jpg"]


def test_a_decision_on_the_copy_that_has_a_gone_one_s_id_now_leaves_its_row(
    index: pd.DataFrame, tmp_path: Path
) -> None:
    gone = drop("cat/twin.jpg", content_id("t"))
    write_corrections(tmp_path, [gone])
    left = index_of(("cat/1.jpg", "cat", 1), ("dog/twin b.jpg", "dog", "t"))
    decide(tmp_path, Correction(content_id("t"), "dog/twin b.jpg", "keep"), index=left)
    assert [(row.path, row.action) for row in read_corrections(tmp_path)] == [
        ("cat/twin.jpg", "drop"),
        ("dog/twin b.jpg", "keep"),
    ]
    assert resolve(read_corrections(tmp_path), left)[content_id("t")].action == "keep"
    undo(tmp_path, content_id("t"), index=left)
    assert read_corrections(tmp_path) == [gone]
