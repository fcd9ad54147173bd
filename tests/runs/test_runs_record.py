"""The record of a run on disk: what counts as complete, what a damaged or older one says, what comes back."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from bestiary.errors import BestiaryError, StudyError
from bestiary.runs.record import (
    ENVIRONMENT,
    FIGURES,
    FIT,
    FORMAT,
    HISTORY,
    HISTORY_COLUMNS,
    LOGITS,
    MODEL,
    RUN,
    Logits,
    is_older,
    is_whole,
    read_figures,
    read_logits,
    read_run,
    read_scored_ids,
    read_status,
    write_logits,
    write_results,
)
from tests.made_runs import KEY, NAMES, Bench

FILES = [RUN, ENVIRONMENT, HISTORY, FIT, LOGITS, MODEL]


@pytest.fixture
def run(bench: Bench) -> Path:
    bench.add("m", val=0.8, test=0.7)
    return bench.snapshot.paths.run("m")


def test_a_run_as_it_was_written_is_whole(run):
    assert is_whole(run)
    assert not is_whole(run.with_name("never-trained"))


@pytest.mark.parametrize("file", FILES)
def test_a_run_that_lacks_a_file_is_not_whole(run, file):
    (run / file).unlink()
    assert not is_whole(run)


@pytest.mark.parametrize("file", FILES)
def test_a_run_with_an_altered_file_is_not_whole(run, file):
    (run / file).write_bytes((run / file).read_bytes()[:-3] + b"xyz")
    assert not is_whole(run)


def test_figures_can_be_made_again_so_a_run_is_whole_without_them(run):
    (run / FIGURES).unlink()
    assert is_whole(run)
    assert read_run(run).figures == {}


@pytest.mark.parametrize(
    "content", [b"", b"[run", b"\xff\xfe", b"[run]\nmodel = 'm'\n", b"other = 1\n", b"run = 3\n", "cut"]
)
def test_a_damaged_run_toml_is_no_run_and_says_what_to_do(run, content):
    file = run / RUN
    file.write_bytes(file.read_bytes().partition(b"[config]")[0] if content == "cut" else content)
    assert not is_whole(run)
    with pytest.raises(StudyError, match=r"'m'.*bestiary train"):
        read_run(run)


def test_a_run_of_an_older_bestiary_is_not_misread_and_says_what_to_do(run):
    file = run / RUN
    file.write_text(file.read_text().replace(f"format = {FORMAT}\n", ""))
    assert is_older(run)
    assert read_status(run) is None
    assert not is_whole(run)
    with pytest.raises(StudyError, match=r"'m' was trained by an older bestiary: run `bestiary train"):
        read_run(run)


def test_a_model_that_could_not_be_run_is_never_whole(bench):
    bench.add_not_run("hub", "no hub")
    folder = bench.snapshot.paths.run("hub")
    assert not is_whole(folder)
    record = read_run(folder)
    assert (record.done, record.status.reason, record.fit, record.figures) == (False, "no hub", {}, {})
    assert record.history.columns.tolist() == list(HISTORY_COLUMNS)


def test_a_run_reads_back_as_it_was_written(bench, run):
    record = read_run(run)
    assert record.status == read_status(run)
    assert record.config == bench.config.models["m"].model_dump(mode="json")
    assert record.figures["val"]["accuracy"]["value"] == pytest.approx(0.8)
    assert record.environment == {"device": "cpu"}
    assert record.fit["parameters"] == {"total": 100, "trainable": 10}
    assert tomllib.loads((run / RUN).read_text())["run"]["key"] == KEY


@pytest.mark.parametrize("file", [ENVIRONMENT, HISTORY, FIT])
def test_reading_a_run_that_lacks_a_file_says_to_train_again(run, file):
    (run / file).unlink()
    with pytest.raises(StudyError, match=rf"{file}.*bestiary train"):
        read_run(run)


@pytest.mark.parametrize("file", [ENVIRONMENT, HISTORY, FIT])
@pytest.mark.parametrize("content", [b"", b"\x00garbage\xff"])
def test_reading_a_damaged_file_names_it_and_the_fix(run, file, content):
    (run / file).write_bytes(content)
    with pytest.raises(BestiaryError, match=rf"{file} is damaged.*Delete it"):
        read_run(run)


def test_damaged_figures_count_as_none(run):
    (run / FIGURES).write_bytes(b"{")
    assert read_figures(run) == {}


@pytest.mark.parametrize("content", [None, b"", b"\x00garbage\xff"])
def test_logits_that_cannot_be_read_say_what_to_do(run, content):
    (run / LOGITS).unlink()
    if content is not None:
        (run / LOGITS).write_bytes(content)
    with pytest.raises(BestiaryError, match="bestiary train" if content is None else "Delete it"):
        read_logits(run)


@pytest.mark.parametrize("names", [NAMES, ["image_id", "logit:", "ü\u0301 ", "-1"]])
def test_logits_come_back_to_the_bit_whatever_the_classes_are_called(tmp_path, names):
    values = np.random.default_rng(0).normal(size=(5, len(names))).astype(np.float32)
    write_logits(tmp_path, Logits(tuple("abcde"), tuple(names), values))
    found = read_logits(tmp_path)
    assert (found.image_ids, found.class_names) == (tuple("abcde"), tuple(names))
    np.testing.assert_array_equal(found.values, values)
    assert found.values.dtype == np.float32
    assert read_scored_ids(tmp_path) == list("abcde")


def test_no_number_in_a_record_is_nan(bench, run):
    with pytest.raises(ValueError, match="JSON"):
        write_results(run, environment={}, history=[], fit={"x": float("nan")}, logits=bench.logits({}))
    assert read_run(run).fit["model"] == "m"
