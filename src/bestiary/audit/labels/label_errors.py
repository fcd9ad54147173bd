"""Labels: which are probably wrong, how good each class's are, and how many are wrong altogether.

In: out-of-fold probabilities, labels, nearest neighbours. Out: findings, a table of classes, the noise rate with its
interval. Owns no file.

The method is confident learning (Northcutt, Jiang, Chuang 2021, Journal of Artificial Intelligence Research 70:1373),
through cleanlab. It holds only where no probability comes from a probe that saw the image or a copy of it (see
`out_of_fold`).
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.findings import Finding
from bestiary.audit.neighbours import Neighbours
from bestiary.evaluate.intervals import Interval, percentile_interval, score_bounds
from bestiary.evaluate.resampling import group_weights

Probabilities = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# An image that cleanlab does not name is shown as well where its label is so much less probable than another class.
DOUBT_MARGIN = 0.3
_RELATED = 8
_LEAST = 1e-6
_RESAMPLES = 500


def find_label_errors(
    images: pd.DataFrame,
    probabilities: Probabilities,
    neighbours: Neighbours,
    *,
    class_names: list[str],
    judged: Flags,
    kept: frozenset[str] = frozenset(),
) -> list[Finding]:
    """Images whose label is probably wrong.

    Ranked by cleanlab's normalized margin, the label's probability less that of the likeliest other class: the score
    is 1 where the first is 0 and the second 1, one half where they are equal. Severity is high where confident
    learning names the image twice (`both`: among the least probable of its class, and among those most probably of
    the other class, as many as the estimated joint of given and true labels says), and medium where it does not, but
    the margin is below -`DOUBT_MARGIN`.

    On 2,618 photos with 5 % of the labels swapped at random, 0.97 of the swaps are found and 0.86 of the findings are
    swaps (high severity alone: 0.80 and 0.92); with as many swapped between look-alikes 0.85 and 0.80 (0.77 and 0.86).

    Args:
        images: `(n)` rows with `image_id, path, label`.
        probabilities: `(n, class_count) float32`, out of fold, rows sum to 1.
        neighbours: of the same images.
        class_names: the columns of `probabilities`.
        judged: `(n,) bool`; no other image is flagged.
        kept: ids of images whose label a person has confirmed; they are not flagged.
    """
    labels = _numbers(images, class_names)
    own, other, suggested = _against(labels, probabilities)
    sure = _named_twice(labels, probabilities, judged)
    ids, paths = images["image_id"].to_numpy(), images["path"].to_numpy()
    confirmed = np.isin(ids, list(kept)) if kept else np.zeros(len(ids), dtype=bool)
    doubted = (sure | (own - other < -DOUBT_MARGIN)) & judged & ~confirmed
    positions = np.flatnonzero(doubted)
    findings = []
    for position in positions[np.argsort((own - other)[positions], kind="stable")]:
        near = neighbours.indices[position, :_RELATED]
        label, suggestion = class_names[labels[position]], class_names[suggested[position]]
        alike = int((labels[near] == suggested[position]).sum())
        findings.append(
            Finding(
                issue="label_error",
                severity="high" if sure[position] else "medium",
                score=float((1 - own[position] + other[position]) / 2),
                action="relabel",
                reason=(
                    f"A probe that never saw this image takes it for {suggestion} (p = {other[position]:.2f}) rather "
                    f"than {label} (p = {own[position]:.2f}); {alike} of its {len(near)} nearest images are labelled "
                    f"{suggestion}."
                ),
                image_id=str(ids[position]),
                path=str(paths[position]),
                label=label,
                related=tuple(str(image_id) for image_id in ids[near]),
                suggestion=suggestion,
                p_label=float(own[position]),
                p_suggestion=float(other[position]),
            )
        )
    return findings


def _numbers(images: pd.DataFrame, class_names: list[str]) -> Labels:
    return np.asarray(pd.Index(class_names).get_indexer(images["label"]), dtype=np.int64)


def _against(
    labels: Labels, probabilities: Probabilities
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Labels]:
    """The label's probability, that of the likeliest other class, and which that is."""
    rows = np.arange(len(labels))
    others = probabilities.astype(np.float64)
    own = others[rows, labels]
    others[rows, labels] = -1.0
    suggested = others.argmax(axis=1).astype(np.int64)
    return own, np.maximum(others[rows, suggested], 0.0), suggested


