"""Quality: pictures that are dark, light, blurry, empty, oddly shaped or sized, or grey among colour.

In: index rows and their image statistics. Out: findings. Owns no file.

The scores and thresholds are CleanVision's (0.3.7), with its defaults; a finding's score is 1 less CleanVision's,
so that 1 is worst. Four things differ, where it raises false alarms or is blind:

- `blurry` is judged by how soft the strongest edges are, against class and set (`blur`). CleanVision looks at 64 px for
  weak edges and takes a wide spread of greys as a sign of sharpness: of photos of 300 px blurred by a Gaussian of 3 px
  it finds 3 %, of 8 px 30 %.
- `odd_size`. CleanVision flags what lies 3 interquartile ranges outside the middle half. Where most pictures have one
  size that range is next to nothing: of 2,618 photos of Animals-10 it flags all 182 that were stored at 640 px. Here an
  odd size must also differ from the median by a factor of 2 a side, be shared by at most 2 % of the set, and not be the
  exact size of several: those come from one camera. 5 photos.
- `grayscale`. CleanVision looks at the file's mode and so misses grey photos that are stored as RGB: all 14 among
  those 2,618. Here colour itself is measured. It is odd only where it is rare, in the set and in the class.
- A fault that more than a quarter of a class has is typical of the class (night scenes, drawings on white), and is no
  fault of its images. One that more than a quarter of the set has is reported once, and not image by image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.findings import Finding, Severity
from bestiary.audit.issues import ISSUES
from bestiary.audit.quality.blur import BLURRED_FROM, blurred
from bestiary.audit.quality.image_statistics import ImageStatistics

_TYPICAL_SHARE = 0.25
# In a class of fewer, one or two images are a large share.
_FEWEST_OF_CLASS = 8
# Of the span from black to white. JPEG of a grey photo strays by 2; a colour photo of a spider on a grey wall has 8.
_GREY_CHROMA = 4 / 255
_ODD_FACTOR, _LIKE_FACTOR, _LIKE_SHARE = 2.0, 1.25, 0.02
_FROM_ONE_CAMERA = 5
_TINY_FACTOR = 4.0
# Above this share of the set, or twice the share of a class, grey pictures are a part of it.
_RARELY_GREY = 0.05

_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Check:
    """How a fault that CleanVision scores is reported: the reason for each image, and the worst severity."""

    reasons: Callable[[pd.DataFrame, pd.DataFrame], list[str]]
    most_severe: Severity = "high"


def find_quality_issues(images: pd.DataFrame, statistics: ImageStatistics) -> list[Finding]:
    """What is wrong with how pictures look.

    Args:
        images: `n` index rows with `image_id`, `path`, `label`, `width_px`, `height_px`.
        statistics: of these images, in the same order.

    Returns:
        Findings in the order of issues and images. `image_id` and `label` are empty where one is about the set.
    """
    if images.empty:
        return []
    values, found = statistics.values, []
    for issue, check in _CHECKS.items():
        scores, threshold, flagged = _cleanvision(issue, values)
        if issue == "odd_size":
            flagged = flagged & _rare_size(images, values["size"].to_numpy())
            severities = _size_severities(values["size"])
        else:
            severities = _severities(scores, threshold, check.most_severe)
        found += _reported(issue, images, flagged, 1 - scores, severities, check.reasons(images, values))
    return found + _soft(images, values) + _grey_among_colour(images, values)


def _cleanvision(issue: str, values: pd.DataFrame) -> tuple[npt.NDArray[np.float64], float, _Bools]:
    """CleanVision's scores (1 is best), their threshold, and what lies below it."""
    # Importing it takes 0.3 s, most of it for matplotlib.
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

    manager = ImagePropertyIssueManager()
    checks, params = manager.image_properties[issue], manager.params[issue]
    scores = checks.get_scores(values[checks.score_columns].copy(), issue, **params)
    flagged = checks.mark_issue(scores, issue, params.get("threshold"))
    threshold = float(params.get("threshold", getattr(checks, "threshold", 0.5)))
    numbers, below = np.clip(scores.iloc[:, 0].to_numpy(np.float64), 0, 1), flagged.iloc[:, 0].to_numpy(np.bool_)
    return numbers, threshold, below


def _rare_size(images: pd.DataFrame, size: npt.NDArray[np.float64]) -> _Bools:
    """Sizes far from the median that few images share, and that are not those of a camera."""
    median, logs = np.median(size), np.sort(np.log(size))
    far = np.maximum(size / median, median / size) >= _ODD_FACTOR
    reach = np.log(_LIKE_FACTOR)
    alike = np.searchsorted(logs, np.log(size) + reach, "right") - np.searchsorted(logs, np.log(size) - reach, "left")
    sides = np.sort(images[["width_px", "height_px"]].to_numpy(), axis=1)
    same = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    of_camera = same[2][same[1].ravel()] >= _FROM_ONE_CAMERA
    return np.asarray(far & (alike <= max(1, _LIKE_SHARE * len(size))) & ~of_camera)


