"""What holds on a CUDA device: the CPU's features within rounding, every kind trained, and an export for CPUs.

Skipped where there is no such device.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import model, photos, table

from bestiary import Study, predict
from bestiary.models.backbones import build_backbone
from bestiary.models.extract.features import feature_table

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CONFIG = {
    "device": "cuda",
    "audit": {"backbone": "none"},
    "split": {"test_fraction": 0.25, "val_fraction": 0.25},
    "models": {
        "probe": {"backbone": "tf_efficientnet_lite2", "pixels": {"size_px": 64}},
        "join": {"backbones": ["tf_efficientnet_lite1", "tf_efficientnet_lite2"], "pixels": {"size_px": 64}},
        "head": {"backbone": "tf_efficientnet_lite2", "pixels": {"size_px": 64}, "head": {"hidden": 16}},
        "tuned": {
            "backbone": "tf_efficientnet_lite2", "pixels": {"size_px": 64}, "trainable": "last:1 stage", "epochs": 3,
            "augment": {"flip": True},
        },
        "cnn": {
            "backbone": "simple_cnn", "trainable": "all", "epochs": 3, "pixels": {"size_px": 24},
            "head": {"hidden": 16},
        },
    },
}  # fmt: skip


# Convolutions in fp32 are TF32 there, with 10 bits, as torch has it; bf16 has 7. On an H200: 0.99998 and 0.993.
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("bf16", 0.99)])
def test_features_are_those_of_the_cpu(precision, least):
    backbone = build_backbone(model("tf_efficientnet_lite2", weights="packaged", pixels={"size_px": 96}))
    pixels = table(photos(40, 96))
    on_cpu = feature_table(backbone, pixels, precision="fp32", device=torch.device("cpu")).plain
    on_cuda = feature_table(backbone, pixels, precision=precision, device=torch.device("cuda")).plain
    cosines = (on_cpu * on_cuda).sum(1) / np.linalg.norm(on_cpu, axis=1) / np.linalg.norm(on_cuda, axis=1)
    assert cosines.min() > least


def test_every_kind_is_trained_there_and_what_is_exported_says_the_same_on_a_cpu(
    tmp_path: Path, make_shapes: Callable[..., Path]
) -> None:
    data = make_shapes(tmp_path / "photos", each=16)
    study = Study.create(data, tmp_path / "study", config=CONFIG)
    result = study.run()
    assert result.not_run == {}
    assert result.comparison["test_accuracy"].max() > 0.5
    for name in CONFIG["models"]:
        environment = study.read_run(name).environment
        assert environment["device"].startswith("cuda"), name
        assert environment["deterministic"] is False
        folder = study.export(name)
        said = study.predictions(name).merge(study.images[["image_id", "path"]], on="image_id")
        found = predict(folder, [study.data_root / path for path in said["path"]])
        if name not in ("probe", "join"):  # those are refitted before they are exported
            assert (found["label"].to_numpy() == said["y_pred"].to_numpy()).mean() > 0.9, name
