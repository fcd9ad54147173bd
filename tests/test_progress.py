"""Bars, the clock, telemetry switches and the exit codes of errors."""

import os

import pytest

from bestiary import errors
from bestiary.progress import SILENT, Console
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
