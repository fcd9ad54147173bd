"""The one gradient loop: what it computes, what it keeps, and that a kill changes nothing."""

import contextlib
import inspect
import itertools
import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from small_models import CPU, model, photos, table
from torch import nn

from bestiary.config.schema import ModelConfig, ScheduleConfig
from bestiary.errors import TrainingError
from bestiary.models.backbones import build_backbone
from bestiary.models.classifier import Classifier
from bestiary.models.extract.features import FeatureTable
from bestiary.models.heads import Head
from bestiary.models.training import loop, rates
from bestiary.models.training.batches import FeatureSource, PixelSource
from bestiary.models.training.loop import Loop, balanced_weights, fit, predict_logits
from bestiary.models.training.rates import one_cycle_rate, plateau_rate

CHANGES = {"flip": True, "rotation_degrees": 10}
CNN = {
    "trainable": "all",
    "pixels": {"size_px": 16},
    "head": {"hidden": 8, "dropout": 0.4},
    "augment": CHANGES,
    "epochs": 5,
    "batch_size": 8,
    "early_stopping": {"patience_epochs": 0},
}
NET = CNN | {"backbone": "test_resnet", "trainable": "last:1 stage", "pixels": {"size_px": 48}}

ELSEWHERE = itertools.count(1000)


class StopError(Exception):
    """What stands for a kill."""


class Stopper:
    """A progress that raises after some batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def say(self, text):
        pass

    @contextlib.contextmanager
    def track(self, label, total, *, unit):
        yield self

    def advance(self, count=1, *, note=""):
        if count and not note:
            self.left -= 1
        if self.left == 0:
            raise StopError


class Job:
    """A network with data to train on, made anew each time, as a new process makes it."""

    def __init__(self, config, *, train=21, val=12):
        self.config = config
        backbone = build_backbone(config)
        torch.manual_seed(config.seed)
        head = Head(backbone.feature_count, 3, hidden=config.head.hidden, dropout=config.head.dropout)
        self.network = Classifier(backbone, head)
        self.network.freeze_all_but(config.trainable_stages)
        size = backbone.preprocessing.geometry.size_px
        self.train = self._source(train, size, seed=1)
        self.val = self._source(val, size, seed=2)
        # What a process drew before must not matter.
        torch.manual_seed(next(ELSEWHERE))

    def _source(self, count, size, *, seed):
        labels = (np.arange(count) * 7 % 3).astype(np.int64)
        pixels = photos(count, size, seed=seed)
        pixels[..., 0] = np.clip(pixels[..., 0] // 2 + labels[:, None, None] * 60, 0, 255)
        return PixelSource(table(pixels), labels, backbone=self.network.backbone, changes=self.config.augment)

    @property
    def loop(self):
        return Loop(self.network, self.network.classify, self.network.train_mode)

    def run(self, **options):
        precision = self.config.precision
        return fit(self.loop, self.train, self.val, config=self.config, device=CPU, precision=precision, **options)

    def weights(self):
        return {key: value.clone() for key, value in self.network.state_dict().items()}


def without_seconds(result):
    return [{key: value for key, value in asdict(epoch).items() if key != "seconds"} for epoch in result.history]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def assert_resumes(config, tmp_path, *, stops, monkeypatch=None):
    whole = Job(config)
    expected = whole.run()
    for batches in stops:
        killed = Job(config)
        with pytest.raises(StopError):
            killed.run(checkpoint=tmp_path / "c.safetensors", checkpoint_key="k", progress=Stopper(batches))
    resumed = Job(config)
    found = resumed.run(checkpoint=tmp_path / "c.safetensors", checkpoint_key="k")
    assert without_seconds(found) == without_seconds(expected)
    assert found.best_epoch == expected.best_epoch
    assert same(resumed.weights(), whole.weights())


@pytest.mark.parametrize("schedule", ["plateau", "one_cycle", "constant"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_resumed_training_equals_an_uninterrupted_one_exactly(tmp_path, optimizer, schedule):
    optimization = {"name": optimizer, "learning_rate": 0.02, "weight_decay": 0.01}
    plateau = {"name": schedule, "patience_epochs": 1}
    # Killed in the midst of epoch 1, of epoch 3, and right after an epoch.
    assert_resumes(model(**CNN, optimizer=optimization, schedule=plateau), tmp_path, stops=(2, 8, 4))


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}, {"trainable": "all"}, {"seed": 3}])
def test_a_resumed_network_with_batch_norms_equals_an_uninterrupted_one_exactly(tmp_path, changes):
    assert_resumes(model(**(NET | {"epochs": 3} | changes)), tmp_path, stops=(5,))


def test_a_resumed_early_stopping_stops_at_the_same_epoch(tmp_path):
    config = model(
        **CNN | {"epochs": 30, "early_stopping": {"patience_epochs": 2}, "optimizer": {"learning_rate": 0.1}}
    )
    assert_resumes(config, tmp_path, stops=(5, 4))


def test_a_finished_training_is_taken_from_its_checkpoint(tmp_path):
    options = {"checkpoint": tmp_path / "c", "checkpoint_key": "k"}
    first = Job(model(**CNN))
    expected = first.run(**options)
    again = Job(model(**CNN))
    assert again.run(**options, progress=Stopper(2)) == expected
    assert same(again.weights(), first.weights())


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {folder!r})
    import test_models_training as t
    class Killer(t.Stopper):
        def advance(self, count=1, *, note=""):
            try:
                super().advance(count, note=note)
            except t.StopError:
                os.kill(os.getpid(), signal.SIGKILL)
    t.Job(t.model(**t.CNN)).run(checkpoint=t.Path({file!r}), checkpoint_key="k", progress=Killer(9))
"""


