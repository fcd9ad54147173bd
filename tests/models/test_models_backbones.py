"""Backbones: architecture, weights and preprocessing as one object."""

import itertools

import numpy as np
import pytest
import timm
import torch
from small_models import model, photos
from torch import nn

from bestiary.errors import ConfigError, WeightsError
from bestiary.models.backbones import (
    Backbone,
    Preprocessing,
    build_backbone,
    check_backbone,
    rebuild_backbone,
)
from bestiary.models.classifier import Classifier, Portable
from bestiary.models.heads import Head
from bestiary.models.partial.trainable import check_trainable, trainable_parameters
from bestiary.models.weights import packaged_path

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# One of each family, at a size that keeps the sweep short: name, size, feature count by the architecture's paper.
FAMILIES = [
    ("resnet18", 64, 512),
    ("vgg11", 64, 512 * 2 * 2),
    ("mobilenetv3_small_050", 64, 1024),
    ("efficientnet_b0", 64, 1280),
    ("convnext_atto", 64, 320),
    ("vit_tiny_patch16_224", 64, 192),
    ("regnetx_002", 64, 368),
    ("densenet121", 64, 1024),
    ("mobileone_s0", 64, 1024),
    ("repvgg_a0", 64, 1280),
    ("edgenext_xx_small", 64, 168),
    ("swin_tiny_patch4_window7_224", 64, 768),
    ("levit_128s", 64, 384),
    ("mixer_s32_224", 64, 512),
]


def count(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)


def test_the_notebooks_cnn_has_its_parameter_count():
    backbone = build_backbone(model(head={"hidden": 256}))
    classifier = Classifier(backbone, Head(backbone.feature_count, 10, hidden=256))
    assert backbone.preprocessing.geometry.size_px == 128
    assert backbone.pooling == "flatten"
    assert classifier.parameter_counts() == {"total": 14_767_818, "trainable": 14_767_818}


