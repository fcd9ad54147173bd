"""How much of what is wrong the audit finds: photos with planted faults, against tools that look for one kind.

In: a folder of photos. Out: a row for each kind of fault and side: recall, precision, average precision, means over
three drawings of what is planted, none of which a threshold was chosen on.

- **copies**: for each change of `planted.CHANGES`, 4 % of the photos are copied with it. Recall: the share of copies
  that stand in one cluster (ours) or set (CleanVision) with their original. Precision: of all pairs in such a cluster
  of which one is a planted copy, the share that show the same photo: of one original, or of two that are copies of one
  another among the photos as they are, as ours finds them there. Those have been looked at; see README.md.
- **labels**: 5 % of the photos are moved to another class, drawn at random, or to the one it looks like. Average
  precision: of the ranking of all photos. Recall and precision: of those that are flagged. What was wrong before
  counts as a false alarm. "In sample": the same ranking by cleanlab over probabilities of a probe that saw the labels:
  scikit-learn's logistic regression as it comes, on standardised features.
- **unreadable**: 1 % of the files are cut in the middle.

Then one drawing in each of the sets that lie beside the photos (see `sets`).
"""

import contextlib
import io
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.photos import cache_in
from benchmarks.planted import CHANGES, SWAP_SHARE, Pairs, Planted, pairs_of, plant, same_photo
from benchmarks.rows import Row
from benchmarks.sets import OTHERS, evidence_of, rows_of
from bestiary.audit.copies.clusters import find_duplicates
from bestiary.audit.labels.label_errors import find_label_errors
from bestiary.audit.labels.out_of_fold import out_of_fold_probabilities
from bestiary.audit.neighbours import nearest
from bestiary.audit.run import image_groups
from bestiary.study.evidence import Evidence

SEEDS = (101, 102, 103)


