"""The network of a run or a bundle, and the ONNX file that is made of it and checked against it.

In: a weights file, a model's config. Out: a network; `model.onnx` of the bundle, which `export` puts in place.
Here is torch; a bundle whose ONNX file is taken over is exported without.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bestiary.config.schema import ModelConfig
from bestiary.deploy.bundle import input_names
from bestiary.errors import BundleError
from bestiary.models.backbones import Preprocessing, preprocessings_from
from bestiary.models.classifier import Portable
from bestiary.models.learner import build_learner
from bestiary.models.mixture import Network
from bestiary.telemetry import import_openvino

__all__ = ["load_classifier", "preprocessings_from", "write_onnx"]

_OPSET = 17
_TOLERANCE = 1e-3


def load_classifier(
    path: Path, model: ModelConfig, preprocessings: Sequence[Preprocessing], *, class_count: int
) -> Network:
    """The network of a run or a bundle, with its weights, in eval mode on the CPU.

    Raises:
        BundleError: the weights do not fit the config.
    """
    learner = build_learner(
        model, class_count, device=torch.device("cpu"), label=path.name, preprocessings=preprocessings
    )
    try:
        learner.load(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(
            f"{path} is damaged or does not fit its config ({error}): train and export the model again"
        ) from error
    assert learner.classifier is not None  # of a baseline there is no bundle
    return learner.classifier.eval()


def write_onnx(path: Path, classifier: Network) -> float | None:
    """Write the network as ONNX and check it: pixels `(n, size, size, 3) uint8` for each of its inputs →
    `probabilities (n, classes)`.

    Returns:
        The largest difference between its probabilities and torch's on four random images; None, and no check, where
        OpenVINO is not installed to run the file.

    Raises:
        BundleError: that difference is above 0.001.
    """
    sizes = [each.geometry.size_px for each in classifier.preprocessings]
    portable, names = Portable(classifier).eval(), input_names(len(sizes))
    chance = torch.Generator().manual_seed(0)
    pixels = tuple(torch.randint(0, 256, (4, size, size, 3), generator=chance, dtype=torch.uint8) for size in sizes)
    with warnings.catch_warnings():
        # torch advises its newer exporter, which takes 9 s where this one takes 1.3 s for EfficientNet-Lite2.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            portable,
            pixels,
            str(path),
            input_names=names,
            output_names=["probabilities"],
            dynamic_axes={name: {0: "n"} for name in (*names, "probabilities")},
            opset_version=_OPSET,
            dynamo=False,
        )
    if importlib.util.find_spec("openvino") is None:
        return None
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.inference_mode():
        expected = portable(*pixels).numpy()
    difference = float(np.abs(compiled([each.numpy() for each in pixels])[0] - expected).max())
    if not difference <= _TOLERANCE:
        raise BundleError(
            f"the ONNX file differs from the network by {difference:g}: this architecture cannot be exported"
        )
    return difference
