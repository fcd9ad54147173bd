"""Many heads over one feature matrix: each is what the one loop makes of it, whoever fits it; no process stays."""

import contextlib
import inspect
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, wait
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file
from sklearn.metrics import log_loss
from small_models import CPU, model

from bestiary import Study, predict
from bestiary.config.schema import ModelConfig
from bestiary.deploy.bundle import read_bundle
from bestiary.errors import BestiaryError, TrainingError
from bestiary.models import processes, sweep
from bestiary.models.extract.features import FeatureTable
from bestiary.models.heads import Head
from bestiary.models.linear_probe import fit_linear_probe
from bestiary.models.sweep import SGD_FACTOR, Matrix, describe_sweep, fit_heads, fit_trial, propose_heads
from bestiary.models.training.batches import FeatureSource
from bestiary.models.training.loop import Loop, fit

TINY = {"epochs": 4, "batch_size": 8, "head": {"hidden": 6, "dropout": 0.3}}


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return blobs()


def blobs(views: int = 2) -> Matrix:
    random = np.random.default_rng(3)
    centres = random.normal(0, 1, (3, 12))
    labels = [np.concatenate([np.arange(3), random.integers(0, 3, count)]) for count in (47, 27)]
    clouds = [(centres[each] + random.normal(0, 1.2, (len(each), 12))).astype(np.float32) for each in labels]
    seen = tuple(
        (clouds[0] + random.normal(0, 0.1 * number, clouds[0].shape)).astype(np.float32) for number in range(views)
    )
    return Matrix(seen, labels[0].astype(np.int64), clouds[1], labels[1].astype(np.int64), 3, np.arange(len(labels[0])))


