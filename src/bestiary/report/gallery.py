"""The test images behind the confusion matrices: which are embedded, and the data that the page's script reads.

In: runs with their predictions. Out: image ids in order of importance, and a JSON-ready mapping. Owns no file.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bestiary.report.study_record import ModelRecord
from bestiary.report.study_view import is_baseline
from bestiary.report.words.mistakes import with_probabilities

_JSON_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def test_predictions(runs: Sequence[ModelRecord]) -> dict[str, pd.DataFrame]:
    """Each model's test predictions with `p_pred` and `p_true`, by model name."""
    tables = {run.name: with_probabilities(run.predictions) for run in runs}
    return {name: table[table["split"] == "test"].reset_index(drop=True) for name, table in tables.items()}


def by_importance(runs: Sequence[ModelRecord], tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Test image ids, those to keep first: errors of the first model, of the others, then class by class in turn.

    A baseline's errors count for nothing: nearly every image is one.
    """
    order: list[str] = []
    for run in runs:
        if not is_baseline(run.config):
            table = tables[run.name]
            errors = table[table["y_true"] != table["y_pred"]]
            order += errors.sort_values(["p_pred", "image_id"], ascending=[False, True])["image_id"].tolist()
    for run in runs:
        table = tables[run.name].sort_values("image_id")
        turn = table.groupby("y_true").cumcount()
        order += table.assign(turn=turn).sort_values(["turn", "y_true"], kind="stable")["image_id"].tolist()
    return list(dict.fromkeys(order))


def gallery_data(
    runs: Sequence[ModelRecord],
    tables: Mapping[str, pd.DataFrame],
    *,
    class_names: Sequence[str],
    image_ids: Sequence[str],
    paths: Mapping[str, str],
    uris: Mapping[str, str],
) -> dict[str, Any]:
    """What the page's script needs to show the images of a cell.

    Returns:
        `classes`: names; `images`: `[image_id, path]` each; `thumbs`: image_id → data URI (an image that stands in
        the page already is not repeated); `models`: by name `true` and `pred` (places in `classes`, -1: the model
        has no prediction), `p_pred` and `p_true` (rounded to four decimals), one an image.
    """
    place = {name: number for number, name in enumerate(class_names)}
    models = {}
    for run in runs:
        table = tables[run.name].drop_duplicates("image_id").set_index("image_id").reindex(list(image_ids))
        models[run.name] = {
            "true": [place.get(name, -1) for name in table["y_true"]],
            "pred": [place.get(name, -1) for name in table["y_pred"]],
            "p_pred": _rounded(table["p_pred"]),
            "p_true": _rounded(table["p_true"]),
        }
    return {
        "classes": list(class_names),
        "images": [[image_id, paths.get(image_id, image_id)] for image_id in image_ids],
        "thumbs": {image_id: uris[image_id] for image_id in image_ids if uris.get(image_id)},
        "models": models,
    }


def _rounded(column: pd.Series) -> list[float | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in column.to_numpy(dtype=float)]


def safe_json(value: Any) -> str:
    """JSON that can stand inside a `<script>` element: nothing in it can end the element or open another."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_JSON_ESCAPES)
