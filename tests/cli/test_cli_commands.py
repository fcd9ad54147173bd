"""The commands as a user calls them: results on stdout, progress on stderr, nothing done twice."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from bestiary.cli.main import app, main, run
from bestiary.runs import fit
from bestiary.study.study import Study

# In the groups and in the order of `bestiary --help`.
GROUPS = {
    "The whole study": ["study", "demo"],
    "Stage by stage": ["init", "index", "audit", "split", "race", "search", "train", "compare", "report", "export"],
    "The data": ["fetch", "review", "apply"],
    "Models": ["predict", "recipes"],
    "This machine": ["doctor", "cache"],
}
COMMANDS = [command for commands in GROUPS.values() for command in commands]


@pytest.mark.parametrize(
    "command", [[], *[[command] for command in COMMANDS], ["recipes", "show"], ["recipes", "keys"]]
)
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert "Example: bestiary " + " ".join(command) in " ".join(capsys.readouterr().out.split())


def test_every_command_is_in_a_group_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(typer.main.get_command(app).commands) == set(COMMANDS)  # type: ignore[attr-defined]
    assert run(["--help"]) == 0
    words = [word for line in capsys.readouterr().out.splitlines() for word in [line.strip("╭─╮│ ")] if word]
    found: dict[str, list[str]] = {}
    for line in words[words.index("The whole study") :]:
        if line in GROUPS:
            found[line] = []
        elif line.split()[0] in COMMANDS and not line.startswith("study of"):
            found[list(found)[-1]].append(line.split()[0])
    assert found == GROUPS


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"bestiary {version('bestiary')}\n"


@pytest.mark.parametrize("options", [[], ["ignore"]])
def test_warnings_of_libraries_reach_the_terminal_only_where_they_are_asked_for(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def warn(arguments: list[str]) -> int:
        warnings.simplefilter("always")  # as a library that sets filters of its own
        warnings.warn("for programmers", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("bestiary.cli.main.run", warn)
    monkeypatch.setattr("bestiary.cli.main.prepare_streams", lambda: None)
    monkeypatch.setattr(os, "_exit", lambda code: None)
    monkeypatch.setattr(sys, "warnoptions", options)
    monkeypatch.setenv("PYTHONWARNINGS", "")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: shown.append(str(message))
        main()
    assert shown == (["for programmers"] if options else [])
    assert os.environ["PYTHONWARNINGS"] == ("" if options else "ignore")


def files_and_times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_second_call_recomputes_nothing(
    finished: Study,
    shapes: Path,
    tiny_config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = files_and_times(finished.path)
    monkeypatch.setattr(fit, "fit_model", lambda *_, **__: pytest.fail("trained again"))
    assert run(["study", str(shapes), "--out", str(finished.path), "--config", str(tiny_config), "-q"]) == 0
    assert files_and_times(finished.path) == before
    assert "winner" in capsys.readouterr().out


@pytest.mark.slow
def test_another_config_is_refused_and_force_redoes_what_it_touches(
    shapes: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    base = ["study", str(shapes), "--out", out, "--config", str(tiny_config), "-q", "--set", "models.cnn.epochs=1"]
    assert run(base) == 0
    probe = tmp_path / "out" / "runs" / "probe" / "run.toml"
    written = probe.stat().st_mtime_ns
    other = [*base[:-1], "models.cnn.epochs=2"]
    assert run(other) == 2
    told = capsys.readouterr().err
    assert "models.cnn.epochs is 1, not 2" in told
    assert "--resume" in told
    assert "--force" in told
    assert run([*other, "--resume"]) == 0
    assert len(Study.open(out).histories()["cnn"]) == 1
    assert run([*other, "--force"]) == 0
    assert len(Study.open(out).histories()["cnn"]) == 2
    assert probe.stat().st_mtime_ns == written


def test_other_data_is_refused(
    finished: Study,
    tiny_config: Path,
    tmp_path: Path,
    make_shapes: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = make_shapes(tmp_path / "other", each=8)
    assert run(["study", str(other), "--out", str(finished.path), "--config", str(tiny_config)]) == 2
    assert "other data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_renamed_class_folder_is_found_out(
    tiny_config: Path, tmp_path: Path, make_shapes: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_shapes(tmp_path / "photos", each=8)
    call = [
        "study",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--config",
        str(tiny_config),
        "--set",
        "models.cnn.epochs=1",
    ]
    assert run([*call, "-q"]) == 0
    (data / "disc").rename(data / "ball")
    capsys.readouterr()
    assert run(call) == 0
    assert "the data changed" in capsys.readouterr().err
    assert Study.open(tmp_path / "out").read_run("probe").fit["class_names"] == ["ball", "bar", "frame"]
    model = json.loads((tmp_path / "out" / "model" / "bundle.json").read_text())
    assert model["class_names"] == ["ball", "bar", "frame"]


@pytest.mark.parametrize("command", ["index", "split", "train", "compare", "report", "export"])
def test_stage_commands_print_json(finished: Study, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, str(finished.path), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value


def test_study_prints_json(
    finished: Study, shapes: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["study", str(shapes), "--out", str(finished.path), "--config", str(tiny_config), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["winner"] in {"probe", "cnn"}
    assert {row["model"] for row in value["comparison"]} == {"majority", "probe", "cnn"}
    assert Path(value["report"]).is_file()


def test_doctor_and_recipes_print_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(found["weights"]["packaged"].values())
    assert found["packages"]["torch"]
    assert run(["recipes", "--json"]) == 0
    assert {"quick", "thorough", "notebook", "notebook-offline"} <= {
        row["name"] for row in json.loads(capsys.readouterr().out)
    }
    assert run(["recipes", "show", "quick"]) == 0
    assert "[models.lite2-probe]" in capsys.readouterr().out


def test_doctor_speaks_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "device" in told
    assert os.environ["BESTIARY_CACHE"] in told


@pytest.mark.slow
def test_weights_that_cannot_be_had_leave_the_other_models_running(
    shapes: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "with-hub.toml"
    config.write_text(tiny_config.read_text() + '\n[models.far]\nbackbone = "resnet18.a1_in1k"\n')
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    out = tmp_path / "out"
    assert run(["study", str(shapes), "--out", str(out), "--config", str(config), "--set", "models.cnn.epochs=1"]) == 1
    told = capsys.readouterr()
    assert "not run  far" in told.out
    assert "notebook-offline" in told.out
    assert "winner   " in told.out
    assert "far" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "model" / "bundle.json").exists()


@pytest.mark.slow
def test_a_model_that_diverges_is_reported_and_the_others_go_on(
    shapes: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["study", str(shapes), "--out", str(tmp_path / "out"), "--config", str(tiny_config), "-q"]
    assert run([*call, "--set", "models.cnn.optimizer.learning_rate=1e30"]) == 1
    told = capsys.readouterr().out
    assert "not run  cnn" in told
    assert "lower optimizer.learning_rate" in told
    assert "winner   probe" in told


def test_predict_agrees_with_the_run_s_own_predictions(finished: Study, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    assert run(["predict", str(finished.path), str(shapes), "--out", str(out), "--top-k", "3", "-q"]) == 0
    predicted = pd.read_parquet(out)
    predicted["path"] = [str(Path(path).relative_to(shapes)) for path in predicted["path"]]
    winner = finished.read_comparison()["winner"]
    recorded = finished.predictions(winner).merge(finished.index_table[["image_id", "path"]], on="image_id")
    both = recorded.merge(predicted, on="path", validate="one_to_one")
    assert len(both) == len(recorded)
    assert (both["y_pred"] == both["label"]).mean() >= 0.95
    own = np.array([row[f"p:{row['label']}"] for _, row in both.iterrows()])
    np.testing.assert_allclose(own, both["probability"], atol=0.03)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_one_bad_file_is_one_row_with_its_error(finished: Study, shapes: Path, ending: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    good = sorted((shapes / "disc").iterdir())[:3]
    out = tmp_path / f"p{ending}"
    inputs = [str(good[0]), str(bad), str(shapes / "disc" / "00[12].png"), str(tmp_path / "gone.png")]
    assert run(["predict", str(finished.path / "model"), *inputs, "--out", str(out), "-q"]) == 0
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda path: pd.read_json(path, lines=True)}
    table = readers[ending](out)
    assert table["path"].tolist() == [str(good[0]), str(bad), str(good[1]), str(good[2]), str(tmp_path / "gone.png")]
    assert list(table.columns) == [
        "path",
        "label",
        "probability",
        "label_2",
        "probability_2",
        "label_3",
        "probability_3",
        "error",
    ]
    failed = table["error"].fillna("").str.len() > 0
    assert failed.tolist() == [False, True, False, False, True]
    assert table.loc[failed, "label"].isna().all()
    total = table.loc[~failed, ["probability", "probability_2", "probability_3"]].sum(axis=1)
    np.testing.assert_allclose(total, 1, atol=1e-3)


def test_predict_reads_a_list_from_stdin_and_keeps_stdout_clean(
    finished: Study, shapes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(path) for path in sorted((shapes / "bar").iterdir())]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(files) + "\n"))
    assert run(["predict", str(finished.path), "-"]) == 0
    told = capsys.readouterr()
    table = pd.read_csv(io.StringIO(told.out))
    assert table["path"].tolist() == files
    assert "predict" in told.err
    monkeypatch.setattr(sys, "stdin", io.StringIO(files[0]))
    assert run(["predict", str(finished.path), "-", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == files[0]


@pytest.mark.slow
def test_export_takes_another_model_and_refuses_the_dummy(
    shapes: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study.create(shapes, tmp_path / "out", config=tiny_config, overrides=["models.cnn.epochs=1"])
    study.run()
    for model in ("cnn", "probe"):
        assert run(["export", str(study.path), "--model", model, "-q"]) == 0
        assert json.loads((study.path / "model" / "bundle.json").read_text())["model"] == model
    assert run(["export", str(study.path), "--model", "majority"]) == 2
    assert run(["export", str(study.path), "--model", "nobody"]) == 2
    assert "there are majority, probe, cnn" in capsys.readouterr().err


def test_two_processes_do_not_share_a_study(finished: Study, capsys: pytest.CaptureFixture[str]) -> None:
    from bestiary.store.locks import exclusive

    with exclusive(finished.path / ".lock", busy="held by the test"):
        code = subprocess.run(
            [sys.executable, "-m", "bestiary", "compare", str(finished.path)], capture_output=True, text=True
        )
    assert code.returncode == 1
    assert "another bestiary process" in code.stderr


def _begin(shapes: Path, config: Path, out: Path, *, epochs: int) -> list[str]:
    return [
        sys.executable, "-m", "bestiary", "study", str(shapes), "--out", str(out), "--config", str(config),
        "--set", f"models.cnn.epochs={epochs}", "--set", "models.cnn.early_stopping.patience_epochs=0",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_in_the_middle_and_started_again_it_ends_as_if_nothing_had_been(
    sent: signal.Signals, code: int, shapes: Path, tiny_config: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(_begin(shapes, tiny_config, whole, epochs=40), check=True, capture_output=True)
    process = subprocess.Popen(_begin(shapes, tiny_config, broken, epochs=40), stderr=subprocess.PIPE, text=True)
    checkpoint = broken / "runs" / "cnn" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(sent)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    if sent == signal.SIGINT:
        assert "run the same command to go on" in told
    assert not (broken / "runs" / "cnn" / "run.toml").exists()
    assert checkpoint.exists()
    subprocess.run(_begin(shapes, tiny_config, broken, epochs=40), check=True, capture_output=True)
    studies = Study.open(whole), Study.open(broken)
    pd.testing.assert_frame_equal(*(study.predictions("cnn") for study in studies))
    first, second = (study.read_run("cnn") for study in studies)
    pd.testing.assert_frame_equal(first.history.drop(columns="seconds"), second.history.drop(columns="seconds"))
    assert not checkpoint.exists()