@dataclass(frozen=True)
class Found:
    """What one side found of one kind; NaN where it does not apply."""

    kind: str
    side: str
    recall: float
    precision: float
    average_precision: float
    seconds: float


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All kinds and sides.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: not looked at: three drawings.
    """
    found: list[Found] = []
    with cache_in(place / "cache"):
        known = pairs_of(_our_copies(evidence_of(data))[0].values())
        for seed in SEEDS:
            folder = place / f"copies-{seed}"
            found += _copies(folder, plant(data, folder, seed=seed, cut_share=0.01), known)
            for kind, share in (("random", "swap_share"), ("look-alikes", "look_alike_share")):
                folder = place / f"{kind}-{seed}"
                shares = {"swap_share": 0.0, "look_alike_share": 0.0, share: SWAP_SHARE}
                found += _labels(folder, kind, plant(data, folder, seed=seed, copy_share=0.0, **shares))
    table = pd.DataFrame([vars(one) for one in found])
    means = table.groupby(["kind", "side"], sort=False).mean().reset_index()
    rows = [_row(values) for values in means.to_dict("records")]
    others = [data.parent / name for name in OTHERS if (data.parent / name).exists()]
    with cache_in(place / "cache"):
        for number, folder in enumerate([data, *others]):
            rows += rows_of(folder, place / f"set-{number}")
    return rows


def _row(values: Mapping[str, object]) -> Row:
    def figure(name: str) -> float | None:
        value = float(str(values[name]))
        return None if np.isnan(value) else value

    return Row(
        f"{values['kind']} {values['side']}",
        _WHAT[str(values["side"])],
        seconds=figure("seconds"),
        repeats=len(SEEDS),
        recall=figure("recall"),
        precision=figure("precision"),
        average_precision=figure("average_precision"),
    )


_WHAT = {
    "ours": "the audit; seconds without those of features and image statistics",
    "cleanvision": "CleanVision's exact and near duplicates, as it comes",
    "in-sample": "cleanlab on probabilities of a probe that saw the labels",
    "index": "the index",
}


def _copies(folder: Path, planted: Planted, known: Pairs) -> list[Found]:
    evidence = evidence_of(folder)
    read = set(evidence.images["path"])
    unreadable = len(planted.truncated - read) / len(planted.truncated)
    left_out = sum(1 for path in folder.rglob("*") if path.is_file()) - len(read)
    rows = [Found("unreadable", "index", unreadable, len(planted.truncated - read) / left_out, np.nan, np.nan)]
    sides = {"ours": _our_copies(evidence), "cleanvision": _cleanvision(folder, read)}
    for side, (clusters, seconds) in sides.items():
        pairs = pairs_of(clusters.values())
        for kind in (*CHANGES, "all changes"):
            copies = {
                copy: source for copy, (change, source) in planted.copies.items() if kind in (change, "all changes")
            }
            wanted = {copy: source for copy, source in copies.items() if {copy, source} <= read}
            recall = np.mean([frozenset((copy, source)) in pairs for copy, source in wanted.items()])
            about = [pair for pair in pairs if pair & set(copies)]
            right = [same_photo(pair, planted, known) for pair in about]
            precision = float(np.mean(right)) if right else np.nan
            rows.append(
                Found(kind, side, float(recall), precision, np.nan, seconds if kind == "all changes" else np.nan)
            )
    return rows


def _our_copies(evidence: Evidence) -> tuple[dict[str, list[str]], float]:
    pictures, features = evidence.statistics.grey, evidence.features
    start = time.perf_counter()
    table = find_duplicates(
        evidence.images,
        pictures,
        features,
        colours=evidence.statistics.colours,
        load=evidence.pictures,
        sides_px=evidence.sides_px,
    )
    seconds = time.perf_counter() - start
    paths = table.merge(evidence.images[["image_id", "path"]], on="image_id")
    return paths.groupby("cluster_id")["path"].apply(list).to_dict(), seconds


def _cleanvision(folder: Path, read: Iterable[str]) -> tuple[dict[str, list[str]], float]:
    from cleanvision import Imagelab

    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        lab = Imagelab(filepaths=[str(folder / path) for path in sorted(read)])
        lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=2)
    seconds = time.perf_counter() - start
    sets = [*lab.info["exact_duplicates"]["sets"], *lab.info["near_duplicates"]["sets"]]
    named = [[Path(path).relative_to(folder).as_posix() for path in paths] for paths in sets]
    return {str(number): paths for number, paths in enumerate(named)}, seconds


def _labels(folder: Path, kind: str, planted: Planted) -> list[Found]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    evidence = evidence_of(folder)
    images, features = evidence.images, evidence.features
    assert features is not None
    names = sorted(set(images["label"]))
    labels = pd.Categorical(images["label"], categories=names).codes.astype(np.int64)
    wrong = images["path"].isin(planted.labels).to_numpy()
    clusters = find_duplicates(
        images,
        evidence.statistics.grey,
        features,
        colours=evidence.statistics.colours,
        load=evidence.pictures,
        sides_px=evidence.sides_px,
    )

    start = time.perf_counter()
    groups = image_groups(images, clusters)
    judged = out_of_fold_probabilities(features, labels, groups, class_count=len(names), folds=5, seed=0)
    neighbours = nearest(features)
    errors = find_label_errors(images, judged.probabilities, neighbours, class_names=names, judged=judged.judged)
    seconds = time.perf_counter() - start
    flagged = images["image_id"].isin([error.image_id for error in errors]).to_numpy()
    scores = get_label_quality_scores(labels, judged.probabilities, method="normalized_margin")
    ours = _found(kind, "ours", wrong, flagged, scores, seconds)

    start = time.perf_counter()
    seen = _in_sample(features, labels)
    scores = get_label_quality_scores(labels, seen, method="normalized_margin")
    flagged = find_label_issues(labels, seen, n_jobs=1)
    return [ours, _found(kind, "in-sample", wrong, flagged, scores, time.perf_counter() - start)]


def _found(
    kind: str,
    side: str,
    wrong: npt.NDArray[np.bool_],
    flagged: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float64],
    seconds: float,
) -> Found:
    from sklearn.metrics import average_precision_score

    hits = int((wrong & flagged).sum())
    precision = hits / flagged.sum() if flagged.any() else np.nan
    return Found(
        f"labels, {kind}", side, hits / wrong.sum(), precision, average_precision_score(wrong, -scores), seconds
    )


def _in_sample(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaled = StandardScaler().fit_transform(features)
    with threadpool_limits(1):
        return LogisticRegression(max_iter=1000).fit(scaled, labels).predict_proba(scaled)
