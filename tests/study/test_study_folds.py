"""A study with folds: every image is tested once, by weights that never saw it; nothing is fitted twice."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bestiary.cli.main import run
from bestiary.data.splits.folds import read_folds
from bestiary.runs import fit
from bestiary.runs.record import read_logits
from bestiary.study.study import Study

Shapes = Callable[..., Path]
COUNT = 3


def make(folder: Path, config: Path) -> Study:
    overrides = ["audit.backbone=none", "models.cnn.epochs=1", f"split.folds={COUNT}"]
    return Study.create(folder / "photos", folder / "study", config=config, overrides=overrides, when_there="force")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make_shapes: Shapes, tiny_config: Path) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    make_shapes(folder / "photos", each=18)
    make(folder, tiny_config).run()
    return folder


@pytest.fixture
def place(original: Path, tmp_path: Path, tiny_config: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy")
    make(tmp_path / "copy", tiny_config)
    return tmp_path / "copy"


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders, from `runs/` on, of models that are fitted."""
    folders: list[str] = []
    real = fit.fit_model

    def spy(folder: Path, *args: object, **kwargs: object) -> object:
        folders.append(folder.as_posix().partition("/runs/")[2])
        return real(folder, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "fit_model", spy)
    return folders


def summary(place: Path) -> dict:
    return json.loads((place / "study" / "folds.json").read_text())


def fold_folder(place: Path, model: str, number: int) -> Path:
    folder = place / "study" / "runs" / model
    return folder if number == 1 else folder / "folds" / str(number)


def images_by_hand(place: Path, model: str) -> pd.DataFrame:
    """One row an image: what the fold that tests it says, from the logits on disk."""
    study = Study.open(place / "study")
    labels = study.images.set_index("image_id")["label"]
    folds = read_folds(place / "study").set_index("image_id")["fold"]
    rows = []
    for number in range(1, COUNT + 1):
        said = read_logits(fold_folder(place, model, number))
        predicted = dict(zip(said.image_ids, np.array(said.class_names)[said.values.argmax(axis=1)], strict=True))
        rows += [(i, number, labels[i], predicted[i]) for i in folds.index[folds == number]]
    return pd.DataFrame(rows, columns=["image_id", "fold", "label", "predicted"])


def test_pooled_figures_are_those_of_the_logits_on_disk(original: Path) -> None:
    found = summary(original)
    assert (found["folds"], found["images"], found["tested"]) == (COUNT, 54, 54)
    for model, figures in found["models"].items():
        by_hand = images_by_hand(original, model)
        right = by_hand["label"] == by_hand["predicted"]
        assert figures["test"]["accuracy"]["value"] == pytest.approx(right.mean())
        by_fold = right.groupby(by_hand["fold"]).mean()
        assert [part["accuracy"] for part in figures["test"]["by_fold"]] == pytest.approx(by_fold.tolist())
        assert figures["test"]["n"] == figures["val"]["n"] == 54
    comparison = Study.open(original / "study").comparison.set_index("model")
    assert comparison.index[0] == found["ranked"][0] == found["winner"]
    for model, figures in found["models"].items():
        assert comparison.loc[model, "test_accuracy_over_folds"] == figures["test"]["accuracy"]["value"]


def test_the_report_and_the_card_tell_of_folds(original: Path) -> None:
    found = summary(original)
    page = (original / "study" / "report.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    accuracy = found["models"][found["winner"]]["test"]["accuracy"]["value"]
    assert "Fold by fold" in page
    assert f"{100 * accuracy:.1f} % on 54 test images" in page
    assert "were drawn into 3 folds of equal size" in page
    card = (original / "study" / "model" / "README.md").read_text(encoding="utf-8")
    assert "Over 3 folds, 54 images were tested once each" in card
    assert f"test accuracy {accuracy:.4f}" in card


def test_with_nothing_changed_nothing_is_fitted_and_what_was_lost_alone_is(place: Path, fitted: list[str]) -> None:
    before = summary(place)
    Study.open(place / "study").run()
    assert fitted == []
    # As if it had been killed in the middle of a fold.
    (fold_folder(place, "cnn", 3) / "run.toml").unlink()
    Study.open(place / "study").run()
    assert fitted == ["cnn/folds/3"]
    assert summary(place) == before


def test_a_label_of_an_image_that_a_fold_tests_does_not_reach_its_weights(place: Path, fitted: list[str]) -> None:
    study = Study.open(place / "study")
    folds = read_folds(place / "study").set_index("image_id")["fold"]
    chosen = folds.index[folds == 2][0]
    label = study.images.set_index("image_id")["label"][chosen]
    weights = (fold_folder(place, "probe", 2) / "model.safetensors").read_bytes()
    before = summary(place)["models"]["probe"]["test"]["accuracy"]["value"]
    study.decide(chosen, "relabel", next(name for name in ("bar", "disc", "frame") if name != label))
    Study.open(place / "study").run()
    # Fold 2 tests the image; folds 1 and 3 validate or train on it.
    assert {name for name in fitted if name.startswith("probe")} == {"probe", "probe/folds/3"}
    assert (fold_folder(place, "probe", 2) / "model.safetensors").read_bytes() == weights
    assert summary(place)["models"]["probe"]["test"]["accuracy"]["value"] != before or before < 1


@pytest.mark.slow
def test_shuffled_labels_give_chance(tmp_path: Path, make_shapes: Shapes, tiny_config: Path) -> None:
    make_shapes(tmp_path / "drawn", each=40)
    random = np.random.default_rng(0)
    files = sorted((tmp_path / "drawn").rglob("*.png"))
    for number, file in zip(random.permutation(len(files)), files, strict=True):
        target = tmp_path / "photos" / ("bar", "disc", "frame")[number % 3] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    make(tmp_path, tiny_config).run()
    accuracy = summary(tmp_path)["models"]["probe"]["test"]["accuracy"]
    assert accuracy["low"] <= 1 / 3 <= accuracy["high"]


def test_new_photos_join_folds_and_no_image_changes_its_fold(place: Path, make_shapes: Shapes) -> None:
    before = read_folds(place / "study").set_index("image_id")["fold"]
    make_shapes(place / "photos", each=21)
    Study.open(place / "study").run()
    after = read_folds(place / "study").set_index("image_id")["fold"]
    assert (after[before.index] == before).all()
    assert len(after) == 63
    assert summary(place)["tested"] == 63


def test_train_fits_all_folds_and_compare_asks_for_them(
    place: Path, fitted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(place / "study" / "runs" / "cnn" / "folds")
    assert run(["compare", str(place / "study"), "-q"]) == 1
    assert "bestiary train" in capsys.readouterr().err
    assert run(["train", str(place / "study"), "-q"]) == 0
    assert fitted == ["cnn/folds/2", "cnn/folds/3"]
    assert run(["compare", str(place / "study"), "-q"]) == 0
    assert "over 3 folds, every image tested once" in capsys.readouterr().out
