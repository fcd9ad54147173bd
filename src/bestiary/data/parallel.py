"""Work on many items in threads, results in order, memory bounded; and writing that nobody waits for.

Decoding in Pillow releases the interpreter's lock, so threads keep all cores busy without copying pixels between
processes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy.typing as npt

from bestiary.store.rows import RowStore

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 64


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], *, ahead: int = _AHEAD
) -> Iterator[R]:
    """Yield `work(item)` in the order of items, with at most `ahead` items under way or waiting to be taken.

    An exception, or the caller's leaving, cancels what has not begun.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def appending(store: RowStore) -> Iterator[Callable[[Sequence[str], npt.NDArray[Any]], None]]:
    """`append(keys, rows)` to a store in a thread of its own: computing goes on while a block goes to the disk.

    At most one block is under way; what goes wrong with it is raised by the next `append`, or on leaving.
    """
    with ThreadPoolExecutor(1) as writer:
        under_way: list[Future[None]] = []

        def append(keys: Sequence[str], rows: npt.NDArray[Any]) -> None:
            if under_way:
                under_way.pop().result()
            under_way.append(writer.submit(store.append, keys, rows))

        yield append
        if under_way:
            under_way.pop().result()
