"""Compiled forward passes agree with eager torch."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from small_models import CPU, model, photos

from bestiary.models.backbones import build_backbone
from bestiary.models.classifier import Classifier, Portable
from bestiary.models.extract.engines import BATCH_SIZE, compile_forward, pick_engine
from bestiary.models.heads import Head
from tests.engines_here import ENGINES, needs_openvino


@pytest.fixture(scope="module")
def lite0():
    return build_backbone(model("tf_efficientnet_lite0", weights="packaged", pixels={"size_px": 96}))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return photos(BATCH_SIZE + 1, 96)


@pytest.fixture(scope="module")
def eager(lite0, pixels) -> np.ndarray:
    with torch.inference_mode():
        return lite0(torch.from_numpy(pixels)).numpy()


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_fp32_equals_eager_torch_for_any_number_of_images(lite0, pixels, eager, engine):
    forward = compile_forward(lite0, size_px=96, precision="fp32", device=CPU, engine=engine)
    assert (forward.engine, forward.precision) == (engine, "fp32")
    for count in (1, 2, BATCH_SIZE, BATCH_SIZE + 1, 3):
        found = forward.run(pixels[:count])
        assert found.dtype == np.float32
        assert found.shape == (count, lite0.feature_count)
        assert np.abs(found - eager[:count]).max() < 1e-4 * max(1.0, np.abs(eager).max())


@pytest.mark.parametrize("engine", ENGINES)
def test_bf16_points_the_same_way_on_photos(lite0, engine):
    whole = [Image.fromarray(photo) for photo in load_sample_images().images]
    crops = [image.crop((left, 0, left + 427, 427)) for image in whole for left in (0, 100, 200)]
    photo = np.stack([np.asarray(crop.resize((96, 96))) for crop in crops])
    forward = compile_forward(lite0, size_px=96, precision="bf16", device=CPU, engine=engine)
    with torch.inference_mode():
        expected = lite0(torch.from_numpy(photo)).numpy()
    found = forward.run(photo)
    assert found.dtype == np.float32
    assert cosines(found, expected).mean() >= 0.999
    assert cosines(found, expected).min() >= 0.998


@pytest.mark.parametrize("engine", ENGINES)
def test_an_earlier_answer_is_not_overwritten_by_a_later_one(lite0, pixels, engine):
    forward = compile_forward(lite0, size_px=96, precision="fp32", device=CPU, engine=engine)
    first = forward.run(pixels[:4])
    kept = first.copy()
    forward.run(pixels[4:8])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_views_of_arrays_that_are_not_contiguous_are_read_right(lite0, pixels, eager, engine):
    forward = compile_forward(lite0, size_px=96, precision="fp32", device=CPU, engine=engine)
    mirrored = np.ascontiguousarray(pixels[:2, :, ::-1])
    np.testing.assert_allclose(forward.run(pixels[:2, :, ::-1]), forward.run(mirrored), atol=1e-5)


@needs_openvino
@pytest.mark.parametrize(
    ("name", "size_px"),
    [
        ("simple_cnn", 24),
        ("vit_tiny_patch16_224", 48),
        ("convnext_atto", 64),
        pytest.param("swin_tiny_patch4_window7_224", 64, marks=pytest.mark.slow),
        pytest.param("edgenext_xx_small", 64, marks=pytest.mark.slow),
        pytest.param("vgg11", 64, marks=pytest.mark.slow),
        pytest.param("levit_128s", 64, marks=pytest.mark.slow),
    ],
)
def test_openvino_keeps_the_batch_free_in_every_family(name, size_px):
    backbone = build_backbone(model(name, pixels={"size_px": size_px}))
    network = Portable(Classifier(backbone, Head(backbone.feature_count, 4)))
    pixels = photos(5, size_px)
    forward = compile_forward(network, size_px=size_px, precision="fp32", device=CPU, engine="openvino")
    for count in (1, 3, 5):
        with torch.inference_mode():
            expected = network(torch.from_numpy(pixels[:count])).numpy()
        np.testing.assert_allclose(forward.run(pixels[:count]), expected, atol=1e-4)


@needs_openvino
def test_the_engine_is_openvino_on_a_cpu_where_it_is_installed(monkeypatch):
    assert pick_engine(CPU) == "openvino"
    assert pick_engine(torch.device("cuda")) == "torch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pick_engine(CPU) == "torch"


WITHOUT_OPENVINO = """
import importlib, pkgutil, sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == "openvino" else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)
import bestiary
for module in pkgutil.walk_packages(bestiary.__path__, "bestiary."):
    module.name.endswith("__main__") or importlib.import_module(module.name)
sys.path.insert(0, sys.argv[1])
from small_models import model, photos, table
from bestiary.models.backbones import build_backbone
from bestiary.models.extract.features import feature_table
found = feature_table(build_backbone(model(pixels={"size_px": 24})), table(photos(3, 24)), precision="fp32")
print(found.engine, found.plain.shape[0], "openvino" in sys.modules)
"""


@pytest.mark.slow
def test_without_openvino_every_module_is_imported_and_torch_computes():
    """As on a machine where it is not installed."""
    arguments = [sys.executable, "-c", WITHOUT_OPENVINO, str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["torch", "3", "False"]
