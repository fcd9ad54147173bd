"""Corrections: read whatever people leave, refuse what cannot be, lose no decision."""

import hashlib
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.audit.issues import ISSUES
from bestiary.data.corrections import saved
from bestiary.data.corrections.csv_rows import CORRECTIONS_COLUMNS, FILE_NAME, Correction, refuse_unknown_issues
from bestiary.data.corrections.overlay import corrected, corrections_fingerprint, resolve
from bestiary.data.corrections.saved import change, decide, read_corrections, revise, undo, write_corrections
from bestiary.data.index import index_fingerprint, is_dropped, readable, write_index
from bestiary.errors import CorrectionsError, StudyError
from bestiary.store.locks import exclusive

HEAD = ",".join(CORRECTIONS_COLUMNS)
OLD_HEAD = "image_id,path,action,label,reviewed_by,reviewed_at"  # of studies before `issues`


def content_id(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:20]


def index_of(*images: tuple[str, str, object], errors: Sequence[str] | None = None) -> pd.DataFrame:
    """An index of (path, label, content); ids as `data.index` gives them."""
    count: dict[str, int] = {}
    ids = {}
    for path, _, content in sorted(images):
        short = content_id(content)
        ids[path] = short + (f"-{count[short]}" if count.get(short) else "")
        count[short] = count.get(short, 0) + 1
    return pd.DataFrame(
        {
            "image_id": [ids[path] for path, _, _ in images],
            "path": [path for path, _, _ in images],
            "label": [label for _, label, _ in images],
            "split_given": "",
            "group_given": "",
            "sha256": [hashlib.sha256(repr(content).encode()).hexdigest() for _, _, content in images],
            "error": [""] * len(images) if errors is None else list(errors),
        }
    )


@pytest.fixture
def index() -> pd.DataFrame:
    """Two cats, two dogs, and one content in three places."""
    return index_of(
        ("cat/1.jpg", "cat", 1), ("cat/2.jpg", "cat", 2), ("cat/twin.jpg", "cat", "t"),
        ("dog/3.jpg", "dog", 3), ("dog/4.jpg", "dog", 4),
        ("dog/twin a.jpg", "dog", "t"), ("dog/twin b.jpg", "dog", "t"),
    )  # fmt: skip


def put(folder: Path, text: str | bytes) -> Path:
    (folder / FILE_NAME).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def drop(path: str = "", image_id: str = "", **more: Any) -> Correction:
    return Correction(image_id, path, "drop", **more)


# --- the file


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
visible = words.filter(str.strip)
trimmed = words.map(str.strip)


@st.composite
def sound(draw: st.DrawFn) -> Correction:
    image_id = draw(st.sampled_from(["", content_id(1), content_id(2) + "-3"]))
    path = draw(visible if not image_id else st.one_of(st.just(""), visible))
    action = draw(st.sampled_from(["relabel", "drop", "keep"]))
    label = draw(visible) if action == "relabel" else ""
    names = draw(st.lists(visible.map(str.strip), max_size=2, unique=True))
    extra = tuple((name, draw(visible)) for name in names if name.casefold() not in CORRECTIONS_COLUMNS)
    at = draw(st.one_of(st.sampled_from(["", "2026-01-31T12:00:00Z"]), trimmed))
    issues = tuple(draw(st.lists(st.sampled_from(sorted(ISSUES)), max_size=4, unique=True)))
    return Correction(image_id, path, action, label, draw(trimmed), at, issues, extra)  # type: ignore[arg-type]


def by_value(row: Correction) -> str:
    return repr(
        [
            *row.cells(),
            sorted((name, value) for name, value in row.extra if value),
        ]
    )


