"""The ensemble as part of a study: kept where it wins, a model like any other then, and gone where it does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from bestiary.config.ensemble_schema import EnsembleMember, compose
from bestiary.config.schema import ModelConfig, StudyConfig
from bestiary.runs import composing
from bestiary.runs.composing import Candidates, choose_ensemble, read_candidates
from bestiary.runs.ensemble_record import read_ensemble, with_ensemble
from bestiary.runs.record import Logits, read_logits
from bestiary.study.study import Study
from tests.made_runs import Bench

CONFIG: dict[str, Any] = {
    "audit": {"backbone": "none"},
    "split": {"test_fraction": 0.25, "val_fraction": 0.25},
    "models": {
        "majority": {"backbone": "majority"},
        "lite0": {"backbone": "tf_efficientnet_lite0", "pixels": {"size_px": 64}},
        "both": {
            "backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite1"],
            "pixels": {"size_px": 64},
        },
    },
}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ensemble wins, with two members, whatever the figures say."""
    real = composing.choose_ensemble

    def choose(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        chosen = replace(found.chosen, shares=np.array([0.75, 0.25]))
        return replace(found, reason="", chosen=chosen)

    monkeypatch.setattr(composing, "choose_ensemble", choose)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("ensembles") / "photos", each=12)


def test_kept_it_is_a_model_of_the_study_and_is_exported(photos: Path, tmp_path: Path, kept: None) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    study.run()
    assert "ensemble" in study.comparison["model"].tolist()
    assert set(study.config.models) == {"majority", "lite0", "both"}, "study.toml is the user's"
    logits = {name: read_logits(study.path / "runs" / name) for name in ("lite0", "both", "ensemble")}
    members = {m["model"]: m for m in read_ensemble(study.path / "ensemble.json")["config"]["ensemble"]}
    expected = sum(
        members[name]["share"] * softmax(logits[name].values / members[name]["temperature"], axis=1)
        for name in ("lite0", "both")
    )
    test = study.predictions("ensemble")["split"].eq("test").to_numpy()
    ids = study.predictions("ensemble")["image_id"][test]
    rows = [logits["ensemble"].image_ids.index(image_id) for image_id in ids]
    np.testing.assert_allclose(softmax(logits["ensemble"].values, axis=1)[rows], expected[rows], atol=1e-5)

    folder = study.export("ensemble")
    assert "which of the models have a part in it" in (folder / "README.md").read_text(encoding="utf-8")
    images = study.images.set_index("image_id").loc[ids]
    from bestiary import predict

    paths = [str(photos / path) for path in images["path"]]
    said = predict(folder, paths, top_k=3)
    assert said["error"].eq("").all()
    # Refitted on all images it knows these.
    assert (said["label"].to_numpy() == images["label"].to_numpy()).mean() > 0.8
    bundle = study.export("ensemble")
    assert len(predict(bundle, paths[:1])) == 1


@pytest.mark.slow
def test_run_again_nothing_is_made_and_another_member_makes_it_anew(
    photos: Path, tmp_path: Path, kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    study.run()
    before = read_ensemble(study.path / "ensemble.json")["key"]
    with monkeypatch.context() as patch:
        patch.setattr(composing, "write_run", lambda *_, **__: pytest.fail("made again"))
        Study.open(study.path).run()
        image = study.images.set_index("split").loc["test", "path"].iloc[0]
        study.decide(image, "relabel", "disc")
        study.run()
    study.decide(study.images.set_index("split").loc["val", "path"].iloc[0], "relabel", "disc")
    study.run()
    assert read_ensemble(study.path / "ensemble.json")["key"] != before


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"ensemble": {"choose": "off"}}, {"split": {**CONFIG["split"], "folds": 3}}])
def test_it_is_not_looked_for(photos: Path, tmp_path: Path, kept: None, change: dict[str, Any]) -> None:
    study = Study.create(photos, tmp_path / "study", config={**CONFIG, **change})
    study.run()
    assert "ensemble" not in study.comparison["model"].tolist()
    assert not (study.path / "ensemble.json").exists()


@pytest.mark.slow
def test_a_damaged_run_of_it_is_made_again(photos: Path, tmp_path: Path, kept: None) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    study.run()
    weights = study.path / "runs" / "ensemble" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    study.run()
    assert weights.read_bytes() == whole


def complementary(bench: Bench, *, sure: float) -> dict[str, Logits]:
    """Two models, each right on all images of two thirds, sure there, and unsure of the rest."""
    exact = bench.logits({"val": 1.0, "test": 1.0}, sure=sure)
    wrong = bench.logits({"val": 0.0, "test": 0.0}, sure=0.5)
    blind = np.arange(len(exact.image_ids)) % 3
    found = {}
    for number, name in enumerate(("one", "two")):
        values = np.where((blind == number)[:, None], wrong.values, exact.values)
        found[name] = Logits(exact.image_ids, exact.class_names, values)
    return found


def candidates_of(bench: Bench) -> Candidates:
    snapshot, names = bench.snapshot, list(bench.models)
    return read_candidates(
        {name: snapshot.run(name) for name in names}, {name: snapshot.paths.run(name) for name in names}
    )


def test_models_that_are_wrong_elsewhere_win_together(bench: Bench) -> None:
    for name, logits in complementary(bench, sure=0.9).items():
        bench.add(name, val=0, test=0, logits=logits)
    found = choose_ensemble(candidates_of(bench), bench.images, rounds=20)
    assert not isinstance(found, str)
    assert found.kept, found.reason
    assert found.accuracy > found.best_accuracy + 0.2
    assert found.judged.gain.low > 0


def test_a_model_and_its_own_copy_do_not_win(bench: Bench) -> None:
    for name in ("one", "two"):
        bench.add(name, val=0.8, test=0.8)
    found = choose_ensemble(candidates_of(bench), bench.images, rounds=20)
    assert not isinstance(found, str)
    assert not found.kept
    assert found.reason


def test_labels_of_test_and_train_have_no_part(bench: Bench) -> None:
    for name, logits in complementary(bench, sure=0.9).items():
        bench.add(name, val=0, test=0, logits=logits)
    poisoned = bench.images.assign(label=bench.images["label"].where(bench.images["split"] == "val", "bat"))
    before = choose_ensemble(candidates_of(bench), bench.images, rounds=20)
    after = choose_ensemble(candidates_of(bench), poisoned, rounds=20)
    assert not isinstance(before, str)
    assert not isinstance(after, str)
    np.testing.assert_array_equal(before.chosen.shares, after.chosen.shares)
    np.testing.assert_array_equal(before.judged.ensemble, after.judged.ensemble)


def test_a_model_of_that_name_is_the_users() -> None:
    values = {"backbone": "tf_efficientnet_lite0"}
    found = {
        "kept": True,
        "models": ["one"],
        "config": compose(
            (EnsembleMember(model="one", share=1.0, temperature=1.0, config=ModelConfig.model_validate(values)),)
        ).model_dump(mode="json"),
    }
    config = StudyConfig.model_validate({"models": {"one": values}})
    assert set(with_ensemble(config, found).models) == {"one", "ensemble"}
    assert set(with_ensemble(config, {**found, "models": ["gone"]}).models) == {"one"}
    own = StudyConfig.model_validate({"models": {"one": values, "ensemble": values}})
    assert with_ensemble(own, found) == own
