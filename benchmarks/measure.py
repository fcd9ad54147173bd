"""Run one command to its end, and medians of several runs.

In: a command line. Out: what the operating system says of it: wall seconds, peak memory, exit code.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SHORT_S = 60.0

T = TypeVar("T")

_LAUNCHER = """
import json, os, subprocess, sys, time
command, environment, log = json.load(sys.stdin)
with open(log, "wb") as stream:
    started, start = time.time(), time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
print(json.dumps([seconds, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status), started]))
"""


@dataclass(frozen=True)
class Measured:
    """One command, run to its end.

    Attributes:
        wall_s: from its start to its end.
        peak_mb: the largest resident set of the process, or of one of its own that it waited for; not their sum.
        exit_code: negative where a signal ended it.
        started_unix_s: when it began, on the clock that files are dated by.
    """

    wall_s: float
    peak_mb: float
    exit_code: int
    started_unix_s: float


def measure(command: Sequence[str | Path], *, environment: Mapping[str, str], log: Path) -> Measured:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: all of its environment variables.
        log: takes what it prints, on both streams.
    """
    # Linux counts to a command's peak what the process that started it held: a small one starts it.
    request = json.dumps([[str(part) for part in command], dict(environment), str(log)])
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER]
    told = subprocess.run(launcher, input=request, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Measured(*json.loads(told))


def timed(work: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rounds(jobs: Mapping[str, Callable[[], T]], repeats: int, *, again: Callable[[T], bool]) -> dict[str, list[T]]:
    """Run all jobs in turn, several times, so that a slow minute of the machine falls on all of them.

    Args:
        jobs: what to run, by name.
        repeats: how often, at most.
        again: whether a job whose first result is this one is worth repeating.
    """
    found: dict[str, list[T]] = {name: [job()] for name, job in jobs.items()}
    for _ in range(repeats - 1):
        for name, job in jobs.items():
            if again(found[name][0]):
                found[name].append(job())
    return found


def is_short(measured: Measured) -> bool:
    """Whether to repeat: it worked, and took less than a minute."""
    return measured.exit_code == 0 and measured.wall_s < SHORT_S


def median(values: Sequence[float | None]) -> float | None:
    """The median of the values that are there; None where none is."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def last_line(text: str) -> str:
    """The last line that says something: the reason of a failure, for a table."""
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else ""


def one_line(text: str) -> str:
    """Text on one line, without addresses, cut to what a table's cell can hold."""
    return re.sub(r"\S+://\S+", "(address)", " ".join(text.split()))[:300]
