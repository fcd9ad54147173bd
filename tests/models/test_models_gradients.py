"""The gradient learner: trained on cached activations as through the whole network; resumed, saved, and told."""

import contextlib
import inspect
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from small_models import CPU, model, probabilities

from bestiary.config.schema import DataConfig
from bestiary.data.index import build_index
from bestiary.data.pixels import pixel_table
from bestiary.deploy.onnx_file import load_classifier
from bestiary.models import gradients
from bestiary.models.extract import activations
from bestiary.models.gradients import GradientLearner
from bestiary.models.learner import Labelled, build_learner
from bestiary.models.partial.convolutions import fast_convolutions
from bestiary.progress import SILENT
from bestiary.timing import Clock
from tests.engines_here import needs_openvino

NET = {
    "backbone": "test_resnet",
    "trainable": "last:2 stages",
    "pixels": {"size_px": 48, "interpolation": "bilinear"},
    "head": {"hidden": 8, "dropout": 0.3},
    "epochs": 4,
    "batch_size": 8,
    "early_stopping": {"patience_epochs": 0},
    "optimizer": {"name": "adam", "learning_rate": 2e-3},
}
OFF = {"activations": {"cache": "off"}}


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_shapes):
    return make_shapes(tmp_path_factory.mktemp("gradients"), each=12)


@pytest.fixture(scope="module")
def images(root) -> pd.DataFrame:
    return build_index(DataConfig(path=str(root)))


def parts(images):
    labels = pd.Categorical(images["label"]).codes.astype(np.int64)
    number = np.arange(len(images)) % 3
    return [Labelled(np.flatnonzero(number == part), labels[number == part]) for part in range(3)]


class Said:
    """A progress that keeps what it is told, and may stop in the midst of training."""

    def __init__(self, *, stop_after_epoch=None):
        self.lines = []
        self._left = stop_after_epoch

    def say(self, text):
        self.lines.append(text)

    @contextlib.contextmanager
    def track(self, label, total, *, unit):
        yield self if label.startswith("train") else _Deaf()

    def advance(self, count=1, *, note=""):
        if count == 0 and self._left is not None and note:
            self._left -= 1
        elif count and self._left == 0:
            raise StopError


class _Deaf:
    def advance(self, count=1, *, note=""):
        pass


class StopError(Exception):
    """What stands for a kill."""


class Run:
    """A learner, prepared and fitted, as a new process does it."""

    def __init__(self, config, images, root, *, checkpoint, key="k", progress=SILENT, fit=True):
        self.train, self.val, self.test = parts(images)
        self.learner = build_learner(config, 3, device=CPU, label="net")
        assert isinstance(self.learner, GradientLearner)
        self.clock = Clock()
        self.learner.prepare(images.drop(columns=["label"]), root, clock=self.clock, progress=progress)
        if fit:
            self.outcome = self.learner.fit(self.train, self.val, checkpoint=checkpoint, key=key, progress=progress)

    def weights(self):
        return {key: value.clone() for key, value in self.learner.classifier.state_dict().items()}

    def history(self):
        return [{k: v for k, v in asdict(epoch).items() if k != "seconds"} for epoch in self.outcome.history]

    def losses(self):
        return np.array([[epoch.train_loss, epoch.val_loss] for epoch in self.outcome.history])

    def probabilities(self):
        return probabilities(self.learner, self.test.positions)


def settled(**changes):
    return model(**(NET | changes))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def unrounded(monkeypatch):
    """Activations as torch computes them, kept as float32."""
    monkeypatch.setattr(activations, "pick_engine", lambda device: "torch")
    monkeypatch.setattr(activations, "_to_bits", lambda values: values)
    real = activations.RowStore
    monkeypatch.setattr(
        activations, "RowStore", lambda *args, dtype, **options: real(*args, dtype=np.float32, **options)
    )
    monkeypatch.setattr(
        activations.ActivationTable,
        "take",
        lambda self, view, positions: torch.from_numpy(self.arrays[view][self.rows[view][positions]]),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trainable": "last:1 stage"},
        {"backbone": "simple_cnn", "trainable": "last:1 stage"},
        {"trainable": r"modules:layer4\.0\.(conv2|bn2|downsample)"},
    ],
)
def test_unrounded_activations_train_as_the_whole_network_does(changes, images, root, tmp_path, monkeypatch):
    unrounded(monkeypatch)
    whole = Run(settled(**changes, **OFF), images, root, checkpoint=tmp_path / "a")
    kept = Run(settled(**changes), images, root, checkpoint=tmp_path / "b")
    assert kept.learner.describe()["activations"].startswith("kept")
    # The frozen stages run in other batches: sums may differ in the last digit.
    np.testing.assert_allclose(kept.losses(), whole.losses(), atol=2e-4)
    np.testing.assert_allclose(kept.losses()[0], whole.losses()[0], atol=1e-5)
    assert kept.outcome.best_epoch == whole.outcome.best_epoch
    assert kept.outcome.parameters == whole.outcome.parameters
    assert len({epoch.val_loss for epoch in whole.outcome.history}) > 1
    np.testing.assert_allclose(kept.probabilities(), whole.probabilities(), atol=1e-3)
    expected = whole.weights()
    begun = build_learner(settled(**changes), 3, device=CPU, label="").classifier.state_dict()
    for key, value in kept.weights().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-2, atol=2e-3, msg=key)
    frozen = {key for key, value in begun.items() if torch.equal(value, expected[key])}
    assert {key for key, value in begun.items() if torch.equal(value, kept.weights()[key])} == frozen


