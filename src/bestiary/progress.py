"""Progress: what a long step tells the person who waits.

In: counts and figures. Out: lines and bars on stderr, so that stdout stays clean for pipes; nothing where nobody
watches. A function is silent unless it is handed a `Console`; `default_progress` picks one where a person watches.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from bestiary.plurals import counted


class Task(Protocol):
    """One bar: `advance` moves it and may show figures beside it."""

    def advance(self, count: int = 1, *, note: str = "") -> None: ...


class Progress(Protocol):
    """What every long function takes as `progress`."""

    def say(self, text: str) -> None:
        """Print one line."""

    def track(self, label: str, total: int, *, unit: str) -> contextlib.AbstractContextManager[Task]:
        """A bar of `total` units; `unit` is a plural that ends in s, such as `images`."""


class _SilentTask:
    def advance(self, count: int = 1, *, note: str = "") -> None:
        return None


class Silent:
    """The default: says nothing."""

    def say(self, text: str) -> None:
        return None

    @contextlib.contextmanager
    def track(self, label: str, total: int, *, unit: str) -> Iterator[Task]:
        yield _SilentTask()


SILENT = Silent()


def default_progress() -> Progress:
    """A `Console` where a person watches: stderr is a terminal, or this is a notebook. Silence everywhere else."""
    return Console() if _on_a_terminal() or _in_a_notebook() else SILENT


def _on_a_terminal() -> bool:
    # stderr is None in a process without a console, and whatever a host program put in its place elsewhere.
    isatty = getattr(sys.stderr, "isatty", None)
    return isatty is not None and not getattr(sys.stderr, "closed", False) and bool(isatty())


def _in_a_notebook() -> bool:
    """Whether IPython runs in a Jupyter kernel. In a kernel IPython is loaded already; nothing is imported."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


_LINE_EVERY_S = 30.0


class Console:
    """Bars on a terminal; elsewhere (a pipe, a file, a notebook) a line every half minute and one at the end.

    Both show units a second, the time left and the figures of the task.
    """

    def __init__(self) -> None:
        from rich.console import Console as RichConsole

        class Stderr(RichConsole):
            def on_broken_pipe(self) -> None:
                """Nobody reads any more: be silent, where rich would end the process and the work with it."""
                self.quiet = True

        self._console = Stderr(stderr=True, highlight=False, soft_wrap=True, emoji=False)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    @contextlib.contextmanager
    def track(self, label: str, total: int, *, unit: str) -> Iterator[Task]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        start = time.perf_counter()
        with RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as bars:
            say = None if self._console.is_terminal else self.say
            task = _BarTask(bars, bars.add_task(label, total=total, rate="", note=""), label, total, unit=unit, say=say)
            yield task
        seconds = time.perf_counter() - start
        rate = f", {_rate(task.done / seconds, unit)}" if seconds > 0.5 and task.done else ""
        note = f", {task.note}" if task.note else ""
        done = counted(task.done, unit.removesuffix("s"), unit)
        self.say(f"  {label}: {done} in {seconds:.1f} s{rate}{note}")


def _rate(per_s: float, unit: str) -> str:
    return f"{per_s:,.1f} {unit}/s" if per_s < 9.95 else f"{per_s:,.0f} {unit}/s"


class _BarTask:
    """A rich progress task that counts what was done; with `say`, it also prints lines."""

    def __init__(
        self, bars: Any, task_id: int, label: str, total: int, *, unit: str, say: Callable[[str], None] | None
    ) -> None:
        self._bars = bars
        self._task_id = task_id
        self._label = label
        self._total = total
        self._unit = unit
        self._say = say
        self._start = self._printed = time.perf_counter()
        self.done = 0
        self.note = ""

    def advance(self, count: int = 1, *, note: str = "") -> None:
        self.done += count
        self.note = note or self.note
        now = time.perf_counter()
        per_s = self.done / max(now - self._start, 1e-6)
        rate = _rate(per_s, self._unit)
        self._bars.update(self._task_id, advance=count, rate=rate, note=self.note)
        if self._say is not None and now - self._printed > _LINE_EVERY_S:
            self._printed = now
            left = f"about {(self._total - self.done) / per_s:,.0f} s left at most, " if per_s else ""
            self._say(f"  {self._label}: {self.done:,} of {self._total:,}, {left}{rate}, {self.note}".rstrip(", "))
