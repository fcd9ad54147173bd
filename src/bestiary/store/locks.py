"""Locks: one process at a time.

In: the path of a lock file. Out: a context in which nobody else holds it. Owns no file itself.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bestiary.errors import StudyError
from bestiary.store.files import cannot_write


@contextlib.contextmanager
def exclusive(path: Path, *, busy: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`; where another one holds it for longer than `wait_s`, raise StudyError with `busy`."""
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(path), timeout=wait_s)
        lock.acquire()
    except Timeout as error:
        raise StudyError(busy) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        lock.release()