def test_rounded_activations_come_close(images, root, tmp_path):
    # 8 bits of an activation: the loss moves in the third digit.
    whole = Run(settled(**OFF), images, root, checkpoint=tmp_path / "a")
    kept = Run(settled(), images, root, checkpoint=tmp_path / "b")
    assert not np.array_equal(kept.losses(), whole.losses())
    np.testing.assert_allclose(kept.losses(), whole.losses(), atol=0.03)
    np.testing.assert_allclose(kept.probabilities(), whole.probabilities(), atol=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16"},
        {"augment": {"flip": True}},
        {"trainable": "last:1 stage", "class_weights": "balanced"},
    ],
    ids=["fp32", "bf16", "views", "weighted"],
)
def test_a_resumed_training_equals_an_uninterrupted_one_exactly(changes, images, root, tmp_path):
    config = settled(**changes)
    whole = Run(config, images, root, checkpoint=tmp_path / "whole")
    for epochs in (1, 2):
        with pytest.raises(StopError):
            Run(config, images, root, checkpoint=tmp_path / "c", progress=Said(stop_after_epoch=epochs))
    resumed = Run(config, images, root, checkpoint=tmp_path / "c")
    assert resumed.learner._activations.passes == 0
    assert resumed.history() == whole.history()
    assert same(resumed.weights(), whole.weights())
    assert np.array_equal(resumed.probabilities(), whole.probabilities())
    assert [asdict(a)["seconds"] for a in resumed.outcome.history] != [
        asdict(b)["seconds"] for b in whole.outcome.history
    ]


@pytest.mark.parametrize("first", [{}, OFF], ids=["kept first", "whole first"])
def test_a_checkpoint_of_one_way_is_not_taken_up_by_the_other(first, images, root, tmp_path):
    second = OFF if first == {} else {}
    with pytest.raises(StopError):
        Run(settled(**first), images, root, checkpoint=tmp_path / "c", progress=Said(stop_after_epoch=3))
    assert (tmp_path / "c").exists()
    found = Run(settled(**second), images, root, checkpoint=tmp_path / "c")
    expected = Run(settled(**second), images, root, checkpoint=tmp_path / "none")
    assert found.history() == expected.history()
    assert same(found.weights(), expected.weights())


def portable(run, config, images, root, folder):
    """Probabilities of the saved and reloaded classifier, from pixels, in fp32."""
    network = run.learner.classifier
    plain = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(plain, folder / "model.safetensors")
    preprocessing = network.backbone.preprocessing
    loaded = load_classifier(folder / "model.safetensors", config, [preprocessing], class_count=3)
    pixels = pixel_table(images, root, geometry=preprocessing.geometry).take(run.test.positions)
    with torch.inference_mode():
        return torch.softmax(loaded(torch.from_numpy(pixels)), 1).numpy()


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 0.02),
        ({"precision": "bf16"}, 0.05),
        (OFF, 1e-5),
        ({"backbone": "simple_cnn", "trainable": "last:1 stage"}, 0.02),
    ],
    ids=["kept", "bf16", "whole", "simple_cnn"],
)
def test_the_saved_classifier_gives_the_learners_probabilities(changes, tolerance, images, root, tmp_path):
    config = settled(**changes)
    run = Run(config, images, root, checkpoint=tmp_path / "c")
    found = portable(run, config, images, root, tmp_path)
    np.testing.assert_allclose(run.probabilities(), found, atol=tolerance)
    assert found.std(axis=0).max() > 0.01, "a classifier that tells images apart"


def test_relabelling_and_other_heads_cost_no_pass(images, root, tmp_path):
    first = Run(settled(), images, root, checkpoint=tmp_path / "a", fit=False)
    assert first.learner._activations.passes == len(images)
    assert "activations" in first.clock.images_per_s
    relabelled = images.assign(label="other")
    config = settled(head={"hidden": 0, "dropout": 0.0}, epochs=9, optimizer={"learning_rate": 0.1}, batch_size=3)
    again = Run(config, relabelled, root, checkpoint=tmp_path / "b", fit=False)
    assert again.learner._activations.passes == 0
    assert again.clock.images_per_s == {}, "nothing decoded either"