@pytest.mark.slow
def test_a_process_that_was_really_killed_resumes_to_the_same_weights(tmp_path):
    file = tmp_path / "c.safetensors"
    code = textwrap.dedent(KILLED).format(folder=str(Path(__file__).parent), file=str(file))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert file.exists()
    whole, resumed = Job(model(**CNN)), Job(model(**CNN))
    expected = whole.run()
    found = resumed.run(checkpoint=file, checkpoint_key="k")
    # Another process may have had another number of threads, which changes sums in the last digit.
    assert found.history[-1].val_loss == pytest.approx(expected.history[-1].val_loss, abs=1e-5)
    assert all(torch.allclose(resumed.weights()[key], value, atol=1e-5) for key, value in whole.weights().items())


@pytest.mark.parametrize("damage", ["empty", "cut", "cut header", "noise", "header byte", "weight byte"])
def test_a_damaged_checkpoint_counts_as_none(tmp_path, damage):
    config = model(**CNN | {"epochs": 3})
    file, whole = tmp_path / "c", Job(config)
    expected = whole.run(checkpoint=file, checkpoint_key="k")
    data = bytearray(file.read_bytes())
    if damage == "header byte":  # a digit of a loss in the history
        data[data.index(b"val_loss") + 15] = ord("9") - (data[data.index(b"val_loss") + 15] == ord("9"))
    elif damage == "weight byte":
        data[8 + int.from_bytes(data[:8], "little") + 3] ^= 0x02  # an exponent of the first of the best weights
    else:
        data = {"empty": b"", "cut": data[:-5], "cut header": data[:40], "noise": bytes(range(256)) * 4}[damage]
    file.write_bytes(data)
    again = Job(config)
    assert without_seconds(again.run(checkpoint=file, checkpoint_key="k")) == without_seconds(expected)
    assert same(again.weights(), whole.weights())


def test_a_checkpoint_of_another_key_is_not_taken(tmp_path):
    config = model(**CNN | {"epochs": 2})
    Job(config).run(checkpoint=tmp_path / "c", checkpoint_key="one")
    other, plain = Job(model(**CNN | {"epochs": 2, "seed": 9})), Job(model(**CNN | {"epochs": 2, "seed": 9}))
    assert without_seconds(other.run(checkpoint=tmp_path / "c", checkpoint_key="two")) == without_seconds(plain.run())
    assert same(other.weights(), plain.weights())


def test_a_checkpoint_holds_tensors_and_json_and_no_pickle(tmp_path):
    result = Job(model(**CNN)).run(checkpoint=tmp_path / "c", checkpoint_key="k")
    with safe_open(tmp_path / "c", framework="pt") as stored:
        assert json.loads(stored.metadata()["history"]) == [asdict(epoch) for epoch in result.history]
        assert {name.split("/")[0] for name in stored.keys()} == {"now", "best", "optimizer"}  # noqa: SIM118
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_two_trainings_are_identical_and_another_seed_is_not():
    first, second, other = Job(model(**CNN)), Job(model(**CNN)), Job(model(**CNN | {"seed": 1}))
    assert without_seconds(first.run()) == without_seconds(second.run())
    other.run()
    assert same(first.weights(), second.weights())
    assert not same(first.weights(), other.weights())


def test_training_leaves_the_callers_random_numbers_alone():
    job = Job(model(**CNN | {"epochs": 1}))
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    job.run()
    assert torch.equal(torch.rand(3), expected)


