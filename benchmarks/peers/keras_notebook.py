"""Peer: the notebook's protocol in Keras 3 on TensorFlow, all six models.

    python keras_notebook.py DATA SPLITS.csv OUT.json [--epochs E] [--model NAME]...
    python keras_notebook.py --versions

In: a folder, and a table `path,label,split` of files in it. Out: seconds by stage and model, accuracies, versions, as
JSON.

- 128 x 128 by squashing, nearest neighbour; batches of 32; training images flipped and turned by up to 20 degrees.
- Photos are decoded and resized once, in parallel, and kept in memory (`cache()`) for all six models. The notebook read
  them anew in every epoch; TensorFlow's own guide to image loading caches, and it is the faster of the two.
- Augmentation and preprocessing run in `tf.data`, in parallel with the training step, as Keras's guide advises on CPUs.
- VGG16 and ResNet50 have random weights: time does not depend on them, accuracy does, so that only the scratch CNN's
  counts. Early stopping would mean nothing there, and they train for a fixed number of epochs; the scratch CNN always
  has the whole protocol: 10 epochs at most, stopped after 3 without a lower validation loss, best weights restored.
- `--epochs E` below 10 trains the five others for E epochs. What 10 would have taken is then worked out, every epoch
  missing as long as the median of those measured after the first, and labelled `extrapolated`.
"""

import argparse
import csv
import json
import os
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

SIZE_PX, BATCH_SIZE, EPOCHS = 128, 32, 10
MODELS = ("baseline", "vgg16", "resnet50", "resnet50-last-adam", "resnet50-sgd", "resnet50-last-sgd")


def extrapolate(epoch_s: Sequence[float], epochs: int) -> float:
    """Seconds of `epochs` epochs: those measured, and for each that is missing the median of those after the first.

    The first is slower, for it traces the graph. Where it is the only one, it stands for all.
    """
    if len(epoch_s) >= epochs:
        return sum(epoch_s[:epochs])
    later = statistics.median(epoch_s[1:] or epoch_s)
    return sum(epoch_s) + (epochs - len(epoch_s)) * later


def _rows(splits: str) -> dict[str, list[tuple[str, str]]]:
    """Path and label by split."""
    found: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    with open(splits, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            found[row["split"]].append((row["path"], row["label"]))
    return found


def _decoded(data: str, rows: list[tuple[str, str]], names: list[str]) -> Any:
    """A dataset of `(128, 128, 3) uint8` and a class number, decoded when first read and kept in memory."""
    import tensorflow as tf

    paths = [os.path.join(data, path) for path, _ in rows]
    numbers = [names.index(label) for _, label in rows]

    def load(path: Any, number: Any) -> Any:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(image, (SIZE_PX, SIZE_PX), method="nearest"), number

    photos = tf.data.Dataset.from_tensor_slices((paths, numbers)).map(load, num_parallel_calls=tf.data.AUTOTUNE).cache()
    for _ in photos.batch(BATCH_SIZE):
        pass
    return photos


def _batches(photos: Any, preprocess: Any, *, augment: bool) -> Any:
    """Batches of 32 of preprocessed float32; those to train on in a new order and changed at random in every epoch."""
    import keras
    import tensorflow as tf

    layers = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(20 / 360)])

    def prepare(images: Any, numbers: Any) -> Any:
        images = tf.cast(images, tf.float32)
        return preprocess(layers(images, training=True) if augment else images), numbers

    if augment:
        photos = photos.shuffle(len(photos))
    return photos.batch(BATCH_SIZE).map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _build(name: str, class_count: int) -> tuple[Any, Any]:
    """A compiled model and its preprocessing."""
    import keras
    from keras import layers

    shape = (SIZE_PX, SIZE_PX, 3)
    head = [layers.Dense(256, activation="relu"), layers.Dropout(0.5), layers.Dense(class_count, activation="softmax")]
    optimizer = keras.optimizers.Adam(1e-3)
    if name == "baseline":
        body = [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ]
        preprocess = layers.Rescaling(1 / 255)
    elif name == "vgg16":
        base = keras.applications.VGG16(weights=None, include_top=False, input_shape=shape)
        base.trainable = False
        body, preprocess = [base, layers.Flatten()], keras.applications.vgg16.preprocess_input
    else:
        base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=shape)
        if "last" in name:
            for layer in base.layers[:-30]:
                layer.trainable = False
        else:
            base.trainable = False
        body, preprocess = [base, layers.GlobalAveragePooling2D()], keras.applications.resnet50.preprocess_input
        if name.endswith("last-adam"):
            optimizer = keras.optimizers.Adam(1e-4)
        elif name.endswith("sgd"):
            optimizer = keras.optimizers.SGD(1e-4, momentum=0.9)
    model = keras.Sequential([keras.Input(shape), *body, *head])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, preprocess


