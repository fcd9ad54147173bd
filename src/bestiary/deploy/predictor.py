"""Predict: images → a table.

In: an exported model, and images: files, folders, globs, bytes, Pillow images or arrays. Out: one row an image: `path,
label, probability`, the next most probable classes, and `error`. An image that cannot be read is a row with its error
and no label. No torch here where OpenVINO is installed: one image takes about a second, most of it start-up.
"""

import importlib.util
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bestiary.data.geometry import arrange
from bestiary.data.parallel import in_order
from bestiary.deploy.bundle import ONNX, WEIGHTS, Bundle, read_bundle
from bestiary.deploy.inputs import ImageInput, Source, expand_inputs
from bestiary.errors import ImageError
from bestiary.models.extract.openvino_stream import BATCH_SIZE, Batch, Batches, Outputs, openvino_stream
from bestiary.progress import SILENT, Progress
from bestiary.telemetry import import_openvino


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image: classes by falling probability, or the reason why it could not be read."""

    path: str
    labels: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str = ""

    def as_row(self, top_k: int) -> dict[str, Any]:
        """A flat row: `path, label, probability, label_2, probability_2, ..., error`."""
        row: dict[str, Any] = {"path": self.path}
        for number in range(top_k):
            suffix = "" if number == 0 else f"_{number + 1}"
            known = number < len(self.labels)
            row[f"label{suffix}"] = self.labels[number] if known else None
            row[f"probability{suffix}"] = round(self.probabilities[number], 6) if known else None
        row["error"] = self.error
        return row


def iterate_predictions(
    bundle: Bundle, images: Sequence[ImageInput], *, top_k: int = 3, progress: Progress = SILENT
) -> Iterator[Prediction]:
    """Predictions in the order of the images, decoded in parallel, computed in batches of 16; memory stays bounded.

    Args:
        bundle: an exported model.
        images: as `inputs.expand_inputs` lists them.
        top_k: how many classes to name; at most as many as there are.
        progress: shows each image.
    """
    stream = load_network(bundle, batch_size=max(1, min(BATCH_SIZE, len(images))))
    top_k = min(top_k, len(bundle.class_names))
    # Images that wait for the outputs of their batch, with the reason where one could not be read.
    waiting: deque[list[tuple[str, str]]] = deque()
    with ThreadPoolExecutor() as pool, progress.track("predict", len(images), unit="images") as task:

        def batches() -> Iterator[Batch]:
            decoded = zip(images, in_order(pool, lambda image: _decode(image, bundle), images), strict=True)
            while block := list(islice(decoded, BATCH_SIZE)):
                waiting.append([(image.path, pixels if isinstance(pixels, str) else "") for image, pixels in block])
                task.advance(len(block))
                readable = [pixels for _, pixels in block if not isinstance(pixels, str)]
                if readable:
                    yield [np.stack(squares) for squares in zip(*readable, strict=True)]

        for output in stream(batches()):
            while all(error for _, error in waiting[0]):
                yield from (Prediction(path, error=error) for path, error in waiting.popleft())
            yield from _predictions(waiting.popleft(), output, bundle.class_names, top_k=top_k)
        for block in waiting:
            yield from (Prediction(path, error=error) for path, error in block)


def predict(
    model: str | Path, images: Source | Iterable[Source], *, top_k: int = 3, progress: Progress = SILENT
) -> Any:
    """Classify images with an exported model.

    Args:
        model: the model folder, or a study that holds one.
        images: one or several of: a file, a folder, a glob pattern, a file's bytes, a Pillow image, an RGB array
            `(height, width, 3)` or `(n, height, width, 3) uint8`.
        top_k: how many classes to name.
        progress: shows each image, and how many files of folders were skipped as hidden or beside images.

    Returns:
        A DataFrame, one row an image: `path, label, probability, label_2, ..., error`. An image that has no file has a
        `path` such as `image 0`, its place among all images. What cannot be read has an `error` and no label.

    Raises:
        BundleError: the model folder is incomplete or altered.
        UsageError: a pattern matches nothing, there is no image, or an input is of another type.
    """
    import pandas as pd

    bundle = read_bundle(Path(model))
    inputs = expand_inputs(images, progress=progress)
    top_k = min(top_k, len(bundle.class_names))
    predictions = iterate_predictions(bundle, inputs, top_k=top_k, progress=progress)
    return pd.DataFrame([prediction.as_row(top_k) for prediction in predictions])


def _decode(image: ImageInput, bundle: Bundle) -> Batch | str:
    """A square of pixels for each input of the network, or why there is none."""
    try:
        loaded = image.load()
        return [arrange(loaded, each.geometry) for each in bundle.inputs]
    except ImageError as error:
        return str(error)


def _predictions(
    block: Sequence[tuple[str, str]],
    output: npt.NDArray[np.float32],
    class_names: Sequence[str],
    *,
    top_k: int,
) -> Iterator[Prediction]:
    probabilities = iter(output)
    for path, error in block:
        if error:
            yield Prediction(path, error=error)
            continue
        row = next(probabilities)
        order = np.argsort(-row, kind="stable")[:top_k]
        labels = tuple(class_names[number] for number in order)
        yield Prediction(path, labels, tuple(float(row[number]) for number in order))


def load_network(bundle: Bundle, *, batch_size: int) -> Callable[[Batches], Outputs]:
    """The network as a function from batches to probabilities `(n, class_count) float32`.

    A batch has an array `(n, size, size, 3) uint8` for each input of the network.

    OpenVINO runs the ONNX file at the precision that the model was scored with; without OpenVINO, torch runs the
    safetensors file.

    Args:
        bundle: an exported model.
        batch_size: no batch is larger.
    """
    if importlib.util.find_spec("openvino") is None:
        return _torch_network(bundle)
    openvino = import_openvino()
    model = openvino.Core().read_model(str(bundle.folder / ONNX))
    precision: Literal["fp32", "bf16"] = "bf16" if bundle.precision == "bf16" else "fp32"
    sizes_px = [each.geometry.size_px for each in bundle.inputs]
    return openvino_stream(model, batch_size=batch_size, sizes_px=sizes_px, precision=precision)


def _torch_network(bundle: Bundle) -> Callable[[Batches], Outputs]:
    import torch

    from bestiary.config.ensemble_schema import read_model
    from bestiary.deploy.onnx_file import load_classifier
    from bestiary.models.backbones import preprocessings_from
    from bestiary.models.classifier import Portable

    model = read_model(bundle.content["config"])
    preprocessings = preprocessings_from(bundle.content["inputs"])
    classifier = load_classifier(bundle.folder / WEIGHTS, model, preprocessings, class_count=len(bundle.class_names))
    network = Portable(classifier).eval()

    def stream(batches: Batches) -> Outputs:
        for pixels in batches:
            with torch.inference_mode():
                yield np.asarray(network(*map(torch.from_numpy, pixels)).numpy())

    return stream