@given(rows=st.lists(sound(), max_size=6))
@settings(max_examples=80, deadline=None)
def test_what_is_written_reads_back_equal(rows: list[Correction], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("study")
    write_corrections(folder, rows)
    found = read_corrections(folder)
    assert sorted(map(by_value, found)) == sorted(map(by_value, rows))
    assert [(row.path, row.image_id) for row in found] == sorted((row.path, row.image_id) for row in rows)
    assert corrections_fingerprint(found) == corrections_fingerprint(rows)
    written = (folder / FILE_NAME).read_bytes()
    write_corrections(folder, found)
    assert (folder / FILE_NAME).read_bytes() == written


def test_no_file_is_no_corrections(tmp_path: Path) -> None:
    assert read_corrections(tmp_path) == []
    write_corrections(tmp_path, [])
    assert (tmp_path / FILE_NAME).read_text() == HEAD + "\n"
    assert read_corrections(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        f"{OLD_HEAD}\n{content_id(1)},cat/1.jpg,relabel,dog,Eva,2026-01-31T12:00:00Z\n",
        f"\ufeff{OLD_HEAD}\r\n{content_id(1)},cat/1.jpg,relabel,dog,Eva,2026-01-31T12:00:00Z\r\n\r\n,,,,,\r\n",
        f"{OLD_HEAD}\r{content_id(1)},cat/1.jpg,relabel,dog,Eva,2026-01-31T12:00:00Z\r",
        f'"image_id";"path";"action";"label";"reviewed_by";"reviewed_at"\n'
        f'"{content_id(1)}";"cat/1.jpg";"Relabel";"dog";"Eva";"2026-01-31T12:00:00Z"',
        f"\n{OLD_HEAD}\n".replace(",", "\t") + f"{content_id(1)}\tcat/1.jpg\trelabel\tdog\tEva\t2026-01-31T12:00:00Z\n",
        f"\ufeffsep=;\r\n{OLD_HEAD}\r\n".replace(",", ";")
        + f"{content_id(1)};cat/1.jpg;relabel;dog;Eva;2026-01-31T12:00:00Z\r\n",
        f'"sep=|",,\n{OLD_HEAD}\n'.replace(OLD_HEAD, OLD_HEAD.replace(",", "|"))
        + f"{content_id(1)}|cat/1.jpg|relabel|dog|Eva|2026-01-31T12:00:00Z\n",
        f"sep=\t\r{OLD_HEAD}\r{content_id(1)},cat/1.jpg,relabel,dog,Eva,2026-01-31T12:00:00Z\r",  # saved with commas
        f"Label,ACTION,path,reviewed_at,reviewed_by,image_id,\n"
        f"dog, relabel ,cat/1.jpg,2026-01-31T12:00:00Z,Eva,{content_id(1).upper()},\n",
    ],
)
def test_what_spreadsheets_do_to_a_file_is_read(tmp_path: Path, text: str) -> None:
    wanted = Correction(content_id(1), "cat/1.jpg", "relabel", "dog", "Eva", "2026-01-31T12:00:00Z")
    assert read_corrections(put(tmp_path, text)) == [wanted]


@pytest.mark.parametrize("at", ["31.01.2026 12:00", "1/31/2026 12:00", "2026-01-31", "last week", "46053.5"])
def test_a_date_is_read_as_it_stands_and_stays(tmp_path: Path, at: str) -> None:
    (row,) = read_corrections(put(tmp_path, f"path,action,reviewed_at\ncat/1.jpg,keep, {at} \n"))
    assert row == Correction("", "cat/1.jpg", "keep", reviewed_at=at)
    decide(tmp_path, drop("cat/2.jpg", reviewed_at=at))
    assert [row.reviewed_at for row in read_corrections(tmp_path)] == [at, at]


def test_lines_are_counted_with_the_one_that_names_the_sign(tmp_path: Path) -> None:
    with pytest.raises(CorrectionsError, match=r"line 3 \(a\): action 'eat'"):
        read_corrections(put(tmp_path, "sep=;\r\npath;action\r\na;eat\r\n"))
    for text in ("sep=;\n", "\nsep=;\n;;\n"):
        with pytest.raises(CorrectionsError, match="is empty"):
            read_corrections(put(tmp_path, text))


@pytest.mark.parametrize("written", ["outlier dark", "outlier;dark", '"outlier, dark"', " Outlier ;; DARK outlier "])
def test_issues_are_read_in_their_order_and_written_in_alphabetical_order(tmp_path: Path, written: str) -> None:
    (row,) = read_corrections(put(tmp_path, f"path,action,issues\ncat/1.jpg,keep,{written}\n"))
    assert row == Correction("", "cat/1.jpg", "keep", issues=("outlier", "dark"))
    write_corrections(tmp_path, [row])
    assert (tmp_path / FILE_NAME).read_text() == f"{HEAD}\n,cat/1.jpg,keep,,,,dark outlier\n"