def _named_twice(labels: Labels, probabilities: Probabilities, judged: Flags) -> Flags:
    """What cleanlab's filter `both` flags among the judged: `(n,) bool`."""
    from cleanlab.filter import find_label_issues

    flags = np.zeros(len(labels), dtype=bool)
    if _can_tell(labels[judged]):
        # It warns of a class with one judged image or none. The margin still speaks for that one.
        flags[judged] = find_label_issues(labels[judged], probabilities[judged], filter_by="both", n_jobs=1)
    return flags


def _can_tell(labels: Labels) -> bool:
    """Whether there is more than one class, without which no label can be another's."""
    return len(np.unique(labels)) > 1


def class_quality(
    labels: Labels, probabilities: Probabilities, judged: Flags, *, confirmed: Flags, class_names: list[str]
) -> pd.DataFrame:
    """How good the labels of each class are, one row a class in the order of `class_names`.

    From cleanlab's estimated joint of given and true labels, as `noise_rate`.

    Args:
        labels: `(n,) int64`.
        probabilities: `(n, class_count) float32`, out of fold.
        judged: `(n,) bool`; the others do not count.
        confirmed: `(n,) bool`; labels that a person has confirmed: right, whatever a probe says.
        class_names: the columns of `probabilities`.

    Returns:
        `label`; `images`; `judged` (how many); `wrong_share` (of its judged images, those that seem to belong to
        another class) and `wrong_images`; `missing_share` (of those that seem to belong to it, those with another
        label) and `missing_images`; `quality` (1 less `wrong_share`). NaN and 0 for a class none of which is
        judged, and where only one class is.
    """
    count = len(class_names)
    table = pd.DataFrame(
        {
            "label": class_names,
            "images": np.bincount(labels, minlength=count),
            "judged": np.bincount(labels[judged], minlength=count),
        }
    )
    wrong, missing = np.full(count, np.nan), np.full(count, np.nan)
    wrong_images, missing_images = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    if _can_tell(labels[judged]):
        images = _joint(labels[judged], probabilities[judged], np.ones(int(judged.sum())), confirmed[judged])
        given_otherwise, truly_otherwise = (images.sum(axis=axis) - images.diagonal() for axis in (0, 1))
        known = table["judged"].to_numpy() > 0
        wrong[known] = (truly_otherwise / np.maximum(images.sum(axis=1), _LEAST))[known]
        missing[known] = (given_otherwise / np.maximum(images.sum(axis=0), _LEAST))[known]
        wrong_images[known] = truly_otherwise.round()[known]
        missing_images[known] = given_otherwise.round()[known]
    return table.assign(
        wrong_share=wrong,
        wrong_images=wrong_images,
        missing_share=missing,
        missing_images=missing_images,
        quality=1 - wrong,
    )


