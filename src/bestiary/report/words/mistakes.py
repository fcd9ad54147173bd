"""What a model gets wrong, as small tables: the most confident errors, the confused pairs, the weakest class.

In: predictions and figures of one model. Out: DataFrames and rows. Owns no file.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.report.study_view import ClassFigures
from bestiary.report.words.wording import is_number


def most_confident_errors(predictions: pd.DataFrame, n: int = 12) -> pd.DataFrame:
    """The most confident errors on the test split: wrong, and with a high probability for the wrong class.

    Args:
        predictions: as `runs.evaluation.predictions_table` makes them, one probability column `p:<class name>` a class.
        n: at most this many.

    Returns:
        `image_id, y_true, y_pred, p_pred, p_true`, the most confident first; ties in the order of image_id.
    """
    table = with_probabilities(predictions)
    errors = table[(table["split"] == "test") & (table["y_true"] != table["y_pred"])]
    errors = errors.sort_values(["p_pred", "image_id"], ascending=[False, True], kind="stable")
    return errors.head(n)[["image_id", "y_true", "y_pred", "p_pred", "p_true"]].reset_index(drop=True)


def with_probabilities(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with `p_pred` and `p_true`: the probabilities of the predicted and of the true class.

    The probability of a class that has no column is NaN.
    """
    columns = {
        name.removeprefix("p:"): position for position, name in enumerate(predictions.columns) if name[:2] == "p:"
    }
    table = predictions[["image_id", "split", "y_true", "y_pred"]].copy()
    values = predictions.to_numpy(dtype=object)
    for new, source in (("p_pred", "y_pred"), ("p_true", "y_true")):
        places = [columns.get(name, -1) for name in table[source]]
        table[new] = np.array(
            [values[row, place] if place >= 0 else np.nan for row, place in enumerate(places)], dtype=float
        )
    return table


def confused_pairs(confusion: npt.NDArray[np.int64], class_names: Sequence[str]) -> pd.DataFrame:
    """Every confusion that occurs: which class is taken for which, and how often.

    Args:
        confusion: counts `(n, n)`, rows true, columns predicted.
        class_names: of rows and columns.

    Returns:
        `y_true, y_pred, count, support, share` (of the true class's images) and `reverse` (how often the other way),
        the most frequent first; ties by share, then in class order.
    """
    support = confusion.sum(axis=1)
    rows = [
        {
            "y_true": class_names[i],
            "y_pred": class_names[j],
            "count": int(confusion[i, j]),
            "support": int(support[i]),
            "share": float(confusion[i, j] / support[i]),
            "reverse": int(confusion[j, i]),
        }
        for i, j in zip(*np.nonzero(confusion), strict=True)
        if i != j
    ]
    table = pd.DataFrame(rows, columns=["y_true", "y_pred", "count", "support", "share", "reverse"])
    return table.sort_values(["count", "share"], ascending=False, kind="stable").reset_index(drop=True)


def weakest_classes(classes: Sequence[ClassFigures]) -> list[ClassFigures]:
    """The class with the lowest F1 among those with images; more than one where they tie, none where there are none."""
    scored = {row.class_name: row.f1["value"] for row in classes if row.support and is_number(row.f1.get("value"))}
    lowest = min(scored.values(), default=0.0)
    return [row for row in classes if row.class_name in scored and abs(scored[row.class_name] - lowest) < 1e-12]
