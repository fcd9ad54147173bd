"""The record of a run on disk: what counts as complete, and what a damaged one says."""

import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from bestiary.config.schema import StudyConfig
from bestiary.errors import BestiaryError, StudyError
from bestiary.runs import record as runs
from tests.made_runs import KEY, NAMES, Bench

FILES = [runs.RUN, runs.ENVIRONMENT, runs.HISTORY, runs.METRICS, runs.PREDICTIONS, runs.MODEL]


@pytest.fixture
def made(bench: Bench) -> Bench:
    bench.add("m", val=0.8, test=0.7)
    bench.add("dummy", val=0.4, test=0.4, backbone="majority")
    return bench


def test_a_whole_run_of_these_inputs_is_complete(made):
    assert runs.is_complete(made.folder, "m", key=KEY)
    assert not runs.is_complete(made.folder, "m", key="another key")
    assert not runs.is_complete(made.folder, "never trained", key=KEY)


@pytest.mark.parametrize("file", FILES)
def test_a_run_that_lacks_a_file_is_not_complete(made, file):
    (runs.run_dir(made.folder, "m") / file).unlink()
    assert not runs.is_complete(made.folder, "m", key=KEY)


def test_the_dummy_needs_no_weights(made):
    assert runs.is_complete(made.folder, "dummy", key=KEY)


@pytest.mark.parametrize(
    "content", [b"", b"[run", b"\xff\xfe", b"[run]\nmodel = 'm'\n", b"other = 1\n", b"run = 3\n", "cut"]
)
def test_a_damaged_run_toml_is_no_complete_run_and_says_what_to_do(made, content):
    file = runs.run_dir(made.folder, "m") / runs.RUN
    file.write_bytes(file.read_bytes().partition(b"[config]")[0] if content == "cut" else content)
    assert not runs.is_complete(made.folder, "m", key=KEY)
    with pytest.raises(StudyError, match=r"'m'.*bestiary train"):
        runs.read_run(made.folder, "m")


def test_a_model_that_could_not_be_run_is_never_complete(made):
    made.add_not_run("hub", "no hub")
    assert not runs.is_complete(made.folder, "hub", key=KEY)
    record = runs.read_run(made.folder, "hub")
    assert (record.status.status, record.status.reason, record.metrics) == ("not run", "no hub", {})
    assert record.predictions.empty
    assert record.history.columns.tolist() == list(runs.HISTORY_COLUMNS)


def test_a_run_reads_back_as_it_was_written(made):
    record = runs.read_run(made.folder, "m")
    assert record.status == runs.read_status(made.folder, "m")
    assert record.config == made.config.models["m"].model_dump(mode="json")
    assert record.metrics["val"]["accuracy"]["value"] == pytest.approx(0.8)
    assert record.environment == {"device": "cpu"}
    assert record.predictions["split"].value_counts().to_dict() == {"test": 90, "val": 60}
    assert tomllib.loads((runs.run_dir(made.folder, "m") / runs.RUN).read_text())["run"]["fingerprint"] == KEY


@pytest.mark.parametrize("file", [runs.ENVIRONMENT, runs.HISTORY, runs.METRICS, runs.PREDICTIONS])
def test_reading_a_run_that_lacks_a_file_says_to_train_again(made, file):
    (runs.run_dir(made.folder, "m") / file).unlink()
    with pytest.raises(StudyError, match=rf"{file}.*bestiary train"):
        runs.read_run(made.folder, "m")


@pytest.mark.parametrize("file", [runs.ENVIRONMENT, runs.HISTORY, runs.METRICS, runs.PREDICTIONS])
@pytest.mark.parametrize("content", [b"", b"\x00garbage\xff"])
def test_reading_a_damaged_file_names_it_and_the_mend(made, file, content):
    (runs.run_dir(made.folder, "m") / file).write_bytes(content)
    with pytest.raises(BestiaryError, match=rf"{file} is damaged.*Delete it"):
        runs.read_run(made.folder, "m")


def test_predictions_carry_names_and_one_column_a_class():
    images = pd.DataFrame({"image_id": ["a", "b"], "split": ["val", "test"], "label": ["cat", "split"]}, index=[7, 3])
    table = runs.predictions_table(images, np.array([[0.9, 0.1], [0.3, 0.7]], dtype=np.float32), ["cat", "split"])
    assert table.columns.tolist() == ["image_id", "split", "y_true", "y_pred", "p:cat", "p:split"]
    assert table["y_pred"].tolist() == ["cat", "split"]
    assert table["split"].tolist() == ["val", "test"]
    np.testing.assert_allclose(table["p:split"], [0.1, 0.7], rtol=1e-6)


def index_and_splits():
    images = [f"i{number}" for number in range(4)]
    index = pd.DataFrame({"image_id": images, "path": images, "sha256": images, "label": NAMES[0]})
    index = index.assign(split_given="", group_given="", error="")
    return index, pd.DataFrame({"image_id": images, "group_id": "g", "split": ["train", "train", "val", "test"]})


def fingerprints(*, device="cpu", label=None, split=None, **changes):
    index, splits = index_and_splits()
    if label:
        index.loc[3, "label"] = label
    if split:
        splits.loc[1, "split"] = split
    models = {"one": {"backbone": "simple_cnn"} | changes, "two": {"backbone": "majority"}}
    config = StudyConfig.model_validate({"models": models, "device": device})
    return runs.run_fingerprints(config, index=index, splits=splits)


@pytest.mark.parametrize("change", [{"label": "dog"}, {"split": "val"}, {"device": "auto"}])
def test_other_data_or_device_changes_every_run(change):
    before, after = fingerprints(), fingerprints(**change)
    assert before.keys() == after.keys() == {"one", "two"}
    assert all(before[name] != after[name] for name in before)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"epochs": 11}, {"augment": {"flip": True}}, {"class_weights": "balanced"}]
)
def test_a_models_own_config_changes_its_own_run_alone(change):
    before, after = fingerprints(), fingerprints(**change)
    assert before["one"] != after["one"]
    assert before["two"] == after["two"]


def test_no_number_in_a_record_is_nan(made):
    with pytest.raises(ValueError, match="JSON"):
        runs.write_results(
            made.folder, "m", environment={}, history=[], metrics={"x": float("nan")}, predictions=pd.DataFrame()
        )
    assert json.loads((runs.run_dir(made.folder, "m") / runs.METRICS).read_text())["model"] == "m"