def _severities(scores: npt.NDArray[np.float64], threshold: float, most_severe: Severity) -> list[Severity]:
    """How far from the threshold to the worst score an image lies: from a third on medium, from two thirds high."""
    gone = (threshold - scores) / threshold
    return [most_severe if share >= 2 / 3 else "medium" if share >= 1 / 3 else "low" for share in gone]


def _size_severities(size: pd.Series) -> list[Severity]:
    return ["medium" if tiny else "low" for tiny in size * _TINY_FACTOR <= size.median()]


def _soft(images: pd.DataFrame, values: pd.DataFrame) -> list[Finding]:
    softness = values["edge_blur"].to_numpy()
    labels = np.unique(images["label"].to_numpy(str), return_inverse=True)[1]
    flagged = blurred(softness, values["blur_effect"].to_numpy(), labels)
    severities = _severities(1 - softness, 1 - BLURRED_FROM, "high")
    known = softness[softness > 0]
    median = 100 * float(np.median(known)) if len(known) else 0.0
    reasons = [
        f"Blurry: blurring it further leaves {100 * soft:.0f} % of the contrast at its sharpest edges (median "
        f"{median:.0f} %)."
        for soft in softness
    ]
    return _reported("blurry", images, flagged, softness, severities, reasons)


def _grey_among_colour(images: pd.DataFrame, values: pd.DataFrame) -> list[Finding]:
    grey = values["chroma"].to_numpy() <= _GREY_CHROMA
    count = len(images)
    of_class = pd.Series(grey).groupby(images["label"].to_numpy()).transform("sum").to_numpy()
    class_sizes = images.groupby("label")["label"].transform("size").to_numpy()
    is_rare = (grey.sum() <= max(1, _RARELY_GREY * count)) & (of_class <= np.maximum(1, 2 * _RARELY_GREY * class_sizes))
    reason = f"Grey, in a set of which {100 * (1 - grey.mean()):.0f} % is in colour."
    return _reported("grayscale", images, grey & is_rare, grey.astype(float), ["low"] * count, [reason] * count)


def _reported(
    issue: str,
    images: pd.DataFrame,
    flagged: _Bools,
    scores: npt.NDArray[np.float64],
    severities: list[Severity],
    reasons: list[str],
) -> list[Finding]:
    if flagged.mean() > _TYPICAL_SHARE:
        return [_typical(issue, images, flagged, scores)]
    share = pd.Series(flagged).groupby(images["label"].to_numpy()).transform("mean").to_numpy()
    sizes = images.groupby("label")["label"].transform("size").to_numpy()
    flagged = flagged & ((share <= _TYPICAL_SHARE) | (sizes < _FEWEST_OF_CLASS))
    return [
        Finding(
            issue,
            severities[row],
            float(scores[row]),
            "check",
            reasons[row],
            image_id=images["image_id"].iat[row],
            path=images["path"].iat[row],
            label=images["label"].iat[row],
        )
        for row in np.flatnonzero(flagged)
    ]


def _typical(issue: str, images: pd.DataFrame, flagged: _Bools, scores: npt.NDArray[np.float64]) -> Finding:
    reason = (
        f"{ISSUES[issue].short}: {int(flagged.sum()):,} of {len(images):,} images, {100 * flagged.mean():.0f} %. "
        "That is typical of this set; the images are not listed one by one."
    )
    return Finding(issue, "low", float(scores[flagged].mean()), "check", reason, images=int(flagged.sum()))


def _why_dark(_: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    bright = values["brightness_perc_99"]
    median = 100 * bright.median()
    return [f"Dark: 99 % of it is below {100 * v:.0f} % of full brightness (median {median:.0f} %)." for v in bright]


def _why_light(_: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    dim = values["brightness_perc_5"]
    median = 100 * dim.median()
    return [f"Light: 95 % of it is above {100 * v:.0f} % of full brightness (median {median:.0f} %)." for v in dim]


def _why_empty(_: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    bits = values["entropy"]
    median = bits.median()
    return [f"Little to see: its colours hold {v:.1f} bits (median {median:.1f})." for v in bits]


def _why_shape(images: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    median = 1 / values["aspect_ratio"].median()
    sizes = zip(images["width_px"], images["height_px"], 1 / values["aspect_ratio"], strict=True)
    return [
        f"Oddly shaped: {w} x {h} pixels, one side {r:.1f} times the other (median {median:.1f})." for w, h, r in sizes
    ]


def _why_size(images: pd.DataFrame, values: pd.DataFrame) -> list[str]:
    median = values["size"].median()
    sizes = zip(images["width_px"], images["height_px"], values["size"], strict=True)
    return [
        f"Oddly sized: {w} x {h} pixels, {max(s / median, median / s):.1f} times as "
        f"{'large' if s > median else 'small'} a side as the median picture."
        for w, h, s in sizes
    ]


_CHECKS: Mapping[str, _Check] = {
    "dark": _Check(_why_dark),
    "light": _Check(_why_light),
    "low_information": _Check(_why_empty),
    "odd_aspect_ratio": _Check(_why_shape, "medium"),
    "odd_size": _Check(_why_size),
}
