"""What is done again and what is not: keys, snapshots, and studies of an older bestiary."""

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bestiary.config.schema import StudyConfig
from bestiary.errors import ConfigError, StudyError, UsageError
from bestiary.runs import evaluation, fit
from bestiary.store.hashing import sha256_file
from bestiary.study import run_stage, stages
from bestiary.study.stages import STAGES
from bestiary.study.study import Study

Shapes = Callable[..., Path]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make_shapes: Shapes, tiny_config: Path) -> Path:
    """A folder with `photos/` and a finished `study/` of them: two models, no audit of features."""
    folder = tmp_path_factory.mktemp("stages")
    make_shapes(folder / "photos", each=16)
    make(folder, tiny_config).run()
    return folder


def make(folder: Path, config: Path) -> Study:
    overrides = ["audit.backbone=none", "models.cnn.epochs=1"]
    return Study.create(folder / "photos", folder / "study", config=config, overrides=overrides, when_there="force")


@pytest.fixture
def place(original: Path, tmp_path: Path, tiny_config: Path) -> Path:
    """A copy of it whose images may be changed."""
    shutil.copytree(original, tmp_path / "copy")
    make(tmp_path / "copy", tiny_config)
    Study.open(tmp_path / "copy" / "study").run()
    return tmp_path / "copy"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of models that are fitted."""
    names: list[str] = []
    real = fit.fit_model

    def spy(folder: Path, *args: object, **kwargs: object) -> object:
        names.append(folder.name)
        return real(folder, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "fit_model", spy)
    return names


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of models whose figures are made."""
    names: list[str] = []
    real = evaluation.evaluate_run

    def spy(folder: Path, *args: object, **kwargs: object) -> object:
        names.append(folder.name)
        return real(folder, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(run_stage, "evaluate_run", spy)
    return names


def run(place: Path) -> Study:
    study = Study.open(place / "study")
    study.run()
    return study


def hashes(place: Path) -> dict[str, str]:
    files = [path for path in (place / "study").rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(place)): sha256_file(path) for path in files}


def test_with_nothing_to_do_each_table_is_read_once_and_each_key_computed_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str], evaluated: list[str]
) -> None:
    before, read, keys = hashes(place), Counter[str](), Counter[str]()
    real = pq.read_table

    def counting(source: Path, *args: object, **kwargs: object) -> object:
        read[str(Path(source).relative_to(place / "study"))] += 1
        return real(source, *args, **kwargs)

    def counted(stage: stages.Stage) -> stages.Stage:
        def key(work: object) -> str:
            keys[stage.name] += 1
            return stage.key(work)  # type: ignore[arg-type]

        return dataclasses.replace(stage, key=key)

    monkeypatch.setattr(pq, "read_table", counting)
    for name, stage in list(STAGES.items()):
        monkeypatch.setitem(STAGES, name, counted(stage))
    run(place)
    assert hashes(place) == before
    assert (trained, evaluated) == ([], [])
    assert {"index.parquet", "splits.parquet", "audit.parquet"} <= set(read)
    assert set(read.values()) == {1}, read
    assert set(keys.values()) == {1}, keys


def test_relabelled_and_dropped_test_images_train_nothing_and_change_the_figures(
    place: Path, trained: list[str], evaluated: list[str]
) -> None:
    study = Study.open(place / "study")
    images = study.images
    test = images[images["split"] == "test"]
    moved = test[test["label"] == "bar"]["path"].tolist()[:2]
    study.decide(moved, "relabel", "disc")
    study.decide(test[test["label"] == "frame"]["path"].iloc[0], "drop")
    result = run(place)
    assert trained == []
    assert sorted(evaluated) == ["cnn", "majority", "probe"]
    figures = result.read_run("probe").figures
    assert figures["test"]["n"] == len(test) - 1
    assert (figures["test_as_given"]["n_relabelled"], figures["test_as_given"]["n_dropped"]) == (2, 1)
    assert "as_given" in " ".join(result.comparison.columns)
    study.undo([*moved, test[test["label"] == "frame"]["path"].iloc[0]])
    again = run(place)
    assert trained == []
    assert again.read_run("probe").figures["test_as_given"] is None


@pytest.mark.slow
def test_relabelled_training_images_train_every_model(place: Path, trained: list[str]) -> None:
    study = Study.open(place / "study")
    images = study.images
    study.decide(images[(images["split"] == "train") & (images["label"] == "bar")]["path"].iloc[0], "relabel", "disc")
    run(place)
    assert sorted(trained) == ["cnn", "majority", "probe"]


