"""The audit, corrections and the clean copy from the command line: what each stage does with what a person decided."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image, ImageOps

from bestiary.audit.copies.clusters import read_duplicates
from bestiary.audit.findings import read_findings
from bestiary.audit.summary import read_summary
from bestiary.cli.main import run
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.saved import decide
from bestiary.data.index import read_index
from bestiary.data.splits.split_table import read_splits
from bestiary.runs import fit
from bestiary.runs.record import read_status
from bestiary.store.hashing import sha256_file
from bestiary.study.study import Study

Shapes = Callable[..., Path]


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def faulty(make_shapes: Shapes, tmp_path: Path) -> Path:
    """Shapes with a file cut short, a copy in the same class, one in another, and a mirrored one."""
    data = make_shapes(tmp_path / "photos")
    whole = (data / "bar" / "000.png").read_bytes()
    (data / "bar" / "cut.png").write_bytes(whole[: len(whole) // 2])
    shutil.copyfile(data / "bar" / "001.png", data / "bar" / "same.png")
    shutil.copyfile(data / "disc" / "002.png", data / "frame" / "wrong.png")
    with Image.open(data / "disc" / "003.png") as image:
        ImageOps.mirror(image).save(data / "disc" / "mirrored.png")
    return data


@pytest.fixture(params=["fp32", "bf16"])
def precision(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Features computed at this precision, on any processor: where it has no bfloat16, torch emulates it."""
    monkeypatch.setattr("bestiary.models.devices.has_fast_bf16", lambda _: request.param == "bf16")
    monkeypatch.setattr("bestiary.models.extract.features.pick_engine", lambda _: "torch")
    return str(request.param)


def begun(data: Path, out: Path, config: Path, *sets: str) -> Path:
    options = [word for value in sets for word in ("--set", value)]
    assert run(["init", str(data), "--out", str(out), "--config", str(config), *options]) == 0
    for command in ("index", "audit", "split"):
        assert run([command, str(out), "-q"]) == 0
    return out


def found(out: Path, issue: str) -> list[set[str]]:
    """The files that each finding of an issue names."""
    table, paths = read_findings(out), read_index(out).set_index("image_id")["path"]
    rows = table[table["issue"] == issue]
    return [{row.path, *(paths[i] for i in row.related)} for row in rows.itertuples()]


def corrected(out: Path, path: str, action: str, label: str = "", *, issues: tuple[str, ...] = ()) -> None:
    index = read_index(out)
    image_id = index.loc[index["path"] == path, "image_id"].iloc[0]
    decide(out, Correction(image_id, path, action, label, reviewed_by="me", issues=issues))


def run_key(out: Path, model: str) -> str:
    status = read_status(out / "runs" / model)
    assert status is not None
    return status.key


