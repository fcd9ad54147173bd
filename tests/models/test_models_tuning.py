"""What makes fine-tuning worth its time: where the head begins, rates by stage, averaged weights, crops and blends."""

import numpy as np
import pytest
import torch
from small_models import CPU, model, probabilities
from test_models_gradients import NET, OFF, Run, Said, StopError, images, root, same, settled  # noqa: F401
from test_models_training import CNN, Job, assert_resumes
from test_models_training import NET as WHOLE
from torch import nn

from bestiary.config.schema import AugmentConfig
from bestiary.models.augment import augment, mix
from bestiary.models.learner import build_learner
from bestiary.models.training.average import MovingAverage, fresh_statistics
from bestiary.models.training.optimizers import make_optimizer
from bestiary.timing import Clock

LINEAR = {"hidden": 0, "dropout": 0.0}
PROBE = {"head": LINEAR | {"begin": "probe"}}
STILL = {"optimizer": {"name": "sgd", "learning_rate": 1e-30}, "epochs": 2}


@pytest.mark.parametrize("way", [{}, OFF], ids=["kept", "whole"])
def test_a_head_that_begins_as_the_probe_says_what_the_frozen_model_says(way, images, root, tmp_path):  # noqa: F811
    still = PROBE | STILL | {"batch_norm": "frozen"}
    tuned = Run(settled(**still, **way), images, root, checkpoint=tmp_path / "a")
    frozen = model(backbone="test_resnet", pixels={**NET["pixels"], "crop_fraction": "weights"})
    probe, clock = build_learner(frozen, 3, device=CPU, label="probe"), Clock()
    probe.prepare(images, root, clock=clock)
    assert clock.cached["features"] == len(images), "the features of a frozen model, made once"
    outcome = probe.fit(tuned.train, tuned.val, checkpoint=tmp_path / "b", key="k")
    assert tuned.outcome.choices == outcome.choices
    np.testing.assert_allclose(tuned.probabilities(), probabilities(probe, tuned.test.positions), atol=0.02)
    assert same(tuned.learner.classifier.head.state_dict(), probe.classifier.head.state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        PROBE,
        PROBE | {"augment": {"flip": True}, "precision": "bf16"},
        {"average": {"decay": 0.9}},
        PROBE | {"average": {"decay": 0.9}, "optimizer": {"name": "adamw", "stage_decay": 0.3}},
        PROBE | {"batch_norm": "frozen"},
        PROBE | OFF | {"augment": {"flip": True, "crop_scale": [0.5, 1.0], "mixup": 0.4}, "average": {"decay": 0.5}},
    ],
    ids=["probe", "views", "averaged", "all of it", "frozen norms", "pixels"],
)
def test_a_resumed_tuning_equals_an_uninterrupted_one_exactly(changes, images, root, tmp_path):  # noqa: F811
    config = settled(**changes)
    whole = Run(config, images, root, checkpoint=tmp_path / "whole")
    for epochs in (1, 2):
        with pytest.raises(StopError):
            Run(config, images, root, checkpoint=tmp_path / "c", progress=Said(stop_after_epoch=epochs))
    resumed = Run(config, images, root, checkpoint=tmp_path / "c")
    assert resumed.history() == whole.history()
    assert same(resumed.weights(), whole.weights())
    assert resumed.outcome.choices == whole.outcome.choices


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_averaged_whole_networks_resume_exactly(optimizer, tmp_path):
    changes = {"epochs": 3, "trainable": "all", "average": {"decay": 0.8}, "optimizer": {"name": optimizer}}
    assert_resumes(model(**WHOLE | changes), tmp_path, stops=(5,))


def test_a_refit_begins_with_the_strength_that_was_found(images, root, tmp_path):  # noqa: F811
    config = settled(**PROBE, average={"decay": 0.9})
    found = Run(config, images, root, checkpoint=tmp_path / "a")
    again = Run(config, images, root, checkpoint=tmp_path / "b", fit=False)
    again.learner.refit(found.train, found.outcome)
    # The same images and choices: the weights after the best epoch.
    assert same(again.weights(), found.weights())


def test_loaded_weights_are_not_a_backbone_to_take_features_of(images, root, tmp_path):  # noqa: F811
    config = settled(**PROBE)
    found = Run(config, images, root, checkpoint=tmp_path / "a")
    later = Run(config, images, root, checkpoint=tmp_path / "b", fit=False)
    later.learner.load(found.learner.state())
    later.learner._features = None
    later.learner.prepare(images, root, clock=later.clock)
    assert later.learner._features is None
    assert np.array_equal(later.probabilities(), found.probabilities())


def test_the_kth_stage_below_the_head_learns_at_decay_to_the_k(images, root, tmp_path):  # noqa: F811
    config = settled(optimizer={"name": "adamw", "stage_decay": 0.5})
    learner = Run(config, images, root, checkpoint=tmp_path / "a", fit=False).learner
    loop = learner._loop()
    groups = make_optimizer(loop.network, config, depths=loop.depths).param_groups
    assert [group["share"] for group in groups] == [1.0, 0.5, 0.25]
    stages = learner.classifier.backbone.stages()
    expected = [list(learner.classifier.head.parameters())] + [
        [value for module in stage for value in module.parameters(recurse=False)] for stage in stages[:-3:-1]
    ]
    for group, values in zip(groups, expected, strict=True):
        assert {id(value) for value in group["params"]} == {id(value) for value in values}
    alike = make_optimizer(loop.network, settled(), depths=loop.depths).param_groups
    assert [group["share"] for group in alike] == [1.0]