@pytest.mark.parametrize("change", ["system file", "other file", "renamed image", "unreadable image"])
def test_what_does_not_matter_trains_nothing_and_moves_no_image(place: Path, change: str, trained: list[str]) -> None:
    study = Study.open(place / "study")
    sides = study.splits.set_index("image_id")["drawn"]
    if change == "system file":
        (place / "photos" / "bar" / ".DS_Store").write_bytes(b"Bud1")
    elif change == "other file":
        (place / "photos" / "README.txt").write_text("about these")
    elif change == "renamed image":
        (place / "photos" / "bar" / "000.png").rename(place / "photos" / "bar" / "zzz.png")
    else:
        (place / "photos" / "bar" / "new.jpg").write_bytes(b"cut")
    after = run(place)
    assert trained == []
    pd.testing.assert_series_equal(after.splits.set_index("image_id")["drawn"].sort_index(), sides.sort_index())


@pytest.mark.slow
def test_new_images_leave_the_test_images_where_they_are(place: Path, make_shapes: Shapes) -> None:
    before = Study.open(place / "study").splits.set_index("image_id")["drawn"]
    more = make_shapes(place / "more", each=26)
    for photo in more.rglob("*.png"):
        if int(photo.stem) >= 16:
            shutil.copyfile(photo, place / "photos" / photo.parent.name / photo.name)
    after = run(place).splits.set_index("image_id")["drawn"]
    assert len(after) == len(before) + 30
    tested = before.index[before == "test"]
    assert set(after[tested]) == {"test"}
    assert after.value_counts()["test"] > before.value_counts()["test"]
    # A new photo that is a copy of old ones on two sides ties them together; nothing else moves an image.
    assert (after[before.index] != before).sum() <= 2