def test_the_notebooks_cnn_sees_pixels_between_0_and_1_squashed_by_the_nearest_pixel():
    preprocessing = build_backbone(model()).preprocessing
    assert preprocessing.geometry.fit == "squash"
    assert preprocessing.geometry.interpolation == "nearest"
    assert (preprocessing.mean, preprocessing.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(("name", "size_px", "features"), FAMILIES)
@pytest.mark.slow
def test_every_family_gives_features_and_stages(name, size_px, features):
    backbone = build_backbone(model(name, pixels={"size_px": size_px}))
    pixels = torch.from_numpy(photos(3, size_px))
    with torch.inference_mode():
        found = backbone(pixels)
    assert found.shape == (3, features)
    assert backbone.feature_count == features
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert float(found.std(dim=0).max()) > 0, "all images look the same to it"
    assert not backbone.training

    staged = [id(p) for stage in backbone.stages() for module in stage for p in module.parameters(recurse=False)]
    assert sorted(staged) == sorted(id(p) for p in backbone.parameters()), "each parameter in one stage"
    counts = [count(trainable_parameters(backbone, n)) for n in range(len(backbone.stages()) + 1)]
    assert counts[0] == 0
    assert all(a < b for a, b in itertools.pairwise(counts)), "each further stage adds parameters"
    assert counts[-1] == count(backbone.parameters()) == count(trainable_parameters(backbone, -1))
    # The last stage alone stands after all others: what it is fed does not depend on it.
    last, every = {id(p) for p in trainable_parameters(backbone, 1)}, {id(p) for p in backbone.parameters()}
    assert last < every


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224", "convnext_atto"])
def test_features_are_timms_own_pooled_features(name):
    config = model(name, pixels={"size_px": 64})
    backbone = build_backbone(config)
    extra = {"img_size": 64} if name.startswith("vit") else {}
    network = timm.create_model(name, num_classes=0, **extra).eval()
    network.load_state_dict(backbone.network.state_dict())
    pixels = photos(2, 64)
    settings = timm.data.resolve_model_data_config(network)
    mean, std = np.array(settings["mean"]), np.array(settings["std"])
    images = torch.from_numpy(((pixels / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(torch.from_numpy(pixels)), network(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
@pytest.mark.slow
def test_pooling_can_be_chosen(name):
    pixels = {"size_px": 64}
    averaged = build_backbone(model(name, pixels=pixels, head={"pooling": "avg"}))
    kept = build_backbone(model(name, pixels=pixels, head={"pooling": "flatten"}))
    assert averaged.feature_count == 512
    assert kept.feature_count == 512 * 2 * 2
    images = torch.from_numpy(photos(2, 64))
    with torch.inference_mode():
        torch.testing.assert_close(kept(images).view(2, 512, 4).mean(2), averaged(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "total", "last"),
    [("resnet50", 23_508_032, 14_964_736), ("vgg16", 14_714_688, None)],
)
@pytest.mark.slow
def test_the_notebooks_backbones_have_keras_parameter_counts(name, total, last):
    backbone = build_backbone(model(name, pixels={"size_px": 128, "fit": "squash"}))
    assert count(backbone.parameters()) == total
    if last is not None:
        assert count(trainable_parameters(backbone, 1)) == last


@pytest.mark.slow
def test_vgg_keeps_positions_as_the_notebook_does():
    backbone = build_backbone(model("vgg16", pixels={"size_px": 128}))
    assert backbone.pooling == "flatten"
    assert backbone.feature_count == 512 * 4 * 4
    assert not [name for name, _ in backbone.network.named_parameters() if "pre_logits" in name or "head" in name]


def test_preprocessing_comes_from_the_architecture_and_the_config_overrides_geometry_alone():
    plain = build_backbone(model("resnet18", pixels={"crop_fraction": "weights"})).preprocessing
    assert (plain.mean, plain.std) == IMAGENET
    assert (plain.geometry.size_px, plain.geometry.fit) == (224, "crop")
    assert plain.geometry.crop_fraction == pytest.approx(timm.get_pretrained_cfg("resnet18").crop_pct)
    changed = build_backbone(model("resnet18", pixels={"size_px": 96, "fit": "squash", "interpolation": "nearest"}))
    assert (changed.preprocessing.mean, changed.preprocessing.std) == IMAGENET
    geometry = changed.preprocessing.geometry
    assert (geometry.size_px, geometry.fit, geometry.interpolation) == (96, "squash", "nearest")
    assert changed.preprocessing.as_dict() == {
        "geometry": geometry.as_dict(),
        "mean": list(IMAGENET[0]),
        "std": list(IMAGENET[1]),
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1.0),
        ({"pixels": {"size_px": 96}}, 1.0),
        ({"pixels": {"crop_fraction": "weights"}}, 0.95),
        ({"pixels": {"crop_fraction": 0.8}}, 0.8),
        ({"trainable": "last:1 stage"}, 0.95),
        ({"trainable": "all"}, 0.95),
    ],
)
def test_a_frozen_backbone_sees_the_whole_short_side_unless_told_otherwise(changes, expected):
    assert build_backbone(model("resnet18", **changes)).preprocessing.geometry.crop_fraction == pytest.approx(expected)


def test_normalise_is_the_stated_formula():
    backbone = build_backbone(model("resnet18", pixels={"size_px": 32}))
    pixels = photos(2, 32)
    expected = (pixels.astype(np.float64) / 255 - np.array(IMAGENET[0])) / np.array(IMAGENET[1])
    found = backbone.normalise(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(found, expected.transpose(0, 3, 1, 2), atol=1e-5)


@pytest.mark.parametrize(("name", "size_px"), [("tf_efficientnet_lite0", 224), ("tf_efficientnet_lite2", 260)])
def test_packaged_weights_equal_a_network_loaded_by_hand(name, size_px):
    backbone = build_backbone(model(name, weights="packaged"))
    assert backbone.preprocessing.geometry.size_px == size_px
    np.testing.assert_allclose(backbone.preprocessing.mean, [127 / 255] * 3)
    np.testing.assert_allclose(backbone.preprocessing.std, [128 / 255] * 3)
    assert not any(key.startswith("classifier") for key in backbone.network.state_dict()), "ImageNet's classifier"

    stored = torch.load(packaged_path(name), weights_only=True)
    whole = timm.create_model(name).eval()
    for (_, wanted), (_, given) in zip(whole.state_dict().items(), stored.items(), strict=True):
        wanted.copy_(given)
    pixels = photos(2, size_px)
    images = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = whole.forward_head(whole.forward_features(images), pre_logits=True)
        found = backbone(torch.from_numpy(pixels))
        logits = whole(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(logits).all()
    assert float(logits.abs().max()) < 50
    assert float(logits.std(dim=1).min()) > 0.2, "an ImageNet classifier prefers some classes"


def test_random_weights_depend_on_the_seed_alone():
    first, again, other = (build_backbone(model("resnet18", seed=seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["network.conv1.weight"], other["network.conv1.weight"])


def test_a_rebuilt_backbone_takes_the_first_ones_weights_and_gives_its_features():
    config = model("vit_tiny_patch16_224", pixels={"size_px": 48})
    backbone = build_backbone(config)
    again = rebuild_backbone(config, backbone.preprocessing)
    again.load_state_dict(backbone.state_dict())
    pixels = torch.from_numpy(photos(2, 48))
    with torch.inference_mode():
        assert torch.equal(again(pixels), backbone(pixels))


def test_an_unknown_architecture_names_close_ones():
    with pytest.raises(ConfigError, match=r"resnet51.*did you mean.*resnet50"):
        check_backbone("resnet51")
    with pytest.raises(ConfigError, match="simple_cnn"):
        build_backbone(model("qqqqqqqq"))


@pytest.mark.parametrize("weights", ["hub", "random"])
def test_an_unknown_tag_of_a_known_architecture_is_named(weights):
    with pytest.raises(ConfigError, match=r"resnet18\.nope.*a1_in1k"):
        build_backbone(model("resnet18.nope", weights=weights))


def test_weights_that_timm_does_not_know_are_named():
    name = next(n for n in timm.list_models("test_*") + timm.list_models("resnet*") if not _has_weights(n))
    with pytest.raises(WeightsError, match=rf"{name}.*random or to a file"):
        build_backbone(model(name, weights="hub"))


def _has_weights(name: str) -> bool:
    settings = timm.get_pretrained_cfg(name)
    return settings is not None and settings.has_weights


@pytest.mark.parametrize(("name", "size_px"), [("simple_cnn", 8), ("inception_v3", 32)])
def test_a_size_too_small_for_the_architecture_is_named(name, size_px):
    with pytest.raises(ConfigError, match=rf"{name}.*pixels.size_px = {size_px}"):
        build_backbone(model(name, pixels={"size_px": size_px}))


def test_more_stages_than_there_are_is_an_error_that_says_how_many():
    backbone = build_backbone(model("resnet18", pixels={"size_px": 32}))
    with pytest.raises(ConfigError, match=r"last:6 stages.*resnet18 has 5 stages"):
        list(trainable_parameters(backbone, 6))


def test_only_head_and_last_stages_are_trained_and_frozen_batch_norms_keep_still():
    backbone = build_backbone(model("resnet18", pixels={"size_px": 32}))
    classifier = Classifier(backbone, Head(backbone.feature_count, 3))
    classifier.freeze_all_but(1)
    classifier.train_mode()
    named = dict(classifier.named_modules())
    norms = {name: module for name, module in named.items() if isinstance(module, nn.BatchNorm2d)}
    assert {name for name, module in norms.items() if module.training} == {n for n in norms if ".layer4." in n}
    trained = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in classifier.named_parameters() if ".layer4." in name or name[:4] == "head"}
    assert classifier.head.training
    classifier.freeze_all_but(-1)
    classifier.train_mode()
    assert all(module.training for module in norms.values())


def trained_modules(expression: str, *, name: str = "resnet18") -> set[str]:
    """The modules of a backbone whose own parameters are trained."""
    backbone = build_backbone(model(name, pixels={"size_px": 32}, trainable=f"modules:{expression}"))
    classifier = Classifier(backbone, Head(backbone.feature_count, 3))
    classifier.freeze_all_but(0, modules=expression)
    assert all(parameter.requires_grad for parameter in classifier.head.parameters())
    owners = {}
    for key, module in backbone.network.named_modules():
        if own := {parameter.requires_grad for parameter in module.parameters(recurse=False)}:
            assert len(own) == 1, f"{key} is trained in part"
            owners[key] = own.pop()
    return {key for key, trained in owners.items() if trained}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # In full: not the conv1 of any block.
        ("conv1", {"conv1"}),
        # With all that is in it.
        (r"layer4\.0\.downsample", {"layer4.0.downsample.0", "layer4.0.downsample.1"}),
        (r"layer4\.1", {f"layer4.1.{part}" for part in ("conv1", "bn1", "conv2", "bn2")}),
        # A module and one inside it: each parameter once.
        (r"layer4\.1(\.bn1)?", {f"layer4.1.{part}" for part in ("conv1", "bn1", "conv2", "bn2")}),
        (r"layer\d\.1\.bn2", {f"layer{number}.1.bn2" for number in (1, 2, 3, 4)}),
    ],
)
def test_modules_are_named_in_full_and_trained_with_all_in_them(expression, expected):
    assert trained_modules(expression) == expected


def test_parameters_of_modules_within_one_another_come_once():
    backbone = build_backbone(model("resnet18", pixels={"size_px": 32}))
    found = list(trainable_parameters(backbone, 0, modules=".*"))
    assert len(found) == len({id(parameter) for parameter in found}) == len(list(backbone.parameters()))


def test_a_whole_stage_by_name_is_that_stage():
    backbone = build_backbone(model("resnet18", pixels={"size_px": 32}))
    by_name, by_number = trainable_parameters(backbone, 0, modules="layer4"), trainable_parameters(backbone, 1)
    assert {id(parameter) for parameter in by_name} == {id(parameter) for parameter in by_number}


@pytest.mark.parametrize("expression", ["layer5", "layer4.", "ayer4", "act1", "global_pool", "Layer4"])
def test_an_expression_that_names_nothing_is_an_error_with_names_that_there_are(expression):
    config = model("resnet18", pixels={"size_px": 32}, trainable=f"modules:{expression}")
    for look in (
        lambda: check_trainable(config),
        lambda: list(trainable_parameters(build_backbone(config), 0, modules=expression)),
    ):
        with pytest.raises(ConfigError) as caught:
            look()
        text = str(caught.value)
        assert f"'modules:{expression}'" in text
        assert "no module of resnet18" in text
        assert all(name in text for name in ("conv1", "bn1", "layer1", "layer4"))
        # What has no parameters cannot be trained.
        assert "act1," not in text
    for trainable in ("head", "last:1 stage", "modules:layer4"):
        check_trainable(model("resnet18", pixels={"size_px": 32}, trainable=trainable))
    check_trainable(model("majority", trainable=f"modules:{expression}"))


def test_batch_norms_that_are_not_named_keep_their_statistics():
    backbone = build_backbone(model("resnet18", pixels={"size_px": 32}))
    classifier = Classifier(backbone, Head(backbone.feature_count, 3))
    classifier.freeze_all_but(0, modules=r"layer4\.1\.bn2|layer4\.1\.conv1")
    classifier.train_mode()
    norms = {key for key, module in backbone.network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    training = {key for key, module in backbone.network.named_modules() if module.training}
    assert norms & training == {"layer4.1.bn2"}


def test_a_portable_classifier_gives_probabilities():
    backbone = build_backbone(model(pixels={"size_px": 16}))
    classifier = Classifier(backbone, Head(backbone.feature_count, 3)).eval()
    pixels = torch.from_numpy(photos(4, 16))
    with torch.inference_mode():
        found = Portable(classifier)(pixels)
        torch.testing.assert_close(found, torch.softmax(classifier.classify(backbone.normalise(pixels)), 1))
    torch.testing.assert_close(found.sum(1), torch.ones(4))


def test_a_backbone_is_what_its_parts_say():
    backbone = build_backbone(model("resnet18", pixels={"size_px": 32}))
    assert isinstance(backbone, Backbone)
    assert isinstance(backbone.preprocessing, Preprocessing)
    assert (backbone.name, backbone.source, backbone.pooling) == ("resnet18", "random", "avg")
