"""A compiled OpenVINO network over a stream of batches. No torch here: prediction runs without it.

In: an OpenVINO model, and batches of pixels. Out: its outputs, in order. No file here.

The network is compiled for batches of one fixed size, and several are under way at once: on two Sapphire Rapids cores
EfficientNet-Lite2 at 260 px runs at 322 images/s so, and at 254 with one batch of any size after the other.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bestiary.telemetry import import_openvino

Batch = Sequence[npt.NDArray[np.uint8]]
Batches = Iterable[Batch]
Outputs = Iterator[npt.NDArray[np.float32]]

# Measured, images/s of Lite2 at 260 px and ResNet50 at 128 px: 336 and 623 in batches of 8, 322 and 674 of 16, 279 and
# 670 of 32.
BATCH_SIZE = 16


def openvino_stream(
    model: Any, *, batch_size: int, sizes_px: Sequence[int], precision: Literal["fp32", "bf16"]
) -> Callable[[Batches], Outputs]:
    """Compile a model for the CPU.

    Args:
        model: an `openvino.Model` of inputs `(n, size_px, size_px, 3) uint8` and one output; it is changed.
        batch_size: how many images it takes at once; a batch may have fewer.
        sizes_px: the side of the square of each input.
        precision: of the arithmetic inside.

    Returns:
        A function from batches, an array for each input, to one `(n, ...) float32` each, in order. The next batch is
        asked for while earlier ones are computed, and an array must not change after it was handed over. One stream at
        a time.
    """
    openvino = import_openvino()
    model.reshape({number: [batch_size, size, size, 3] for number, size in enumerate(sizes_px)})
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    # One more request than run at once, so that none waits for its input.
    count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
    requests = [compiled.create_infer_request() for _ in range(count)]

    def stream(batches: Batches) -> Outputs:
        idle, busy = list(requests), deque[tuple[Any, Batch, int]]()
        try:
            for batch in batches:
                if not idle:
                    request, _, images = busy.popleft()
                    idle.append(request)
                    yield _output(request, images)
                request, pixels = idle.pop(), [_filled_up(one, batch_size) for one in batch]
                request.start_async(pixels, share_inputs=True)
                # The request reads the arrays where they lie: they must live until then.
                busy.append((request, pixels, len(batch[0])))
            while busy:
                request, _, images = busy.popleft()
                yield _output(request, images)
        finally:
            for request, _, _ in busy:
                request.wait()

    return stream


def _output(request: Any, images: int) -> npt.NDArray[np.float32]:
    """Wait for a request; its output is overwritten by its next run, hence the copy."""
    request.wait()
    return np.array(request.get_output_tensor(0).data[:images], dtype=np.float32)


def _filled_up(batch: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """A whole batch, black images at its end."""
    if len(batch) == size:
        return np.ascontiguousarray(batch)
    pixels = np.zeros((size, *batch.shape[1:]), dtype=np.uint8)
    pixels[: len(batch)] = batch
    return pixels
