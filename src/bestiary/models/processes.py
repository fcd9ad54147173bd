"""Processes that work beside this one, and end when it does.

In: how many. Out: a pool of loky's, the library under joblib. No file.

The pool is our own. joblib's shared one stays for five minutes, and asking it for other settings stops whatever the
caller's own code has in it. loky runs nothing of the caller's script again, so a script needs no `__main__` guard.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

# Whatever does the sums: torch, numpy, scikit-learn.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def default_process_count() -> int:
    """One a core that this process may use; 1 inside a daemon, which may have no children."""
    from joblib import cpu_count

    return 1 if multiprocessing.current_process().daemon else cpu_count()


@contextlib.contextmanager
def own_processes(
    count: int, warm_up: Callable[..., object], *arguments: object
) -> Iterator[tuple[Executor, list[Future[object]]]]:
    """A pool of `count` processes of one thread each; none is left when the context is.

    They end with this process, however it ends. Ctrl-C, which a terminal sends to all of them, is heard here alone.
    Work under way is lost when the context is left.

    Args:
        count: at least 1.
        warm_up: what a process does first; it should import what the work needs.
        arguments: of `warm_up`.

    Yields:
        The pool, and for each process a future that is done when one is ready.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    end, held_open = multiprocessing.Pipe(duplex=False)
    with end, held_open:
        # Before interrupts are held: until Python 3.12 it lets them through when it starts its process.
        resource_tracker.ensure_running()
        pool = ProcessPoolExecutor(count, initializer=_begin, initargs=(end,), env=_ONE_THREAD)
        try:
            with _interrupts_held():  # the first task starts all processes
                ready = [pool.submit(warm_up, *arguments) for _ in range(count)]
            yield pool, ready
        finally:
            # At once: the end of an interpreter with torch takes 3 s, and nobody waits for work under way.
            pool.shutdown(kill_workers=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C; this one hears it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(end: Connection) -> None:
    """The first thing that a process does. This module imports nothing heavy, so that it comes soon."""
    from joblib.externals.loky import process_executor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # loky takes a process that has grown by 0.3 GB for one that leaks, and replaces it: 12 s, with torch to import.
    # Ours hold features, and end with the work.
    process_executor._USE_PSUTIL = False
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()


def _end_with(end: Connection) -> None:
    # Nothing is ever sent: this returns when the other end is closed, as the system does for a process that is killed.
    with contextlib.suppress(EOFError, OSError):
        end.recv_bytes()
    os._exit(1)
