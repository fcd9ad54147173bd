"""Convolutions as a CPU trains them fastest in bf16.

In: a network that is about to be trained. Out: the same network, whose convolutions compute the same in another way
for as long as the context lasts. No file here.

torch's backward pass of convolutions in bf16 is far from what the processor can do in some cases. Measured on two
Sapphire Rapids cores, forward and backward, batches of 32: ResNet50's 3 x 3 convolution of 512 channels at 4 x 4 takes
19.3 ms, as a matrix product 8.1 ms; its 1 x 1 convolution of stride 2 takes 21.6 and 5.0 ms. Its last stage trains at
195 images/s plain and at 324 so; that of EfficientNet-Lite2 at 260 px, which has depthwise convolutions, at 32 plain,
40 all in fp32, 97 so. Kernels over more positions are the library's: 128 channels at 16 x 16 take 3.9 ms, as a product
15.1.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from bestiary.telemetry import telemetry_off

with telemetry_off():  # timm imports huggingface_hub
    from timm.layers.conv2d_same import Conv2dSame

_FEW_POSITIONS = 32


@contextmanager
def fast_convolutions(network: nn.Module) -> Iterator[None]:
    """Train a network's depthwise convolutions in fp32, and those at few positions as matrix products.

    For bf16 autocast on a CPU. Weights, gradients and results are the same but for rounding. Convolutions that are not
    trained stay as they are: forward alone, the library's are faster (ResNet50 whole, last stage trained: 108 images/s
    against 73).
    """
    convolutions = [
        module for module in network.modules() if isinstance(module, nn.Conv2d) and module.weight.requires_grad
    ]
    for module in convolutions:
        # On the instance, so that subclasses with a padding of their own are served.
        module.forward = _faster(module, module.forward)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for module in convolutions:
            del module.forward


def _faster(module: nn.Conv2d, plain: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    if module.groups > 1:
        return lambda images: _outside_autocast(plain, images)
    # Other subclasses may do more than convolve: timm's StdConv2d standardises its weights first.
    if type(module) in (nn.Conv2d, Conv2dSame) and module.kernel_size == (1, 1) and module.padding in ((0, 0), "valid"):
        return lambda images: _pointwise(module, images)
    if type(module) is nn.Conv2d and module.dilation == (1, 1) and module.padding_mode == "zeros":
        return lambda images: _as_product(module, plain, images)
    return plain


def _outside_autocast(plain: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return plain(images.float())


def _pointwise(module: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    # Slicing costs a copy on the way back, so only where something falls away.
    if module.stride != (1, 1):
        images = images[:, :, :: module.stride[0], :: module.stride[1]]
    return functional.linear(images.permute(0, 2, 3, 1), module.weight.flatten(1), module.bias).permute(0, 3, 1, 2)


def _as_product(module: nn.Conv2d, plain: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    if isinstance(module.padding, str):
        return plain(images)
    (rows, columns), (down, across), (top, left) = module.kernel_size, module.stride, module.padding
    height = (images.shape[2] + 2 * top - rows) // down + 1
    width = (images.shape[3] + 2 * left - columns) // across + 1
    if min(height, width) < 1 or height * width > _FEW_POSITIONS:
        return plain(images)
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    patches = torch.cat(
        [
            padded[:, row : row + down * height : down, column : column + across * width : across]
            for row in range(rows)
            for column in range(columns)
        ],
        dim=3,
    )
    weights = module.weight.permute(0, 2, 3, 1).flatten(1)
    return functional.linear(patches, weights, module.bias).permute(0, 3, 1, 2)