def swept(configurations: int, **changes) -> ModelConfig:
    section = {"configurations": configurations, "hidden": [0, 4, 9]}
    return model(**(TINY | {"sweep": section | changes.pop("sweep", {})} | changes))


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def found_in(trial):
    values = asdict(trial)
    history = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in values["history"]]
    return {**values, "history": history}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_head_is_what_the_gradient_loop_makes_of_it(matrix, optimizer):
    config = model(**TINY, optimizer={"name": optimizer}, class_weights="balanced", seed=5)
    trial, head = fit_trial(config, matrix)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(5)
        expected = Head(12, 3, hidden=6, dropout=0.3)
        sources = [
            FeatureSource(FeatureTable(views, "torch", "fp32", 0, 0.0), labels)
            for views, labels in ((matrix.views, matrix.labels), ((matrix.val,), matrix.val_labels))
        ]
        weights = torch.from_numpy((50 / (3 * np.bincount(matrix.labels))).astype(np.float32))
        result = fit(
            Loop(expected, expected, expected.train), *sources,
            config=config, device=CPU, precision="fp32", class_weights=weights,
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert same(head.state_dict(), expected.state_dict())
    assert trial.best_epoch == result.best_epoch
    assert [epoch.val_loss for epoch in trial.history] == [epoch.val_loss for epoch in result.history]
    assert trial.val_loss == min(epoch.val_loss for epoch in result.history)
    assert torch.get_num_threads() == threads


def test_the_probe_is_the_linear_probe_on_all_views(matrix):
    trial, head = fit_trial(model(), matrix)
    expected = fit_linear_probe(matrix.views, matrix.labels, matrix.groups, class_count=3)
    assert same(head.state_dict(), expected.head.state_dict())
    assert trial.probe == expected.choices()
    with torch.inference_mode():
        said = torch.softmax(head(torch.from_numpy(matrix.val)), 1).numpy()
    assert trial.val_loss == pytest.approx(log_loss(matrix.val_labels, said), abs=1e-4)
    assert (trial.best_epoch, trial.history) == (0, ())


class Shared(Executor):
    """The pool of a sweep, watched; this process fits nothing until the others are ready, so that all take part."""

    def __init__(self, monkeypatch, *, on_result=lambda shared: None) -> None:
        self.there, self.here, self.pids, self._ready = 0, 0, [], []
        self._on_result = on_result
        real_fit, real_pool = sweep.fit_trial, sweep.own_processes

        @contextlib.contextmanager
        def watched(*arguments):
            with real_pool(*arguments) as (self._pool, self._ready):
                self.pids = [child.pid for child in multiprocessing.active_children()]
                yield self, self._ready

        def fit_here(config, matrix):
            wait(self._ready)
            self.here += 1
            return real_fit(config, matrix)

        monkeypatch.setattr(sweep, "own_processes", watched)
        monkeypatch.setattr(sweep, "fit_trial", fit_here)

    def submit(self, work, /, *arguments) -> Future:
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(self._count)
        return future

    def _count(self, _: Future) -> None:
        self.there += 1
        self._on_result(self)

    def assert_gone(self) -> None:
        assert self.pids
        assert not multiprocessing.active_children()
        for pid in self.pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(matrix, monkeypatch, scratch):
    diverging = model(**TINY, optimizer={"name": "sgd", "learning_rate": 1e30})
    configurations = [*propose_heads(swept(30)), diverging]
    alone = fit_heads(configurations, matrix, workers=1)
    shared = Shared(monkeypatch)
    together = fit_heads(configurations, matrix, workers=3)
    assert len(shared.pids) == 2
    assert shared.there >= 2
    assert shared.here >= 1
    assert shared.there + shared.here == 31
    assert [found_in(trial) for trial in together.trials] == [found_in(trial) for trial in alone.trials]
    assert together.trials[-1].failure
    assert together.chosen == alone.chosen
    assert same(together.head.state_dict(), alone.head.state_dict())
    assert not together.head.training
    assert describe_sweep(together) == describe_sweep(alone)
    shared.assert_gone()
    assert not list(scratch.iterdir())


def test_a_process_that_fits_heads_imports_neither_timm_nor_pandas():
    """They would more than double the time until it is ready."""
    code = "import sys, bestiary.models.sweep; print({'timm', 'torchvision', 'pandas', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_daemon_which_may_have_no_children_fits_alone(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert processes.default_process_count() == 1


def test_the_chosen_head_has_the_lowest_validation_loss_and_the_figure_is_its_own(matrix):
    found = fit_heads(propose_heads(swept(10)), matrix, workers=1)
    assert found.best.val_loss == min(trial.val_loss for trial in found.trials)
    assert len({trial.val_loss for trial in found.trials}) == 10
    with torch.inference_mode():
        probabilities = torch.softmax(found.head(torch.from_numpy(matrix.val)), 1).double().numpy()
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert log_loss(matrix.val_labels, probabilities) == pytest.approx(found.best.val_loss, abs=1e-5)
    assert np.mean(probabilities.argmax(1) == matrix.val_labels) == pytest.approx(found.best.val_accuracy)
    assert not found.head.training


def test_of_equals_the_first_is_chosen(matrix):
    config = model(**TINY)
    assert fit_heads([config, config, config], matrix, workers=1).chosen == 0


def test_a_head_that_diverges_is_recorded_and_not_chosen(matrix):
    wild = model(**TINY, optimizer={"name": "sgd", "learning_rate": 1e30})
    found = fit_heads([wild, model(**TINY)], matrix, workers=1)
    assert found.chosen == 1
    first = describe_sweep(found)["heads"][0]
    assert first["val_loss"] is None
    assert "learning_rate" in first["failure"]
    json.dumps(describe_sweep(found), allow_nan=False)
    with pytest.raises(TrainingError, match=r"rat: all of 2 heads diverged.*lower optimizer.learning_rate"):
        fit_heads([wild, wild], matrix, workers=1, label="rat")


def test_nothing_of_test_is_asked_for():
    assert not [
        name
        for function in (fit_heads, fit_trial, Matrix)
        for name in inspect.signature(function).parameters
        if "test" in name
    ]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), seed=st.integers(0, 2**40), linear=st.booleans())