def test_short_rows_and_few_columns_are_read(tmp_path: Path) -> None:
    rows = read_corrections(put(tmp_path, "path,action,label,note\ncat/1.jpg,drop\ncat/2.jpg,relabel,dog,blurred\n"))
    assert rows == [
        drop("cat/1.jpg", extra=(("note", ""),)),
        Correction("", "cat/2.jpg", "relabel", "dog", extra=(("note", "blurred"),)),
    ]
    assert [row.line for row in rows] == [2, 3]


def test_a_row_over_two_lines_and_the_one_after_it_have_their_line(tmp_path: Path) -> None:
    rows = read_corrections(put(tmp_path, 'path,action\n"cat/a\nb.jpg",drop\n\ncat/2.jpg,keep\n'))
    assert [(row.path, row.line) for row in rows] == [("cat/a\nb.jpg", 2), ("cat/2.jpg", 5)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "corrections.csv is empty: delete it, or begin it with image_id,path"),
        (b"\n , ,\n", "corrections.csv is empty"),
        ("path,action\nкошка.jpg,drop\n".encode("cp1251"), "line 2: this is not UTF-8 text. Save the file again as"),
        ("path,action\na,drop\n".encode("utf-16-le"), "has zeros between its letters, as UTF-16 without its mark has"),
        ("cat/1.jpg,drop\n", "line 1: this should name the columns, image_id,path,action.*it is 'cat/1.jpg,drop'"),
        ("label,action\n", "line 1: this should name the columns"),
        ("path,label\n", "line 1: this should name the columns"),
        ("path,action,path\n", "line 1: two columns are named 'path': rename one"),
        ("path,action,Path\n", "line 1: two columns are named 'path'"),
        ('path,action\na,drop\n"b,drop\n', "line 3: .*Fix the quotes of this row"),
        ('path,action\n"a"b,drop\n', "line 2: .*Fix the quotes of this row"),
        ("path,action\na,drop,more\n", r"line 2 \(a\): it has more values than there are columns: put quotes"),
        (",path,action\n0,a,drop\n", r"line 2 \(a\): column 1 has no name: name it, or delete it"),
        ("path,action,\na,drop,more\n", r"line 2 \(a\): it has more values than there are columns"),
        ("path,action,label\n,drop,\n", r"line 2 \(no image\): it names no image: fill in image_id or path"),
        (
            "path,action\na,remove\n",
            r"line 2 \(a\): action 'remove' is none of relabel, drop, keep, apart: write one of",
        ),
        ("path,action\na,\n", r"line 2 \(a\): action '' is none of"),
        ("path,action,label\na,relabel,\n", r"line 2 \(a\): relabel to which class\? Fill in label"),
        ("path,action\na,relabel\n", r"line 2 \(a\): relabel to which class\?"),
        ("path,action,label\na,drop,cat\n", r"line 2 \(a\): label 'cat' means nothing with drop: empty it"),
        ("path,action,label\na,keep,cat\n", r"line 2 \(a\): label 'cat' means nothing with keep"),
    ],
)
def test_a_file_of_a_wrong_form_names_line_and_fix(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(CorrectionsError, match=rf"corrections\.csv.*{words}|{words}"):
        read_corrections(put(tmp_path, content))


def test_issues_that_no_audit_finds_are_refused_by_who_knows_them(tmp_path: Path) -> None:
    rows = read_corrections(put(tmp_path, "path,action,issues\na,keep,dark drak\nb,keep,dark\nc,drop,elephant! x\n"))
    with pytest.raises(CorrectionsError) as caught:
        refuse_unknown_issues(rows, ISSUES)
    head, first, second = str(caught.value).split("\n  ")
    assert head == "corrections.csv: 2 rows have to be fixed"
    assert first.startswith(
        "line 2 (a): issues names 'drak', which no audit finds: did you mean 'dark'? there are unreadable, misplace"
    )
    assert second.startswith("line 4 (c): issues names 'elephant!', which no audit finds: there are unreadable, ")
    refuse_unknown_issues(rows, {"dark", "drak", "elephant!", "x"})
    refuse_unknown_issues([], ())


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "latin-1"])
def test_any_certain_encoding_is_read(tmp_path: Path, codec: str) -> None:
    (row,) = read_corrections(put(tmp_path, "path;action\nkött.jpg;drop\n".encode(codec)))
    assert row == drop("kött.jpg")


