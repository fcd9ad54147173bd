"""The race as part of a study: what it costs to find out, who is dropped, and what has no part in it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bestiary.cli.main import run
from bestiary.errors import ConfigError, UsageError
from bestiary.runs.race_record import read_race, still_in
from bestiary.runs.search import racing
from bestiary.runs.search.features_of_space import Cost
from bestiary.runs.search.judging import Blocks, block_name
from bestiary.study.study import Study

NAMES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1")
CONFIG: dict[str, Any] = {
    "audit": {"backbone": "none"},
    "split": {"test_fraction": 0.25, "val_fraction": 0.25},
    "models": {"majority": {"backbone": "majority"}},
    "search": {"trials": 2, "backbones": list(NAMES), "hidden": [0], "joins": 1},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("raced") / "photos", each=12)


class MadeFeatures:
    """In place of `SpaceFeatures`: features of noise, and no passes."""

    def __init__(self, images, root, **_) -> None:
        self._count = len(images)

    def cost(self, members, **_) -> Cost:
        return Cost(self._count, 1.0, 5.0, "apache-2.0")

    def blocks(self, members, *, train, labels, groups, folds) -> Blocks:
        random = np.random.default_rng(0)
        made = {
            block_name(one.backbone, 1.0, flip=False): random.normal(size=(len(train), 4)).astype(np.float32)
            for one in members
        }
        return Blocks(made, labels, groups, folds, int(labels.max()) + 1)


@pytest.fixture
def no_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bestiary.runs.search.features_of_space.SpaceFeatures", MadeFeatures)


@pytest.fixture
def first_loses(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Samples of 8 images come first, and Lite0 loses on them; the backbones that stand in each round from now on."""
    real, rounds = racing.stand, []

    def stand(blocks, models, *, joined):
        rounds.append([model.backbone for model in models])
        found = real(blocks, models, joined=joined)
        return [replace(one, lost=one.backbone == NAMES[0], behind=0.5, error=0.1) for one in found]

    monkeypatch.setattr(racing, "stand", stand)
    monkeypatch.setattr(racing, "sample_sizes", lambda images, class_count: [8, images])
    return rounds


def test_one_that_loses_on_a_sample_is_made_no_further_features_of_and_not_searched(
    photos: Path, tmp_path: Path, first_loses: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    table = study.search()
    assert first_loses == [list(NAMES), [NAMES[1]]]
    assert set(table["backbones"]) == {NAMES[1]}
    race = read_race(study.path / "race.json")
    assert still_in(race, NAMES) == (NAMES[1],)
    lost = next(row for row in race["backbones"] if row["name"] == NAMES[0])
    assert lost["reason"].startswith("on 8 training images its log loss is 0.500 above the leader's")
    assert [one["images"] for one in lost["rounds"]] == [8]
    monkeypatch.undo()
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    assert Study.open(study.path).race(backbones=[NAMES[0]])["images"].tolist() == [18]
    known = read_race(study.path / "race.json")["backbones"][0]
    assert known["images"] == 36 - 8, "the sample alone had been passed through"


@pytest.mark.usefixtures("no_passes")
def test_without_a_race_all_are_judged_on_everything(
    photos: Path, tmp_path: Path, first_loses: list[list[str]]
) -> None:
    config = {**CONFIG, "search": {**CONFIG["search"], "race": False}}
    table = Study.create(photos, tmp_path / "study", config=config).race()
    assert first_loses == [list(NAMES)]
    assert table["images"].tolist() == [18, 18]
    assert table["reason"].tolist() == ["", ""]


@pytest.mark.usefixtures("no_passes")
def test_with_no_time_left_for_it_the_last_round_is_left_out(
    photos: Path, tmp_path: Path, first_loses: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**CONFIG, "search": {**CONFIG["search"], "trials": 0, "budget_s": 60.0}}
    monkeypatch.setattr("bestiary.study.race_stage._SHARE_OF_LAST", 0.0)
    table = Study.create(photos, tmp_path / "study", config=config).race()
    assert first_loses == [list(NAMES)]
    assert table["images"].tolist() == [8, 8]


@pytest.mark.usefixtures("no_passes")
def test_a_label_of_test_has_no_part_in_it_and_one_of_train_has(
    photos: Path, tmp_path: Path, first_loses: list[list[str]]
) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    study.race()
    before = len(first_loses)
    images = study.images[study.images["label"] == "bar"].set_index("split")
    for side in ("test", "val"):
        study.decide(images.loc[side, "path"].iloc[0], "relabel", "disc")
        study.race()
        assert len(first_loses) == before, side
    study.decide(images.loc["train", "path"].iloc[0], "relabel", "disc")
    study.race()
    assert len(first_loses) == 2 * before


@pytest.mark.usefixtures("no_passes")
def test_a_table_says_what_each_is_worth_and_costs(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    assert run(["race", str(study.path), "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["backbone"] for row in rows} == set(NAMES)
    for row in rows:
        assert row["licence"] == "apache-2.0"
        assert row["images"] == 18
        assert 0 <= row["accuracy"] <= 1
        assert row["a_thousand_s"] > 0
        assert row["reason"] == ""
    assert run(["race", str(study.path), "-q"]) == 0
    said = capsys.readouterr().out
    assert "s per 1,000" in said
    assert "apache-2.0" in said


@pytest.mark.usefixtures("no_passes")
def test_backbones_that_are_named_are_kept_in_the_studys_file(photos: Path, tmp_path: Path) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    table = study.race(backbones=[NAMES[1]])
    assert table["backbone"].tolist() == [NAMES[1]]
    assert Study.open(study.path).config.search.backbones == (NAMES[1],)


def test_a_backbone_that_there_is_not_is_refused_before_anything_is_read(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study.create(photos, tmp_path / "study", config=CONFIG)
    with pytest.raises(ConfigError, match="resnet500"):
        study.race(backbones=["resnet500"])
    assert not (study.path / "index.parquet").exists()
    assert Study.open(study.path).config.search.backbones == NAMES
    assert (
        run(
            [
                "study",
                str(photos),
                "--out",
                str(tmp_path / "other"),
                "--set",
                'search.backbones=["resnet500"]',
                "--set",
                "search.trials=2",
            ]
        )
        == 2
    )
    assert "resnet500" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_race_needs_an_end(photos: Path, tmp_path: Path) -> None:
    config = {**CONFIG, "search": {**CONFIG["search"], "trials": 0}}
    with pytest.raises(UsageError, match="--budget, such as 10m"):
        Study.create(photos, tmp_path / "study", config=config).race()


def test_where_no_weights_can_be_had_it_says_so_and_is_run_again(photos: Path, tmp_path: Path) -> None:
    config = {**CONFIG, "search": {**CONFIG["search"], "backbones": ["resnet10t"]}}
    study = Study.create(photos, tmp_path / "study", config=config)
    table = study.race()
    assert "resnet10t" in table["reason"][0]
    assert read_race(study.path / "race.json")["key"] == ""


def test_a_search_takes_backbones_in_the_order_of_the_config_however_fast_they_are() -> None:
    race = {"backbones": [{"name": name, "reason": reason} for name, reason in (("c", ""), ("b", "lost"), ("a", ""))]}
    assert still_in(race, ("a", "b", "c")) == ("a", "c")
