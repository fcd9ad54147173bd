"""Further seeds: what they are fitted on, what is said of them, and that they choose nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bestiary.runs.record import read_logits
from bestiary.study.study import Study

SEEDS = 3
CONFIG: dict[str, Any] = {
    "audit": {"backbone": "none"},
    "split": {"test_fraction": 0.25, "val_fraction": 0.25},
    "train": {"seeds": SEEDS},
    "models": {
        "majority": {"backbone": "majority"},
        "hidden": {
            "backbone": "tf_efficientnet_lite0",
            "pixels": {"size_px": 32},
            "head": {"hidden": 8, "dropout": 0.5},
            "epochs": 2,
        },
        "cnn": {"backbone": "simple_cnn", "pixels": {"size_px": 32}, "trainable": "all", "epochs": 1},
    },
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("seeds") / "photos", each=12)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Study:
    found = Study.create(photos, tmp_path_factory.mktemp("study") / "seeds", config=CONFIG)
    found.run()
    return found


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of runs that are fitted from now on."""
    from bestiary.runs import fit

    real, seen = fit.fit_model, []
    monkeypatch.setattr(
        fit, "fit_model", lambda folder, *args, **named: seen.append(folder) or real(folder, *args, **named)
    )
    return seen


def right(study: Study, folder: Path, split: str) -> float:
    images = study.images[study.images["split"] == split].set_index("image_id")
    logits = read_logits(folder)
    said = dict(zip(logits.image_ids, np.array(logits.class_names)[logits.values.argmax(axis=1)], strict=True))
    return float(np.mean([said[image_id] == label for image_id, label in images["label"].items()]))


def test_mean_and_range_are_those_of_the_logits_on_disk(study: Study) -> None:
    run = study.path / "runs" / "hidden"
    folders = [run, *(run / "seeds" / str(number) for number in range(1, SEEDS))]
    row = study.comparison.set_index("model").loc["hidden"]
    assert row["seeds"] == SEEDS
    for split in ("val", "test"):
        accuracies = [right(study, folder, split) for folder in folders]
        assert row[f"{split}_accuracy_over_seeds_mean"] == pytest.approx(np.mean(accuracies))
        assert row[f"{split}_accuracy_over_seeds_least"] == pytest.approx(min(accuracies))
        assert row[f"{split}_accuracy_over_seeds_most"] == pytest.approx(max(accuracies))
        assert row[f"{split}_accuracy"] == pytest.approx(accuracies[0]), "the model's own seed is the first"
    assert not np.array_equal(read_logits(folders[0]).values, read_logits(folders[1]).values)


def test_what_is_dear_or_has_nothing_to_draw_has_one_seed(study: Study) -> None:
    rows = study.comparison.set_index("model")
    assert rows.loc[["cnn", "majority"], "seeds"].isna().all()
    assert not (study.path / "runs" / "cnn" / "seeds").exists()


def test_a_seed_is_the_model_that_another_study_fits_with_it(study: Study, photos: Path, tmp_path: Path) -> None:
    models = {"hidden": {**CONFIG["models"]["hidden"], "seed": 1}}
    other = Study.create(photos, tmp_path / "other", config={**CONFIG, "train": {}, "models": models})
    other.run()
    np.testing.assert_array_equal(
        read_logits(other.path / "runs" / "hidden").values, read_logits(study.path / "runs/hidden/seeds/1").values
    )


def test_the_report_has_the_range(study: Study) -> None:
    report = " ".join((study.path / "report.html").read_text(encoding="utf-8").split())
    assert "Other seeds" in report
    assert "Mean over 3 seeds on the same split" in report.replace("\u00a0", " ")


def test_run_again_nothing_is_fitted_and_a_test_label_trains_nothing(study: Study, fitted: list[Path]) -> None:
    before = study.comparison.set_index("model").loc["hidden", "test_accuracy_over_seeds_mean"]
    Study.open(study.path).run()
    image = study.images[study.images["split"] == "test"].iloc[0]
    study.decide(
        image["path"], "relabel", next(name for name in study.images["label"].unique() if name != image["label"])
    )
    Study.open(study.path).run()
    assert fitted == []
    assert study.comparison.set_index("model").loc["hidden", "test_accuracy_over_seeds_mean"] != before
    study.undo(image["path"])
    Study.open(study.path).run()


def test_a_damaged_seed_is_fitted_again_and_nothing_else(study: Study, fitted: list[Path]) -> None:
    folder = study.path / "runs" / "hidden" / "seeds" / "2"
    (folder / "logits.parquet").write_bytes(b"cut off")
    before = study.comparison
    Study.open(study.path).run()
    assert fitted == [folder]
    column = "test_accuracy_over_seeds_mean"
    assert study.comparison[column].equals(before[column])


def test_images_that_come_later_are_seen_by_every_seed(photos: Path, study: Study, fitted: list[Path]) -> None:
    random = np.random.default_rng(7)
    for number in range(8):
        Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(photos / "bar" / f"late{number}.png")
    try:
        Study.open(study.path).run()
        tested = set(study.images.loc[study.images["split"] == "test", "image_id"])
        for number in range(1, SEEDS):
            assert tested <= set(read_logits(study.path / "runs/hidden/seeds" / str(number)).image_ids)
    finally:
        for file in (photos / "bar").glob("late*.png"):
            file.unlink()
