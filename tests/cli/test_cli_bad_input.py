"""What a user can get wrong: each case ends with the right exit code, and words that name the thing and the fix."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from bestiary.cli.main import run
from bestiary.study.study import Study

Make = Callable[[Path], str]


def _missing(place: Path) -> str:
    return str(place / "nowhere")


def _empty(place: Path) -> str:
    return str(place)


def _no_class_folders(place: Path) -> str:
    Image.new("RGB", (20, 20)).save(place / "a.png")
    return str(place)


def _one_class(place: Path) -> str:
    (place / "cat").mkdir()
    for number in range(4):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(place / "cat" / f"{number}.png")
    return str(place)


def _class_of_one(place: Path) -> str:
    _one_class(place)
    (place / "dog").mkdir()
    Image.new("RGB", (20, 20), "white").save(place / "dog" / "only.png")
    return str(place)


def _unreadable_class(place: Path) -> str:
    _one_class(place)
    (place / "dog").mkdir()
    (place / "dog" / "a.png").write_bytes(b"")
    return str(place)


def _a_text_file(place: Path) -> str:
    (place / "list.txt").write_text("cat")
    return str(place / "list.txt")


def _csv_without_label(place: Path) -> str:
    (place / "list.csv").write_text("path,kind\na.png,cat\n")
    return str(place / "list.csv")


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (_missing, 2, ["nowhere", "no such folder"]),
        (_empty, 1, ["is empty", "one folder a class"]),
        (_no_class_folders, 1, ["no class folders", "named"]),
        (_one_class, 1, ["one class only", "'cat'"]),
        (_class_of_one, 1, ["'dog'", "1 image", "Add images"]),
        (_unreadable_class, 1, ["'dog'", "a.png", "empty file"]),
        (_a_text_file, 2, ["list.txt", "give the folder"]),
        (_csv_without_label, 2, ["data.label_column", "'label'", "path, kind"]),
    ],
)
def test_unusable_data_is_refused_by_name(
    make: Make, code: int, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    assert run(["study", make(data), "--out", str(tmp_path / "out")]) == code
    told = capsys.readouterr()
    assert told.out == ""
    for word in words:
        assert word in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "models.probe.head.hiden=3"], ["models.probe.head.hiden", "did you mean 'hidden'"]),
        (["--set", "models.prob.head.hidden=3"], ["no model named 'prob'", "probe"]),
        (["--set", "split.test_fraction=lots"], ["split.test_fraction", "lots"]),
        (["--set", "models.probe"], ["key=value"]),
        (["--set", "split.seed=1\nx=2"], ["one key at a time"]),
        (["--set", "models=3"], ["models", "section of keys"]),
        (["--set", "models.probe.backbone=resnet5O"], ["resnet5O", "did you mean", "resnet50"]),
        (["--recipe", "quik"], ["no recipe named 'quik'", "quick"]),
        (["--resume", "--force"], ["exclude each other"]),
        (["--frobnicate"], ["--frobnicate"]),
    ],
)
def test_wrong_use_exits_with_2_and_names_the_key(
    arguments: list[str],
    words: list[str],
    shapes: Path,
    tiny_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = [] if "--recipe" in arguments else ["--config", str(tiny_config)]
    assert run(["study", str(shapes), "--out", str(tmp_path / "out"), *config, *arguments]) == 2
    told = capsys.readouterr().err
    for word in words:
        assert word in told


def test_a_config_that_is_no_toml_is_named(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("[models\n")
    assert run(["study", str(shapes), "--out", str(tmp_path / "out"), "--config", str(file)]) == 2
    assert "broken.toml is not valid TOML" in capsys.readouterr().err


def test_a_study_inside_its_data_is_refused(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", str(shapes), "--out", str(shapes / "study")]) == 2
    assert "inside the data folder" in capsys.readouterr().err
    assert not (shapes / "study").exists()


def test_a_folder_that_is_no_study_is_never_written_to(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for extra in ([], ["--force"], ["--resume"]):
        assert run(["study", str(shapes), "--out", str(tmp_path), *extra]) == 2
    assert "is no study" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_stage_commands_name_the_stage_that_is_missing(
    shapes: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run(["index", out]) == 2
    assert "no study folder" in capsys.readouterr().err
    assert run(["init", str(shapes), "--out", out, "--config", str(tiny_config)]) == 0
    for command in ("audit", "split", "train", "compare", "report", "export"):
        assert run([command, out]) == 1
        assert "bestiary index" in capsys.readouterr().err
    assert run(["index", out, "-q"]) == 0
    for command in ("split", "train", "compare"):
        assert run([command, out]) == 1
        assert "bestiary audit" in capsys.readouterr().err, "the first that is missing"
    assert run(["audit", out, "-q"]) == 0
    assert run(["train", out]) == 1
    assert "bestiary split" in capsys.readouterr().err
    assert run(["split", out, "-q"]) == 0
    assert run(["compare", out]) == 1
    assert "bestiary train" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stage_refuses_what_an_earlier_one_has_outdated(
    tiny_config: Path, tmp_path: Path, make_shapes: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = make_shapes(tmp_path / "photos", each=8), str(tmp_path / "out")
    begin = ["study", str(data), "--out", out, "--config", str(tiny_config), "-q"]
    assert run([*begin, "--set", 'models.cnn={backbone="majority"}']) == 0
    (data / "disc" / "000.png").unlink()
    (data / "bar").rename(data / "rod")
    assert run(["index", out, "-q"]) == 0
    for command in ("split", "train", "compare", "report", "export"):
        assert run([command, out, "-q"]) == 1
        assert f"bestiary audit {out}" in capsys.readouterr().err
    assert run(["audit", out, "-q"]) == 0
    for command in ("train", "compare", "report", "export"):
        assert run([command, out, "-q"]) == 1
        assert f"bestiary split {out}" in capsys.readouterr().err
    assert run(["split", out, "-q"]) == 0
    for command in ("compare", "report", "export"):
        assert run([command, out, "-q"]) == 1
        assert f"bestiary train {out}" in capsys.readouterr().err
    for command in ("train", "compare", "report", "export"):
        assert run([command, out, "-q"]) == 0
    weights = tmp_path / "out" / "runs" / "probe" / "model.safetensors"
    weights.unlink()
    for command in ("compare", "export"):
        assert run([command, out, "-q"]) == 1
        told = capsys.readouterr().err
        assert "the run of model 'probe' is incomplete" in told
        assert f"bestiary train {out}" in told
    assert run(["train", out, "-q"]) == 0
    assert weights.is_file()
    assert run(["export", out, "-q"]) == 0


@pytest.mark.slow
def test_every_damaged_file_of_a_study_is_made_anew(
    shapes: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["study", str(shapes), "--out", str(out), "--config", str(tiny_config), "-q", "--set", "models.cnn.epochs=1"]
    assert run(call) == 0
    kept = (".lock", "study.toml", "splits.parquet")
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in kept]
    tables = {path: path.read_bytes() for path in files if path.suffix in (".parquet", ".csv", ".safetensors", ".onnx")}
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run(call) == 0, capsys.readouterr().err
    for path, content in tables.items():
        if path.name not in ("history.parquet", "comparison.csv"):  # these tell seconds
            assert path.read_bytes() == content, path
    assert (out / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    Study.open(out).read_run("cnn")

    # What was drawn into test cannot be made anew: a person decides.
    splits = out / "splits.parquet"
    whole = splits.read_bytes()
    splits.write_bytes(whole[: len(whole) // 2])
    assert run(call) == 1
    assert f"{splits} is damaged" in capsys.readouterr().err
    assert splits.read_bytes() == whole[: len(whole) // 2]
    assert run([*call, "--redraw"]) == 0
    assert splits.read_bytes() == whole


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_is_an_error_and_not_a_wait(finished: Study, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    out = tmp_path / "p.csv"
    assert run(["predict", str(finished.path), str(tmp_path / "pipe.png"), "--out", str(out), "-q"]) == 1
    assert "no regular file" in out.read_text()


def test_a_table_may_lie_beside_its_study(shapes: Path, tiny_config: Path, tmp_path: Path) -> None:
    lines = [f"{path},{path.parent.name}" for path in sorted(shapes.rglob("*.png"))]
    (tmp_path / "photos.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    out = tmp_path / "out"
    assert run(["init", str(tmp_path / "photos.csv"), "--out", str(out), "--config", str(tiny_config)]) == 0
    assert run(["index", str(out), "-q"]) == 0
    assert (Study.open(out).index()["error"] == "").all()


@pytest.mark.skipif(os.name != "posix", reason="file names of POSIX")
@pytest.mark.slow
def test_odd_file_names_go_the_whole_way(
    shapes: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    source = (data / "bar" / "000.png").read_bytes()
    names = ["with space.png", "new\nline.png", "ünïcodé-猫.png", "<img src=x onerror=alert(1)>.png", 'it\'s, "so".png']
    for name in names:
        (data / "bar" / name).write_bytes(source)
    (data / "disc" / "000.png").write_bytes(source)  # the same name in two classes, and the same bytes
    (data / "frame" / "loop").symlink_to(data, target_is_directory=True)
    (data / "frame" / "gone.png").symlink_to(data / "nowhere.png")
    out = tmp_path / "out"
    code = run(
        ["study", str(data), "--out", str(out), "--config", str(tiny_config), "-q", "--set", "models.cnn.epochs=1"]
    )
    assert code == 0
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "<img src=x onerror" not in report
    capsys.readouterr()
    assert run(["index", str(out), "-q"]) == 0
    told = capsys.readouterr().out
    assert "leads back" in told
    assert "broken link" in told
    predictions = tmp_path / "p.csv"
    assert run(["predict", str(out), str(data / "bar"), "--out", str(predictions), "-q"]) == 0
    import pandas as pd

    assert {Path(path).name for path in pd.read_csv(predictions)["path"]} >= set(names)


@pytest.mark.parametrize("file", ["bundle.json", "model.onnx", "model.safetensors"])
@pytest.mark.parametrize("harm", ["removed", "altered"])
def test_a_harmed_model_folder_is_refused_by_file(
    finished: Study, file: str, harm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(finished.path / "model", model)
    target = model / file
    if harm == "removed":
        target.unlink()
    elif file == "bundle.json":
        target.write_text(target.read_text().replace('"disc"', '"disk"'))
    else:
        content = bytearray(target.read_bytes())
        content[len(content) // 2] ^= 0xFF
        target.write_bytes(content)
    assert run(["predict", str(model), str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert file in told
    assert ("missing" if harm == "removed" else "altered") in told


def test_predict_names_what_is_missing(finished: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, folder = str(finished.path / "model"), tmp_path / "folder.csv"
    folder.mkdir()
    for arguments, code, words in (
        (["predict", str(tmp_path / "none"), "x.png"], 1, "no model folder"),
        (["predict", str(tmp_path), "x.png"], 1, "bundle.json"),
        (["predict", model, str(tmp_path / "*.jpg")], 2, "no file matches"),
        (["predict", model, str(tmp_path)], 2, "no images given"),
        (["predict", model, "x.png", "--out", str(tmp_path / "x.xlsx")], 2, ".csv"),
        (["predict", model, "x.png", "--out", str(folder)], 2, "is a folder"),
        (["predict", model, str(tmp_path / "x.png"), "-q"], 1, ""),
    ):
        assert run(arguments) == code, arguments
        assert words in capsys.readouterr().err


def test_a_full_disk_leaves_no_half_written_file(
    shapes: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["init", str(shapes), "--out", str(out), "--config", str(tiny_config)]) == 0

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert run(["index", str(out), "-q"]) == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "index.parquet" in told
    assert not (out / "index.parquet").exists()
    assert not list(out.glob("*.part"))
    assert not list(out.glob(".*.part"))
    assert run(["index", str(out), "-q"]) == 0


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    try:
        assert run(["study", str(shapes), "--out", str(tmp_path / "out")]) == 1
    finally:
        tmp_path.chmod(0o700)
    assert "cannot write" in capsys.readouterr().err


def test_a_class_that_is_too_small_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label, count in (("cat", 4), ("dog", 4), ("eel", 2)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (20, 20), (len(label) * 30, number * 40, ord(label[0]))).save(
                tmp_path / "data" / label / f"{number}.png"
            )
    out = str(tmp_path / "out")
    call = ["init", str(tmp_path / "data"), "--out", out]
    assert run(call) == 0
    assert run(["index", out]) == 0
    assert "class 'eel' is left out: 2 images of 3 that a split needs (data.rare)" in capsys.readouterr().err
    assert run([*call, "--force", "--set", "data.rare=merge:cat"]) == 0
    assert run(["index", out]) == 0
    assert "10 images of 2 classes; 0 files left out" in capsys.readouterr().err
