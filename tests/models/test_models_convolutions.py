"""Convolutions computed in another way: the same numbers, the same gradients, and nothing left behind."""

import copy

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame, ScaledStdConv2d, StdConv2d
from torch import nn

from bestiary.models.partial import convolutions
from bestiary.models.partial.convolutions import fast_convolutions

PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))


def pictures(channels: int, height: int, width: int, *, count: int = 3) -> torch.Tensor:
    random = torch.Generator().manual_seed(height * 100 + width)
    values = torch.randn(count, channels, height, width, generator=random)
    return values.contiguous(memory_format=torch.channels_last)


def grown(module: nn.Module, images: torch.Tensor, *, precision: str = "fp32") -> dict[str, torch.Tensor]:
    """What a module gives, and the gradients of its weights and its input."""
    module.zero_grad()
    inputs = images.clone(memory_format=torch.preserve_format).requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        output = module(inputs)
    # Each output has a weight of its own in the loss, so that none can take another's place.
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output.to(inputs.dtype) * weights).sum().backward()
    grads = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    return {"output": output.detach(), "input": inputs.grad, **grads}


def assert_same(module: nn.Module, images: torch.Tensor, *, precision: str = "fp32", rtol: float = 2e-5) -> None:
    """In the context as without it in float64, within `rtol` of the largest value."""
    # torch 2.15's own backward pass in fp32 crashes for pointwise convolutions of stride 2 and 8 channels.
    expected = grown(copy.deepcopy(module).double(), images.double())
    with fast_convolutions(module):
        found = grown(module, images, precision=precision)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name].double(), value, rtol=0, atol=rtol * scale + 1e-7, msg=name)


def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list of the ways that convolutions take from now on, in place of plain."""
    taken: list[str] = []
    for name in ("_outside_autocast", "_pointwise"):
        real = getattr(convolutions, name)
        monkeypatch.setattr(convolutions, name, lambda *a, name=name, real=real: taken.append(name) or real(*a))
    real_cat = torch.cat
    monkeypatch.setattr(convolutions.torch, "cat", lambda *a, **k: taken.append("_as_product") or real_cat(*a, **k))
    return taken


@settings(max_examples=150, deadline=None)
@given(
    kernel=PAIRS, stride=PAIRS, padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)), groups=st.sampled_from([1, 1, 1, 2, 4]), bias=st.booleans(),
)  # fmt: skip
@example(kernel=(1, 1), stride=(2, 2), padding=(0, 0), size=(7, 8), groups=1, bias=True)
@example(kernel=(1, 1), stride=(1, 1), padding=(1, 1), size=(4, 4), groups=1, bias=True)
@example(kernel=(3, 3), stride=(1, 1), padding=(1, 1), size=(4, 8), groups=1, bias=True)
@example(kernel=(3, 2), stride=(2, 3), padding=(1, 0), size=(9, 8), groups=1, bias=False)
@example(kernel=(3, 3), stride=(1, 1), padding=(1, 1), size=(5, 5), groups=4, bias=True)
@example(kernel=(4, 4), stride=(4, 4), padding=(0, 0), size=(11, 10), groups=1, bias=True)
def test_any_convolution_in_fp32_is_the_plain_one(kernel, stride, padding, size, groups, bias):
    assume(all(side + 2 * pad >= reach for side, pad, reach in zip(size, padding, kernel, strict=True)))
    torch.manual_seed(0)
    module = nn.Conv2d(4, 8, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
    assert_same(module, pictures(4, *size))


SHAPES = {
    "pointwise": (lambda: nn.Conv2d(32, 48, 1), 6, "_pointwise"),
    "pointwise of stride 2": (lambda: nn.Conv2d(32, 48, 1, stride=2, bias=False), 7, "_pointwise"),
    "pointwise of padding 'valid'": (lambda: nn.Conv2d(32, 48, 1, padding="valid"), 7, "_pointwise"),
    "few positions": (lambda: nn.Conv2d(32, 48, 3, padding=1), 4, "_as_product"),
    "few positions, stride 2": (lambda: nn.Conv2d(32, 48, 3, stride=2, padding=1, bias=False), 8, "_as_product"),
    "depthwise": (lambda: nn.Conv2d(32, 32, 5, padding=2, groups=32), 9, "_outside_autocast"),
    "grouped": (lambda: nn.Conv2d(32, 48, 3, padding=1, groups=4), 9, "_outside_autocast"),
    "timm's same, pointwise": (lambda: Conv2dSame(32, 48, 1, stride=2), 7, "_pointwise"),
    "timm's same, depthwise": (lambda: Conv2dSame(32, 32, 3, stride=2, groups=32), 7, "_outside_autocast"),
    # These stay as they are.
    "many positions": (lambda: nn.Conv2d(32, 48, 3, padding=1), 9, None),
    "timm's same": (lambda: Conv2dSame(32, 48, 3, stride=2), 7, None),
    "dilated": (lambda: nn.Conv2d(32, 48, 3, dilation=2, padding=1), 5, None),
    "reflected": (lambda: nn.Conv2d(32, 48, 3, padding=1, padding_mode="reflect"), 5, None),
    "circular": (lambda: nn.Conv2d(32, 48, 3, padding=2, padding_mode="circular"), 4, None),
    "padding 'same'": (lambda: nn.Conv2d(32, 48, 3, padding="same"), 5, None),
    "padding 'valid'": (lambda: nn.Conv2d(32, 48, 3, padding="valid"), 5, None),
    "pointwise of padding 'same'": (lambda: nn.Conv2d(32, 48, 1, padding="same"), 5, None),
    # Their weights are changed before they convolve.
    "standardised, pointwise": (lambda: StdConv2d(32, 48, 1), 5, None),
    "standardised": (lambda: StdConv2d(32, 48, 3), 5, None),
    "standardised and scaled, pointwise": (lambda: ScaledStdConv2d(32, 48, 1, stride=2), 5, None),
    "standardised, grouped": (lambda: StdConv2d(32, 48, 3, groups=4), 5, "_outside_autocast"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_kind_is_the_same_in_fp32_and_nearly_so_in_bf16(name, monkeypatch):
    make, size, way = SHAPES[name]
    torch.manual_seed(0)
    module = make()
    images = pictures(32, size, size, count=5)
    taken = ways(monkeypatch)
    assert_same(module, images)
    assert set(taken) == ({way} if way else set()), "the way that the table says"
    # Products of 8 bits, sums of more: 1/256 of the largest, and some.
    assert_same(module, images, precision="bf16", rtol=2e-2)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outputs_lie_channels_last_in_memory(name, precision):
    make, size, _ = SHAPES[name]
    module = make().to(memory_format=torch.channels_last)
    with fast_convolutions(module), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        output = module(pictures(32, size, size))
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_depthwise_convolutions_are_computed_in_fp32():
    torch.manual_seed(0)
    module, images = nn.Conv2d(32, 32, 3, groups=32), pictures(32, 9, 9)
    with torch.inference_mode():
        exact = module(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = module(images)
            with fast_convolutions(module):
                found = module(images)
                from_bf16 = module(images.bfloat16())
    assert found.dtype == torch.float32
    assert (rounded.float() - exact).abs().max() > 1e-3
    torch.testing.assert_close(found, exact)
    torch.testing.assert_close(from_bf16, module(images.bfloat16().float()))


class _Net(nn.Module):
    """Convolutions of all kinds, one of them used twice and known by two names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1)
        )
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.alias = self.twice

    def forward(self, images):
        return self.alias(torch.relu(self.twice(self.body(images))))


