"""Files: atomic writes, JSON, and the place of caches.

In: bytes, text or plain objects. Out: files that are either whole or absent. Owns no file itself.
"""

import errno
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bestiary.errors import BestiaryError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    A reader sees the old file or the new one, never a part. The file is flushed to disk before the rename.

    Raises:
        BestiaryError: the folder cannot be written (read-only, full disk); names the path.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by `tempfile`, whose files are for their owner alone: this one gets the rights that any new file gets.
        candidate = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
        candidate.touch(exist_ok=False)
        temporary = candidate
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> BestiaryError:
    """The error for a file that the system would not write, with the fix that fits."""
    fix = "Free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Choose a place you may write to"
    return BestiaryError(f"cannot write {path}: {error.strerror or error}. {fix}, and run the command again.")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # a folder cannot be opened for fsync on Windows
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    write_atomically(path, lambda temporary: _fill(temporary, data))


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; line ends stay as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BestiaryError: the file is not JSON; names it and says to delete it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BestiaryError(f"{path} is damaged ({error}). Delete it and run the command again.") from error


def cache_home() -> Path:
    """The folder of all caches: `$BESTIARY_CACHE`, else the user's cache folder. Deleting it loses only time."""
    if chosen := os.environ.get("BESTIARY_CACHE"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("bestiary", appauthor=False)