@pytest.mark.usefixtures("precision")
def test_the_audit_names_what_is_wrong_and_touches_nothing(
    faulty: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(faulty)
    out = begun(faulty, tmp_path / "out", tiny_config)
    assert found(out, "unreadable") == [{"bar/cut.png"}]
    assert found(out, "exact_duplicate") == [{"bar/001.png", "bar/same.png"}]
    assert found(out, "label_conflict") == [{"disc/002.png", "frame/wrong.png"}]
    assert found(out, "near_duplicate") == [{"disc/003.png", "disc/mirrored.png"}]
    assert tree(faulty) == before
    capsys.readouterr()
    assert run(["audit", str(out), "-q", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["finding_id"] for row in rows] == read_findings(out)["finding_id"].tolist()
    assert run(["audit", str(out), "-q"]) == 0
    assert re.search(r"high +label_conflict +1 +2 +disc/002\.png \[", capsys.readouterr().out)
    summary = read_summary(out)
    assert summary["counts"]["unreadable"] == {"findings": 1, "images": 1}
    assert summary["duplicates"]["across_classes"] == 1


@pytest.mark.usefixtures("precision")
@pytest.mark.slow
def test_copies_stay_on_one_side_and_may_part_where_the_config_says(
    faulty: Path, tiny_config: Path, tmp_path: Path
) -> None:
    out = begun(faulty, tmp_path / "out", tiny_config)
    sides = read_duplicates(out).merge(read_splits(out), on="image_id")
    assert (sides.groupby("cluster_id")["split"].nunique() == 1).all()
    assert len(sides) >= 6
    apart = begun(faulty, tmp_path / "apart", tiny_config, "split.group_duplicates=exact")
    mirrored = read_index(apart).set_index("path")["image_id"][["disc/003.png", "disc/mirrored.png"]]
    groups = read_splits(apart).set_index("image_id")["group_id"][mirrored]
    assert groups.nunique() == 2


@pytest.mark.slow
def test_a_second_audit_computes_nothing_and_a_damaged_file_is_made_anew(
    faulty: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = begun(faulty, tmp_path / "out", tiny_config)
    files = ("duplicates.parquet", "audit.parquet", "audit.csv", "audit.json")
    content = {name: (out / name).read_bytes() for name in files}
    with monkeypatch.context() as patch:
        patch.setattr("bestiary.study.audit_stage.find_duplicates", None)
        patch.setattr("bestiary.audit.run.run_audit", None)
        assert run(["audit", str(out), "-q"]) == 0
    for name in files:
        (out / name).write_bytes(content[name][: len(content[name]) // 2])
        assert run(["audit", str(out), "-q"]) == 0
        if name != "audit.json":  # it tells seconds
            assert (out / name).read_bytes() == content[name], name


@pytest.mark.slow
def test_corrections_reach_every_later_stage(
    faulty: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(faulty)
    call = ["study", str(faulty), "--out", str(tmp_path / "out"), "--config", str(tiny_config), "-q"]
    call += ["--set", "models.cnn.epochs=1"]
    assert run(call) == 0
    out = tmp_path / "out"
    first = read_splits(out).set_index("image_id")["split"]
    corrected(out, "frame/wrong.png", "relabel", "disc")
    corrected(out, "bar/same.png", "drop")
    assert run(["compare", str(out), "-q"]) == 1
    assert "bestiary split" in capsys.readouterr().err
    assert run(call) == 0
    assert found(out, "label_conflict") == []
    assert {"disc/002.png", "frame/wrong.png"} in found(out, "exact_duplicate")
    splits = read_splits(out).set_index("image_id")
    assert (splits["drawn"] == first).all()
    dropped = read_index(out).set_index("path")["image_id"]["bar/same.png"]
    assert splits["split"][splits["split"] != splits["drawn"]].index.tolist() == [dropped]
    relabelled = read_index(out).set_index("path")["image_id"]["frame/wrong.png"]
    predictions = Study.open(out).predictions("probe").set_index("image_id")
    assert dropped not in predictions.index
    if relabelled in predictions.index:
        assert predictions["y_true"][relabelled] == "disc"
    assert tree(faulty) == before
    # A new index changes nothing of what was decided.
    assert run(["index", str(out), "-q"]) == 0
    assert run(call) == 0
    assert (read_splits(out).set_index("image_id")["split"] == splits["split"]).all()


def test_what_a_person_sets_apart_leaves_its_cluster_and_keeps_its_side(
    faulty: Path, tiny_config: Path, tmp_path: Path
) -> None:
    out = begun(faulty, tmp_path / "out", tiny_config)
    paths = read_index(out).set_index("path")["image_id"]
    photo, mirrored = paths["disc/003.png"], paths["disc/mirrored.png"]
    splits, clusters = read_splits(out).set_index("image_id"), (out / "duplicates.parquet").read_bytes()
    assert splits["group_id"][photo] == splits["group_id"][mirrored]
    corrected(out, "disc/mirrored.png", "apart", "frame")
    corrected(out, "bar/same.png", "apart")
    for command in ("audit", "split"):
        assert run([command, str(out), "-q"]) == 0
    assert found(out, "near_duplicate") == []
    # The same bytes stay copies.
    assert found(out, "exact_duplicate") == [{"bar/001.png", "bar/same.png"}]
    assert (out / "duplicates.parquet").read_bytes() == clusters
    after = read_splits(out).set_index("image_id")
    assert after["group_id"][photo] != after["group_id"][mirrored]
    assert (after["drawn"] == splits["drawn"]).all()
    assert Study.open(out).images.set_index("image_id")["label"][mirrored] == "frame"
    # Taken back, they are a cluster again.
    corrected(out, "disc/mirrored.png", "keep", issues=("dark",))
    for command in ("audit", "split"):
        assert run([command, str(out), "-q"]) == 0
    assert found(out, "near_duplicate") == [{"disc/003.png", "disc/mirrored.png"}]
    assert read_splits(out).set_index("image_id")["group_id"].eq(splits["group_id"]).all()


@pytest.mark.slow
def test_what_a_person_kept_is_not_asked_again(faulty: Path, tiny_config: Path, tmp_path: Path) -> None:
    out = begun(faulty, tmp_path / "out", tiny_config)
    corrected(out, "bar/001.png", "keep")
    corrected(out, "bar/same.png", "keep", issues=("dark",))  # looked at for another reason
    assert run(["audit", str(out), "-q"]) == 0
    assert found(out, "exact_duplicate") == [{"bar/001.png", "bar/same.png"}]
    corrected(out, "bar/same.png", "keep", issues=("dark", "exact_duplicate"))
    assert run(["audit", str(out), "-q"]) == 0
    assert found(out, "exact_duplicate") == []


def test_a_dropped_file_may_be_deleted(
    faulty: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = begun(faulty, tmp_path / "out", tiny_config, "audit.backbone=none")
    for path in ("bar/same.png", "disc/mirrored.png"):
        corrected(out, path, "drop")
        (faulty / path).unlink()
    capsys.readouterr()
    for command in ("index", "audit", "split"):
        assert run([command, str(out)]) == 0
    assert "skipped: 2 decisions about images that are gone; bar/same.png: " in capsys.readouterr().err
    assert found(out, "exact_duplicate") == []
    splits, index = read_splits(out).set_index("image_id")["split"], read_index(out).set_index("path")["image_id"]
    assert splits[index["bar/001.png"]] != ""


def test_a_wrong_correction_is_told_by_row(
    faulty: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = begun(faulty, tmp_path / "out", tiny_config)
    (out / "corrections.csv").write_text("path,action,label\nbar/001.png,relabel,dics\n", encoding="utf-8")
    for command in ("audit", "split", "train", "compare", "report", "export"):
        assert run([command, str(out), "-q"]) == 1, command
        told = capsys.readouterr().err
        assert "corrections.csv" in told
        assert "bar/001.png" in told
        assert "did you mean 'disc'" in told


def test_apply_writes_a_clean_copy(
    faulty: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(faulty)
    out = begun(faulty, tmp_path / "out", tiny_config)
    corrected(out, "frame/wrong.png", "relabel", "disc")
    corrected(out, "bar/same.png", "drop")
    assert run(["apply", str(out), "--to", str(tmp_path / "clean"), "-q"]) == 0
    clean = tree(tmp_path / "clean")
    assert "disc/wrong.png" in clean
    assert not {"frame/wrong.png", "bar/same.png", "bar/cut.png"} & set(clean)
    assert set(clean.values()) <= set(before.values())
    assert len(clean) == len(before) - 2
    assert tree(faulty) == before
    shutil.copyfile(faulty / "bar" / "003.png", faulty / "bar" / "late.png")
    assert run(["apply", str(out), "--to", str(tmp_path / "later"), "-q"]) == 1
    assert "1 file came after the index, 'bar/late.png' first: run `bestiary index" in capsys.readouterr().err
    assert not (tmp_path / "later").exists()


def test_a_clean_copy_of_a_table_may_lie_beside_it(faulty: Path, tiny_config: Path, tmp_path: Path) -> None:
    rows = [{"path": str(path.relative_to(tmp_path)), "label": path.parent.name} for path in faulty.rglob("0*.png")]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    out = str(tmp_path / "out")
    assert run(["init", str(tmp_path / "table.csv"), "--out", out, "--config", str(tiny_config)]) == 0
    assert run(["index", out, "-q"]) == 0
    assert run(["apply", out, "--to", str(tmp_path / "clean"), "-q"]) == 0
    assert len(tree(tmp_path / "clean")) == len(rows)


def test_files_that_systems_leave_are_no_findings(faulty: Path, tiny_config: Path, tmp_path: Path) -> None:
    (faulty / "bar" / ".DS_Store").write_bytes(b"Bud1")
    (faulty / "disc" / "Thumbs.db").write_bytes(b"x")
    (faulty / "README.txt").write_text("about these")
    out = begun(faulty, tmp_path / "out", tiny_config, "audit.backbone=none")
    findings = read_findings(out)
    assert findings.query("issue == 'unreadable'").set_index("path")["severity"].to_dict() == {"bar/cut.png": "medium"}
    (others,) = findings.query("issue == 'other_files'")["reason"]
    assert "1 file" in others
    assert ".txt" in others


def test_an_audit_without_features_still_finds_copies(faulty: Path, tiny_config: Path, tmp_path: Path) -> None:
    out = begun(faulty, tmp_path / "out", tiny_config, "audit.backbone=none")
    (conflict,) = found(out, "label_conflict")
    assert {"disc/002.png", "frame/wrong.png"} <= conflict
    summary = read_summary(out)
    assert summary["labels"] is None
    assert summary["leakage"] is None


def test_an_audit_whose_features_cannot_be_had_says_how_to_do_without(
    faulty: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    out = str(tmp_path / "out")
    hub = ["--set", 'audit={backbone="resnet18", weights="hub"}']
    assert run(["init", str(faulty), "--out", out, "--config", str(tiny_config), *hub]) == 0
    assert run(["index", out, "-q"]) == 0
    assert run(["audit", out, "-q"]) == 1
    told = capsys.readouterr().err
    assert "for the audit: the weights of 'resnet18'" in told
    assert 'audit.backbone = "none"' in told


@pytest.mark.slow
def test_a_study_may_go_without_an_audit(faulty: Path, tiny_config: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    call = ["study", str(faulty), "--out", out, "--config", str(tiny_config), "-q", "--set", "models.cnn.epochs=1"]
    assert run([*call, "--set", "audit.enabled=false"]) == 2
    assert run([*call, "--set", "audit.enabled=false", "--set", "split.group_duplicates=exact"]) == 0
    assert not (tmp_path / "out" / "audit.parquet").exists()


@pytest.mark.usefixtures("precision")
def test_leaks_through_given_folders_are_found(make_shapes: Shapes, tiny_config: Path, tmp_path: Path) -> None:
    data = tmp_path / "photos"
    make_shapes(data / "train", each=12)
    make_shapes(data / "test", each=14)
    for label in ("bar", "disc", "frame"):
        for number in range(12):
            (data / "test" / label / f"{number:03d}.png").unlink()
    shutil.copyfile(data / "train" / "bar" / "004.png", data / "test" / "bar" / "leak.png")
    out = begun(data, tmp_path / "out", tiny_config)
    assert found(out, "leak") == [{"train/bar/004.png", "test/bar/leak.png"}]
    assert read_summary(out)["duplicates"]["across_given_splits"] == 1
    anew = begun(data, tmp_path / "anew", tiny_config, "split.use_given=false")
    assert found(anew, "leak") == []
    assert read_summary(anew)["duplicates"]["across_given_splits"] == 0


@pytest.mark.usefixtures("precision")
def test_a_group_column_is_no_copy(make_shapes: Shapes, tiny_config: Path, tmp_path: Path) -> None:
    data = make_shapes(tmp_path / "photos")
    rows = [
        {"path": path.relative_to(tmp_path).as_posix(), "label": path.parent.name, "site": path.stem[-1]}
        for path in sorted(data.rglob("*.png"))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    out = begun(tmp_path / "table.csv", tmp_path / "out", tiny_config, "data.group_column=site")
    leakage = read_summary(out)["leakage"]
    assert (leakage["images_with_copies"], leakage["leaked_images"], leakage["difference"]) == (0, 0, None)


@pytest.mark.slow
def test_a_decision_made_while_models_train_is_for_the_next_run(
    faulty: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["study", str(faulty), "--out", str(tmp_path / "out"), "--config", str(tiny_config), "-q"]
    out = tmp_path / "out"
    train = fit.fit_model

    def decide_meanwhile(*given: Any, **named: Any) -> None:
        corrected(out, "frame/wrong.png", "relabel", "disc")
        train(*given, **named)

    for model in ("probe", "cnn"):  # `majority` alone takes no time
        call += ["--set", f'models.{model}={{backbone="majority"}}']
    with monkeypatch.context() as patch:
        patch.setattr(fit, "fit_model", decide_meanwhile)
        assert run(call) == 0
    first = run_key(out, "majority")
    side = Study.open(out).images.set_index("path")["split"]["frame/wrong.png"]
    assert "changed after the audit" not in (out / "report.html").read_text(encoding="utf-8")
    assert run(call) == 0
    assert (run_key(out, "majority") != first) == (side != "test"), "the label of a test image trains nothing"
    # An audit of labels that have changed since is told of.
    corrected(out, "frame/wrong.png", "relabel", "bar")
    for command in ("split", "train", "report"):
        assert run([command, str(out), "-q"]) == 0
    assert "changed after the audit" in (out / "report.html").read_text(encoding="utf-8")
    assert run(["audit", str(out), "-q"]) == 0
    assert run(["report", str(out), "-q"]) == 0
    assert "changed after the audit" not in (out / "report.html").read_text(encoding="utf-8")