def test_up_to_ten_rows_are_told_and_the_others_counted(tmp_path: Path) -> None:
    rows = "".join(f"{number}.jpg,remove\n" for number in range(13))
    with pytest.raises(CorrectionsError) as caught:
        read_corrections(put(tmp_path, "path,action\n" + rows))
    lines = str(caught.value).split("\n  ")
    assert lines[0] == "corrections.csv: 13 rows have to be fixed"
    assert [line.partition(" ")[2].partition(" ")[0] for line in lines[1:11]] == [str(n) for n in range(2, 12)]
    assert lines[11:] == ["and 3 more"]


def test_a_wrong_correction_is_not_written(tmp_path: Path) -> None:
    write_corrections(tmp_path, [drop("a")])
    with pytest.raises(CorrectionsError, match=r"decision on b: relabel to which class\?"):
        write_corrections(tmp_path, [Correction("", "b", "relabel")])
    assert read_corrections(tmp_path) == [drop("a")]


def test_the_fingerprint_follows_what_is_decided_and_nothing_else(tmp_path: Path) -> None:
    first, second = drop("a", reviewed_by="Eva"), Correction("", "b", "relabel", "dog")
    mark = corrections_fingerprint([first, second])
    assert mark == corrections_fingerprint([second, first, first])
    assert mark == corrections_fingerprint(
        [drop("a", reviewed_by="Eva"), Correction("", "b", "relabel", "dog", line=9)]
    )
    others = [[first], [], [first, Correction("", "b", "relabel", "cat")], [drop("a", reviewed_by="Ann"), second]]
    others.append([first, Correction("", "b", "relabel", "dog", issues=("dark",))])
    assert len({mark, *map(corrections_fingerprint, others)}) == 6


# --- which image is meant


def meant(index: pd.DataFrame, *rows: Correction) -> list[str]:
    found = resolve(rows, index)
    paths = dict(zip(index["image_id"], index["path"], strict=True))
    return [paths[image_id] for image_id in found]


@pytest.mark.parametrize(
    ("path", "image_id", "wanted"),
    [
        ("cat/1.jpg", content_id(1), "cat/1.jpg"),
        ("cat/1.jpg", "", "cat/1.jpg"),
        ("", content_id(1), "cat/1.jpg"),
        ("cat\\1.jpg", "", "cat/1.jpg"),
        ("./cat/1.jpg ", content_id(1), "cat/1.jpg"),
        ("old/1.jpg", content_id(1), "cat/1.jpg"),
        ("", content_id("t"), "cat/twin.jpg"),
        ("", content_id("t") + "-2", "dog/twin b.jpg"),
        # Among copies the path counts: ids shift when a copy comes or goes.
        ("dog/twin b.jpg", content_id("t"), "dog/twin b.jpg"),
        ("cat/twin.jpg", content_id("t") + "-7", "cat/twin.jpg"),
        # Moved, and one of its copies has its name still.
        ("pets/twin a.jpg", content_id("t"), "dog/twin a.jpg"),
    ],
)
def test_the_image_that_is_meant(index: pd.DataFrame, path: str, image_id: str, wanted: str) -> None:
    assert meant(index, drop(path, image_id)) == [wanted]


def test_a_copy_that_another_row_means_is_not_taken_for_one_that_moved(index: pd.DataFrame) -> None:
    rows = [drop("gone/x.jpg", content_id("t")), *(Correction("", f"dog/twin {n}.jpg", "keep") for n in "ab")]
    assert meant(index, *rows) == ["cat/twin.jpg", "dog/twin a.jpg", "dog/twin b.jpg"]


def test_paths_that_differ_in_unicode_s_form_alone_are_one() -> None:
    index = index_of(("k\u00f6/1.jpg", "k", 1), ("b/2.jpg", "b", 2))
    assert meant(index, drop("ko\u0308/1.jpg")) == ["k\u00f6/1.jpg"]
    both = index_of(("k\u00f6/1.jpg", "k", 1), ("ko\u0308/1.jpg", "b", 2))
    assert meant(both, drop("ko\u0308/1.jpg")) == ["ko\u0308/1.jpg"]