def test_test_labels_and_images_change_nothing(images, root, tmp_path):
    first = Run(settled(), images, root, checkpoint=tmp_path / "a")
    kept = images.iloc[np.sort(np.concatenate([first.train.positions, first.val.positions]))].reset_index(drop=True)
    places = {path: number for number, path in enumerate(kept["path"])}

    def moved(part):
        positions = np.array([places[path] for path in images["path"].iloc[part.positions]])
        return Labelled(positions, part.labels)

    alone = build_learner(settled(), 3, device=CPU, label="net")
    alone.prepare(kept, root, clock=Clock())
    alone.fit(moved(first.train), moved(first.val), checkpoint=tmp_path / "b", key="k")
    assert same(alone.classifier.state_dict(), first.weights())
    for method in (GradientLearner.prepare, GradientLearner.fit):
        assert not [name for name in inspect.signature(method).parameters if "test" in name]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"activations": {"max_gb": 1e-6}}, "max_gb"),
        ({"trainable": "last:5 stages"}, "pixels"),
        ({"trainable": "modules:.*"}, "pixels"),
        ({"backbone": "test_vit", "pixels": {"size_px": 64}, "trainable": "last:1 stage"}, "traced"),
    ],
    ids=["budget", "all stages", "all modules", "untraceable"],
)
def test_where_they_cannot_be_kept_the_whole_network_is_trained_and_that_is_said(
    changes, why, images, root, tmp_path, fresh_cache
):
    said = Said()
    config = settled(**changes, epochs=1) if "epochs" not in changes else settled(**changes)
    run = Run(config, images, root, checkpoint=tmp_path / "a", progress=said)
    (line,) = [line for line in said.lines if "whole network" in line]
    assert why in line
    assert "net" in line
    assert why in run.learner.describe()["activations"]
    assert not (fresh_cache / "activations").exists()
    plain = Run(settled(**(changes | OFF), epochs=1), images, root, checkpoint=tmp_path / "b")
    assert "activations" not in plain.learner.describe()
    assert run.history() == plain.history()
    assert np.array_equal(run.probabilities(), plain.probabilities())
    assert same(run.weights(), plain.weights())


def test_a_disk_without_room_falls_back_too(images, root, tmp_path, monkeypatch):
    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    said = Said()
    run = Run(settled(epochs=1), images, root, checkpoint=tmp_path / "a", progress=said)
    assert any("disk" in line for line in said.lines)
    assert run.probabilities().shape == (12, 3)


@needs_openvino
def test_nothing_is_said_where_they_are_kept(images, root, tmp_path):
    said = Said()
    run = Run(settled(augment={"flip": True}), images, root, checkpoint=tmp_path / "a", progress=said, fit=False)
    assert said.lines == []
    assert run.learner.describe()["activations"].startswith("kept: 2 views")
    assert run.learner._activations.passes == 2 * len(images)


@pytest.mark.parametrize(("precision", "used"), [("bf16", True), ("fp32", False)])
def test_fast_convolutions_are_for_bf16_on_a_cpu_and_leave_nothing(
    precision, used, images, root, tmp_path, monkeypatch
):
    entered = []

    @contextlib.contextmanager
    def spy(network):
        with fast_convolutions(network):
            entered.append([name for name, module in network.named_modules() if "forward" in vars(module)])
            yield

    monkeypatch.setattr(gradients, "fast_convolutions", spy)
    run = Run(settled(precision=precision, epochs=1), images, root, checkpoint=tmp_path / "a")
    run.probabilities()
    assert len(entered) == (2 if used else 0)
    assert all(entered)
    network = run.learner.classifier
    assert not [name for name, module in network.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize(
    ("changes", "parts_run"), [({}, {"layer4"}), (OFF, {"conv1", "layer4"})], ids=["kept", "whole"]
)
def test_frozen_stages_are_not_run_while_training(changes, parts_run, images, root, tmp_path):
    learner = Run(settled(epochs=2, **changes), images, root, checkpoint=tmp_path / "a", fit=False).learner
    ran, network = [], learner.classifier.backbone.network
    # The stages themselves may be taken apart; their convolutions are called.
    for name in ("conv1", "layer4"):
        convolution = next(m for m in getattr(network, name).modules() if isinstance(m, torch.nn.Conv2d))
        convolution.register_forward_hook(lambda *args, name=name: ran.append(name))
    train, val, test = parts(images)
    learner.fit(train, val, checkpoint=tmp_path / "c", key="k")
    probabilities(learner, test.positions)
    assert set(ran) == parts_run


def test_probabilities_come_in_the_order_asked(images, root, tmp_path):
    run = Run(settled(epochs=1), images, root, checkpoint=tmp_path / "a")
    found, order = run.probabilities(), np.random.default_rng(0).permutation(12)
    shuffled = probabilities(run.learner, run.test.positions[order])
    np.testing.assert_allclose(shuffled, found[order], atol=1e-5)
