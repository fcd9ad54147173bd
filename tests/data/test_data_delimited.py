"""Delimited text: whatever spreadsheets write is read, and what is not certain is explained by its line."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.data.delimited import DelimitedTable, list_problems, read_delimited
from bestiary.errors import CorrectionsError, DataError

COLUMNS = ("path", "label")


def read(data: bytes | str, *, columns: tuple[str, ...] = COLUMNS, skip_spaces: bool = False) -> DelimitedTable:
    content = data if isinstance(data, bytes) else data.encode()
    return read_delimited(content, name="t.csv", columns=columns, skip_spaces=skip_spaces)


def lines(table: DelimitedTable) -> list[tuple[int, list[str]]]:
    return [(row.line, row.cells) for row in table.rows]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.jpg,cat\n",
        "path;label\na.jpg;cat\n",
        "path\tlabel\na.jpg\tcat",
        "path|label\na.jpg|cat\n",
        '"path";"label"\r\n"a.jpg";"cat"\r\n',
        "PATH , Label\na.jpg,cat\n",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_delimiters_line_ends_and_encodings_are_read(text: str, end: str, codec: str) -> None:
    table = read(text.replace("\r\n", "\n").replace("\n", end).encode(codec))
    assert [name.casefold() for name in table.head] == ["path", "label"]
    assert lines(table) == [(2, ["a.jpg", "cat"])]
    assert table.encoding == codec.removesuffix("-sig").upper()


@pytest.mark.parametrize("big", [True, False])
def test_utf_16_of_either_byte_order_is_read_by_its_mark(big: bool) -> None:
    codec = "utf-16-be" if big else "utf-16-le"
    table = read("\ufeffpath\tlabel\nkött ☃.jpg\tkat\n".encode(codec))
    assert lines(table) == [(2, ["kött ☃.jpg", "kat"])]


@pytest.mark.parametrize(
    ("first", "delimiter", "line"),
    [("sep=;\n", ";", 3), ('"sep=~",,\r\n', "~", 3), ("SEP=\t\n", "\t", 3), ("\n\nsep=;\n", ";", 5)],
)
def test_a_line_that_names_the_delimiter_is_followed_and_counted(first: str, delimiter: str, line: int) -> None:
    table = read(first + f"path{delimiter}label\na,b.jpg{delimiter}cat\n")
    assert (table.head, lines(table)) == (["path", "label"], [(line, ["a,b.jpg", "cat"])])


def test_a_file_that_was_saved_with_another_delimiter_than_its_first_line_names_is_read() -> None:
    assert lines(read("sep=;\npath,label\na.jpg,cat\n")) == [(3, ["a.jpg", "cat"])]


def test_the_delimiter_is_that_of_the_expected_columns() -> None:
    assert read("path;label,in English;note\n").head == ["path", "label,in English", "note"]
    assert read("path;label;notes, and others, too\n").head == ["path", "label", "notes, and others, too"]
    # Where no column is known, the one that finds most.
    assert read("file;animal;x, y\n").head == ["file", "animal", "x, y"]
    assert read("file\n").head == ["file"]


def test_empty_rows_are_left_out_and_rows_know_their_line() -> None:
    table = read('\n\npath,label\n\n,\n"a\nb.jpg",cat\n , \nc.jpg,dog\n')
    assert table.head_line == 3
    assert lines(table) == [(6, ["a\nb.jpg", "cat"]), (9, ["c.jpg", "dog"])]


def test_short_rows_are_filled_and_cells_stay_as_they_are() -> None:
    assert lines(read("path,label,note\n a ,b\n")) == [(2, [" a ", "b", ""])]


@pytest.mark.parametrize(
    ("text", "surplus"),
    [
        ("path,label\na,cat,\n", False),
        ("path,label,\na,cat,\n", False),
        ("path,label\na,cat, ,\n", False),
        (",path,label\n0,a,cat\n", False),  # pandas writes its index so
        ("path,label\na,cat,more\n", True),
        ("path,label,\na, b.jpg,cat,\n", True),
    ],
)
def test_values_behind_the_last_named_column_are_noticed(text: str, surplus: bool) -> None:
    table = read(text)
    assert table.has_surplus(table.rows[0]) is surplus


def test_spaces_after_a_delimiter_are_kept_or_skipped() -> None:
    assert lines(read('path, label\na, "big, cat"\n', skip_spaces=True)) == [(2, ["a", "big, cat"])]
    assert lines(read("path,label\na, cat\n")) == [(2, ["a", " cat"])]


@pytest.mark.parametrize("empty", ["", "\n", " \r\n\t", ",,\n , \n", "sep=;\n", "\ufeff"])
def test_a_file_without_a_value_has_no_head(empty: str) -> None:
    table = read(empty)
    assert (table.head, table.rows) == ([], [])


@pytest.mark.parametrize("word", ["kött", "Ärger", "garçon", "créée", "niño", "Häßlich", "Où"])
@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
def test_western_words_in_an_old_encoding_are_read_and_the_encoding_is_told(word: str, codec: str) -> None:
    table = read(f"path,label\n{word}/1.jpg,{word}\n".encode(codec))
    assert lines(table) == [(2, [f"{word}/1.jpg", word])]
    assert table.encoding == "Windows-1252"


@pytest.mark.parametrize(
    ("word", "codec"),
    [
        ("кошка", "cp1251"),
        ("собака", "koi8-r"),
        ("猫の写真", "shift-jis"),
        ("猫狗", "gbk"),
        ("γάτα", "iso8859-7"),
        ("Tür", "mac-roman"),
        ("łoś", "cp1250"),
        ("30 €", "cp1252"),
        ("\ufeff", "utf-16-le"),  # half a mark
    ],
)
def test_text_of_an_encoding_that_is_not_certain_is_refused_with_its_line(word: str, codec: str) -> None:
    with pytest.raises(DataError, match=r"t\.csv, line 3: this is not UTF-8 text\. Save the file again as 'CSV UTF-8'"):
        read(b"path,label\r\na,cat\r\n" + word.encode(codec) + b",dog\r\n")


def test_damage_behind_a_mark_is_told_by_its_line() -> None:
    with pytest.raises(DataError, match=r"line 2: this is not UTF-8 text"):
        read("\ufeffpath,label\nk".encode() + "ö".encode("latin-1") + b"tt,b\n")
    with pytest.raises(DataError, match=r"line 2: this is not UTF-16 text"):
        read("path,label\na,b".encode("utf-16") + b"\x00")


def test_utf_16_without_its_mark_is_explained() -> None:
    for codec in ("utf-16-le", "utf-16-be"):
        with pytest.raises(DataError, match=r"t\.csv has zeros between its letters, as UTF-16 .*CSV UTF-8"):
            read("path,label\na,cat\n".encode(codec))


@pytest.mark.parametrize(("row", "line"), [('"b,dog\n', 3), ('"a"b,dog\n', 3), ('"a\nb"c,dog\n', 3)])
def test_a_quote_that_is_not_closed_is_told_by_its_line(row: str, line: int) -> None:
    with pytest.raises(CorrectionsError, match=rf"t\.csv, line {line}: .*Fix the quotes of this row"):
        read_delimited(f"path,label\na,cat\n{row}".encode(), name="t.csv", columns=COLUMNS, error=CorrectionsError)


def test_a_first_line_without_end_is_an_error_and_no_crash() -> None:
    with pytest.raises(DataError, match="line 1: field larger than field limit"):
        read("x" * 200_000)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@given(
    rows=st.lists(st.tuples(cells, cells), max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=100, deadline=None)
def test_what_the_csv_module_writes_is_read_as_it_reads_it(
    rows: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([COLUMNS, *rows])
    table = read(stream.getvalue())
    assert [row.cells for row in table.rows] == [list(row) for row in rows if any(cell.strip() for cell in row)]


def test_problems_are_listed_up_to_ten() -> None:
    assert list_problems("t.csv", ["line 2: bad"]) == "t.csv, line 2: bad"
    listed = list_problems("t.csv", [f"line {number}: bad" for number in range(2, 15)]).split("\n  ")
    assert listed[0] == "t.csv: 13 rows have to be fixed"
    assert listed[1:11] == [f"line {number}: bad" for number in range(2, 12)]
    assert listed[11:] == ["and 3 more"]
