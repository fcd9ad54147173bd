"""The six rows of the recipe `notebook`, with random weights: what is built, what of it is trained, how, and how much.

Keras counts two things that torch does not: the biases of convolutions before a batch norm (its ResNet50 has them,
torchvision's has not), and the running mean and variance of batch norms, which are buffers in torch. Both are counted
here from our own networks, so that the notebook's figures come out.
"""

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from small_models import CPU
from torch import nn

from bestiary.config.recipes import load_config
from bestiary.config.schema import ModelConfig
from bestiary.models.frozen import FrozenLearner
from bestiary.models.gradients import GradientLearner
from bestiary.models.learner import NetworkLearner, build_learner
from bestiary.models.partial.boundary import cut
from bestiary.models.training.optimizers import make_optimizer
from bestiary.models.training.rates import rates_of

CLASSES = 10


@dataclass(frozen=True)
class Row:
    """What the notebook has in one of its rows."""

    learner: type
    features: int
    optimizer: type[torch.optim.Optimizer]
    rate: float
    total: int
    trainable: int
    momentum: float = 0.0


# Keras's counts: its VGG16 and ResNet50 without their tops have 14,714,688 and 23,587,712 parameters.
_HEAD = 2048 * 256 + 256 + 256 * CLASSES + CLASSES
_VGG_HEAD = 4 * 4 * 512 * 256 + 256 + 256 * CLASSES + CLASSES
ADAM, SGD = torch.optim.Adam, torch.optim.SGD
ROWS = {
    "baseline": Row(GradientLearner, 30 * 30 * 64, ADAM, 1e-3, 14_767_818, 14_767_818),
    "vgg16": Row(FrozenLearner, 4 * 4 * 512, ADAM, 1e-3, 14_714_688 + _VGG_HEAD, _VGG_HEAD),
    "resnet50": Row(FrozenLearner, 2048, ADAM, 1e-3, 24_114_826, _HEAD),
    "resnet50-last-adam": Row(GradientLearner, 2048, ADAM, 1e-4, 24_114_826, 14_977_290),
    "resnet50-sgd": Row(FrozenLearner, 2048, SGD, 1e-4, 24_114_826, _HEAD, momentum=0.9),
    "resnet50-last-sgd": Row(GradientLearner, 2048, SGD, 1e-4, 24_114_826, 14_977_290, momentum=0.9),
}


@cache
def config_of(name: str) -> ModelConfig:
    values = load_config(recipe="notebook").models[name].model_dump()
    return ModelConfig.model_validate(values | {"weights": "random", "precision": "fp32"})


@pytest.fixture(params=ROWS, scope="module")
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def learner(name) -> NetworkLearner:
    return build_learner(config_of(name), CLASSES, device=CPU, label=name)


def convolutions_without_bias(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.bias is None]


def test_the_recipe_has_the_notebooks_rows_in_its_order():
    assert list(load_config(recipe="notebook").models) == list(ROWS)
    assert ROWS["resnet50"].total == 23_587_712 + _HEAD


def test_shapes(name, learner):
    row, geometry = ROWS[name], learner.classifier.backbone.preprocessing.geometry
    assert type(learner) is row.learner
    assert (geometry.size_px, geometry.fit, geometry.interpolation) == (128, "squash", "nearest")
    assert learner.classifier.backbone.feature_count == row.features
    pixels = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert learner.classifier.eval()(pixels).shape == (2, CLASSES)
    layers = [type(layer) for layer in learner.classifier.head.layers]
    assert layers == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert learner.classifier.head.layers[0].weight.shape == (256, row.features)
    assert learner.classifier.head.layers[2].p == 0.5


