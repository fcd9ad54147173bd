"""A study that is run again: what is not imported, and that findings do not hang on what an earlier call left."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bestiary.config.schema import ModelConfig
from bestiary.data import listing
from bestiary.models.extract.noted_features import circumstances
from bestiary.progress import Silent
from bestiary.study.study import Study


@pytest.fixture
def place(finished: Study, tmp_path: Path) -> Path:
    """A copy of a finished study, audit and all."""
    shutil.copytree(finished.path, tmp_path / "study")
    return tmp_path / "study"


def imported_by_running(place: Path) -> set[str]:
    """The modules that a process of its own has imported after it ran the study."""
    code = (
        "import json, sys\n"
        f"from bestiary import Study\nStudy.open({str(place)!r}).run()\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def relabel_tests(study: Study, count: int) -> None:
    images = study.images
    test = images[images["split"] == "test"].sort_values("path").head(count)
    for path, label in zip(test["path"], test["label"], strict=True):
        study.decide(path, "relabel", "disc" if label == "bar" else "bar")


def needs_no_torch(study: Study) -> bool:
    audit = study.config.audit
    model = ModelConfig(backbone=audit.backbone, weights=audit.weights, pixels=audit.pixels)
    return circumstances(model, study.config.device) != ""


def test_a_call_with_nothing_to_do_imports_no_part_of_the_audit(place: Path) -> None:
    heavy = {"torch", "sklearn", "scipy", "matplotlib", "jinja2", "cleanvision"}
    own = {"bestiary.audit.run", "bestiary.study.evidence", "bestiary.audit.quality.image_statistics"}
    assert not imported_by_running(place) & (heavy | own)


def test_relabelled_test_images_need_no_torch(place: Path, own_cache: Path) -> None:
    # A refit on all images is fitted on their labels.
    export = Study.open(place).config.export.model_copy(update={"refit": "none"})
    config = Study.open(place).config.model_copy(update={"export": export})
    study = Study.create(config.data.path, place, config=config, when_there="force")
    if not needs_no_torch(study):
        pytest.skip("this machine may have a GPU: torch has to be asked")
    study.run()
    relabel_tests(study, 2)
    before = (study.path / "report.html").stat().st_mtime_ns, (study.path / "model" / "bundle.json").stat().st_mtime_ns
    assert not imported_by_running(place) & {"torch", "torchvision", "timm", "openvino"}
    after = (study.path / "report.html").stat().st_mtime_ns, (study.path / "model" / "bundle.json").stat().st_mtime_ns
    assert study.read_run("probe").figures["test_as_given"]["n_relabelled"] == 2
    assert all(was < now for was, now in zip(before, after, strict=True))


def test_findings_are_the_same_whether_or_not_an_earlier_audit_left_a_note(place: Path, tmp_path: Path) -> None:
    relabel_tests(Study.open(place), 2)
    shutil.copytree(place, tmp_path / "bare")
    bare = tmp_path / "bare"
    summary = json.loads((bare / "audit.json").read_text())
    summary["features"].pop("store", None)
    summary["features"].pop("under", None)
    (bare / "audit.json").write_text(json.dumps(summary))
    for folder in (place, bare):
        Study.open(folder).run()
    pd.testing.assert_frame_equal(Study.open(place).findings, Study.open(bare).findings)
    noted, computed = (json.loads((folder / "audit.json").read_text()) for folder in (place, bare))
    for content in (noted, computed):
        content.pop("seconds")
    assert noted == computed


@pytest.mark.parametrize("note", ["damaged", {"store": "gone"}, {"store": 7}, {}])
def test_a_note_that_does_not_hold_costs_time_alone(place: Path, note: object) -> None:
    study = Study.open(place)
    before = study.findings
    summary = json.loads((place / "audit.json").read_text())
    under = summary["features"].get("under", "")
    summary["features"] = {**note, "under": under} if isinstance(note, dict) else note
    summary["fingerprint"] = "outdated"
    (place / "audit.json").write_text(json.dumps(summary))
    study.run()
    pd.testing.assert_frame_equal(study.findings, before)


def test_a_table_is_read_once(shapes: Path, tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{path.relative_to(shapes)},{path.parent.name}" for path in sorted(shapes.rglob("*.png"))]
    shutil.copytree(shapes, tmp_path / "photos")
    table = tmp_path / "photos" / "images.csv"
    table.write_text("\n".join(["path,label", *rows, rows[0]]) + "\n")
    read, said = [], []
    real = listing.read_image_table
    monkeypatch.setattr(listing, "read_image_table", lambda *args, **kwargs: read.append(args) or real(*args, **kwargs))

    class Said(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    Study.create(table, tmp_path / "study", config=tiny_config, progress=Said()).index()
    assert len(read) == 1
    assert any("counted once" in text for text in said)
