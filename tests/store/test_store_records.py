"""Records: their checksum is zlib's, and the table of keys is a dictionary."""

import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.store.records import RECORD, KeyTable, encode_keys, make_records, sound

names = st.text("abcdef0123456789", min_size=1, max_size=32)
blocks = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=12)


@given(keys=st.lists(names, max_size=20), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_record_checksum_is_that_of_zlib(keys: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(0, 1 << 40, len(keys))
    records = make_records(encode_keys(keys), rows, random.integers(0, 1 << 32, len(keys), dtype=np.uint32))
    assert [int(crc) for crc in records["record_crc"]] == [zlib.crc32(record.tobytes()[:44]) for record in records]
    assert [key.decode() for key in records["key"].tolist()] == keys
    assert records["row"].tolist() == rows.tolist()
    assert sound(records).all()


def test_which_of_many_records_are_sound() -> None:
    count = 4_000
    content = np.random.default_rng(3).integers(0, 256, (count, RECORD.itemsize), dtype=np.uint8)
    content[::2, 44:] = np.array([zlib.crc32(line[:44].tobytes()) for line in content[::2]], "<u4")[:, None].view("u1")
    assert np.flatnonzero(sound(content.view(RECORD).ravel())).tolist() == list(range(0, count, 2))


@given(blocks=blocks, bad=st.sets(st.integers(0, 71)), every=st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_table_is_a_dictionary_that_keeps_rows_found_intact_and_misses_damaged_ones(
    blocks: list[list[str]], bad: set[int], every: int
) -> None:
    def intact(rows: npt.NDArray[np.int64], crcs: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        assert crcs.tolist() == [row + 1000 for row in rows.tolist()]
        asked.extend(rows.tolist())
        return np.array([row not in bad for row in rows.tolist()], dtype=bool)

    table, expected, asked, next_row = KeyTable(), dict[str, int](), list[int](), 0
    found_intact = set[str]()
    wanted = [*"abcdefghz", *"ha"]
    for number, block in enumerate(blocks):
        rows = np.arange(next_row, next_row + len(block))
        table.add(make_records(encode_keys(block), rows, (rows + 1000).astype(np.uint32)), checked=False)
        expected |= {key: row for key, row in zip(block, rows.tolist(), strict=True) if key not in found_intact}
        next_row += len(block)
        unseen = table.find(encode_keys(wanted), intact=None)
        if number % every == 0:
            found = table.find(encode_keys(wanted), intact=intact)
            rights = [expected.get(key, -1) for key in wanted]
            assert found.tolist() == [-1 if row in bad else row for row in rights]
            unseen = table.find(encode_keys(wanted), intact=None)
            assert unseen.tolist() == found.tolist()
            entries = table.entries(checked=True)
            whole = {key: row for key, row in expected.items() if row not in bad}
            assert entries.keys.tolist() == [key.encode() for key in sorted(whole, key=whole.__getitem__)]
            assert entries.rows.tolist() == sorted(whole.values())
            found_intact = set(whole)
        assert all(row in (expected.get(key, -1), -1) for key, row in zip(wanted, unseen.tolist(), strict=True))
    assert len(asked) == len(set(asked)), "a record is looked at once"


def test_rows_added_as_checked_are_not_looked_at() -> None:
    table = KeyTable()
    table.add(make_records(encode_keys(["a"]), np.array([0]), np.array([1], np.uint32)), checked=True)
    assert table.find(encode_keys(["a"]), intact=lambda *_: pytest.fail("looked at")).tolist() == [0]


@pytest.mark.parametrize("wrong", ["", "k" * 33, "ké"])
def test_impossible_keys_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"1 to 32 characters|ascii"):
        encode_keys(["a", wrong])
