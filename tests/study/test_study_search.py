"""The search as part of a study: finalists become models, and what has no part in it changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bestiary.cli.main import run
from bestiary.cli.options import seconds_of
from bestiary.config.recipes import load_config
from bestiary.errors import UsageError
from bestiary.runs.race_record import read_race
from bestiary.runs.search import searching
from bestiary.runs.search_record import read_search
from bestiary.study import budget
from bestiary.study.study import Study

CONFIG = {
    "audit": {"backbone": "none"},
    "split": {"test_fraction": 0.25, "val_fraction": 0.25},
    "models": {"majority": {"backbone": "majority"}},
    "search": {
        "trials": 5,
        "finalists": 2,
        "backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite1"],
        "hidden": [0, 8],
    },
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("searched") / "photos", each=12)


@pytest.fixture(scope="module", autouse=True)
def timed_already() -> Iterator[None]:
    """Backbones whose features are known are compiled only to be timed: a second and more each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bestiary.runs.search.features_of_space.seconds_an_image", lambda *_, **__: 0.005)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Study:
    found = Study.create(photos, tmp_path_factory.mktemp("study") / "searched", config=CONFIG)
    found.run()
    return found


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are judged from now on, in this process alone."""
    seen: list[str] = []
    real = searching.judge
    monkeypatch.setattr(searching, "default_process_count", lambda: 1)
    monkeypatch.setattr(
        searching,
        "judge",
        lambda model, blocks, *, bar: seen.append(model.model_dump_json()) or real(model, blocks, bar=bar),
    )
    return seen


def test_the_best_heads_are_models_of_the_study(study: Study) -> None:
    rows = study.comparison.set_index("model")
    assert {"search-1", "search-2", "majority"} == set(rows.index)
    assert rows.loc["search-1", "test_accuracy"] > rows.loc["majority", "test_accuracy"]
    assert study.predictions("search-1")["split"].isin(["val", "test"]).all()
    assert set(study.config.models) == {"majority"}, "study.toml is the user's"


def test_the_report_says_how_many_were_tried(study: Study) -> None:
    report = " ".join((study.path / "report.html").read_text(encoding="utf-8").split())
    assert "5 heads were tried in 5 folds of 18 training images" in report.replace("\u00a0", " ")


def test_the_report_draws_accuracy_against_seconds_for_backbones_and_joins(study: Study) -> None:
    page = (study.path / "report.html").read_text(encoding="utf-8").replace("\u00a0", " ").replace("<wbr>", "")
    report = " ".join(page.split())
    assert "Out of fold, on 18 training images" in report
    assert "tf_efficientnet_lite0 + tf_efficientnet_lite1" in report
    assert "on the Pareto front" in report
    assert "Accuracy against seconds, numbered as in the table" in report
    assert "More time" in report


def test_run_again_nothing_is_judged_and_nothing_is_fitted(
    study: Study, judged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bestiary.runs.fit.fit_model", lambda *_, **__: pytest.fail("fitted"))
    Study.open(study.path).run()
    assert judged == []


def test_a_test_label_has_no_part_in_it_and_a_train_label_has(photos: Path, tmp_path: Path, judged: list[str]) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    study.search()
    before = len(judged)
    assert before == 5
    images = study.images[study.images["label"] == "bar"].set_index("split")
    for side in ("test", "val"):
        study.decide(images.loc[side, "path"].iloc[0], "relabel", "disc")
        study.search()
        assert len(judged) == before, side
    study.decide(images.loc["train", "path"].iloc[0], "relabel", "disc")
    study.search()
    assert len(judged) == before + 5


def test_a_longer_search_goes_on_where_the_shorter_one_ended(photos: Path, tmp_path: Path, judged: list[str]) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    study.search(trials=3)
    assert len(judged) == 3
    table = study.search(trials=6)
    assert len(judged) == len(set(judged)) == 6
    assert table["loss"].is_monotonic_increasing
    assert table["model"].tolist()[:2] == ["search-1", "search-2"]
    assert Study.open(study.path).config.search.trials == 6


def test_a_search_needs_an_end(photos: Path, tmp_path: Path) -> None:
    config = {**CONFIG, "search": {**CONFIG["search"], "trials": 0}}
    with pytest.raises(UsageError, match="--budget, such as 10m, or --trials"):
        Study.create(photos, tmp_path / "study", config=config).search()


def test_weights_that_cannot_be_had_leave_the_other_backbones(photos: Path, tmp_path: Path, capsys) -> None:
    backbones = ["tf_efficientnet_lite0", "resnet10t"]
    config = {**CONFIG, "search": {**CONFIG["search"], "backbones": backbones, "trials": 1}}
    study = Study.create(photos, tmp_path / "study", config=config)
    table = study.search()
    assert set(table["backbones"]) == {"tf_efficientnet_lite0"}
    left_out = {row["name"]: row["reason"] for row in read_race(study.path / "race.json")["backbones"]}
    assert left_out["tf_efficientnet_lite0"] == ""
    assert "resnet10t" in left_out["resnet10t"]


def test_images_of_one_group_cannot_be_searched_on(tmp_path: Path, make_shapes: Callable[..., Path]) -> None:
    photos = make_shapes(tmp_path / "photos", each=8)
    rows = ["path,label,split,group"]
    for number, file in enumerate(sorted(photos.glob("*/*.png"))):
        side = ("train", "train", "val", "test")[number % 4]
        rows.append(f"{file.relative_to(photos)},{file.parent.name},{side},{side}")
    (photos / "list.csv").write_text("\n".join(rows) + "\n")
    study = Study.create(photos / "list.csv", tmp_path / "study", config=CONFIG)
    with pytest.raises(Exception, match="all of one group"):
        study.search()


def test_a_budget_in_which_no_model_fits_is_refused_before_the_audit(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "study")
    assert run(["study", str(photos), "--out", out, "--budget", "2s", "-q"]) == 2
    message = capsys.readouterr().err
    assert "a budget of 2 s is too short" in message
    assert "Give --budget" in message
    assert not (tmp_path / "study" / "audit.parquet").exists()


def test_backbones_whose_features_do_not_fit_in_the_time_are_left_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bestiary.runs.search import features_of_space

    real = features_of_space.SpaceFeatures.cost

    def dear(self, members, **kwargs):
        cost = real(self, members, **kwargs)
        return replace(cost, images=100, seconds=1e6) if members[0].backbone.endswith("lite1") else cost

    monkeypatch.setattr(features_of_space.SpaceFeatures, "cost", dear)
    config = {**CONFIG, "search": {**CONFIG["search"], "budget_s": 300.0}}
    table = Study.create(photos, tmp_path / "study", config=config).search()
    assert set(table["backbones"]) == {"tf_efficientnet_lite0"}


def test_a_budget_that_ends_before_the_search_still_gives_report_and_model(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_AFTER_S", 1e6)
    models = {"lite0": {"backbone": "tf_efficientnet_lite0", "pixels": {"size_px": 64}}}
    config = {**CONFIG, "models": models, "search": {**CONFIG["search"], "trials": 2, "budget_s": 60.0}}
    study = Study.create(photos, tmp_path / "study", config=config)
    result = study.run()
    assert result.winner == "lite0"
    report = " ".join(result.report.read_text(encoding="utf-8").split())
    assert "It found nothing: " in report
    assert read_search(study.path / "search.json")["key"] == "", "the next call tries again"
    monkeypatch.setattr(budget, "_AFTER_S", 0.0)
    assert {"search-1", "lite0"} <= set(Study.open(study.path).run().comparison["model"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), (" 2M ", 120)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "ten", "10 minutes", "m", "inf", "nan", "10x"])
def test_what_is_no_duration_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="90s, 10m or 1h30m"):
        seconds_of(text)


def test_the_recipe_best_searches_for_ten_minutes() -> None:
    assert load_config(recipe="best").search.budget_s == 600
