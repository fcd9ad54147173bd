"""The model card: what an exported model is, for people and for the Hugging Face hub.

In: a run's record and the comparison. Out: `README.md` of the bundle, with front matter that the hub reads. No torch.
"""

from pathlib import Path
from typing import Any

from bestiary.runs.record import RunRecord
from bestiary.store.files import write_text

_FIGURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "top3_accuracy": "Top-3 accuracy",
    "log_loss": "Log loss (nats)",
}


def write_card(path: Path, run: RunRecord, *, comparison: dict[str, Any], data: str) -> None:
    """Write the card.

    Args:
        path: the file.
        run: the exported model's run.
        comparison: for the sizes of the splits.
        data: `data.path` of the study; only its last part is told.
    """
    name = Path(data).name or data
    write_text(path, f"---\n{_front_matter(run, name)}\n---\n\n{_body(run, comparison, name)}")


def _front_matter(run: RunRecord, data_name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    test = run.metrics["test"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name=data_name,
            dataset_split="test",
            metric_type=metric,
            metric_name=_FIGURES[figure],
            metric_value=round(test[figure]["value"], 4),
        )
        for metric, figure in (("accuracy", "accuracy"), ("f1", "macro_f1"))
    ]
    backbone = run.config["backbone"]
    card = ModelCardData(
        model_name=run.status.model,
        library_name="bestiary",
        pipeline_tag="image-classification",
        tags=["image-classification", "bestiary", "timm", "onnx"],
        metrics=["accuracy", "f1"],
        base_model=f"timm/{backbone}" if run.config["weights"] == "hub" and "." in backbone else None,
        eval_results=results,
    )
    return str(card.to_yaml())


def _body(run: RunRecord, comparison: dict[str, Any], data_name: str) -> str:
    metrics, config = run.metrics, run.config
    sizes = comparison["split_sizes"]
    geometry = metrics["geometry"]
    weakest = min(metrics["test"]["per_class"], key=lambda row: row["f1"])
    rows = "\n".join(
        f"| {title} | {_interval(metrics['val'][key])} | {_interval(metrics['test'][key])} |"
        for key, title in _FIGURES.items()
    )
    classes = ", ".join(f"`{_plain(name)}`" for name in metrics["class_names"])
    return f"""# {run.status.model}

An image classifier for {len(metrics["class_names"])} classes: {classes}.

`{config["backbone"]}`, weights `{Path(config["weights"]).name}`, trainable: {config["trainable"]}; \
{metrics["parameters"]["total"]:,} parameters, {metrics["parameters"]["trainable"]:,} of them trained. \
Made with bestiary {run.status.bestiary_version}.

## Data

`{_plain(data_name)}`: {sizes["train"]:,} images to train, {sizes["val"]:,} to choose (validation), \
{sizes["test"]:,} to score (test). Exact copies of an image are all on one side.

## Figures

95 % intervals in brackets. Choices were made on validation. \
The test split was scored once, at {metrics["test_scored_at"]}.

| | validation | test |
|---|---|---|
{rows}

Weakest class on test: `{_plain(weakest["class_name"])}`, F1 {weakest["f1"]:.3f} on {weakest["support"]} images.

## Use

```
bestiary predict PATH/TO/THIS/FOLDER photos/ --out predictions.csv
```

`model.onnx` runs in any ONNX runtime. \
Input `pixels`: `(n, {geometry["size_px"]}, {geometry["size_px"]}, 3)` uint8, RGB, {_geometry_words(geometry)}. \
Output `probabilities`: `(n, {len(metrics["class_names"])})`, in the order of the classes above. \
Normalisation is inside.

## Limits

- It knows these classes only, and gives one of them to any picture, of whatever else.
- The figures hold for images like those of the data set. Photographs from another source may fare worse.
- Labels were taken as given: wrong labels in the test split lower or raise the figures.
- A probability is the model's own; it has not been calibrated.
"""


def _interval(interval: dict[str, float]) -> str:
    return f"{interval['value']:.4f} [{interval['low']:.4f}, {interval['high']:.4f}]"


def _geometry_words(geometry: dict[str, Any]) -> str:
    how = {
        "crop": f"centre crop of {geometry['crop_fraction']:g} of the short side",
        "squash": "squashed to the square",
        "pad": "padded to the square with grey 127",
    }[geometry["fit"]]
    return f"{how}, {geometry['interpolation']} resampling (Pillow, antialiased)"


def _plain(text: str) -> str:
    """A name that cannot break out of its code span or its line."""
    return " ".join(text.replace("`", "'").split())