def test_proposals_lie_in_their_ranges_and_begin_with_what_was_asked(count, seed, linear):
    ranges = {"learning_rate": [1e-4, 3e-3], "weight_decay": [1e-5, 1e-2], "dropout": [0.1, 0.4]}
    base = swept(count, sweep=ranges, seed=seed, **({"head": {}} if linear else {}))
    found = propose_heads(base)
    assert found[0] == base
    names = [each.optimizer.name for each in found]
    assert names[:2].count("lbfgs") == (1 if count > 1 or linear else 0)
    assert len(found) == count
    for each in found[1 if linear else 2 :]:
        factor = SGD_FACTOR if each.optimizer.name == "sgd" else 1
        assert each.optimizer.name in ("adam", "adamw", "sgd")
        assert 1e-4 * factor <= each.optimizer.learning_rate <= 3e-3 * factor * (1 + 1e-9)
        assert 1e-5 <= each.optimizer.weight_decay <= 1e-2
        assert each.head.hidden in (0, 4, 9)
        assert each.head.dropout in ((0.1, 0.4) if each.head.hidden else (0.0,))
        assert each.model_dump(exclude={"head", "optimizer"}) == base.model_dump(exclude={"head", "optimizer"})


def test_a_longer_sweep_begins_with_a_shorter_and_another_seed_draws_others():
    short, long, other = (propose_heads(swept(count, seed=seed)) for count, seed in ((6, 1), (30, 1), (30, 2)))
    assert [each.optimizer for each in long[:6]] == [each.optimizer for each in short]
    assert long[2].optimizer != other[2].optimizer
    assert len({each.model_dump_json() for each in long}) == 30


def test_proposals_spread_over_their_ranges():
    found = propose_heads(swept(98, sweep={"hidden": [0, 1, 2, 3], "learning_rate": [1e-4, 1e-2]}))[2:]
    for value, count in zip(*np.unique([each.head.hidden for each in found], return_counts=True), strict=True):
        assert 20 <= count <= 28, value
    rates = np.sort([np.log10(e.optimizer.learning_rate / (10 if e.optimizer.name == "sgd" else 1)) for e in found])
    assert np.diff(np.concatenate([[-4], rates, [-2]])).max() < 0.1, "independent draws leave gaps of about 0.1"


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_and_leaves_nothing(matrix, monkeypatch, scratch):
    shared = Shared(monkeypatch, on_result=lambda shared: os.kill(shared.pids[0], signal.SIGKILL))
    with pytest.raises(BestiaryError, match=r"ended early \(SIGKILL\(-9\)\).*memory.*sweep.configurations = 0"):
        fit_heads(propose_heads(swept(300)), matrix, workers=2)
    shared.assert_gone()
    assert not list(scratch.iterdir())


@pytest.mark.slow
def test_an_interrupt_ends_the_other_processes(matrix, monkeypatch, scratch):
    shared = Shared(monkeypatch)
    there = sweep.fit_trial

    def interrupted(config, matrix):
        there(config, matrix)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "fit_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_heads(propose_heads(swept(300)), matrix, workers=3)
    shared.assert_gone()
    assert not list(scratch.iterdir())