def test_only_what_is_trainable_changes_and_frozen_statistics_keep_still():
    job = Job(model(**NET | {"epochs": 2}))
    before = job.weights()
    job.run()
    after = job.weights()
    trained = {name for name, parameter in job.network.named_parameters() if parameter.requires_grad}
    assert any("layer4" in name for name in trained)
    assert any(name.startswith("head.") for name in trained)
    last_norms = {name for name in before if "layer4" in name and "running_" in name}
    assert last_norms
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    counters = {name for name in before if name.endswith("num_batches_tracked")}
    assert changed - counters == trained | last_norms


def test_validation_figures_are_those_of_the_restored_weights():
    job = Job(model(**CNN))
    result = job.run()
    labels = job.val.labels.numpy()
    logits = predict_logits(job.loop, job.val, batch_size=5, device=CPU, precision="fp32")
    assert logits.dtype == np.float32
    found = torch.softmax(torch.from_numpy(logits), 1).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    best = result.history[result.best_epoch - 1]
    assert best.val_loss == min(epoch.val_loss for epoch in result.history)
    assert -np.log(found[np.arange(12), labels]).mean() == pytest.approx(best.val_loss, abs=1e-5)
    assert np.mean(found.argmax(1) == labels) == pytest.approx(best.val_accuracy)


def test_logits_come_in_the_order_of_the_images_and_without_augmentation():
    job = Job(model(**CNN))
    everything = predict_logits(job.loop, job.train, batch_size=4, device=CPU, precision="fp32")
    again = predict_logits(job.loop, job.train, batch_size=21, device=CPU, precision="fp32")
    np.testing.assert_allclose(everything, again, atol=1e-5)
    pixels = torch.from_numpy(job.train._pixels.take(np.arange(21)))
    with torch.inference_mode():
        np.testing.assert_allclose(everything, job.network.eval()(pixels).numpy(), atol=1e-5)


def points(count=24, *, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    labels[:3] = [0, 1, 2]
    values = random.normal(0, 1, (count, 4)) + labels[:, None] * np.array([1, -1, 0.5, 0])
    features = values.astype(np.float32)
    return features, labels.astype(np.int64)


def feature_source(features, labels):
    return FeatureSource(FeatureTable((features,), "torch", "fp32", 0, 0.0), labels)


def linear():
    torch.manual_seed(4)
    return nn.Linear(4, 3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        ("adam", lambda p, lr: torch.optim.Adam(p, lr=lr, weight_decay=0.1)),
        ("adamw", lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0.1)),
        ("sgd", lambda p, lr: torch.optim.SGD(p, lr=lr, weight_decay=0.1, momentum=0.8)),
    ],
)
def test_full_batches_equal_a_loop_written_by_hand(optimizer, make, weighted):
    (features, labels), (val_features, val_labels) = points(), points(15, seed=1)
    weights = balanced_weights(labels, 3) if weighted else None
    network = linear()
    config = model(
        trainable="all", epochs=6, batch_size=64, schedule={"name": "constant"}, early_stopping={"patience_epochs": 0},
        optimizer={"name": optimizer, "learning_rate": 0.05, "weight_decay": 0.1, "momentum": 0.8},
    )  # fmt: skip
    found = fit(
        Loop(network, network, network.train), feature_source(features, labels),
        feature_source(val_features, val_labels),
        config=config, device=CPU, precision="fp32", class_weights=weights,
    )  # fmt: skip

    reference = linear()
    stepper = make(reference.parameters(), 0.05)
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)
    for epoch in found.history:
        logits = reference(inputs)
        loss = nn.functional.cross_entropy(logits, targets, weight=weights)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        assert epoch.train_loss == pytest.approx(loss.item(), abs=1e-5)
        assert epoch.train_accuracy == pytest.approx((logits.argmax(1) == targets).float().mean().item())
        with torch.inference_mode():
            val = torch.softmax(reference(torch.from_numpy(val_features)).double(), 1).numpy()
        assert epoch.val_loss == pytest.approx(log_loss(val_labels, val, labels=[0, 1, 2]), abs=1e-5)
        assert epoch.learning_rate == 0.05


def scripted(monkeypatch, losses, *, patience, schedule="constant"):
    """Fit a small network while validation losses follow a script; the weights after each epoch, and the result."""
    network, seen, script = linear(), [], iter(losses)

    def evaluate(loop, val, **options):
        seen.append({key: value.clone() for key, value in network.state_dict().items()})
        return next(script), 0.5

    monkeypatch.setattr(loop, "_evaluate", evaluate)
    source = feature_source(*points())
    config = model(
        trainable="all", epochs=len(losses), batch_size=10,
        early_stopping={"patience_epochs": patience}, schedule={"name": schedule},
    )  # fmt: skip
    result = fit(Loop(network, network, network.train), source, source, config=config, device=CPU, precision="fp32")
    return result, seen, network