@pytest.mark.parametrize(
    ("path", "image_id", "words"),
    [
        ("cat/1.jpg", content_id(9), "the file has changed since it was reviewed: review it again and delete this row"),
        (
            "cat/1.jpg",
            content_id(2),
            "the file has changed since it was reviewed.*if the reviewed image has moved, empty",
        ),
        ("cat/9.jpg", content_id(9), "the image is no longer in the data, here or elsewhere: delete the row, or put"),
        ("", content_id(9), "no image of this image_id is in the data: delete the row"),
        ("", content_id("t") + "-3", "no image of this image_id is in the data"),
        ("cat/9.jpg", "", "no file is at this path: paths are written from the data folder on"),
        ("Cat/1.jpg", "", r"no file is at this path \(a file of this name is at 'cat/1\.jpg'\)"),
        ("/data/cat/1.jpg", "", r"no file is at this path \(a file of this name is at 'cat/1\.jpg'\)"),
        ("cat/1.jpg", "1.23457E+19", r"image_id '1\.23457E\+19' is none .*spreadsheets change some"),
        ("cat/1.jpg", content_id(1) + "-0", "image_id .* is none"),
        ("old/t.jpg", content_id("t"), r"the file has moved, and 'cat/twin\.jpg', 'dog/twin a\.jpg', .* give the path"),
        ("old/t.jpg", content_id(1) + "-1", r"this copy is no longer in the data; its bytes are only at 'cat/1\.jpg'"),
    ],
)
def test_a_row_that_means_no_image_names_itself_and_the_fix(
    index: pd.DataFrame, path: str, image_id: str, words: str
) -> None:
    row = Correction(image_id, path, "relabel", "dog", line=7)
    with pytest.raises(CorrectionsError, match=rf"corrections\.csv, line 7 \({re.escape(path or image_id)}\): {words}"):
        resolve([row], index)


def test_a_path_that_a_table_repeats_needs_the_id() -> None:
    index = index_of(("a/1.jpg", "a", 1), ("b/2.jpg", "b", 2), ("x/1.jpg", "b", 1)).replace("x/1.jpg", "a/1.jpg")
    with pytest.raises(CorrectionsError, match="2 rows of the data have this path: give the image_id"):
        resolve([drop("a/1.jpg")], index)
    assert list(resolve([drop("a/1.jpg", content_id(1) + "-1")], index)) == [content_id(1) + "-1"]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("Dog", r"the data have no class 'Dog': did you mean 'dog'\? classes are cat, dog"),
        ("dgo", r"did you mean 'dog'\?"),
        ("zebra", "the data have no class 'zebra': classes are cat, dog"),
    ],
)
def test_a_class_that_the_data_lack_is_an_error(index: pd.DataFrame, label: str, words: str) -> None:
    with pytest.raises(CorrectionsError, match=words):
        resolve([Correction("", "cat/1.jpg", "relabel", label)], index)


def test_a_class_of_unreadable_files_alone_is_no_class(index: pd.DataFrame) -> None:
    extended = pd.concat([index, index_of(("fox/1.jpg", "fox", 8), errors=["truncated"])], ignore_index=True)
    with pytest.raises(CorrectionsError, match="no class 'fox'"):
        resolve([Correction("", "cat/1.jpg", "relabel", "fox")], extended)


@pytest.mark.parametrize("other", [drop("", content_id(1)), Correction("", "cat/1.jpg", "keep")])
def test_two_rows_that_disagree_name_each_other(index: pd.DataFrame, other: Correction) -> None:
    first = Correction(content_id(1), "cat/1.jpg", "relabel", "dog", line=2)
    second = Correction(other.image_id, other.path, other.action, line=5)
    with pytest.raises(
        CorrectionsError, match=r"line 5 \(.*\): line 2 says 'relabel dog' of the same image: delete one"
    ):
        resolve([first, second], index)


def test_two_rows_that_agree_are_one(index: pd.DataFrame) -> None:
    rows = [drop("cat/1.jpg", reviewed_by="Eva"), drop("", content_id(1), reviewed_by="Ann")]
    assert resolve(rows, index) == {content_id(1): rows[1]}


@pytest.mark.parametrize(
    ("action", "first", "second", "both"),
    [
        ("keep", ("dark",), ("leak",), ("dark", "leak")),
        ("keep", ("dark",), (), ()),  # all is well
        ("keep", (), ("dark",), ()),
        ("relabel", (), ("dark",), ("dark",)),
        ("relabel", ("leak",), ("dark", "leak"), ("leak", "dark")),
    ],
)
def test_two_rows_that_agree_answer_what_either_does(index: pd.DataFrame, action, first, second, both) -> None:
    label = "dog" if action == "relabel" else ""
    rows = [Correction("", "cat/1.jpg", action, label, issues=issues) for issues in (first, second)]
    assert resolve(rows, index)[content_id(1)].issues == both


