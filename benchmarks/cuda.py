"""What a CUDA device does: frozen passes, epochs of a fine-tuned last stage and of a whole network, a default study.

    python -m benchmarks.cuda [PHOTOS]

In: a folder of photos, or none: made ones. Out: JSON on stdout, with versions and the device's name. It stands apart
from `benchmarks.run`, which measures on two cores.
"""

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.photos import cache_in
from bestiary import Study
from bestiary.config.schema import ModelConfig
from bestiary.models.backbones import build_backbone
from bestiary.models.extract.engines import compile_forward, pick_engine

_SECONDS = 5.0


def made_photos(folder: Path, *, classes: int = 4, each: int = 150) -> Path:
    """Photos of 500 x 375 pixels: coloured noise of another grain for each class."""
    random = np.random.default_rng(0)
    for kind in range(classes):
        (folder / f"class{kind}").mkdir(parents=True)
        for number in range(each):
            small = random.integers(0, 256, (12 * (kind + 1), 16 * (kind + 1), 3), dtype=np.uint8)
            Image.fromarray(small).resize((500, 375)).save(folder / f"class{kind}" / f"{number}.jpg", quality=90)
    return folder


def passes(backbone: str, *, device: str, precision: str) -> float:
    """Images a second of a frozen pass, pixels in memory."""
    network = build_backbone(ModelConfig(backbone=backbone, weights="random"))
    size, place = network.preprocessing.geometry.size_px, torch.device(device)
    forward = compile_forward(network, size_px=size, precision=precision, device=place, engine=pick_engine(place))  # type: ignore[arg-type]
    batch = np.random.default_rng(0).integers(0, 256, (forward.batch_size, size, size, 3), dtype=np.uint8)
    forward.run(batch)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        count += len(forward.run(batch))
    return count / (time.perf_counter() - start)


def whole_study(data: Path, place: Path, device: str, models: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a cold study without an audit, and of each model's stages."""
    config = {"device": device, "audit": {"enabled": False}, "split": {"group_duplicates": "exact"}, "models": models}
    with cache_in(place / f"cache-{device}"):
        start = time.perf_counter()
        study = Study.create(data, place / f"study-{device}", config=config)
        study.run()
        seconds = time.perf_counter() - start
        stages = {name: study.read_run(name).fit["seconds"] for name in models}
    return {"seconds": seconds, "stages": stages}


def main() -> None:
    """Measure and print."""
    names = {"tf_efficientnet_lite2": "bf16", "resnet50": "bf16", "vit_base_patch16_224": "bf16"}
    models = {
        "join": {"backbones": ["tf_efficientnet_lite1", "tf_efficientnet_lite2"]},
        "last-stage": {
            "backbone": "tf_efficientnet_lite2", "trainable": "last:1 stage", "epochs": 5, "augment": {"flip": True},
        },
        "whole": {"backbone": "resnet50", "weights": "random", "trainable": "all", "epochs": 2, "batch_size": 64},
    }  # fmt: skip
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "versions": {name: version(name) for name in ("torch", "timm", "numpy", "scikit-learn")},
        "images_per_s": {name: passes(name, device="cuda", precision=kind) for name, kind in names.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else made_photos(place / "photos")
        found["photos"] = sum(1 for path in data.rglob("*.*") if path.is_file())
        found["cuda"] = whole_study(data, place, "cuda", models)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