def keras_epochs(losses, patience):
    """Epochs that `keras.callbacks.EarlyStopping(patience=..., min_delta=0)` lets run, and the best of them."""
    best, best_epoch, wait = float("inf"), 0, 0
    for number, loss in enumerate(losses, start=1):
        wait += 1
        if loss < best:
            best, best_epoch, wait = loss, number, 0
        elif wait >= patience:
            return number, best_epoch
    return len(losses), best_epoch


LOSSES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.30005, 0.4, 0.5, 0.9]), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(losses=LOSSES, patience=st.integers(1, 4))
def test_early_stopping_follows_kerass_rule_and_restores_the_best_weights(losses, patience):
    with pytest.MonkeyPatch.context() as patch:
        result, seen, network = scripted(patch, losses, patience=patience)
    epochs, best = keras_epochs(losses, patience)
    assert len(result.history) == epochs
    assert [epoch.epoch for epoch in result.history] == list(range(1, epochs + 1))
    assert result.best_epoch == best
    assert same(network.state_dict(), seen[best - 1])
    assert not network.training


def test_patience_zero_never_stops_early(monkeypatch):
    result, _, _ = scripted(monkeypatch, [0.1] + [0.5] * 9, patience=0)
    assert (len(result.history), result.best_epoch) == (10, 1)


def test_training_that_diverges_names_the_learning_rate():
    network = linear()
    config = model(trainable="all", epochs=3, optimizer={"name": "sgd", "learning_rate": 1e38})
    source = feature_source(*points())
    with pytest.raises(TrainingError, match="learning_rate"):
        fit(Loop(network, network, network.train), source, source, config=config, device=CPU, precision="fp32")


def test_a_last_epoch_that_diverges_costs_the_epoch_alone(monkeypatch):
    result, seen, network = scripted(monkeypatch, [0.4, 0.3, float("nan"), float("nan")], patience=2)
    assert result.best_epoch == 2
    assert same(network.state_dict(), seen[1])


@pytest.mark.parametrize("count", [8, 9, 10, 17])
def test_a_batch_norm_over_one_position_is_never_fed_a_last_batch_of_one(count):
    job = Job(model(**NET | {"trainable": "all", "pixels": {"size_px": 32}, "epochs": 1}), train=count)
    seen = []
    batch = job.train.batch
    job.train.batch = lambda positions, **options: seen.append(positions) or batch(positions, **options)
    job.run()
    assert sorted(np.concatenate(seen)) == list(range(count)), "each image once an epoch"
    assert min(len(positions) for positions in seen) > 1


def test_a_single_training_image_is_enough_where_there_is_no_batch_norm():
    assert len(Job(model(**CNN | {"epochs": 1}), train=1).run().history) == 1


def test_images_come_in_another_order_in_every_epoch():
    job = Job(model(**CNN | {"epochs": 2}))
    seen, batch = [], job.train.batch
    job.train.batch = lambda positions, **options: seen.append(positions) or batch(positions, **options)
    job.run()
    order = np.concatenate(seen)
    assert sorted(order[:21]) == sorted(order[21:]) == list(range(21))
    assert not np.array_equal(order[:21], order[21:])


@example(losses=[0.5, 0.49995, 0.49992], patience=1, factor=0.5)  # falls, but by less than counts as progress
@example(losses=[0.5, 0.49995, 0.4999, 0.49985], patience=2, factor=0.5)
@settings(max_examples=100, deadline=None)
@given(
    losses=st.lists(st.sampled_from([0.5, 0.49995, 0.4999, 0.4, 0.39985, 0.3, 0.7]), max_size=15),
    patience=st.integers(1, 4),
    factor=st.sampled_from([0.1, 0.2, 0.5]),
)
def test_plateaus_are_torchs_and_kerass(losses, patience, factor):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.01)
    # torch counts the epochs that it tolerates, Keras those until it acts.
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience - 1, threshold=1e-4, threshold_mode="abs", eps=0.0
    )
    for loss in losses:
        scheduler.step(loss)
    schedule = ScheduleConfig(name="plateau", factor=factor, patience_epochs=patience)
    assert plateau_rate(0.01, losses, schedule) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_the_plateaus_rate_is_used_and_recorded(monkeypatch):
    result, _, _ = scripted(monkeypatch, [0.5, 0.6, 0.6, 0.6, 0.6, 0.4], patience=0, schedule="plateau")
    assert [epoch.learning_rate for epoch in result.history] == pytest.approx(
        [1e-3, 1e-3, 1e-3, 2e-4, 2e-4, 4e-5], rel=1e-9
    )