def test_all_bad_rows_are_told_at_once(index: pd.DataFrame) -> None:
    rows = [drop("no.jpg"), Correction("", "cat/1.jpg", "relabel", "x"), drop("cat/2.jpg"), drop("no2.jpg")]
    with pytest.raises(CorrectionsError, match=r"3 rows have to be fixed\n.*no\.jpg.*\n.*class 'x'.*\n.*no2"):
        resolve(rows, index)


# --- the overlay


def test_without_corrections_the_index_stays(index: pd.DataFrame) -> None:
    table = corrected(index, [])
    pd.testing.assert_frame_equal(table.drop(columns="label_given"), index)
    assert (table["label_given"] == index["label"]).all()
    assert index_fingerprint(table) == index_fingerprint(index)


def test_relabel_drop_and_keep(index: pd.DataFrame) -> None:
    before = index.copy()
    rows = [
        Correction("", "cat/1.jpg", "relabel", "dog"),
        drop("dog/3.jpg", reviewed_by="Eva"),
        drop("dog/4.jpg"),
        Correction("", "cat/2.jpg", "keep"),
        drop("old/2.png", content_id("t") + "-1", reviewed_by="Eva"),
        Correction("", "cat/twin.jpg", "keep"),
        Correction("", "dog/twin b.jpg", "keep"),
    ]
    table = corrected(index, rows)
    pd.testing.assert_frame_equal(index, before)
    by_path = table.set_index("path")
    assert by_path["label"].to_dict() == before.set_index("path")["label"].to_dict() | {"cat/1.jpg": "dog"}
    assert by_path["label_given"].to_dict() == before.set_index("path")["label"].to_dict()
    assert by_path.loc[by_path["error"] != "", "error"].to_dict() == {
        "dog/3.jpg": "dropped in corrections.csv (by Eva)",
        "dog/4.jpg": "dropped in corrections.csv",
        "dog/twin a.jpg": "dropped in corrections.csv (by Eva), where it is 'old/2.png'",
    }
    assert table.loc[is_dropped(table), "path"].tolist() == ["dog/3.jpg", "dog/4.jpg", "dog/twin a.jpg"]
    assert len(readable(table)) == 4


def test_an_unreadable_file_keeps_its_reason() -> None:
    index = index_of(("a/1", "a", 1), ("a/2", "a", 2), ("b/3", "b", 3), errors=["", "truncated", ""])
    table = corrected(index, [drop("a/2")])
    assert table["error"].tolist() == ["", "truncated", ""]
    assert not is_dropped(table).any()


def test_the_index_s_fingerprint_follows_labels_as_given_but_not_who_dropped(index: pd.DataFrame) -> None:
    rows = {
        "none": [],
        "keep": [Correction("", "cat/1.jpg", "keep")],
        "relabel": [Correction("", "cat/1.jpg", "relabel", "dog")],
        "drop": [drop("cat/1.jpg")],
        "drop by Eva": [drop("cat/1.jpg", reviewed_by="Eva")],
    }
    marks = {name: index_fingerprint(corrected(index, row)) for name, row in rows.items()}
    assert marks["none"] == marks["keep"]
    assert marks["drop"] == marks["drop by Eva"]
    fixed = index.assign(label=["dog", *index["label"][1:]])
    assert len({marks["none"], marks["relabel"], marks["drop"], index_fingerprint(fixed)}) == 4


def test_corrections_that_empty_a_class_are_told_so(index: pd.DataFrame) -> None:
    rows = [drop("cat/1.jpg"), drop("cat/2.jpg"), Correction("", "cat/twin.jpg", "relabel", "dog")]
    with pytest.raises(
        CorrectionsError, match=r"leaves class 'cat' without.*: of 3, 2 dropped and 1 relabelled\. Undo"
    ):
        corrected(index, rows)
    assert len(readable(corrected(index, rows[:2]))) == 5


# --- deciding


@pytest.fixture
def study(tmp_path: Path, index: pd.DataFrame) -> Path:
    write_index(tmp_path / "study", index)
    return tmp_path / "study"