def test_a_full_disk_is_named(matrix, monkeypatch, scratch):
    monkeypatch.setattr("joblib.dump", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(BestiaryError, match=r"cannot write .*matrix: No space left.*Free some space"):
        fit_heads(propose_heads(swept(4)), matrix, workers=2)
    assert not list(scratch.iterdir())


SCRIPT = """
import contextlib, multiprocessing, os, sys, threading
sys.path.insert(0, {folder!r})
import test_models_sweep as t

real = t.sweep.own_processes

@contextlib.contextmanager
def told(*arguments):
    with real(*arguments) as (pool, ready):
        print("started", *(child.pid for child in multiprocessing.active_children()), flush=True)
        ready[0].add_done_callback(lambda _: print("at work", flush=True))
        yield pool, ready

t.sweep.own_processes = told
found = t.fit_heads(t.propose_heads(t.swept({heads}, epochs={epochs})), t.blobs(), workers=3)
print(found.chosen, found.best.val_loss, flush=True)
os._exit(0)
"""


def run_script(place: Path, *, heads: int, epochs: int) -> subprocess.Popen[str]:
    """A script without a `__main__` guard, which ends as the command line does."""
    file = place / "script.py"
    file.write_text(SCRIPT.format(folder=str(Path(__file__).parent), heads=heads, epochs=epochs))
    (place / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(place / "tmp")},
    )  # fmt: skip


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once_and_says_nothing_more(matrix, tmp_path):
    expected = fit_heads(propose_heads(swept(12)), matrix, workers=1)
    process = run_script(tmp_path, heads=12, epochs=4)
    out, said = process.communicate(timeout=200)
    assert (process.returncode, said) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("started ")
    assert lines[-1] == f"{expected.chosen} {expected.best.val_loss}"
    assert sum(line.startswith("started") for line in lines) == 1
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("how", "when"), [("Ctrl-C", "started"), ("Ctrl-C", "at work"), ("SIGKILL", "at work")])
def test_an_ended_command_leaves_no_process(how, when, tmp_path):
    process = run_script(tmp_path, heads=1000, epochs=1000)
    try:
        pids = [int(pid) for pid in process.stdout.readline().split()[1:]]
        if when == "at work":
            assert process.stdout.readline() == "at work\n"
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert len(pids) == 2
    assert process.returncode != 0
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    if how == "Ctrl-C":
        assert said.count("Traceback") == 1, said
        assert "KeyboardInterrupt" in said
        assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainable": "last:1 stage"}, r'frozen backbone: trainable = "head"'),
        ({"backbone": "majority"}, "an architecture as backbone"),
        ({"sweep": {"configurations": 2, "learning_rate": [0.1, 0.01]}}, r"lowest comes first: \[0.01, 0.1\]"),
        ({"sweep": {"configurations": 2, "learning_rate": [0.1]}}, "at least 2 items"),
        ({"sweep": {"configurations": 2, "hidden": []}}, "at least 1 item"),
        ({"sweep": {"configurations": 2, "optimizers": ["lbfgs"]}}, "'adam', 'adamw' or 'sgd'"),
        ({"sweep": {"configurations": 2, "weight_decay": [0.0, 0.1]}}, "greater than 0"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        model(**{"sweep": {"configurations": 2}, **changes})


STUDY = """
[split]
test_fraction = 0.25
val_fraction = 0.25

[models.heads]
backbone = "simple_cnn"
epochs = 6
batch_size = 8
pixels = { size_px = 24, interpolation = "bilinear" }
head = { hidden = 16, dropout = 0.2 }
optimizer = { learning_rate = 1e-9 }
augment = { flip = true }
sweep = { configurations = 6, hidden = [7] }
"""


@pytest.mark.slow
def test_a_study_keeps_records_and_exports_the_head_that_was_chosen(shapes, tmp_path):
    (tmp_path / "mine.toml").write_text(STUDY)
    study = Study.create(shapes, tmp_path / "study", config=tmp_path / "mine.toml")
    study.run()
    run = study.read_run("heads")
    assert study.config.models["heads"].head.hidden == 16
    hidden = run.config["head"]["hidden"]
    assert hidden in (0, 7), "a head that does not move is not chosen"
    choices = run.fit["choices"]
    assert len(choices["heads"]) == 6
    chosen = choices["heads"][choices["chosen"]]
    assert chosen["val_loss"] == min(row["val_loss"] for row in choices["heads"])
    assert chosen["hidden"] == hidden
    assert chosen["optimizer"] == run.config["optimizer"]["name"]
    assert run.figures["val"]["log_loss"]["value"] == pytest.approx(chosen["val_loss"], abs=1e-4)
    assert len(run.history) == run.fit["epochs"] == chosen["epochs"]
    assert choices in [row["choices"] for row in study.read_comparison()["models"]]
    stored = load_file(study.path / "runs" / "heads" / "model.safetensors")
    assert run.fit["parameters"]["trainable"] == sum(v.numel() for k, v in stored.items() if k.startswith("head."))

    bundle = read_bundle(study.path)
    assert bundle.content["config"]["head"]["hidden"] == hidden
    predictions = study.predictions("heads")
    test = predictions[predictions["split"] == "test"].merge(study.index_table[["image_id", "path"]], on="image_id")
    found = predict(study.path, [str(shapes / path) for path in test["path"]])
    assert found["label"].tolist() == test["y_pred"].tolist()
    assert "6, chosen by validation loss" in (study.path / "report.html").read_text(encoding="utf-8")
    assert study.train()["status"].tolist() == ["done"]
