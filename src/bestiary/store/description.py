"""The folder of a row store: its description, and the names of its files.

In: a store's folder. Out: a `Description`, and paths. Owns `meta.json` in the folder.

A store has two data files: its rows, one after the other, and a record for each row. Appending makes both longer.
Dropping rows writes both again under new names: the next generation. `meta.json` says which generation is valid. Data
files of any other generation were left by a crash, and are deleted by the next process that writes.
"""

import contextlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bestiary.errors import BestiaryError
from bestiary.store.files import read_json, write_json

META = "meta.json"
_DATA_FILE = re.compile(r"(rows|keys)(-[0-9]+)?\.bin")
_UNFINISHED_META = re.compile(r"\.meta\.json\..*\.part")


@dataclass(frozen=True)
class Description:
    """What `meta.json` says.

    Attributes:
        shape: of one row.
        dtype: of the rows, as numpy writes it.
        about: what the rows are.
        number: of the valid generation, from 0.
        identity: of the valid generation, drawn at random. A process that has read generation 2 of a store notices by
            it that the store was deleted and has come to another generation 2.
    """

    shape: tuple[int, ...]
    dtype: str
    about: dict[str, Any]
    number: int = 0
    identity: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def row_bytes(self) -> int:
        """The size of one row."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def write(self, folder: Path) -> None:
        """Write `meta.json`, in one step: from then on this generation is the valid one."""
        form = {"shape": list(self.shape), "dtype": self.dtype, "generation": self.number, "id": self.identity}
        write_json(folder / META, {**form, "about": self.about})


def read_description(folder: Path) -> Description | None:
    """What `meta.json` says; None where it is missing or damaged, or describes no store."""
    try:
        meta = read_json(folder / META)
        shape, dtype = tuple(meta["shape"]), np.dtype(meta["dtype"]).str
        # The first version of stores had no generations: theirs is number 0, without an id.
        number, identity, about = meta.get("generation", 0), meta.get("id", ""), meta["about"]
    except (BestiaryError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
    sizes = all(type(size) is int and size > 0 for size in shape) and type(number) is int and number >= 0
    if not sizes or not isinstance(identity, str) or not isinstance(about, dict) or np.dtype(dtype).hasobject:
        return None
    return Description(shape, dtype, about, number, identity)


def rows_file(folder: Path, number: int) -> Path:
    """Where the rows of a generation are."""
    return folder / (f"rows-{number}.bin" if number else "rows.bin")


def keys_file(folder: Path, number: int) -> Path:
    """Where the records of a generation are."""
    return folder / (f"keys-{number}.bin" if number else "keys.bin")


def data_files(folder: Path) -> list[Path]:
    """The data files of all generations, the valid one included."""
    return [path for path in _entries(folder) if _DATA_FILE.fullmatch(path.name)]


def delete_leftovers(folder: Path, *, keep: int | None) -> None:
    """Delete the data files of all generations but `keep` (None: of all), and unfinished descriptions.

    The caller holds the store's lock.
    """
    kept = () if keep is None else (rows_file(folder, keep), keys_file(folder, keep))
    unfinished = [path for path in _entries(folder) if _UNFINISHED_META.fullmatch(path.name)]
    for path in unfinished + [path for path in data_files(folder) if path not in kept]:
        # Windows does not delete a file that a process has mapped: it is deleted the next time.
        with contextlib.suppress(PermissionError):
            path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
