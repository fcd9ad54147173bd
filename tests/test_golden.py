"""What studies came to before the rooms were rebuilt, and still have to.

`golden/demo.json` and `golden/photos.json` hold splits, figures, predictions and findings of the demo and of 24 photos
a class, recorded at version 0.1.0 in fp32. Splits are the same to the last image. Figures may differ by what another
order of the images and another precision do to them: an image or two. The demo's val images were recorded anew when
near duplicates came to be judged by detail: fewer digits count as copies, and so others are drawn. And once more,
with its figures, when groups came to be drawn by lot and no longer by size. Eight outliers that are not planted as
such, of which seven have another fault, were four until pictures that are far from everything counted.
A network that was trained from its first step ends elsewhere on another processor: its log loss on the demo was 0.17 on
one with AVX2 and 0.22 on one with AVX-512, and its macro F1 0.90 on one processor and 0.81 on another, for one digit
of a class that has two in test. So these two are left out; its accuracies are held like all others. The probe's macro
F1 went the same way, from 0.92 to 0.83, when its strength came to be chosen in folds of train; with that, val accuracy
of the 24 photos moved by one (0.042).
"""

import json
import shutil
from pathlib import Path

import pytest

from bestiary.demo.demo import run_demo
from bestiary.study.study import Study

GOLDEN = Path(__file__).parent / "golden"
FIGURES = {"val_accuracy": 0.045, "test_accuracy": 0.025, "test_macro_f1": 0.03, "test_log_loss": 0.04}

# The models of that time, and their crop.
CROP = {"crop_fraction": "weights"}
AS_THEN = {
    "audit": {"pixels": CROP},
    "models": {
        "majority": {"backbone": "majority"},
        "lite0-probe": {"backbone": "tf_efficientnet_lite0", "pixels": CROP},
        "lite2-probe": {"backbone": "tf_efficientnet_lite2", "pixels": CROP},
    },
}
NOT_HELD = {"scratch-cnn": {"test_log_loss", "test_macro_f1"}, "lite0-probe": {"test_macro_f1"}}


def golden(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def assert_figures(study: Study, wanted: dict[str, dict[str, float]]) -> None:
    rows = study.comparison.set_index("model")
    assert set(rows.index) == set(wanted)
    for model, figures in wanted.items():
        for name in sorted(set(figures) - NOT_HELD.get(model, set())):
            value = figures[name]
            assert rows.loc[model, name] == pytest.approx(value, abs=FIGURES[name]), (model, name)


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    wanted = golden("demo")
    result = run_demo(tmp_path / "demo")
    study = Study.open(tmp_path / "demo" / "study")
    images = study.images
    assert images["drawn"].value_counts().to_dict() == wanted["split_sizes"]
    assert sorted(images.loc[images["drawn"] == "val", "path"]) == wanted["split"]["val"]
    assert_figures(study, wanted["models"])
    found = {row["kind"]: row for row in result["faults"]}
    for kind, row in wanted["faults"].items():
        assert found[kind]["planted"] == row["planted"]
        assert found[kind]["found"] >= row["found"] - (1 if kind == "label_error" else 0), kind
        assert found[kind]["false_alarms"] <= row["false_alarms"] + 3, kind


@pytest.mark.slow
def test_a_small_study_of_photos(animals10: Path, tmp_path: Path) -> None:
    wanted = golden("photos")
    for folder in sorted(path for path in animals10.iterdir() if path.is_dir()):
        (tmp_path / "photos" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:24]:
            shutil.copyfile(photo, tmp_path / "photos" / folder.name / photo.name)
    study = Study.create(tmp_path / "photos", tmp_path / "study", config=AS_THEN)
    study.run()
    sides = study.splits.set_index("image_id")["drawn"]
    for side, image_ids in wanted["sides"].items():
        assert sorted(sides.index[sides == side]) == image_ids
    assert_figures(study, wanted["models"])
    for model, before in wanted["predictions"].items():
        now = study.predictions(model).set_index("image_id")["y_pred"]
        assert sum(now[image_id] == label for image_id, label in before.items()) >= len(before) - 2, model
    findings = study.findings
    found = {(row.issue, row.image_id or row.label) for row in findings.itertuples()}
    assert len(found ^ {tuple(row) for row in wanted["findings"]}) <= 1
