"""`bestiary cache`: what lies there is shown; clearing asks, keeps what is not a store, and names what is in use."""

import io
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from rich.filesize import decimal

from bestiary.cli import machine_commands
from bestiary.cli.main import run
from bestiary.data.geometry import Geometry
from bestiary.data.pixels import content_key, pixel_table
from bestiary.store import rows
from bestiary.store.caches import KINDS
from bestiary.store.rows import RowStore
from bestiary.study.study import Study

Captured = pytest.CaptureFixture[str]
DIGESTS = [f"{number:064x}"[::-1] for number in range(6)]
DAY_S = 86_400


def make_store(folder: Path, digests: list[str], *, days_unused: float = 0, size_px: int = 8) -> None:
    about = {"pixels": {"size_px": size_px, "fit": "crop"}, "weights": "ab" * 32, "versions": {"pillow": "1.2.3"}}
    store = RowStore(folder, shape=(size_px, size_px, 3), dtype=np.uint8, about=about)
    store.append([content_key(digest) for digest in digests], np.zeros((len(digests), size_px, size_px, 3), np.uint8))
    then = time.time() - days_unused * DAY_S
    os.utime(folder / "used", (then, then))


def has(folder: Path) -> list[int]:
    store = RowStore.open(folder)
    return [] if store is None else [at for at, digest in enumerate(DIGESTS) if store.count([content_key(digest)])]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("BESTIARY_CACHE", str(place))
    monkeypatch.setattr(rows, "_BUSY_WAIT_S", 0.2)
    make_store(place / "pixels" / "old", DIGESTS, days_unused=10)
    make_store(place / "pixels" / "new", DIGESTS[:4])
    make_store(place / "features" / "old", DIGESTS[2:], days_unused=40)
    make_store(place / "activations" / "new", DIGESTS)
    make_store(place / "features" / "broken", DIGESTS)
    (place / "features" / "broken" / "meta.json").write_text("{")
    (place / "datasets").mkdir()
    (place / "datasets" / "digits.json").write_text("{}")
    (place / "pixels" / "notes.txt").write_text("mine")
    return place


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    pd.DataFrame({"sha256": [DIGESTS[1], DIGESTS[3], DIGESTS[3], "", "f" * 64]}).to_parquet(folder / "index.parquet")
    return folder


def stores(home: Path) -> set[str]:
    return {str(path.parent.relative_to(home)) for path in home.rglob("keys*.bin")}


def size_of(folder: Path) -> str:
    return decimal(sum(path.stat().st_size for path in folder.iterdir()))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


EVERY = {"pixels/old", "pixels/new", "features/old", "features/broken", "activations/new"}


@pytest.mark.parametrize("command", [["cache"], ["cache", "show"], ["cache", "clear"]])
def test_help_has_an_example(command: list[str], capsys: Captured) -> None:
    assert run([*command, "--help"]) == 0
    assert "Example: bestiary " + " ".join(command) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", [["cache"], ["cache", "show"]])
def test_the_table_has_kind_rows_size_age_and_place(home: Path, command: list[str], capsys: Captured) -> None:
    assert run(command) == 0
    told = capsys.readouterr()
    lines = {tuple(line.split()[:2]): line for line in told.out.splitlines() if line}
    assert "10 days ago" in lines["pixels", "old"]
    assert " 6 " in lines["pixels", "old"]
    assert f" {size_of(home / 'pixels' / 'old')} " in lines["pixels", "old"]
    assert "today" in lines["pixels", "new"]
    assert "weights abababab, size_px 8, fit crop" in lines["pixels", "new"]
    assert "1.2.3" not in told.out
    assert lines["features", "broken"].endswith("damaged")
    assert ("datasets", "digits.json") in lines
    assert str(home) in told.out
    assert "free on that disk" in told.out
    assert told.err == ""


