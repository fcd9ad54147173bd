"""The tables of models: what seconds leave out, which figures and settings stand there."""

from typing import Any

import pytest

from bestiary.report.contents.class_results import class_table
from bestiary.report.contents.model_parts import ranking_table
from bestiary.report.contents.provenance import seconds_table
from bestiary.report.contents.settings_table import SETTINGS, settings_table, setup_table
from bestiary.report.parts import Table
from bestiary.report.study_record import read_study
from bestiary.report.study_view import Cached, cached_stages, describe, is_baseline, uses
from bestiary.store.files import read_json, write_json
from tests.report.conftest import MadeStudy

PROBE = {"backbone": "resnet18", "optimizer": {"name": "lbfgs"}}
SGD = {"backbone": "resnet18", "optimizer": {"name": "sgd"}}
ASKED = {"", "backbone", "weights", "head.dropout", "optimizer.name", "seed", "batch_size", "optimizer.momentum"}
BASELINE = {"backbone": "majority", "optimizer": {"name": "sgd"}}


def change_run(study: MadeStudy, name: str, **values: Any) -> None:
    """Other figures in a run and in the comparison."""
    path = study.folder / "runs" / name / "fit.json"
    write_json(path, {**dict(read_json(path)), **values})
    path = study.folder / "comparison.json"
    comparison = dict(read_json(path))
    row = next(model for model in comparison["models"] if model["model"] == name)
    row.update(values)
    write_json(path, comparison)


def column(table: Table, name: str) -> dict[str, Any]:
    place = list(table.columns).index(name)
    return {_text(row[0]): row[place] for row in table.rows}


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else cell.text


def test_a_stage_that_computed_something_has_its_rate(make_study):
    record = read_study(make_study().snapshot)
    ranked = column(ranking_table(record), "Seconds")["1. probe"]
    assert (ranked.text, ranked.note, ranked.second_note) == ("1.5", "300 images/s", "")
    assert column(seconds_table(record), "features")["probe"].note == "300 images/s"
    assert "cached" not in ranking_table(record).note + seconds_table(record).note


@pytest.mark.parametrize(
    ("values", "note", "stage_note"),
    [
        ({"images_per_s": {}, "cached": {"features": 36}}, "features cached", "cached"),
        ({"images_per_s": {}, "cached": {}}, "", ""),
    ],
)
def test_seconds_say_what_they_leave_out(make_study, values, note, stage_note):
    study = make_study()
    change_run(study, "probe", **values)
    record = read_study(study.snapshot)
    assert column(ranking_table(record), "Seconds")["1. probe"].note == note
    assert column(seconds_table(record), "features")["probe"].note == stage_note
    assert ("its seconds are not included" in ranking_table(record).note) is bool(note)
    assert ("Its seconds are not included" in seconds_table(record).note) is bool(note)


def test_seconds_say_how_many_images_were_cached_where_it_was_not_all(make_study):
    study = make_study()
    change_run(study, "probe", cached={"features": 20})
    record = read_study(study.snapshot)
    ranked = column(ranking_table(record), "Seconds")["1. probe"]
    assert (ranked.note, ranked.second_note) == ("300 images/s", "features of 20\u00a0images cached")
    stage = column(seconds_table(record), "features")["probe"]
    assert (stage.note, stage.second_note) == ("300 images/s", "20 images cached")


def test_nothing_cached_is_nothing_to_say():
    assert cached_stages({"seconds": {"fit": 0.1, "score": 0.1}, "images_per_s": {}, "cached": {}}) == []
    assert cached_stages({"images_per_s": {}, "cached": {"activations": 9}}) == [Cached("activations")]
    assert cached_stages({"images_per_s": {"features": 3.0}, "cached": {"features": 9}}) == [Cached("features", 9)]


@pytest.mark.parametrize(("classes", "there"), [(2, False), (3, False), (4, True)])
def test_top_three_stands_where_it_says_something(make_study, classes, there):
    record = read_study(make_study(names=("cat", "dog", "sheep", "yak")[:classes]).snapshot)
    assert ("Top-3 accuracy" in ranking_table(record).columns) is there


def test_a_baseline_is_known_by_its_config_and_by_its_row():
    assert is_baseline(BASELINE)
    assert is_baseline({"model": "m", "backbone": "majority"})
    assert not is_baseline(PROBE)
    assert describe(PROBE) == "resnet18"
    assert describe(BASELINE) == "predicts the most frequent class"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BASELINE, {"", "backbone"}),
        (PROBE, {"", "backbone", "weights", "optimizer.name", "head.dropout", "seed"}),
        (
            SGD,
            {"", "backbone", "weights", "optimizer.name", "batch_size", "optimizer.momentum", "head.dropout", "seed"},
        ),
    ],
)
def test_settings_that_have_no_effect_are_known(config, expected):
    assert {name for name in ASKED if uses(config, name)} == expected


def test_settings_side_by_side(make_study):
    models = {
        "probe": {"backbone": "tf_efficientnet_lite0"},
        "cnn": {"backbone": "simple_cnn", "trainable": "all", "optimizer": {"name": "sgd", "momentum": 0.8}},
        "majority": {"backbone": "majority"},
    }
    table = settings_table(read_study(make_study(models=models).snapshot))
    rows = {row[0]: dict(zip(table.columns[1:], row[1:], strict=True)) for row in table.rows}
    assert rows["Backbone"] == {"probe": "tf_efficientnet_lite0", "cnn": "simple_cnn", "majority": "majority"}
    assert rows["Momentum"] == {"probe": "\u2013", "cnn": "0.8", "majority": "\u2013"}
    assert rows["Learning rate"]["probe"] == rows["Learning rate"]["majority"] == "\u2013"
    assert rows["Chosen C"] == {"probe": "1", "cnn": "\u2013", "majority": "\u2013"}
    assert set(rows) <= {setting.title for setting in SETTINGS}
    # A setting that no model uses has no row.
    assert "Heads tried" not in rows


def test_modules_that_are_trained_are_told_by_their_expression(make_study):
    expression = r"layer4\.0\.(conv[23]|bn[23])|layer4\.[12]"
    models = {
        "named": {"backbone": "resnet18", "trainable": f"modules:{expression}"},
        "stage": {"backbone": "resnet18", "trainable": "last:1 stage"},
        "majority": {"backbone": "majority"},
    }
    record = read_study(make_study(models=models).snapshot)
    expected = [f"modules that match {expression}", "last:1 stage", "\u2013"]
    (row,) = [row for row in settings_table(record).rows if row[0] == "Trained"]
    assert row[1:] == expected
    table = setup_table(record)
    assert [row[table.columns.index("Trained")] for row in table.rows] == expected


def test_figures_of_a_class_show_their_intervals_where_they_have_them(make_study):
    study = make_study()
    path = study.folder / "runs" / "probe" / "figures.json"
    metrics = dict(read_json(path))
    for row in metrics["test"]["per_class"]:
        row["recall"] = {"value": 0.5, "low": 0.25, "high": 0.75}
        row["precision"] = None
    write_json(path, metrics)
    run = next(run for run in read_study(study.snapshot).done if run.name == "probe")
    table = class_table(run)
    assert {cell.note for cell in column(table, "Recall").values()} == {"25.0 to 75.0"}
    assert {cell.note for cell in column(table, "Precision").values()} == {""}
