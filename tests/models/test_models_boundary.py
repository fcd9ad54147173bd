"""The cut: two halves that make the whole, in evaluation and in training, and the networks that have none."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_models import model, photos
from torch import nn

from bestiary.data.geometry import Geometry
from bestiary.models.backbones import Backbone, Preprocessing, build_backbone
from bestiary.models.classifier import Classifier
from bestiary.models.heads import Head
from bestiary.models.partial import boundary
from bestiary.models.partial.boundary import CannotCutError, cut

SMALL = [
    ("simple_cnn", 24),
    ("resnet18", 64),
    ("tf_efficientnet_lite0", 64),
    ("mobilenetv3_small_050", 64),
    ("convnext_atto", 64),
    ("vit_tiny_patch16_224", 48),
]
MORE = [
    ("vgg11", 32),
    ("mixer_s32_224", 64),
    ("regnetx_002", 64),
    ("densenet121", 64),
    # Its activations lie channels first in memory.
    ("mobilevit_xxs", 64),
    ("hrnet_w18_small", 64),
    ("nf_regnet_b0", 64),
    ("resnetv2_50", 64),
    ("swin_tiny_patch4_window7_224", 64),
    ("levit_128s", 64),
    ("tf_efficientnetv2_b0", 64),
    ("edgenext_xx_small", 64),
    ("fastvit_t8", 64),
    ("repvgg_a0", 64),
    ("ghostnet_050", 64),
    ("dla34", 64),
    ("dpn48b", 64),
]
ALL = [*SMALL, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in MORE)]


def classifier(name: str, size_px: int) -> Classifier:
    backbone = build_backbone(model(name, pixels={"size_px": size_px}))
    # Norms and layer scales that begin at 1, 0 or 1e-6 hide mistakes.
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in (*backbone.network.parameters(), *backbone.network.buffers()):
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.2 + 0.05)
    return Classifier(backbone, Head(backbone.feature_count, 3)).eval()


def images(size_px: int, *, count: int = 4) -> torch.Tensor:
    return torch.from_numpy(photos(count, size_px))


def assert_close(
    found: torch.Tensor, expected: torch.Tensor, *, name: str = "", rtol: float = 1e-5, atol: float = 1e-9
) -> None:
    """Equal within `rtol` of the largest value expected."""
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(
        found, expected, rtol=0, atol=rtol * scale + atol, msg=lambda text: f"{name}, of up to {scale:.3g}: {text}"
    )


def identities(parameters) -> set[int]:
    return {id(parameter) for parameter in parameters}


@pytest.mark.parametrize(("name", "size_px"), ALL)
@pytest.mark.slow
def test_the_halves_make_the_whole_at_every_stage(name, size_px):
    whole = classifier(name, size_px)
    # Another number of images than the cut itself tries.
    pixels = images(size_px, count=3)
    with torch.inference_mode():
        expected = whole.backbone(pixels)
    stages = len(whole.backbone.stages())
    for trained in range(1, stages):
        whole.freeze_all_but(trained)
        halves = cut(whole.backbone)
        with torch.inference_mode():
            activations = halves.trunk(pixels)
            assert activations.shape == (3, halves.activation_count)
            assert_close(halves.tail(activations), expected, name=f"{name}, last {trained}")
        trainable = [parameter for parameter in whole.backbone.parameters() if parameter.requires_grad]
        assert not identities(halves.trunk.parameters()) & identities(trainable)
        assert identities(trainable) <= identities(halves.tail.parameters())
        # These networks are chains of stages: no weight is in both halves, none is lost.
        assert not identities(halves.trunk.parameters()) & identities(halves.tail.parameters())
        both = identities([*halves.trunk.parameters(), *halves.tail.parameters()])
        assert both == identities(whole.backbone.parameters())


@pytest.mark.parametrize(("name", "size_px"), ALL)
@pytest.mark.slow
def test_training_the_tail_is_training_the_network(name, size_px):
    begun = classifier(name, size_px)
    stages = len(begun.backbone.stages())
    pixels, labels = images(size_px, count=6), torch.tensor([0, 1, 2, 0, 1, 2])
    for trained in sorted({1, stages // 2} - {0, stages}):
        begun.freeze_all_but(trained)
        whole, halved = copy.deepcopy(begun), copy.deepcopy(begun)
        halves = cut(halved.backbone)
        with torch.inference_mode():
            activations = halves.trunk(pixels)
        activations = activations.clone()
        before = {key: value.clone() for key, value in whole.state_dict().items()}
        for network in (whole, halved):
            network.train_mode()
        logits = {
            "whole": whole.classify(whole.backbone.normalise(pixels)),
            "halved": halved.head(halves.tail(activations)),
        }
        for network, found in zip((whole, halved), logits.values(), strict=True):
            nn.functional.cross_entropy(found, labels).backward()
            parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
            torch.optim.SGD(parameters, lr=1e-2).step()
        where = f"{name}, last {trained}"
        assert_close(logits["halved"], logits["whole"], name=where, rtol=1e-4)
        expected = dict(whole.named_parameters())
        largest = max(float(value.grad.abs().max()) for value in expected.values() if value.grad is not None)
        for key, parameter in halved.named_parameters():
            assert (parameter.grad is None) == (expected[key].grad is None) == (not parameter.requires_grad), key
            if parameter.grad is not None:
                # A shift before a batch norm has no gradient but rounding.
                assert_close(parameter.grad, expected[key].grad, name=f"{where}: {key}", rtol=1e-3, atol=1e-6 * largest)
        after = halved.state_dict()
        for key, value in whole.state_dict().items():
            assert_close(after[key].float(), value.float(), name=f"{where}: {key}", rtol=1e-4)
        # Statistics of norms moved where they are trained, and nowhere else.
        statistics = {key for key in after if key.endswith("running_mean") and not torch.equal(after[key], before[key])}
        norms = {
            f"{key}.running_mean"
            for key, module in halved.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight.requires_grad
        }
        assert statistics == norms, where


def test_the_tail_is_the_backbones_own():
    network = classifier("resnet18", 64)
    network.freeze_all_but(1)
    halves, pixels = cut(network.backbone), images(64)
    with torch.inference_mode():
        activations, before = halves.trunk(pixels), network.backbone(pixels)
    with torch.no_grad():
        for parameter in halves.tail.parameters():
            parameter.mul_(1.1)
    with torch.inference_mode():
        assert not torch.allclose(network.backbone(pixels), before, rtol=1e-2)
        assert_close(halves.tail(activations), network.backbone(pixels))


@pytest.mark.parametrize(("name", "size_px"), [("simple_cnn", 24), ("resnet18", 64), ("vit_tiny_patch16_224", 48)])
def test_all_trained_or_none_has_no_boundary(name, size_px):
    network = classifier(name, size_px)
    network.freeze_all_but(0)
    with pytest.raises(CannotCutError, match="nothing"):
        cut(network.backbone)
    for everything in (-1, len(network.backbone.stages())):
        network.freeze_all_but(everything)
        with pytest.raises(CannotCutError, match="pixels"):
            cut(network.backbone)


class _Layers(nn.Module):
    """A made-up network: two stages of one convolution; subclasses say what happens to them."""

    feature_info = ({"module": "first"}, {"module": "second"})

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(images)))


class _Skip(_Layers):
    """Three values cross the boundary, of three shapes."""

    def forward_features(self, images):
        early = torch.tanh(self.first(images))
        late = nn.functional.max_pool2d(early, 2)
        return torch.cat([self.second(late).flatten(1), self.second(early).flatten(1), early.mean(dim=(2, 3))], dim=1)


class _ByValue(_Layers):
    def forward_features(self, images):
        early = self.first(images)
        return self.second(early if early.sum() > 0 else -early)


class _OneNumberAnImage(_Layers):
    def forward_features(self, images):
        early = self.first(images)
        return torch.einsum("nchw,n->nchw", self.second(early), early.mean(dim=(1, 2, 3)))


class _Numbered(_Layers):
    """Whole numbers cross the boundary: bfloat16 would not keep them."""

    def forward_features(self, images):
        early = self.first(images)
        return self.second(early).flatten(1).gather(1, early.flatten(1).argmax(1, keepdim=True))


class _Blended(_Layers):
    """Each image is changed by its neighbours before the boundary: no row for an image could be kept of that."""

    def forward_features(self, images):
        return self.second(self.first(images).mean(dim=0, keepdim=True))


class _ByTime(_Layers):
    """Another result in every call."""

    def forward_features(self, images):
        early = self.first(images)
        return self.second(early + torch.rand_like(early))


class _NamedByFunctions(nn.Module):
    """Three stages of one shape, whose ends are calls of one function."""

    feature_info = ({"module": "a"}, {"module": "b"}, {"module": "c"})

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward_features(self, images):
        return torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(images))))))


def made_up(kind: type[nn.Module], *, trained: int = 1) -> Classifier:
    torch.manual_seed(5)
    preprocessing = Preprocessing(Geometry(size_px=8, fit="squash"), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2))
    backbone = Backbone("made-up", kind(), preprocessing=preprocessing, pooling="flatten", source="random").eval()
    network = Classifier(backbone, Head(backbone.feature_count, 3)).eval()
    network.freeze_all_but(trained)
    return network


def test_several_values_may_cross_the_boundary():
    network = made_up(_Skip)
    halves, pixels = cut(network.backbone), images(8, count=5)
    assert len(halves.boundary) == len(set(halves.boundary)) == 3
    assert halves.activation_count == 4 * 8 * 8 + 4 * 4 * 4 + 4
    with torch.no_grad():
        activations = halves.trunk(pixels)
    assert_close(halves.tail(activations), network.backbone(pixels))
    halves.tail(activations).square().mean().backward()
    found = {key: value.grad.clone() for key, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    network.backbone(pixels).square().mean().backward()
    assert found.keys() == {"backbone.network.second.weight", "backbone.network.second.bias"}
    for key, gradient in found.items():
        assert_close(gradient, network.get_parameter(key).grad, name=key)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (_ByValue, "traced"),
        (_OneNumberAnImage, "one array an image"),
        (_Numbered, "one array an image"),
        (_Blended, "one array an image"),
        (_ByTime, "the whole"),
    ],
)
def test_a_network_that_cannot_be_cut_says_why(kind, why):
    with pytest.raises(CannotCutError, match=why):
        cut(made_up(kind).backbone)
    # The same, but for what stands in the way.
    cut(made_up(_Layers).backbone)


@pytest.mark.parametrize(("name", "size_px"), [("twins_svt_small", 64)])
def test_a_network_of_timm_that_cannot_be_traced_says_so(name, size_px):
    network = classifier(name, size_px)
    for parameter in list(network.backbone.parameters())[-4:]:
        parameter.requires_grad_(True)
    for parameter in list(network.backbone.parameters())[:-4]:
        parameter.requires_grad_(False)
    with pytest.raises(CannotCutError, match="traced"):
        cut(network.backbone)


def test_halves_that_are_not_the_whole_are_refused(monkeypatch):
    real = boundary._restored
    monkeypatch.setattr(boundary, "_restored", lambda piece, shape: real(piece, shape).flip(2))
    with pytest.raises(CannotCutError, match="the whole"):
        cut(made_up(_Layers).backbone)


@pytest.mark.slow
def test_a_boundary_is_named_alike_in_every_process_and_unlike_any_other():
    halves = [cut(made_up(_NamedByFunctions, trained=trained).backbone) for trained in (1, 2)]
    assert halves[0].activation_count == halves[1].activation_count
    assert halves[0].boundary != halves[1].boundary
    assert halves[0].operations != halves[1].operations
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_models_boundary as t\n"
        "halves = t.cut(t.made_up(t._NamedByFunctions).backbone)\n"
        "print(repr((halves.boundary, halves.operations)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == repr((halves[0].boundary, halves[0].operations))


NAMED = [
    ("resnet18", r"layer4\.0\.(conv2|bn2|downsample)|layer4\.1", 64),
    # Nothing of a stage but its batch norms.
    ("resnet18", r"layer[34]\..*\bbn\d", 64),
    ("tf_efficientnet_lite0", r"blocks\.6|conv_head|bn2", 64),
    ("vit_tiny_patch16_224", r"blocks\.11\.mlp|norm", 48),
    ("simple_cnn", r"layers\.3", 24),
]


@pytest.mark.parametrize(("name", "expression", "size_px"), NAMED)
def test_the_boundary_follows_modules_that_are_named(name, expression, size_px):
    network = classifier(name, size_px)
    network.freeze_all_but(0, modules=expression)
    halves, pixels = cut(network.backbone), images(size_px, count=3)
    with torch.no_grad():
        activations = halves.trunk(pixels)
    assert_close(halves.tail(activations), network.backbone(pixels), name=name)
    trainable = identities(parameter for parameter in network.backbone.parameters() if parameter.requires_grad)
    assert trainable
    assert not identities(halves.trunk.parameters()) & trainable
    assert trainable <= identities(halves.tail.parameters())
    # Gradients are those of the whole.
    halves.tail(activations.clone()).square().mean().backward()
    found = {key: value.grad.clone() for key, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    network.backbone(pixels).square().mean().backward()
    assert {id(network.get_parameter(key)) for key in found} == trainable
    largest = max(float(gradient.abs().max()) for gradient in found.values())
    for key, gradient in found.items():
        assert_close(gradient, network.get_parameter(key).grad, name=key, rtol=1e-3, atol=1e-6 * largest)


def test_two_values_cross_the_boundary_where_a_block_is_trained_in_part():
    """What the skip connection starts from, and what the frozen first convolution gives."""
    network = classifier("resnet18", 64)
    network.freeze_all_but(0, modules=r"layer4\.0\.(conv2|bn2|downsample)|layer4\.1")
    halves = cut(network.backbone)
    assert len(halves.boundary) == 2
    assert halves.activation_count == 256 * 4 * 4 + 512 * 2 * 2


def test_cutting_leaves_the_backbone_as_it_was():
    network = classifier("resnet18", 64)
    network.freeze_all_but(2)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    wanted = {key: parameter.requires_grad for key, parameter in network.named_parameters()}
    random = torch.get_rng_state()
    cut(network.backbone)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert {key: parameter.requires_grad for key, parameter in network.named_parameters()} == wanted
    assert not any(module.training for module in network.modules())
