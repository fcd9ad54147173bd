"""`bestiary review` from the command line: who signs decisions."""

import getpass
from pathlib import Path
from typing import Any

import pytest

from bestiary.cli.main import run
from bestiary.review import server
from bestiary.review.queue import Progress


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom the server was given as its reviewer; no page is served."""
    names: list[str] = []

    def serve(study: Path, *, reviewer: str, **rest: Any) -> Progress:
        names.append(reviewer)
        return Progress(decided=0, total=3, by_issue={})

    monkeypatch.setattr(server, "serve", serve)
    return names


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 4711"), ImportError("pwd"), OSError("no user")])
def test_where_there_is_no_user_name_decisions_are_unsigned_and_it_is_said(
    error: Exception, signed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert run(["review", str(tmp_path), "--no-browser"]) == 0
    assert signed == [""]
    assert capsys.readouterr().err == "no user name here: give --reviewer NAME to sign decisions\n"
    assert run(["review", str(tmp_path), "--no-browser", "--reviewer", "Ann"]) == 0
    assert signed == ["", "Ann"]
    assert capsys.readouterr().err == ""


def test_the_user_signs(signed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "eva")
    assert run(["review", str(tmp_path), "--no-browser"]) == 0
    assert signed == ["eva"]
    assert capsys.readouterr().err == ""