def test_json_has_exact_bytes(home: Path, capsys: Captured) -> None:
    assert run(["cache", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    (old,) = [entry for entry in found["entries"] if (entry["kind"], entry["name"]) == ("pixels", "old")]
    assert old["rows"] == 6
    assert old["about"]["weights"] == "ab" * 32
    assert abs(pd.Timestamp(old["last_used"]).timestamp() - (time.time() - 10 * DAY_S)) < 60
    assert run(["cache", "show", "--json"]) == 0
    assert {**json.loads(capsys.readouterr().out), "free_bytes": 0} == {**found, "free_bytes": 0}


def test_no_cache_yet_is_shown_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "none"))
    assert run(["cache"]) == 0
    assert "total  0 bytes;" in capsys.readouterr().out
    assert run(["cache", "clear", "--all", "--yes"]) == 0
    assert capsys.readouterr().out == "nothing was cleared\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--all"], set()),
        (["--all", "--kind", "features"], EVERY - {"features/old", "features/broken"}),
        (["--older-than", "9"], EVERY - {"pixels/old", "features/old"}),
        (["--older-than", "11"], EVERY - {"features/old"}),
        (["--older-than", "9", "--kind", "pixels"], EVERY - {"pixels/old"}),
        (["--older-than", "50"], EVERY),
    ],
)
def test_stores_are_cleared_by_age_kind_or_all(
    home: Path, arguments: list[str], left: set[str], capsys: Captured
) -> None:
    before = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    assert run(["cache", "clear", *arguments, "--yes", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert stores(home) == left
    assert {f"{store['kind']}/{store['name']}" for store in done["cleared"]} == EVERY - left
    assert done["bytes"] == before - sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    assert (home / "datasets" / "digits.json").exists()
    assert (home / "pixels" / "notes.txt").exists()


def test_a_study_s_rows_go_from_all_stores(home: Path, study: Path, capsys: Captured) -> None:
    assert run(["cache", "clear", "--study", str(study), "--yes"]) == 0
    told = capsys.readouterr()
    assert has(home / "pixels" / "old") == [0, 2, 4, 5]
    assert has(home / "pixels" / "new") == [0, 2]
    assert has(home / "features" / "old") == [2, 4, 5]
    assert has(home / "activations" / "new") == [0, 2, 4, 5]
    assert "features/broken is damaged" in told.err
    assert "freed  " in told.out
    assert run(["cache", "clear", "--study", str(study), "--yes"]) == 0
    assert capsys.readouterr().out == "nothing was cleared\n"


def test_a_study_s_rows_go_from_one_kind(home: Path, study: Path) -> None:
    assert run(["cache", "clear", "--study", str(study), "--kind", "pixels", "-y"]) == 0
    assert has(home / "pixels" / "new") == [0, 2]
    assert has(home / "features" / "old") == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "arguments", [[], ["--all", "--older-than", "3"], ["--all", "--study", "x"], ["--study", "x", "--older-than", "0"]]
)
def test_exactly_one_way_of_clearing_is_given(home: Path, arguments: list[str], capsys: Captured) -> None:
    assert run(["cache", "clear", *arguments, "--yes"]) == 2
    assert "exactly one of --older-than DAYS, --study STUDY and --all" in capsys.readouterr().err
    assert stores(home) == EVERY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--older-than", "-1"], "--older-than"),
        (["--older-than", "soon"], "--older-than"),
        (["--all", "--kind", "datasets"], "--kind"),
        (["--study", "nowhere"], "nowhere: it has no index.parquet"),
    ],
)
def test_wrong_use_is_refused(home: Path, arguments: list[str], words: str, capsys: Captured) -> None:
    assert run(["cache", "clear", *arguments, "--yes"]) == 2
    assert words in capsys.readouterr().err
    assert stores(home) == EVERY


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_without_a_terminal_it_requires_yes(
    home: Path, stdin: io.StringIO | None, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(["cache", "clear", "--all"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert stores(home) == EVERY


@pytest.mark.parametrize(
    ("answer", "left"), [("y\n", set()), ("Yes\n", set()), ("n\n", EVERY), ("\n", EVERY), ("", EVERY)]
)
def test_on_a_terminal_it_asks(
    home: Path, answer: str, left: set[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    size = size_of(home / "pixels" / "old")
    assert run(["cache", "clear", "--all"]) == 0
    told = capsys.readouterr()
    assert stores(home) == left
    assert f"pixels/old: 6 rows, {size}\n" in told.err
    assert "features/broken: damaged, " in told.err
    assert "in 5 stores? [y/N]" in told.err
    assert told.out.startswith("nothing was cleared" if left else "kind ")


def test_the_question_says_what_other_studies_lose(
    home: Path, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run(["cache", "clear", "--study", str(study)]) == 0
    told = capsys.readouterr().err
    assert "pixels/old: 2 rows" in told
    assert "Other studies lose the rows of images that they share" in told


def test_one_row_is_counted_in_the_singular(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    make_store(home / "pixels" / "one", DIGESTS[:1], days_unused=1)
    assert run(["cache"]) == 0
    assert "1 day ago" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run(["cache", "clear", "--older-than", "35"]) == 0
    assert "in 1 store? [y/N]" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run(["cache", "clear", "--all"]) == 0
    assert "pixels/one: 1 row, " in capsys.readouterr().err


def test_a_store_in_use_is_named_and_the_others_are_cleared(home: Path, capsys: Captured) -> None:
    code = (
        "import sys\nfrom filelock import FileLock\n"
        "with FileLock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.readline()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(home / "pixels" / "new" / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert run(["cache", "clear", "--all", "--yes", "--json"]) == 1
    holder.communicate("go\n")
    told = capsys.readouterr()
    assert "pixels/new is in use by another process" in told.err
    assert json.loads(told.out)["failed"] == ["pixels/new"]
    assert stores(home) == {"pixels/new"}


def test_the_rows_of_an_indexed_study_are_found_by_its_own_index(
    home: Path, shapes: Path, tiny_config: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    assert run(["init", str(shapes), "--out", out, "--config", str(tiny_config)]) == 0
    assert run(["index", out, "-q"]) == 0
    study = Study.open(out)
    pixels = partial(pixel_table, study.index(), study.data_root, geometry=Geometry(8, "crop", "bilinear", 1.0))
    assert pixels().decoded == 42
    assert pixels().decoded == 0
    assert run(["cache", "clear", "--study", out, "--yes"]) == 0
    assert stores(home) == EVERY
    assert pixels().decoded == 42


def test_doctor_and_cache_report_the_same_sizes(home: Path, capsys: Captured) -> None:
    assert run(["doctor", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)["cache"]["bytes"]
    assert run(["cache", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["entries"]
    for kind in ("pixels", "features", "activations", "datasets"):
        assert sizes[kind] == sum(entry["bytes"] for entry in entries if entry["kind"] == kind) > 0


def test_every_kind_of_store_can_be_cleared_alone() -> None:
    hint = machine_commands.cache_clear.__annotations__["kind"]
    literal, _ = get_args(get_args(hint)[0])
    assert sorted(get_args(literal)) == sorted(KINDS)
