"""How a study is begun: where it lies by default, which models it has, what is refused before a file is written."""

import tomllib
from pathlib import Path

import pytest

from bestiary.cli.main import run
from bestiary.cli.study_commands import default_out
from bestiary.errors import UsageError

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("data", "out"),
    [
        ("photos", "photos-study"),
        ("photos/", "photos-study"),
        ("./a/b/../photos/", "a/photos-study"),
        ("lists/animals.csv", "lists/animals-study"),
        ("animals.v2.parquet", "animals.v2-study"),
        ("digits", "digits-study"),
        ("animals10", "animals10-study"),
    ],
)
def test_a_study_lies_beside_its_data(data: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_out(data) == tmp_path / out


def test_the_working_directory_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos")
    assert default_out(".") == tmp_path / "photos-study"
    monkeypatch.chdir("cat")
    assert default_out("..") == tmp_path / "photos-study"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_out("~/photos") == tmp_path / "photos-study"
    (tmp_path / "photos" / "cat" / "digits").mkdir()
    assert default_out("digits") == tmp_path / "photos" / "cat" / "digits-study"


def test_the_root_of_a_disk_has_no_name() -> None:
    with pytest.raises(UsageError, match="give --out"):
        default_out("/")


def test_the_study_says_where_it_is(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (tmp_path / "photos").symlink_to(shapes)
    monkeypatch.chdir(tmp_path)
    call = ["photos/", "--model", "majority", "--set", "audit.enabled=false", "--set", "split.group_duplicates=exact"]
    assert run(["init", *call]) == 0
    assert capsys.readouterr() == ("photos-study/study.toml\n", "")
    assert run(["study", *call]) == 0
    told = capsys.readouterr()
    assert "  study in photos-study\n" in told.err
    assert "report   photos-study/report.html\n" in told.out
    assert sorted(shapes.iterdir()) == [shapes / "bar", shapes / "disc", shapes / "frame"]
    assert run(["study", *call, "--out", "other"]) == 0
    assert "study in" not in capsys.readouterr().err


def models_of(out: Path) -> dict[str, dict[str, object]]:
    return tomllib.loads((out / "study.toml").read_text(encoding="utf-8"))["models"]


def test_models_are_picked_and_added_on_the_command_line(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ["init", str(shapes), "--out", str(out), "-m", "lite2-probe", "--model", "resnet18.a1_in1k"]
    assert run([*call, "--set", "models.resnet18-a1_in1k.epochs=3"]) == 0
    models = models_of(out)
    assert list(models) == ["lite2-probe", "resnet18-a1_in1k"]
    assert models["resnet18-a1_in1k"]["backbone"] == "resnet18.a1_in1k"
    assert models["resnet18-a1_in1k"]["trainable"] == "head"
    assert models["resnet18-a1_in1k"]["epochs"] == 3


def test_set_adds_a_model(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["init", str(shapes), "--out", str(out), "--set", "models.new.backbone=resnet18"]) == 0
    assert list(models_of(out)) == ["majority", "lite1-probe", "lite2-probe", "lite1-lite2", "new"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "lite2-prob"], ["--model lite2-prob", "did you mean 'lite2-probe'?", "majority, lite1-probe"]),
        (["--model", "resnet5O"], ["--model resnet5O", "did you mean", "resnet50"]),
        (["--model", "resnet18.a9_in1k"], ["no such weights of resnet18", "resnet18.a1_in1k"]),
        (["--set", "models.new.backbone=resnet5O"], ["backbone = 'resnet5O'", "resnet50"]),
        (["--set", "audit.backbone=resnet5O"], ["backbone = 'resnet5O'", "resnet50"]),
        (
            ["--set", "models.lite2-probe.trainable=modules:layer4"],
            ["'modules:layer4'", "no module of tf_efficientnet_lite2", "conv_stem, bn1, blocks"],
        ),
        (["--set", "models.new.epochs=3"], ["no model named 'new'", "models.new.backbone=NAME"]),
        (["--recipe", "quick", "--config", "mine.toml"], ["--recipe and --config exclude each other"]),
        (["--recipe", "quik"], ["did you mean 'quick'?"]),
        (["--config", "quick"], ["cannot read the config quick", "--recipe quick"]),
    ],
)
@pytest.mark.parametrize("command", ["init", "study"])
def test_a_name_that_there_is_not_is_refused_before_anything_is_written(
    command: str, arguments: list[str], words: list[str], shapes: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert run([command, str(shapes), "--out", str(tmp_path / "out"), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert all(word in told.err for word in words), told.err
    assert list(tmp_path.iterdir()) == []
