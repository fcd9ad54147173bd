"""A frozen network → a function from uint8 pixels to an array, on the fastest engine at hand.

In: a torch module that takes `(n, height, width, 3) uint8`. Out: a `Forward`. No file here.

On a CPU the engine is OpenVINO, in bf16 where the processor has it: on two Sapphire Rapids cores EfficientNet-Lite2 at
260 px runs at 240 images/s, in eager torch at 58 (bf16) and 32 (fp32). Elsewhere, and where OpenVINO is not
installed, it is torch.
"""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bestiary.learn.devices import autocast

Engine = Literal["openvino", "torch"]
BATCH_SIZE = 32


@dataclass(frozen=True)
class Forward:
    """A compiled forward pass.

    Attributes:
        run: `(n, h, w, 3) uint8` → `(n, outputs) float32`, for n up to any size.
        engine: what computes it.
        precision: of the arithmetic inside.
    """

    run: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
    engine: Engine
    precision: Literal["fp32", "bf16"]


def pick_engine(device: torch.device) -> Engine:
    """OpenVINO on a CPU where it is installed, else torch."""
    return "openvino" if device.type == "cpu" and importlib.util.find_spec("openvino") is not None else "torch"


def compile_forward(
    network: nn.Module, *, size_px: int, precision: Literal["fp32", "bf16"], device: torch.device, engine: Engine
) -> Forward:
    """Compile a network in eval mode; it must not be changed afterwards.

    Args:
        network: uint8 pixels `(n, size_px, size_px, 3)` → `(n, outputs)`.
        size_px: the side of the square.
        precision: of the arithmetic; inputs and outputs are uint8 and float32 in any case.
        device: where torch computes; OpenVINO here always means CPU.
        engine: see `pick_engine`.
    """
    network = network.eval()
    if engine == "openvino":
        return Forward(_openvino(network, size_px=size_px, precision=precision), engine, precision)
    return Forward(_torch(network, precision=precision, device=device), engine, precision)


def _torch(network: nn.Module, *, precision: Literal["fp32", "bf16"], device: torch.device) -> Callable[[Any], Any]:
    network = network.to(device).to(memory_format=torch.channels_last)

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with torch.inference_mode(), autocast(precision, device):
            outputs = [
                network(torch.from_numpy(np.ascontiguousarray(pixels[start : start + BATCH_SIZE])).to(device))
                .float()
                .cpu()
                for start in range(0, len(pixels), BATCH_SIZE)
            ]
        return torch.cat(outputs).numpy()

    return run


def _openvino(network: nn.Module, *, size_px: int, precision: Literal["fp32", "bf16"]) -> Callable[[Any], Any]:
    import openvino

    example = torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8)
    model = _convert(network, example)
    model.reshape([-1, size_px, size_px, 3])
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()

    def run(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        # A request's output is overwritten by its next run, hence the copies.
        outputs = [
            np.array(next(iter(request.infer([np.ascontiguousarray(pixels[start : start + BATCH_SIZE])]).values())))
            for start in range(0, len(pixels), BATCH_SIZE)
        ]
        return np.concatenate(outputs).astype(np.float32, copy=False)

    return run


def _convert(network: nn.Module, example: torch.Tensor) -> Any:
    """Through OpenVINO's front end itself: it reports nothing, and does no more than is needed (see `core.process`)."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        # The tracer warns of shape checks inside timm that hold for every batch.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(network, example_input=example)
        front_end = FrontEndManager().load_by_framework("pytorch")
        return front_end.convert(front_end.load(decoder))
