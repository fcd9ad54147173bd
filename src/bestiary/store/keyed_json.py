"""JSON files that say of what inputs they were made, and in which format.

In: a mapping, a key and the number of the format. Out: it again, or nothing where the file is of no use.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bestiary.errors import BestiaryError
from bestiary.store.files import read_json, write_json


def write_keyed(path: Path, content: Mapping[str, Any], *, key: str, form: int) -> None:
    """Write a mapping with its `key`, and `form` as its `format`.

    Raises:
        BestiaryError: the folder cannot be written.
    """
    write_json(path, {"format": form, "key": key, **content})


def read_keyed(path: Path, *, form: int) -> dict[str, Any]:
    """What a file holds; empty where there is none, or one of another format or damaged, which is made again."""
    try:
        content = read_json(path)
    except (BestiaryError, OSError):
        return {}
    return content if isinstance(content, dict) and content.get("format") == form else {}