def _train(name: str, photos: dict[str, Any], class_count: int, *, epochs: int) -> dict[str, Any]:
    """One model: build, fit, score once on test."""
    import keras

    class Stopwatch(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds.append(time.perf_counter() - self.start)

    start = time.perf_counter()
    stopwatch = Stopwatch()
    callbacks = [stopwatch, keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=2)]
    whole_protocol = name == "baseline"
    if whole_protocol:
        epochs = EPOCHS
        callbacks.append(keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True))
    model, preprocess = _build(name, class_count)
    train = _batches(photos["train"], preprocess, augment=True)
    val, test = (_batches(photos[split], preprocess, augment=False) for split in ("val", "test"))
    built = time.perf_counter()
    model.fit(train, validation_data=val, epochs=epochs, callbacks=callbacks, verbose=0)
    fitted = time.perf_counter()
    loss, accuracy = model.evaluate(test, verbose=0)
    end = time.perf_counter()

    measured, seconds = end - start, stopwatch.seconds
    extrapolated = not whole_protocol and len(seconds) < EPOCHS
    protocol = measured + (extrapolate(seconds, EPOCHS) - sum(seconds) if extrapolated else 0.0)
    return {
        "epochs": len(seconds),
        "epoch_s": seconds,
        "first_epoch_s": seconds[0],
        "later_epoch_median_s": statistics.median(seconds[1:] or seconds),
        "build_s": built - start,
        "fit_s": fitted - built,
        "test_s": end - fitted,
        "measured_s": measured,
        "protocol_s": protocol,
        "extrapolated": extrapolated,
        "accuracy": float(accuracy),
        "loss": float(loss),
        "accuracy_counts": whole_protocol,
        "parameters": int(model.count_params()),
        "trainable_parameters": sum(int(weight.shape.num_elements()) for weight in model.trainable_variables),
    }


def run(data: str, splits: str, *, epochs: int, models: Sequence[str]) -> dict[str, Any]:
    """Decode once, then every model in turn."""
    start = time.perf_counter()
    import keras
    import tensorflow  # noqa: F401  # what keras runs on: its import belongs here

    imported = time.perf_counter()
    keras.utils.set_random_seed(0)
    rows = _rows(splits)
    names = sorted({label for _, label in rows["train"]})
    photos = {split: _decoded(data, rows[split], names) for split in rows}
    decoded = time.perf_counter()
    results = {}
    for name in models:
        results[name] = _train(name, photos, len(names), epochs=epochs)
        print(name, json.dumps(results[name]), flush=True)
        keras.backend.clear_session()
    stages = {"import": imported - start, "decode": decoded - imported}
    before = sum(stages.values())
    return {
        "stages": stages,
        "models": results,
        "measured_s": before + sum(result["measured_s"] for result in results.values()),
        "protocol_s": before + sum(result["protocol_s"] for result in results.values()),
        "extrapolated": any(result["extrapolated"] for result in results.values()),
        "accuracy": results["baseline"]["accuracy"] if "baseline" in results else None,
        "test_images": len(rows["test"]),
        "choices": {"epochs": epochs, "batch": BATCH_SIZE, "decoded": "once, kept in memory for all models"},
    }


def versions() -> dict[str, str]:
    """What was installed; imports it, so that a broken environment shows here."""
    import keras
    import tensorflow as tf

    return {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": version("numpy")}


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("splits", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--versions", action="store_true", help="import everything, print versions, and stop")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the five models that are not the scratch CNN")
    parser.add_argument("--model", action="append", choices=MODELS, help="repeatable; default: all six")
    options = parser.parse_args()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if options.versions:
        print(json.dumps(versions()))
        return
    result = run(options.data, options.splits, epochs=options.epochs, models=options.model or MODELS)
    with open(options.out, "w", encoding="utf-8") as stream:
        json.dump({**result, "versions": versions()}, stream, indent=1)


if __name__ == "__main__":
    main()
