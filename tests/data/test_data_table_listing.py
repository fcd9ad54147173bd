"""Image tables: which files they name, what they say of them, and what is not certain."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bestiary.config.schema import DataConfig
from bestiary.data.index import build_index
from bestiary.data.listing import SPLIT_FOLDERS, Listed, list_files, read_listing
from bestiary.data.table_listing import read_image_table
from bestiary.errors import ConfigError, DataError
from tests.conftest import draw_shape

ROWS = pd.DataFrame(
    {
        "path": ["img/a b.png", "img/ü,\n<i>.png", "c.png", "d.png"],
        "label": ["cat", "dog", "", " dog "],
        "part": ["train", "Validation", "", "test"],
        "owner": ["ann", "", "bob", "ann"],
    }
)
WHOLE = {"split_column": "part", "group_column": "owner"}


def table(folder: Path, rows: pd.DataFrame, ending: str = "csv") -> Path:
    path = folder / f"table.{ending}"
    rows.to_csv(path, index=False) if ending == "csv" else rows.to_parquet(path)
    return path


def listed(path: Path, **options: Any) -> list[Listed]:
    return list_files(DataConfig(path=str(path), **options))


def written(folder: Path, content: str | bytes, *files: str) -> Path:
    """A table in `folder`, and files beside it."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    path = folder / "t.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_table_gives_path_label_split_and_group(tmp_path: Path, ending: str) -> None:
    assert listed(table(tmp_path, ROWS, ending), **WHOLE) == [
        Listed("img/a b.png", "cat", "train", "ann", ""),
        Listed("img/ü,\n<i>.png", "dog", "val", "", ""),
        Listed("c.png", "", "", "bob", "has no label"),
        Listed("d.png", "dog", "test", "ann", ""),
    ]


def test_split_and_group_columns_are_optional_and_others_can_be_named(tmp_path: Path) -> None:
    rows = ROWS.rename(columns={"path": "file", "label": "animal"})
    files = listed(table(tmp_path, rows), path_column="file", label_column="animal", rename={"cat": "lynx"})
    assert {(file.split, file.group) for file in files} == {("", "")}
    assert [file.label for file in files] == ["lynx", "dog", "", "dog"]


# --- columns


@pytest.mark.parametrize("name", ["split", "Split", " SPLIT "])
def test_a_column_named_split_is_used_and_said(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, f"path,label,{name}\na.jpg,cat,train\nb.jpg,cat,TEST\nc.jpg,dog,\n")
    assert [file.split for file in listed(path)] == ["train", "test", ""]
    assert read_listing(DataConfig(path=str(path))).notes == [
        f'split taken from column {name.strip()!r} (data.split_column = "" ignores it)'
    ]
    assert [file.split for file in listed(path, split_column="")] == ["", "", ""]
    assert read_listing(DataConfig(path=str(path), split_column="")).notes == []


def test_a_column_named_group_is_used_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,Group\na.jpg,cat,p1\nb.jpg,cat,\n")
    assert [file.group for file in listed(path)] == ["p1", ""]
    assert read_listing(DataConfig(path=str(path))).notes == [
        "images with one value of column 'Group' stay in one split (data.group_column)"
    ]
    assert [file.group for file in listed(path, group_column="")] == ["", ""]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_columns_that_were_used_are_known(tmp_path: Path, ending: str) -> None:
    rows = ROWS.rename(columns={"path": "Path", "part": "Split"}).assign(group="")
    data = DataConfig(path=str(table(tmp_path, rows, ending)))
    used = read_image_table(data, split_names=SPLIT_FOLDERS).columns
    assert used == {"path": "Path", "label": "label", "split": "Split"}  # an empty column says nothing


def test_a_given_split_reaches_the_index(tmp_path: Path) -> None:
    for number in range(4):
        draw_shape(number % 2, seed=number).save(tmp_path / f"{number}.png")
    path = written(tmp_path, "path,label,split\n0.png,a,train\n1.png,b,train\n2.png,a,test\n3.png,b,valid\n")
    assert build_index(DataConfig(path=str(path)))["split_given"].tolist() == ["train", "train", "test", "val"]


