"""Bars, the clock, telemetry switches and the exit codes of errors."""

import io
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bestiary import errors
from bestiary.progress import SILENT, Console, default_progress
from bestiary.telemetry import prepare_process
from bestiary.timing import Clock


def test_bar_leaves_one_line_on_stderr_and_nothing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().track("pixels [bold]", 1200, unit="images") as task:
        for _ in range(1200):
            task.advance(note="loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "pixels [bold]: 1,200 images in" in err
    assert "loss 0.5" in err


def test_one_is_counted_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    for count in (1, 2):
        with Console().track("read", count, unit="files") as task:
            task.advance(count)
    lines = [line.partition(" in ")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["  read: 1 file", "  read: 2 files"]


@pytest.mark.parametrize(
    ("count", "rate"),
    [(1, "0.5 folds/s"), (2, "1.0 folds/s"), (19, "9.5 folds/s"), (20, "10 folds/s"), (5000, "2,500 folds/s")],
)
def test_slow_work_has_a_rate_with_a_decimal(
    count: int, rate: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = iter([0.0])
    monkeypatch.setattr("bestiary.progress.time", SimpleNamespace(perf_counter=lambda: next(moments, 2.0)))
    with Console().track("probe", count, unit="folds") as task:
        task.advance(count)
    assert f" in 2.0 s, {rate}\n" in capsys.readouterr().err


class Unread(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_work_goes_on_where_nobody_reads_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Unread())
    progress, done = Console(), 0
    progress.say("to nobody")
    with progress.track("work", 2, unit="steps") as task:
        for _ in range(2):
            task.advance()
            done += 1
    assert done == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [(Terminal(), Console), (io.StringIO(), type(SILENT)), (None, type(SILENT)), (closed(), type(SILENT)),
     (SimpleNamespace(write=print), type(SILENT))],
)  # fmt: skip
def test_progress_is_shown_by_default_where_stderr_is_a_terminal(
    stderr: Any, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(sys, "stderr", stderr)
    assert type(default_progress()) is kind


@pytest.mark.parametrize(
    ("shell", "kind"),
    [(SimpleNamespace(kernel=object()), Console), (SimpleNamespace(), type(SILENT)), (None, type(SILENT))],
)
def test_progress_is_shown_by_default_in_a_notebook(shell: object, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(default_progress()) is kind


def test_asking_for_the_default_imports_neither_ipython_nor_rich() -> None:
    code = (
        "import sys; from bestiary.progress import default_progress; default_progress(); "
        "print([name for name in ('IPython', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_line_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Console().say("[red]a[/red] " + "long " * 100)
    assert capsys.readouterr().err == "[red]a[/red] " + "long " * 100 + "\n"


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.say("hush")
    with SILENT.track("x", 1, unit="y") as task:
        task.advance()
    assert capsys.readouterr() == ("", "")


def test_clock_adds_seconds_and_rates_only_what_was_computed() -> None:
    clock = Clock()
    clock.add("pixels", 2.0, images=0)
    clock.add("pixels", 3.0, images=30)
    clock.add("fit", 0.0, images=5)
    assert clock.seconds == {"pixels": 5.0, "fit": 0.0}
    assert clock.images_per_s == {"pixels": 10.0}


def test_telemetry_is_off_unless_the_user_set_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    prepare_process()
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["DO_NOT_TRACK"] == "0"


def test_exit_codes_follow_the_tree_of_errors() -> None:
    classes = [item for item in vars(errors).values() if isinstance(item, type)]
    assert all(issubclass(item, errors.BestiaryError) for item in classes)
    assert {item.__name__: item.exit_code for item in classes} == {
        item.__name__: 2 if issubclass(item, errors.UsageError) else 1 for item in classes
    }
    assert all(f"{item.__name__} " in (errors.__doc__ or "") for item in classes)