def test_a_test_image_that_comes_later_is_scored_by_the_saved_weights(place: Path, trained: list[str]) -> None:
    """A copy of a test image goes where its group is: train and val stay as they were."""
    study = Study.open(place / "study")
    images = study.images
    path = Path(images[images["split"] == "test"]["path"].iloc[0])
    from PIL import Image

    with Image.open(place / "photos" / path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(place / "photos" / path.parent / "mirrored.png")
    before = (place / "study" / "runs" / "probe" / "model.safetensors").read_bytes()
    after = run(place)
    new = after.images.set_index("path").loc[f"{path.parent}/mirrored.png"]
    if new["split"] != "test":
        pytest.skip("not found to be a copy, and drawn elsewhere")
    assert trained == []
    assert (place / "study" / "runs" / "probe" / "model.safetensors").read_bytes() == before
    assert new["image_id"] in set(after.predictions("probe")["image_id"])


def test_another_config_of_one_model_trains_that_one_alone(place: Path, tiny_config: Path, trained: list[str]) -> None:
    overrides = ["audit.backbone=none", "models.cnn.epochs=2"]
    kwargs = {"config": tiny_config, "overrides": overrides, "when_there": "force"}
    Study.create(place / "photos", place / "study", **kwargs).run()  # type: ignore[arg-type]
    assert trained == ["cnn"]


def test_each_command_says_which_one_comes_first(tmp_path: Path, make_shapes: Shapes, tiny_config: Path) -> None:
    make_shapes(tmp_path / "photos", each=8)
    study = make(tmp_path, tiny_config)
    for stage, first in (("audit", "index"), ("split", "index"), ("train", "index"), ("report", "index")):
        with pytest.raises(StudyError, match=f"no index yet: run `bestiary {first}"):
            getattr(study, stage)()
    study.index()
    with pytest.raises(StudyError, match="run `bestiary audit"):
        study.split()
    study.audit()
    with pytest.raises(StudyError, match="no split yet: run `bestiary split"):
        study.train()
    study.split()
    with pytest.raises(StudyError, match="run `bestiary train"):
        study.compare()
    study.train(["majority"])
    with pytest.raises(StudyError, match=r"'probe' has not been trained: run `bestiary train"):
        study.report()
    for name in ("findings", "splits", "images", "index_table"):
        assert len(getattr(study, name))
    with pytest.raises(StudyError, match="bestiary compare"):
        _ = study.comparison


def test_properties_run_nothing_and_say_what_is_missing(tmp_path: Path, make_shapes: Shapes, tiny_config: Path) -> None:
    make_shapes(tmp_path / "photos", each=8)
    study = make(tmp_path, tiny_config)
    for name in ("index_table", "findings", "splits", "images"):
        with pytest.raises(StudyError, match="bestiary index"):
            getattr(study, name)
    assert study.corrections == []
    assert study.histories() == {}
    with pytest.raises(UsageError, match="no model named 'nobody'"):
        study.predictions("nobody")
    assert "made: )" in repr(study)
    assert not (tmp_path / "study" / "index.parquet").exists()


def test_the_same_config_in_any_form_is_the_same_study(place: Path, tiny_config: Path) -> None:
    config = Study.open(place / "study").config
    for form in (config, config.model_dump(), config.model_dump(mode="json")):
        assert Study.create(place / "photos", place / "study", config=form).config == config
    assert isinstance(config, StudyConfig)


def test_a_config_cannot_be_changed_behind_the_study_s_back(place: Path) -> None:
    study = Study.open(place / "study")
    with pytest.raises(TypeError, match=r"Study\.create"):
        study.config.models["more"] = study.config.models["probe"]
    with pytest.raises(AttributeError):
        study.config = study.config  # type: ignore[misc]
    file = place / "study" / "study.toml"
    file.write_text(file.read_text().replace("test_fraction = 0.25", "test_fraction = 0.3"))
    with pytest.raises(StudyError, match=r"has changed since this study was opened.*split\.test_fraction"):
        study.report()


def test_force_waits_for_nobody_and_takes_no_config_from_a_study_at_work(place: Path, tiny_config: Path) -> None:
    from bestiary.store.locks import exclusive

    before = (place / "study" / "study.toml").read_text()
    kwargs = {"config": tiny_config, "overrides": ["models.cnn.epochs=3"], "when_there": "force"}
    with (
        exclusive(place / "study" / ".lock", busy="held by the test"),
        pytest.raises(StudyError, match="another bestiary process"),
    ):
        Study.create(place / "photos", place / "study", **kwargs)  # type: ignore[arg-type]
    assert (place / "study" / "study.toml").read_text() == before


def test_force_replaces_a_config_that_cannot_be_read(shapes: Path, tiny_config: Path, tmp_path: Path) -> None:
    begun = Study.create(shapes, tmp_path / "study", config=tiny_config)
    whole = (tmp_path / "study" / "study.toml").read_text()
    (tmp_path / "study" / "study.toml").write_text("models = [")
    with pytest.raises(ConfigError, match=r"study\.toml"):
        Study.create(shapes, tmp_path / "study", config=tiny_config)
    again = Study.create(shapes, tmp_path / "study", config=tiny_config, when_there="force")
    assert again.config == begun.config
    assert (tmp_path / "study" / "study.toml").read_text() == whole


@pytest.mark.slow
def test_local_weights_count_by_content_and_their_path_is_absolute(
    tmp_path: Path, make_shapes: Shapes, tiny_config: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    import timm
    from safetensors.torch import save_file

    make_shapes(tmp_path / "photos", each=12)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    overrides = ['audit={backbone="none"}', 'models={own={backbone="test_resnet", weights="w.safetensors"}}']
    monkeypatch.chdir(tmp_path)
    kwargs = {"config": tiny_config, "overrides": overrides}
    study = Study.create("photos", "study", **kwargs)  # type: ignore[arg-type]
    assert study.config.models["own"].weights == str(tmp_path / "w.safetensors")
    study.run()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run(tmp_path)
    assert trained == ["own"]
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    run(tmp_path)
    assert trained == ["own", "own"], "the file's content changed"
    (tmp_path / "w.safetensors").unlink()
    run(tmp_path)
    assert trained == ["own", "own"], "a run stays good where its weights file is gone"


def age(place: Path) -> dict[str, str]:
    """Make the study one of bestiary 0.1: no format numbers, one file of metrics, no logits. Returns the sides."""
    study = place / "study"
    splits = pd.read_parquet(study / "splits.parquet")[["image_id", "group_id", "split", "drawn"]]
    splits.to_parquet(study / "splits.parquet", index=False)
    for folder in (study / "runs").iterdir():
        text = (folder / "run.toml").read_text().replace("format = 3\n", "").replace("\nkey = ", "\nfingerprint = ")
        (folder / "run.toml").write_text(text)
        for name in ("logits.parquet", "fit.json", "figures.json"):
            (folder / name).unlink()
        (folder / "metrics.json").write_text("{}")
    comparison = json.loads((study / "comparison.json").read_text())
    (study / "comparison.json").write_text(json.dumps({k: v for k, v in comparison.items() if k != "format"}))
    return dict(zip(splits["image_id"], splits["drawn"], strict=True))


def test_a_study_of_an_older_bestiary_keeps_its_split_and_is_fitted_again(place: Path, trained: list[str]) -> None:
    sides = age(place)
    study = Study.open(place / "study")
    with pytest.raises(StudyError, match="older bestiary"):
        _ = study.comparison
    with pytest.raises(StudyError, match="older bestiary: run `bestiary train"):
        study.predictions("probe")
    after = run(place)
    assert sorted(trained) == ["cnn", "majority", "probe"]
    assert dict(zip(after.splits["image_id"], after.splits["drawn"], strict=True)) == sides


@pytest.mark.slow
def test_a_decision_made_while_models_train_is_for_the_next_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    study = Study.open(place / "study")
    images = study.images
    wrong = images[(images["split"] == "train") & (images["label"] == "bar")]["path"].tolist()
    study.decide(wrong[0], "relabel", "disc")
    spy = fit.fit_model

    def decide_meanwhile(folder: Path, *args: object, **kwargs: object) -> object:
        study.decide(wrong[1], "relabel", "disc")
        return spy(folder, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(fit, "fit_model", decide_meanwhile)
        run(place)
    first = study.images
    assert trained == ["majority", "probe", "cnn"]
    assert len(study.corrections) == 2
    run(place)
    assert trained == ["majority", "probe", "cnn"] * 2
    assert (first["label"] != first["label_given"]).sum() == 2
