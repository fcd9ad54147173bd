"""JSON files with a format and a key: what cannot be used is as if it were not there."""

from pathlib import Path

import pytest

from bestiary.store.keyed_json import read_keyed, write_keyed


def test_what_was_written_comes_back_with_its_key(tmp_path: Path) -> None:
    write_keyed(tmp_path / "x.json", {"value": [1, None]}, key="k", form=2)
    assert read_keyed(tmp_path / "x.json", form=2) == {"format": 2, "key": "k", "value": [1, None]}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"key": "k"}', '{"format": 1, "key": "k"}', "\udcff"])
def test_another_format_damage_or_no_file_gives_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert read_keyed(file, form=2) == {}
    assert read_keyed(tmp_path / "none.json", form=2) == {}
    assert read_keyed(tmp_path, form=2) == {}