def noise_rate(
    labels: Labels,
    probabilities: Probabilities,
    groups: npt.NDArray[np.int64],
    judged: Flags,
    *,
    confirmed: Flags,
    seed: int,
) -> Interval:
    """The share of labels that are wrong, in [0, 1]: what lies off the diagonal of cleanlab's estimated joint.

    It assumes that each image belongs to exactly one of the classes, that whether a label is wrong depends on its
    class and not on the image, and that probabilities are good enough to tell the classes apart. So it counts labels
    that should be another of the classes; pictures of something else, or of two classes, do not enter, and difficult
    right ones may. The interval draws groups of copies again (percentile bootstrap, 500 resamples) with the
    probabilities as they are: it tells how much the figure would vary with the photos, not whether the assumptions
    hold. It is never narrower than Wilson's for as many groups as no one confirmed: none wrong of 240 may be 1.6 %.
    Planted in 2,618 photos: 0.017 gave 0.021, 0.050 gave 0.050 to 0.053, 0.099 gave 0.097, 0.197 gave 0.193;
    0.050 between look-alikes 0.052 to 0.055; nothing 0.003.

    Args:
        labels: `(n,) int64`.
        probabilities: `(n, class_count) float32`, out of fold.
        groups: `(n,) int64`; copies are drawn together.
        judged: `(n,) bool`; the others do not count.
        confirmed: `(n,) bool`; labels that a person has confirmed: right, whatever a probe says.
        seed: of the resamples.

    Returns:
        NaN where fewer than two classes are judged.
    """
    if not _can_tell(labels[judged]):
        return Interval(float("nan"), float("nan"), float("nan"))
    given, likely, sure = labels[judged], probabilities[judged], confirmed[judged]

    def rate(weights: npt.NDArray[np.float64]) -> float:
        images = _joint(given, likely, weights, sure)
        return float(1 - images.trace() / images.sum())

    resampled = [
        rate(drawn.astype(np.float64)) for drawn in group_weights(groups[judged], resamples=_RESAMPLES, seed=seed)
    ]
    drawn_again = percentile_interval(rate(np.ones(len(given))), np.array(resampled))
    return _as_wide_as_wilson(drawn_again, groups[judged], open_to_doubt=~sure)


def _as_wide_as_wilson(rate: Interval, groups: npt.NDArray[np.int64], *, open_to_doubt: Flags) -> Interval:
    if not open_to_doubt.any():
        return rate
    share = float(open_to_doubt.mean())
    low, high = score_bounds(np.array(min(rate.value / share, 1.0)), np.array(len(np.unique(groups[open_to_doubt]))))
    return Interval(rate.value, min(rate.low, float(low) * share), max(rate.high, float(high) * share))


def _joint(
    labels: Labels, probabilities: Probabilities, weights: npt.NDArray[np.float64], confirmed: Flags
) -> npt.NDArray[np.float64]:
    """Given class by true class, in weighted images (Northcutt et al. 2021, equations 1 to 3): `(classes, classes)`.

    Where all weights are 1 and none is confirmed, equal to cleanlab's `estimate_joint`, which the tests hold it to,
    but for its rounding to whole images. Written out because cleanlab takes neither weights nor labels that are known
    to be right: those are counted as such, and help to tell how sure a probe is of its class.
    """
    count = probabilities.shape[1]
    rows = np.arange(len(labels))
    images = np.bincount(labels, weights, minlength=count)
    confidence = np.bincount(labels, weights * probabilities[rows, labels], minlength=count)
    present = images > 0
    thresholds = np.where(present, confidence / np.where(present, images, 1), np.inf)
    confident = probabilities >= thresholds - 1e-6
    several = confident.sum(axis=1) > 1
    likeliest = np.where(several, probabilities.argmax(axis=1), confident.argmax(axis=1))
    counted = confident.any(axis=1) & ~confirmed
    cells = np.bincount(
        labels[counted] * count + likeliest[counted], weights[counted], minlength=count * count
    ).reshape(count, count)
    np.fill_diagonal(cells, np.maximum(cells.diagonal(), 1))
    right = np.bincount(labels[confirmed], weights[confirmed], minlength=count)
    return np.asarray(cells * ((images - right) / cells.sum(axis=1))[:, None] + np.diag(right))


def ceiling(noise: Interval) -> Interval:
    """The accuracy that a model which is always right would reach on the labels as given: 1 less the noise rate."""
    return Interval(1 - noise.value, 1 - noise.high, 1 - noise.low)