def test_one_cycle_is_torchs():
    total, peak = 2000, 0.3
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=total, cycle_momentum=False)
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < total:
            scheduler.step()
    found = [one_cycle_rate(peak, step / (total - 1)) for step in range(total)]
    # torch puts the peak at step 0.3 n - 1, not 0.3 (n - 1): less than one step aside.
    np.testing.assert_allclose(found, expected, atol=peak * 2e-3)
    assert found[0] == pytest.approx(peak / 25)
    assert found[-1] == pytest.approx(peak / 250_000)
    assert one_cycle_rate(peak, 0.3) == pytest.approx(peak)


def test_one_cycle_runs_over_all_steps_of_all_epochs(monkeypatch):
    steps = []
    monkeypatch.setattr(rates, "one_cycle_rate", lambda peak, progress: steps.append(progress) or peak)
    scripted(monkeypatch, [0.5, 0.4, 0.3], patience=0, schedule="one_cycle")
    np.testing.assert_allclose(steps, np.linspace(0, 1, 9))


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda extra: [0, 1, 2, 3, 4, *extra]))
def test_class_weights_are_scikit_learns(labels):
    expected = compute_class_weight("balanced", classes=np.arange(5), y=np.array(labels))
    np.testing.assert_allclose(balanced_weights(np.array(labels), 5).numpy(), expected, rtol=1e-6)


def test_fit_takes_no_test_data():
    names = set(inspect.signature(fit).parameters)
    assert {"train", "val"} < names
    assert not [name for name in names if "test" in name]


def test_views_are_drawn_anew_for_training_and_plain_otherwise():
    features, labels = points(200)
    views = (features, features + 100, features + 200)
    source = FeatureSource(FeatureTable(views, "torch", "fp32", 0, 0.0), labels)
    positions = np.arange(200)[::-1].copy()
    plain = source.batch(positions, device=CPU, generator=None)
    assert np.array_equal(plain.numpy(), features[positions])
    drawn = source.batch(positions, device=CPU, generator=torch.Generator().manual_seed(0)).numpy()
    numbers = np.round((drawn - features[positions]) / 100).astype(int)
    np.testing.assert_allclose(drawn, features[positions] + 100 * numbers, atol=1e-3)
    assert np.all(numbers == numbers[:, :1]), "one view an image"
    assert np.bincount(numbers[:, 0], minlength=3).min() > 40
    again = source.batch(positions, device=CPU, generator=torch.Generator().manual_seed(1)).numpy()
    assert not np.array_equal(drawn, again)


def test_progress_counts_every_image_and_tells_of_validation(tmp_path):
    class Recorder(Stopper):
        def __init__(self):
            super().__init__(-1)
            self.total, self.done, self.notes = 0, 0, []

        @contextlib.contextmanager
        def track(self, label, total, *, unit):
            self.total = total
            yield self

        def advance(self, count=1, *, note=""):
            self.done += count
            self.notes += [note] * bool(note)

    recorder = Recorder()
    Job(model(**CNN)).run(progress=recorder)
    assert recorder.total == recorder.done == 5 * 21
    assert all(f"epoch {n}" in note and "val loss" in note for n, note in zip(itertools.count(1), recorder.notes))
    assert len(recorder.notes) == 5


class _Pictures:
    """A source of random pictures, channels last in memory as the gradient learner has them."""

    def __init__(self, count: int, *, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        self._images = torch.randn(count, 3, 8, 8, generator=random)
        self.labels = torch.randint(0, 3, (count,), generator=random)

    def batch(self, positions, *, device, generator):
        return self._images[torch.from_numpy(positions)].contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_resume_equals_uninterrupted_where_weights_lie_channels_last(optimizer, tmp_path):
    def run(epochs, checkpoint):
        torch.manual_seed(3)
        layers = [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.Linear(64, 3)]
        network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        config = ModelConfig(backbone="simple_cnn", trainable="all", epochs=epochs, optimizer={"name": optimizer})
        loop = Loop(network, network, network.train)
        fit(
            loop, _Pictures(24, seed=0), _Pictures(9, seed=1), config=config, device=torch.device("cpu"),
            precision="fp32", checkpoint=checkpoint,
        )  # fmt: skip
        return network.state_dict()

    whole = run(4, None)
    run(2, tmp_path / "checkpoint.safetensors")
    resumed = run(4, tmp_path / "checkpoint.safetensors")
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