def test_a_decision_is_saved_at_once_and_replaces_the_one_before(study: Path) -> None:
    assert decide(study, drop("cat/1.jpg", content_id(1), reviewed_by="Eva")) == []
    first = read_corrections(study)
    assert [(row.path, row.action, row.reviewed_by) for row in first] == [("cat/1.jpg", "drop", "Eva")]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", first[0].reviewed_at)
    assert decide(study, Correction(content_id(1), "cat/1.jpg", "relabel", "dog")) == first
    assert [row.verdict for row in read_corrections(study)] == [("relabel", "dog")]
    assert [row.verdict for row in undo(study, content_id(1))] == [("relabel", "dog")]
    assert read_corrections(study) == []
    assert undo(study, content_id(1)) == []


@pytest.mark.parametrize(
    "row",
    [drop("cat\\1.jpg"), drop("", content_id(1)), drop("old.jpg", content_id(1)), drop("cat/1.jpg", content_id(9))],
)
def test_a_row_by_hand_about_the_same_image_is_replaced_with_its_notes(study: Path, row: Correction) -> None:
    noted = Correction(row.image_id, row.path, row.action, extra=(("note", "see mail"),))
    other = drop("cat/2.jpg", extra=(("note", ""),))
    write_corrections(study, [noted, other])
    decide(study, Correction(content_id(1), "cat/1.jpg", "keep"))
    assert [(r.path, r.action, r.extra) for r in read_corrections(study)] == [
        ("cat/1.jpg", "keep", (("note", "see mail"),)),
        ("cat/2.jpg", "drop", (("note", ""),)),
    ]
    undo(study, content_id(1))
    assert read_corrections(study) == [other]


def test_a_row_about_a_copy_whose_id_has_shifted_stays(study: Path) -> None:
    copy = drop("dog/twin b.jpg", content_id("t"))  # its id, before cat/twin.jpg came
    write_corrections(study, [copy])
    decide(study, Correction(content_id("t"), "cat/twin.jpg", "keep"))
    assert copy in read_corrections(study)
    undo(study, content_id("t"))
    assert read_corrections(study) == [copy]
    undo(study, content_id("t") + "-2")
    assert read_corrections(study) == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (drop("cat/9.jpg", content_id(9)), "no longer in the data"),
        (Correction(content_id(1), "cat/1.jpg", "relabel", "zebra"), "no class 'zebra'"),
        (Correction(content_id(1), "cat/1.jpg", "relabel"), "relabel to which class"),
        (Correction(content_id(1), "cat/1.jpg", "remove"), "action 'remove' is none"),  # type: ignore[arg-type]
    ],
)
def test_a_decision_that_a_study_would_refuse_is_not_saved(study: Path, row: Correction, words: str) -> None:
    write_corrections(study, [drop("cat/2.jpg")])
    with pytest.raises(CorrectionsError, match=words):
        decide(study, row)
    assert read_corrections(study) == [drop("cat/2.jpg")]


def test_a_damaged_file_is_not_written_over(study: Path) -> None:
    content = b"path,action\ncat/1.jpg,dorp\n"
    put(study, content)
    for attempt in (lambda: decide(study, drop("cat/2.jpg", content_id(2))), lambda: undo(study, content_id(2))):
        with pytest.raises(CorrectionsError, match=r"line 2 .*'dorp'"):
            attempt()
        assert (study / FILE_NAME).read_bytes() == content


def test_several_decisions_are_saved_together_or_not_at_all(study: Path, index: pd.DataFrame) -> None:
    write_corrections(study, [drop("cat/1.jpg"), drop("cat/2.jpg", extra=(("note", "mine"),)), drop("dog/4.jpg")])
    both = [
        Correction(content_id(2), "cat/2.jpg", "keep", reviewed_at="2026-01-31"),
        Correction(content_id(3), "dog/3.jpg", "keep", reviewed_at="2026-01-31"),
    ]
    gone = change(study, decided=both, undone=[content_id(1)], index=index)
    assert [row.path for row in gone] == ["cat/1.jpg", "cat/2.jpg"]
    after = read_corrections(study)
    assert [(row.path, row.action, dict(row.extra)["note"]) for row in after] == [
        ("cat/2.jpg", "keep", "mine"), ("dog/3.jpg", "keep", ""), ("dog/4.jpg", "drop", ""),
    ]  # fmt: skip
    with pytest.raises(CorrectionsError, match="no class 'zebra'"):
        change(study, decided=[drop("cat/1.jpg"), Correction("", "cat/2.jpg", "relabel", "zebra")], index=index)
    with pytest.raises(CorrectionsError, match="of the same image: delete one of the two"):
        change(study, decided=[drop("cat/1.jpg"), Correction("", "cat/1.jpg", "keep")], index=index)
    assert read_corrections(study) == after