def test_parameters_are_the_notebooks_by_kerass_count(name, learner):
    row, network = ROWS[name], learner.classifier
    ours = network.parameter_counts()
    plain = convolutions_without_bias(network)
    statistics = sum(2 * module.num_features for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    biases = sum(module.out_channels for module in plain)
    assert ours["total"] + biases + statistics == row.total
    # Running statistics are in Keras's total and never among what is trained.
    trained = sum(module.out_channels for module in plain if module.weight.requires_grad)
    assert ours["trainable"] + trained == row.trainable
    if name.startswith("resnet50"):
        assert (ours["total"], biases, statistics) == (24_035_146, 26_560, 53_120)
    else:
        assert biases == statistics == 0
    if "last" in name:
        assert (ours["trainable"], trained) == (14_966_538, 10_752)


# Keras's names of the layers of ResNet50's last stage, in the order of `model.layers`: 32 of them.
_LAST_STAGE = [
    *(f"block1_{part}" for part in (
        "1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "2_relu", "0_conv", "3_conv", "0_bn", "3_bn", "add", "out",
    )),
    *(f"block{block}_{part}" for block in (2, 3) for part in (
        "1_conv", "1_bn", "1_relu", "2_conv", "2_bn", "2_relu", "3_conv", "3_bn", "add", "out",
    )),
]  # fmt: skip


def timms_name(layer: str) -> str | None:
    """timm's name of a layer of Keras's; None for one without weights."""
    block, part, *kind = layer.removeprefix("block").split("_")
    if not kind or kind == ["relu"]:
        return None
    stem = f"layer4.{int(block) - 1}"
    if part == "0":
        return f"{stem}.downsample.{ {'conv': 0, 'bn': 1}[kind[0]] }"
    return f"{stem}.{kind[0]}{part}"


def test_what_is_trained_is_the_notebooks(name, learner):
    classifier = learner.classifier
    classifier.train_mode()
    network = classifier.backbone.network
    weighted = {key: module for key, module in network.named_modules() if list(module.parameters(recurse=False))}
    trained = {key for key, module in weighted.items() if all(p.requires_grad for p in module.parameters())}
    frozen = {key for key, module in weighted.items() if not any(p.requires_grad for p in module.parameters())}
    expected = {
        "baseline": set(weighted), "vgg16": set(), "resnet50": set(), "resnet50-sgd": set(),
    }.get(name, {timms_name(layer) for layer in _LAST_STAGE[-30:]} - {None})  # fmt: skip
    assert trained == expected
    assert trained | frozen == set(weighted)
    # Keras runs a frozen batch norm on its running statistics, and a trained one on those of the batch: as here.
    norms = {key for key, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {key for key in norms if weighted[key].training} == norms & expected
    assert all(parameter.requires_grad for parameter in classifier.head.parameters())
    classifier.eval()


def test_optimizers_rates_and_callbacks(name, learner):
    row, config = ROWS[name], config_of(name)
    optimizer = make_optimizer(learner.classifier, config)
    assert type(optimizer) is row.optimizer
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group.get("momentum", 0.0)) == (row.rate, 0.0, row.momentum)
    handed = sum(parameter.numel() for parameter in group["params"])
    assert handed == learner.classifier.parameter_counts()["trainable"]

    assert (config.epochs, config.batch_size) == (10, 32)
    assert (config.augment.flip, config.augment.rotation_degrees) == (True, 20)
    assert config.early_stopping.patience_epochs == 3
    assert (config.schedule.name, config.schedule.factor, config.schedule.patience_epochs) == ("plateau", 0.2, 2)
    # The rate of each epoch, after a first loss that no later one undercuts.
    rates = [rates_of(config, [1.0] * past, epoch=past + 1, steps=1)[0] for past in range(6)]
    assert rates == pytest.approx([row.rate * factor for factor in (1, 1, 1, 0.2, 0.2, 0.04)])


@pytest.mark.parametrize("name", [name for name in ROWS if "last" in name], scope="module")
def test_the_last_30_layers_are_trained_on_what_the_others_give_once(name, learner):
    assert config_of(name).caches_activations
    halves = cut(learner.classifier.backbone)
    # What the first block's skip connection starts from, and what its first convolution gives.
    assert halves.activation_count == 8 * 8 * 1024 + 8 * 8 * 512
    # The full set in four views has to fit: 26,128 photos, two bytes a number.
    assert 26_128 * 4 * 2 * halves.activation_count < config_of(name).activations.max_gb * 1e9