@pytest.mark.parametrize("key", ["path_column", "label_column", "split_column", "group_column"])
def test_missing_column_names_the_key_and_the_columns_there_are(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{key}: .*no column 'nope'; it has path, label, part, owner"):
        listed(table(tmp_path, ROWS), **{key: "nope"})


def test_of_columns_that_differ_in_case_the_one_as_written_counts(tmp_path: Path) -> None:
    path = written(tmp_path, "path,Label,label,LABEL\na.jpg,x,cat,y\n")
    assert listed(path) == [Listed("a.jpg", "cat")]
    with pytest.raises(ConfigError, match=r"data\.label_column: .* has 3 columns named 'laBel': rename all but one"):
        listed(path, label_column="laBel")
    with pytest.raises(ConfigError, match=r"data\.path_column: .* has 2 columns named 'path'"):
        listed(written(tmp_path, "path,label,path\na.jpg,cat,b.jpg\n"))


@pytest.mark.parametrize("key", ["path_column", "label_column"])
def test_paths_and_labels_need_a_column(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{key} is empty: write the name of a column"):
        listed(table(tmp_path, ROWS), **{key: ""})


# --- cells


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_that_are_numbers_or_look_like_nothing_are_texts(tmp_path: Path, ending: str) -> None:
    rows = pd.DataFrame({"path": ["a", "b", "c"], "label": ["NA", "007", "None"]})
    assert [file.label for file in listed(table(tmp_path, rows, ending))] == ["NA", "007", "None"]


def test_empty_cells_of_a_parquet_table_are_no_label_and_no_path(tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": ["a", None, "c"], "label": [None, "x", "y"]})
    files = listed(table(tmp_path, rows, "parquet"))
    assert [(file.path, file.error) for file in files] == [("a", "has no label"), ("row 2", "has no path"), ("c", "")]


def test_rows_without_path_or_label_are_listed_with_the_reason(tmp_path: Path) -> None:
    files = listed(written(tmp_path, "path,label\n,cat\nb.jpg,\nc.jpg\n,dog\n"))
    assert files == [
        Listed("line 2", "cat", error="has no path"),
        Listed("b.jpg", error="has no label"),
        Listed("c.jpg", error="has no label"),
        Listed("line 5", "dog", error="has no path"),
    ]


@pytest.mark.parametrize(("name", "split"), SPLIT_FOLDERS.items())
def test_every_name_of_a_split_folder_is_understood_in_any_case(tmp_path: Path, name: str, split: str) -> None:
    path = written(tmp_path, f"path,label,split\na.jpg,cat,{name}\nb.jpg,cat, {name.upper()} \n")
    assert [file.split for file in listed(path)] == [split, split]


def test_columns_that_are_not_used_may_hold_anything(tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": ["a"], "label": ["cat"], "vector": [[1.0, 2.0]]})
    assert listed(table(tmp_path, rows, "parquet")) == [Listed("a", "cat")]


def test_unknown_splits_name_their_rows_and_what_is_allowed(tmp_path: Path) -> None:
    rows = ROWS.assign(part=["train", "tset", "", "foo"])
    with pytest.raises(DataError) as caught:
        listed(table(tmp_path, rows), split_column="part")
    first, *problems = str(caught.value).split("\n  ")
    assert first.endswith("table.csv: 2 rows have to be fixed")
    allowed = "none of train, val, test. Write one of these, or leave it empty"
    assert problems == [f"line 3: split 'tset' is {allowed}", f"line 6: split 'foo' is {allowed}"]
    with pytest.raises(DataError, match=r"row 2: split 'tset' .*\n.*row 4: split 'foo'"):
        listed(table(tmp_path, rows, "parquet"), split_column="part")


def test_a_column_named_split_that_holds_something_else_says_how_to_ignore_it(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,split\na.jpg,cat,3\n")
    with pytest.raises(DataError, match=r'line 2: split \'3\' is none of .*set data\.split_column = "" to ignore'):
        listed(path)
    assert listed(path, split_column="") == [Listed("a.jpg", "cat")]


# --- what spreadsheets write


@pytest.mark.parametrize(
    "content",
    [
        "path;label\na.jpg;kött\nb.jpg;dog\n",
        "path\tlabel\na.jpg\tkött\nb.jpg\tdog\n",
        "sep=;\r\npath;label\r\na.jpg;kött\r\nb.jpg;dog\r\n",
        "path,label,\na.jpg,kött,\nb.jpg,dog,\n",
        "path,label\na.jpg,kött,\nb.jpg,dog,\n",
        'path, label\na.jpg, "kött"\nb.jpg, dog\n',
        ",path,label\n0,a.jpg,kött\n1,b.jpg,dog\n",
        "\ufeffPath,Label\r\na.jpg,kött\r\n\r\nb.jpg,dog\r\n,\r\n",
        "path,label\ra.jpg,kött\rb.jpg,dog\r",
        "path,label\na.jpg,kött\nb.jpg,dog\n".encode("latin-1"),
        "path\tlabel\r\na.jpg\tkött\r\nb.jpg\tdog\r\n".encode("utf-16"),
    ],
)
def test_what_spreadsheets_do_to_a_table_is_read(tmp_path: Path, content: str | bytes) -> None:
    assert listed(written(tmp_path, content)) == [Listed("a.jpg", "kött"), Listed("b.jpg", "dog")]


def test_columns_of_other_names_show_the_delimiter_too(tmp_path: Path) -> None:
    path = written(tmp_path, "file;animal;remark, if any\na.jpg;cat;b, c\n")
    assert listed(path, path_column="file", label_column="animal") == [Listed("a.jpg", "cat")]


def test_byte_order_mark_and_upper_case_ending(tmp_path: Path) -> None:
    (tmp_path / "t.CSV").write_bytes("\ufeffpath,label\na,cat\n".encode())
    assert listed(tmp_path / "t.CSV") == [Listed("a", "cat")]


def test_an_old_encoding_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label\na.jpg,kött\n".encode("cp1252"))
    (note,) = read_listing(DataConfig(path=str(path))).notes
    assert note == "t.csv is not UTF-8 and was read as Windows-1252: where names look wrong, save it as 'CSV UTF-8'"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "is empty: it should begin with the names of the columns"),
        ("t.csv", b"path,label\na,\xff\xfe\n", "line 2: this is not UTF-8 text"),
        ("t.csv", "path,label\na,кошка\n".encode("cp1251"), "line 2: this is not UTF-8 text"),
        ("t.csv", b'path,label\na,cat\nb,"dog\n', "line 3: .*Fix the quotes"),
        ("t.csv", b"path,label\na,cat\nb,dog,extra\n", "line 3: it has more values than there are columns: put quotes"),
        ("t.csv", b"path,label,\nx, y.jpg,cat,\n", "line 2: it has more values than there are columns"),
        ("t.csv", b"path,label\n1,a.jpg,cat\n2,b.jpg,dog\n", r"2 rows .*\n.*line 2: it has more .*\n.*line 3: it has"),
        ("t.csv", b"path,label\n", "has no rows"),
        ("t.csv", b"path,label\n,\n \n", "has no rows"),
        ("t.parquet", b"PAR1 not really", "cannot read the table"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_and_never_misread(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s)({name}.*{words}|{words}.*{name})"):
        listed(tmp_path / name)


def test_a_table_without_rows_is_an_error(tmp_path: Path) -> None:
    for ending in ("csv", "parquet"):
        with pytest.raises(DataError, match="has no rows"):
            listed(table(tmp_path, ROWS.iloc[:0], ending))


# --- paths


@pytest.mark.skipif(os.sep == "\\", reason="there a backslash is no part of a name")
def test_paths_of_windows_are_read_unless_a_file_has_that_name(tmp_path: Path) -> None:
    path = written(
        tmp_path, "path,label\nphotos\\cat\\1.jpg,cat\nodd\\name.jpg,dog\nno\\where.jpg,dog\n", "photos/cat/1.jpg"
    )
    (tmp_path / "odd\\name.jpg").write_bytes(b"x")
    assert [file.path for file in listed(path)] == ["photos/cat/1.jpg", "odd\\name.jpg", "no/where.jpg"]


def test_paths_that_start_above_the_table_s_folder_are_found(tmp_path: Path) -> None:
    path = written(
        tmp_path / "data", "path,label\ndata/cat/1.jpg,cat\nphotos\\2.jpg,dog\ndata/gone.jpg,dog\n", "cat/1.jpg"
    )
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "2.jpg").write_bytes(b"x")
    assert [file.path for file in listed(path)] == ["cat/1.jpg", (tmp_path / "photos/2.jpg").as_posix(), "gone.jpg"]
    assert read_listing(DataConfig(path=str(path))).notes == [
        f"the paths in t.csv start at {tmp_path}, not at the table's folder"
    ]


def test_paths_that_start_at_the_working_directory_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "lists", "path,label\ncat/1.jpg,cat\n")
    written(tmp_path / "work", "", "cat/1.jpg")
    monkeypatch.chdir(tmp_path / "work")
    assert [file.path for file in listed(path)] == [(tmp_path / "work/cat/1.jpg").as_posix()]
    assert [file.path for file in listed(Path("../lists/t.csv"))] == [(tmp_path / "work/cat/1.jpg").as_posix()]
    # One file beside the table, and all paths start there.
    written(tmp_path / "lists", "path,label\ncat/1.jpg,cat\nb.jpg,dog\n", "b.jpg")
    assert [file.path for file in listed(path)] == ["cat/1.jpg", "b.jpg"]


def test_paths_that_are_in_two_other_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "lists", "path,label\ncat/1.jpg,cat\n")
    written(tmp_path / "work", "", "cat/1.jpg")
    written(tmp_path, "", "cat/1.jpg")
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(
        DataError, match=rf"not in its folder .*lists, but in each of {tmp_path}, {tmp_path / 'work'}: "
    ):
        listed(path)


def test_whole_paths_stay(tmp_path: Path) -> None:
    written(tmp_path / "photos", "", "1.jpg")
    path = written(tmp_path / "lists", f"path,label\n{tmp_path / 'photos' / '1.jpg'},cat\nnone.jpg,dog\n")
    assert [file.path for file in listed(path)] == [str(tmp_path / "photos" / "1.jpg"), "none.jpg"]
    assert read_listing(DataConfig(path=str(path))).notes == []


def test_paths_that_are_nowhere_stay_as_they_are(tmp_path: Path) -> None:
    assert [file.path for file in listed(written(tmp_path, "path,label\nno/1.jpg,cat\n"))] == ["no/1.jpg"]


# --- files that several rows name


def test_a_file_that_is_named_twice_counts_once_and_is_said(tmp_path: Path) -> None:
    whole = tmp_path / "a.jpg"
    path = written(tmp_path, f"path,label\na.jpg,cat\nb.jpg,dog\n./a.jpg,cat\n{whole},cat\nx/../b.jpg,\n", "a.jpg")
    assert listed(path) == [Listed("a.jpg", "cat"), Listed("b.jpg", "dog")]
    assert read_listing(DataConfig(path=str(path))).notes == [
        "3 rows name files that an earlier row names, counted once: line 4 (./a.jpg), see line 2"
    ]
    path = written(tmp_path, "path,label\na.jpg,cat\na.jpg,cat\n")
    (note,) = read_listing(DataConfig(path=str(path))).notes
    assert note.startswith("1 row names a file that an earlier row names, counted once: line 3 (a.jpg), see line 2")


def test_what_one_of_two_rows_leaves_open_the_other_says(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label,split,group\na.jpg,,test,\na.jpg,cat,,p1\nb.jpg,cat,,\n")
    assert listed(path) == [Listed("a.jpg", "cat", "test", "p1"), Listed("b.jpg", "cat")]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("dog,train,p1", "line 4: 'a.jpg' has label 'dog', but label 'cat' in line 2. Delete one of the two rows"),
        ("cat,test,p1", "line 4: 'a.jpg' has split 'test', but split 'train' in line 2"),
        ("cat,train,p2", "line 4: 'a.jpg' has group 'p2', but group 'p1' in line 2"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_that_contradict_each_other_are_an_error(tmp_path: Path, second: str, words: str, ending: str) -> None:
    path = written(tmp_path, f"path,label,split,group\na.jpg,cat,train,p1\nb.jpg,dog,train,p1\na.jpg,{second}\n")
    if ending == "parquet":
        path = table(tmp_path, pd.read_csv(path), "parquet")
        words = words.replace("line 4", "row 3").replace("line 2", "row 1")
    with pytest.raises(DataError) as caught:
        listed(path)
    assert words in str(caught.value)


def test_folders_have_no_notes(tmp_path: Path) -> None:
    written(tmp_path / "d", "", "cat/1.jpg")
    assert read_listing(DataConfig(path=str(tmp_path / "d"))).notes == []


def test_numbers_of_a_parquet_table_stay_whole_beside_empty_cells(tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": [1, 2, None], "group": [7, None, 8]})
    assert rows["label"].dtype == float
    rows["label"], rows["group"] = rows["label"].astype("Int64"), rows["group"].astype("Int64")
    found = listed(table(tmp_path, rows, "parquet"))
    assert [(file.label, file.group) for file in found] == [("1", "7"), ("2", ""), ("", "8")]


def test_a_column_that_pandas_saved_as_its_index_is_found(tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": ["a.png"], "label": ["cat"]}).set_index("path")
    assert listed(table(tmp_path, rows, "parquet")) == [Listed("a.png", "cat")]


def test_a_cell_that_holds_a_list_is_an_error_that_names_the_table(tmp_path: Path) -> None:
    path = table(tmp_path, pd.DataFrame({"path": ["a.png"], "label": [["cat", "dog"]]}), "parquet")
    with pytest.raises(DataError, match=r"table\.parquet.*a cell holds a list"):
        listed(path)