def test_a_study_without_an_index_takes_decisions_too(tmp_path: Path) -> None:
    decide(tmp_path, drop("a.jpg", content_id(1)))
    decide(tmp_path, Correction(content_id(1), "b.jpg", "keep"))
    assert [(row.path, row.action) for row in read_corrections(tmp_path)] == [("b.jpg", "keep")]
    undo(tmp_path, content_id(1))
    assert read_corrections(tmp_path) == []


def test_what_is_decided_on_the_rows_as_they_are_is_one_step_with_writing_it(study: Path) -> None:
    """Between what `plan` is shown and what is written, nobody else can write."""
    other: list[threading.Thread] = []

    def plan(rows: list[Correction]) -> tuple[list[Correction], list[str]]:
        assert [row.path for row in rows] == ["cat/2.jpg"]
        other.append(threading.Thread(target=decide, args=(study, Correction(content_id(1), "cat/1.jpg", "keep"))))
        other[0].start()
        other[0].join(0.2)
        assert other[0].is_alive()
        assert read_corrections(study) == rows
        return [drop("cat/1.jpg", content_id(1))], [content_id(2)]

    decide(study, drop("cat/2.jpg", content_id(2)))
    assert [row.path for row in revise(study, plan)] == ["cat/2.jpg"]
    other[0].join(10)
    assert [(row.path, row.action) for row in read_corrections(study)] == [("cat/1.jpg", "keep")]
    before = (study / FILE_NAME).stat().st_mtime_ns, (study / FILE_NAME).stat().st_ino
    assert revise(study, lambda rows: ([], [])) == []
    assert ((study / FILE_NAME).stat().st_mtime_ns, (study / FILE_NAME).stat().st_ino) == before


def test_decisions_of_many_tabs_are_all_kept(tmp_path: Path) -> None:
    index = index_of(*((f"c{n % 2}/{n:02}.jpg", f"c{n % 2}", n) for n in range(24)))
    rows = [drop(path, image_id) for path, image_id in zip(index["path"], index["image_id"], strict=True)]

    def tab(number: int) -> None:
        for row in rows[number::4]:
            decide(tmp_path, row, index=index)

    threads = [threading.Thread(target=tab, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.path for row in read_corrections(tmp_path)} == set(index["path"])


def test_a_running_study_does_not_block_deciding_but_another_writer_does(study: Path, monkeypatch) -> None:
    with exclusive(study / ".lock", busy="the study runs"):
        decide(study, drop("cat/1.jpg", content_id(1)))
    monkeypatch.setattr(saved, "_LOCK_WAIT_S", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(study / ".corrections.lock", busy="x"):
            held.set()
            done.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    try:
        with pytest.raises(StudyError, match=r"another process has held .*corrections\.csv"):
            decide(study, drop("cat/2.jpg", content_id(2)))
    finally:
        done.set()
        other.join()
    assert [row.path for row in read_corrections(study)] == ["cat/1.jpg"]


def test_a_write_that_is_cut_short_leaves_the_rows_of_before(study: Path, monkeypatch) -> None:
    decide(study, drop("cat/1.jpg", content_id(1)))
    before = (study / FILE_NAME).read_bytes()

    def cut(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", cut)
    with pytest.raises(KeyboardInterrupt):
        decide(study, drop("cat/2.jpg", content_id(2)))
    assert (study / FILE_NAME).read_bytes() == before
    assert not list(study.glob("*.part")) + list(study.glob(".*.part"))


@given(
    contents=st.lists(st.integers(0, 5), min_size=2, max_size=10),
    steps=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["drop", "keep", "undo"])), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_after_any_decisions_each_image_has_its_last_one(
    contents: list[int], steps: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("study")
    index = index_of(*((f"{n}.jpg", "ab"[n % 2], content) for n, content in enumerate(contents)))
    wanted: dict[str, str] = {}
    for number, action in steps:
        row = index.iloc[number % len(index)]
        if action == "undo":
            undo(folder, row["image_id"], index=index)
            wanted.pop(row["image_id"], None)
        else:
            decide(folder, Correction(row["image_id"], row["path"], action), index=index)  # type: ignore[arg-type]
            wanted[row["image_id"]] = action
    assert {key: row.action for key, row in resolve(read_corrections(folder), index).items()} == wanted