def left_over(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("network_of", [_Net, lambda: nn.Conv2d(3, 3, 1)])
def test_modules_are_as_before_after_the_context_and_after_an_exception_in_it(network_of):
    network = network_of()
    images = pictures(3, 12, 12)
    expected, attributes = grown(network, images), {name: set(vars(m)) for name, m in network.named_modules()}
    with fast_convolutions(network):
        assert left_over(network) == [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    assert not left_over(network)

    def fail():
        with fast_convolutions(network):
            network(images[:, :2])

    with pytest.raises(RuntimeError):
        fail()
    assert not left_over(network)
    assert {name: set(vars(m)) for name, m in network.named_modules()} == attributes
    for name, value in grown(network, images).items():
        assert torch.equal(value, expected[name]), name
    with fast_convolutions(network):
        pass
    copied = copy.deepcopy(network)
    assert all(torch.equal(a, b) for a, b in zip(copied.parameters(), network.parameters(), strict=True))


def test_a_network_trains_to_the_same_weights():
    images, target = pictures(3, 12, 12, count=8), torch.randn(8, 8, 10, 10, generator=torch.Generator().manual_seed(2))

    def train(fast: bool) -> tuple[list[torch.Tensor], float]:
        network = _Net()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)

        def steps() -> float:
            for _ in range(10):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(network(images), target)
                loss.backward()
                optimizer.step()
            return loss.item()

        if fast:
            with fast_convolutions(network):
                last = steps()
        else:
            last = steps()
        return list(network.parameters()), last

    (plain, plain_loss), (fast, fast_loss) = train(False), train(True)
    assert fast_loss == pytest.approx(plain_loss, rel=1e-5)
    for a, b, begun in zip(plain, fast, _Net().parameters(), strict=True):
        assert not torch.allclose(a, begun, atol=1e-5)
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6)


def test_an_image_smaller_than_the_kernel_is_refused_as_ever():
    for size in (1, 2):
        module = nn.Conv2d(4, 4, 3 + size)
        with pytest.raises(RuntimeError):
            module(pictures(4, size, size))
        with fast_convolutions(module), pytest.raises(RuntimeError):
            module(pictures(4, size, size))