def test_an_average_is_the_one_written_by_hand_and_is_taken_out_again():
    network = nn.Linear(2, 1)
    average = MovingAverage(network, 0.6)
    expected = network.weight.detach().clone()
    for step, value in enumerate([1.0, -2.0, 5.0, 3.0, 0.5, 7.0, 1.5, 2.5]):
        nn.init.constant_(network.weight, value)
        average.update(step)
        kept = min(0.6, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
    with average.in_place():
        torch.testing.assert_close(network.weight.detach(), expected)
    assert torch.equal(network.weight.detach(), torch.full((1, 2), 2.5))


def test_statistics_of_averaged_weights_are_those_of_the_images():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    network[1].running_mean.fill_(9.0)
    values = torch.randn(40, 3)
    with torch.no_grad(), fresh_statistics(network) as norms:
        assert norms == [network[1]]
        for part in values.split(10):
            network(part)
        between = network[0](values)
    torch.testing.assert_close(network[1].running_mean, between.mean(0))
    torch.testing.assert_close(network[1].running_var, torch.stack([part.var(0) for part in between.split(10)]).mean(0))
    assert network[1].momentum == 0.1
    assert not network[1].training


def test_frozen_batch_norms_keep_their_statistics_and_learn_their_scale(images, root, tmp_path):  # noqa: F811
    run = Run(settled(batch_norm="frozen"), images, root, checkpoint=tmp_path / "a", fit=False)
    before = run.weights()
    run.learner.fit(run.train, run.val, checkpoint=tmp_path / "a", key="k")
    after = run.weights()
    statistics = [key for key in before if "running" in key]
    assert statistics
    assert all(torch.equal(before[key], after[key]) for key in statistics)
    norms = {key.replace("running_mean", "weight") for key in statistics if key.endswith("running_mean")}
    assert any(not torch.equal(before[key], after[key]) for key in norms)


def test_crops_show_parts_of_each_image_alone_and_follow_the_generator():
    # Each image is a ramp: a crop of it is a flatter one.
    ramp = torch.linspace(0, 1, 32).expand(1, 32, 32)
    pictures = torch.stack([ramp.expand(3, 32, 32)] * 6)
    config = AugmentConfig(crop_scale=(0.2, 0.5))

    def drawn(seed):
        return augment(pictures, config, generator=torch.Generator().manual_seed(seed))

    found = drawn(0)
    assert found.shape == pictures.shape
    spans = found.amax((1, 2, 3)) - found.amin((1, 2, 3))
    assert torch.all(spans < 0.95)
    assert len({round(float(span), 4) for span in spans}) > 3, "a crop of its own for each"
    torch.manual_seed(1)
    assert torch.equal(drawn(0), found)
    assert not torch.equal(drawn(1), found)


def test_blends_take_labels_and_pixels_by_one_share():
    labels = torch.tensor([0, 1, 2, 1])
    pictures = labels.float().view(-1, 1, 1, 1).expand(4, 3, 5, 5).clone()
    mixed, targets = mix(pictures, labels, 0.5, class_count=3, generator=torch.Generator().manual_seed(3))
    assert targets.shape == (4, 3)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    # Pixels are class numbers, so a blend's pixel is the mean class number of its target.
    torch.testing.assert_close(mixed[:, 0, 0, 0], targets @ torch.arange(3.0))


def test_mixup_trains_and_changes_the_weights():
    plain, mixed = Job(model(**CNN)), Job(model(**CNN | {"augment": CNN["augment"] | {"mixup": 1.0}}))
    plain.run()
    mixed.run()
    assert not same(plain.weights(), mixed.weights())


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"trainable": "all", "head": {"begin": "probe", "hidden": 8}}, "hidden = 0"),
        ({"head": {"begin": "probe"}}, "lbfgs"),
        ({"optimizer": {"stage_decay": 0.5}}, "last:N stages"),
        ({"average": {"decay": 0.9}}, "0 for lbfgs"),
        ({"trainable": "last:1 stage", "augment": {"mixup": 0.2}}, 'activations.cache = "off"'),
        ({"trainable": "last:1 stage", "augment": {"crop_scale": [0.5, 1.0]}}, 'activations.cache = "off"'),
        ({"augment": {"mixup": 0.2}}, 'trainable = "all"'),
        ({"trainable": "all", "augment": {"crop_scale": [1.0, 0.5]}}, "the least comes first"),
        ({"trainable": "all", "augment": {"crop_scale": [0.0, 0.5]}}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused_with_its_fix(changes, fix):
    with pytest.raises(ValueError, match=fix):
        model(backbone="test_resnet", **changes)
