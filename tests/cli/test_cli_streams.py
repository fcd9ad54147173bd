"""Output never breaks off: names of every kind on streams of every encoding, in processes of their own."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bestiary.cli import streams
from bestiary.cli.main import run
from bestiary.study.study import Study

NAMES = ["日本語の猫.png", "cat-🐈.png", "café.png", 'comma, "quote".png', "zzz-\udcff-odd.png"]
SPELT = [*NAMES[:4], r"zzz-\xff-odd.png"]
ENCODINGS = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-8"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]

posix = pytest.mark.skipif(os.name != "posix", reason="file names of POSIX")


def bestiary(
    arguments: list[str], variables: dict[str, str], *, stdin: bytes = b"", code: int = 0
) -> subprocess.CompletedProcess[bytes]:
    """The command line in a process of its own, whose streams have another encoding."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    done = subprocess.run(
        [sys.executable, "-m", "bestiary", *arguments], input=stdin, capture_output=True, env=environment | variables
    )
    assert done.returncode == code, done.stderr.decode(errors="replace")
    assert b"Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def named(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named") / "画像"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(shapes / "bar" / "000.png", folder / name)
    (folder / "leer-空.png").write_bytes(b"")
    return folder


@posix
@pytest.mark.parametrize("variables", ENCODINGS)
@pytest.mark.slow
def test_predictions_reach_stdout_whole(finished: Study, named: Path, variables: dict[str, str]) -> None:
    spelt = {str(named / name) for name in (*SPELT, "leer-空.png")}
    told = bestiary(["predict", str(finished.path), str(named)], variables)
    rows = list(csv.DictReader(io.StringIO(told.stdout.decode("utf-8"))))
    assert {row["path"] for row in rows} == spelt
    assert [row["error"] != "" for row in rows] == [row["label"] == "" for row in rows]
    assert b"1 of 6 files could not be read" in told.stderr
    told = bestiary(["predict", str(finished.path), str(named), "--json", "-q"], variables)
    assert {json.loads(line)["path"] for line in told.stdout.decode("utf-8").splitlines()} == spelt
    assert told.stderr == b""


@posix
def test_a_list_on_stdin_names_files_by_their_bytes(finished: Study, named: Path) -> None:
    files = b"\n".join(os.fsencode(named / name) for name in NAMES)
    told = bestiary(["predict", str(finished.path), "-", "--json", "-q"], {"PYTHONIOENCODING": "ascii"}, stdin=files)
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(named / name) for name in SPELT]
    assert not any(row["error"] for row in rows)


@posix
@pytest.mark.parametrize("variables", ENCODINGS[:2])
@pytest.mark.slow
def test_a_study_of_such_names_is_reported_whole(
    shapes: Path, tiny_config: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    data, out = tmp_path / "画像", tmp_path / "画像-study"
    shutil.copytree(shapes, data)
    (data / "bar").rename(data / "猫🐈")
    (data / "猫🐈" / "空.png").write_bytes(b"")
    assert run(["init", str(data), "--config", str(tiny_config)]) == 0
    told = bestiary(["index", str(out), "-q"], variables).stdout
    assert rb"\u732b\U0001f408" in told
    assert rb"\u7a7a.png: empty file" in told
    rows = json.loads(bestiary(["index", str(out), "--json", "-q"], variables).stdout)
    assert {row["label"] for row in rows} == {"猫🐈", "disc", "frame"}
    told = bestiary(["init", str(data)], variables, code=2).stderr
    assert rb"\u753b\u50cf-study belongs to a study of another configuration" in told


@pytest.mark.parametrize("arguments", [["--help"], ["study", "--help"], ["--frobnicate"], ["recipes", "show", "quick"]])
def test_help_and_errors_fit_an_ascii_terminal(arguments: list[str]) -> None:
    told = bestiary(arguments, {"PYTHONIOENCODING": "ascii"}, code=2 if arguments == ["--frobnicate"] else 0)
    assert (told.stdout + told.stderr).decode("ascii")


@posix
@pytest.mark.parametrize(("closed", "code"), [("2>&-", 2), (">&-", 0)])
def test_a_closed_stream_gets_nothing_and_the_other_no_more_than_its_own(closed: str, code: int) -> None:
    arguments = ["recipes", "show", "quik" if code else "quick"]
    call = [sys.executable, "-m", "bestiary", *arguments]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *call], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


@posix
@pytest.mark.parametrize("arguments", [["recipes", "keys"], ["recipes", "keys", "--json"], ["--help"], ["--version"]])
def test_a_reader_that_has_gone_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "bestiary", *arguments], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_stdin_is_an_error(finished: Study, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert run(["predict", str(finished.path), "-"]) == 2
    assert "standard input is closed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "readable", "on_one_line"),
    [
        ("plain", "plain", "plain"),
        ("猫 🐈", "猫 🐈", "猫 🐈"),
        ("a\nb\t\x1b[0m\x85\u2028", "a\nb\t\x1b[0m\x85\u2028", r"a\nb\t\x1b[0m\x85\u2028"),
        ("odd\udcff\udc80", r"odd\xff\x80", r"odd\xff\x80"),
        # The bytes of 猫 as a process sees them whose file names are ASCII.
        ("\udce7\udc8c\udcab.png", "猫.png", "猫.png"),
        ("half\ud83d", r"half\ud83d", r"half\ud83d"),
        ("both\ud83d\udcff", r"both\ud83d\xff", r"both\ud83d\xff"),
        ("back\\slash", "back\\slash", "back\\slash"),
    ],
)
def test_names_become_valid_unicode_and_stay_on_their_line(text: str, readable: str, on_one_line: str) -> None:
    assert streams.readable(text) == readable
    assert streams.on_one_line(text) == on_one_line


@pytest.mark.parametrize(
    ("encoding", "escaped"), [("utf-8", False), ("utf-16", False), ("cp1252", True), ("ascii", True)]
)
def test_json_is_escaped_only_where_the_stream_cannot_encode_it(
    encoding: str, escaped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    value: Any = {"名\udcff": ["猫", {"x": "\ud83d"}], "n": float("nan"), "none": None}
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    streams.print_json(value)
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert text.isascii() == escaped
    assert json.loads(text) == {r"名\xff": ["猫", {"x": r"\ud83d"}], "n": None, "none": None}
    monkeypatch.setattr(sys, "stdout", None)
    streams.print_json(value)
