"""A frozen network → a function from uint8 pixels to an array, on the fastest engine at hand.

In: a torch module that takes `(n, height, width, 3) uint8`. Out: a `Forward`. No file here.

On a CPU the engine is OpenVINO, in bf16 where the processor has it; elsewhere, and where OpenVINO is not installed, it
is torch. Figures stand in docs/speed.md.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bestiary.models.devices import autocast
from bestiary.models.extract.openvino_stream import BATCH_SIZE, Outputs, openvino_stream
from bestiary.telemetry import import_openvino

Engine = Literal["openvino", "torch"]
Batches = Iterable[npt.NDArray[np.uint8]]

# A GPU needs more at once to be busy.
_GPU_BATCH_SIZE = 256


@dataclass(frozen=True)
class Forward:
    """A compiled forward pass.

    Attributes:
        stream: batches of `(n, h, w, 3) uint8`, n at most `batch_size` → one `(n, ...) float32` each, in order. The
            next batch is asked for while earlier ones are computed, and an array must not change after it was
            handed over. One stream at a time.
        batch_size: how many images the engine takes at once.
        engine: what computes it.
        precision: of the arithmetic inside.
        notice: what the user should know of it; mostly nothing.
    """

    stream: Callable[[Batches], Outputs]
    batch_size: int
    engine: Engine
    precision: Literal["fp32", "bf16"]
    notice: str = ""

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """`(n, h, w, 3) uint8` → `(n, ...) float32`, for any n from 1."""
        starts = range(0, len(pixels), self.batch_size)
        return np.concatenate(list(self.stream(pixels[start : start + self.batch_size] for start in starts)))


def pick_engine(device: torch.device) -> Engine:
    """OpenVINO on a CPU where it is installed, else torch."""
    return "openvino" if device.type == "cpu" and importlib.util.find_spec("openvino") is not None else "torch"


def batch_size_on(device: torch.device) -> int:
    """How many images a compiled forward pass takes at once."""
    return BATCH_SIZE if device.type == "cpu" else _GPU_BATCH_SIZE


def compile_forward(
    network: nn.Module, *, size_px: int, precision: Literal["fp32", "bf16"], device: torch.device, engine: Engine
) -> Forward:
    """Compile a network in eval mode; it must not be changed afterwards.

    Args:
        network: uint8 pixels `(n, size_px, size_px, 3)` → `(n, ...)`.
        size_px: the side of the square.
        precision: of the arithmetic; inputs and outputs are uint8 and float32 in any case.
        device: where torch computes; OpenVINO here always means CPU.
        engine: see `pick_engine`.
    """
    network = network.eval()
    if engine == "openvino":
        stream = _openvino(network, size_px=size_px, precision=precision)
        return Forward(stream, BATCH_SIZE, engine, precision)
    stream = _torch(network, precision=precision, device=device)
    notice = "OpenVINO is not installed: torch computes, several times slower" if device.type == "cpu" else ""
    return Forward(stream, batch_size_on(device), engine, precision, notice)


def _torch(
    network: nn.Module, *, precision: Literal["fp32", "bf16"], device: torch.device
) -> Callable[[Batches], Outputs]:
    network = network.to(device).to(memory_format=torch.channels_last)

    def stream(batches: Batches) -> Outputs:
        for batch in batches:
            with torch.inference_mode(), autocast(precision, device):
                outputs = network(torch.from_numpy(np.ascontiguousarray(batch)).to(device))
            yield outputs.float().cpu().numpy()

    return stream


def _openvino(network: nn.Module, *, size_px: int, precision: Literal["fp32", "bf16"]) -> Callable[[Batches], Outputs]:
    model = _convert(network, torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8))
    stream = openvino_stream(model, batch_size=BATCH_SIZE, sizes_px=[size_px], precision=precision)
    return lambda batches: stream([batch] for batch in batches)


def _convert(network: nn.Module, example: torch.Tensor) -> Any:
    """Through OpenVINO's front end itself: it reports nothing (see `telemetry`), and does no more than is needed."""
    import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        # The tracer warns of shape checks inside timm that hold for every batch. Its own check, a second trace, takes
        # more than half of the conversion (1.1 of 2.0 s for Lite2), and tests compare the result with eager torch.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(network, example_input=example, trace_kwargs={"check_trace": False})
        front_end = FrontEndManager().load_by_framework("pytorch")
        return front_end.convert(front_end.load(decoder))
