"""Keys: what a model's weights depend on, and what its figures and its refitted weights depend on; no more.

In: the images of a study with labels and splits, and its config. Out: short hashes. Owns no file.

Weights depend on the contents, labels and sides of the images that they are fitted and chosen on, on the model's own
config, on the content of a local weights file, and, where folds of train choose, on which images are tied together. So
a renamed photo, a file that is no image, or another label on a test image trains nothing. Figures depend on the logits,
and on the labels and groups of the images they are scored on.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bestiary.config.schema import ModelConfig, StudyConfig
from bestiary.data.groups import least_of_group
from bestiary.data.splits.straddling import leaked
from bestiary.evaluate.metrics import METRICS
from bestiary.runs.record import RunRecord
from bestiary.store.hashing import fingerprint, sha256_file

_FIT_RULES, _FIGURE_RULES, _REFIT_RULES = "fit 3", "figures 3", "refit 1"

# What `export.refit` means.
REFIT_SPLITS = {"all": ("train", "val", "test"), "train+val": ("train", "val")}


def content_id(image_id: str) -> str:
    """The id without the number of a further copy: the same for the same bytes, whatever they are called."""
    return image_id.partition("-")[0]


def weights_digest(weights: str) -> str:
    """The SHA-256 of a local weights file; empty where `weights` names none, or one that is not there."""
    path = Path(weights).expanduser()
    return sha256_file(path) if path.is_file() else ""


def is_local(weights: str) -> bool:
    """Whether `weights` is the path of a file."""
    return weights not in ("auto", "packaged", "hub", "random")


def fit_keys(config: StudyConfig, images: pd.DataFrame, *, digests: Mapping[str, str]) -> dict[str, str]:
    """What the weights of each model depend on; of those that are put together of others, see `composing`.

    Args:
        config: the study's.
        images: `image_id, label, split, group_id` of the images of the study; `split` is empty where one was dropped.
        digests: by model, of its local weights file; empty: it has none.
    """
    used = images[images["split"].isin(("train", "val"))]
    rows = sorted(zip(map(content_id, used["image_id"]), used["label"], used["split"], strict=True))
    data = fingerprint([rows, config.device, _FIT_RULES])
    fitted = images[images["split"] == "train"]
    # A group is known by its members, not by its number.
    first = least_of_group(fitted["image_id"], fitted["group_id"])
    tied = fingerprint(sorted(zip(fitted["image_id"], first, strict=True)))
    return {
        name: fingerprint([data, tied if model.chooses_in_folds else "", _settings(model), digests[name]])
        for name, model in config.models.items()
        if not model.kind.is_composed
    }


def _settings(model: ModelConfig) -> dict[str, object]:
    values = model.model_dump(mode="json")
    # The file's content counts, not where it lies.
    return {**values, "weights": "local"} if is_local(model.weights) else values


def figures_key(fit_key: str, logits_digest: str, images: pd.DataFrame) -> str:
    """What the figures of a run depend on.

    Args:
        fit_key: of its weights.
        logits_digest: of its logits.
        images: `image_id, label, label_given, split, drawn, group_id`.
    """
    scored = images[images["drawn"].isin(("val", "test"))]
    # A group is known by its members, not by its number.
    first = least_of_group(scored["image_id"], scored["group_id"])
    columns = [scored[name] for name in ("label", "label_given", "split", "drawn")]
    has_leaked = leaked(images)[images["drawn"].isin(("val", "test"))].tolist()
    rows = sorted(zip(scored["image_id"], *columns, first, has_leaked, strict=True))
    return fingerprint([fit_key, logits_digest, rows, [metric.name for metric in METRICS], _FIGURE_RULES])


def which_images(asked: str, model: ModelConfig) -> str:
    """What `export.refit` comes to for a model, as it was chosen.

    A linear probe fits in a second, and its strength means the same on more images. What is trained in epochs is as
    dear as before, and how many epochs suit more images is not known.
    """
    if asked == "auto":
        return "all" if model.fits_without_epochs else "none"
    return asked


def refit_key(run: RunRecord, images: pd.DataFrame, which: str) -> str:
    """What the refitted weights depend on: the run, and the contents and labels of the images.

    Args:
        run: whose choices are kept.
        images: `image_id, label, split`.
        which: of `which_images`, not none.
    """
    used = images[images["split"].isin(REFIT_SPLITS[which])]
    rows = sorted(zip(map(content_id, used["image_id"]), used["label"], strict=True))
    return fingerprint([run.status.key, run.config, run.fit["choices"], which, rows, _REFIT_RULES])
