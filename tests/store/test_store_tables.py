"""Parquet tables with a fingerprint."""

from pathlib import Path

import pandas as pd
import pytest

from bestiary.errors import BestiaryError
from bestiary.store.tables import read_table, table_fingerprint, write_table

TABLE = pd.DataFrame({"path": ["a b.png", "ö\n<b>.png", ""], "n": [1, 2, 3], "p:split": [0.1, 0.2, 0.7]})


def test_table_reads_back_equal_with_its_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "study" / "t.parquet"
    write_table(path, TABLE, fingerprint="feed")
    pd.testing.assert_frame_equal(read_table(path), TABLE)
    assert table_fingerprint(path) == "feed"


def test_empty_table_keeps_its_columns_and_types(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", TABLE.iloc[:0])
    read = read_table(tmp_path / "t.parquet")
    assert (read.dtypes == TABLE.dtypes).all()
    assert table_fingerprint(tmp_path / "t.parquet") == ""


def test_row_numbers_of_a_filtered_frame_are_not_kept(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", TABLE.iloc[[2, 0]])
    assert read_table(tmp_path / "t.parquet").index.tolist() == [0, 1]


@pytest.mark.parametrize("length", [0, 3, 50, -1])
def test_damaged_table_is_named_and_has_no_fingerprint(tmp_path: Path, length: int) -> None:
    path = tmp_path / "index.parquet"
    write_table(path, TABLE, fingerprint="feed")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BestiaryError, match=r"index\.parquet is damaged .*Delete it"):
        read_table(path)
    assert table_fingerprint(path) is None


def test_absent_table_has_no_fingerprint(tmp_path: Path) -> None:
    assert table_fingerprint(tmp_path / "none.parquet") is None


def test_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, TABLE, fingerprint="old")
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    many = pd.DataFrame({"x": [str(n) * 20 for n in range(50_000)]})
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(BestiaryError, match="cannot write"):
            write_table(path, many, fingerprint="new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert table_fingerprint(path) == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
