"""Processes beside this one: what they hold may grow."""

import os
import time

from bestiary.models.processes import own_processes

_HELD: list[bytes] = []


def hold(megabytes: int) -> int:
    """Keep so much more memory, touched, and say who holds it."""
    _HELD.append(os.urandom(1 << 20) * megabytes)
    return os.getpid()


def test_a_process_that_holds_more_than_it_began_with_stays() -> None:
    with own_processes(1, hold, 1) as (pool, ready):
        first = ready[0].result()
        for _ in range(3):
            # loky checks the memory once a second.
            time.sleep(1.1)
            assert pool.submit(hold, 400).result() == first
