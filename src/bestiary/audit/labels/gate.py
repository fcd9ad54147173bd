"""Gates: what a probe must be able to do before labels are doubted, counted or limited by what it says.

In: labels, out-of-fold probabilities, groups. Out: the probe's skill, and reasons for silence. Owns no file.

Confident learning takes a probe's confident disagreement for a wrong label. Where the probe itself is weak, most of
that disagreement is its own error, and the noise rate and the ceiling that follow are false. So:

- Labels are judged where the probe is right for more than half of what chance leaves: where the lower limit of its
  balanced accuracy, adjusted for chance (0 is chance, 1 is perfect; scikit-learn's `adjusted=True`), is above
  `LEAST_SKILL`.
- The noise rate and the ceiling are stated where the noise is small, or most of the probe's disagreement is noise.
"""

import numpy as np
import numpy.typing as npt

from bestiary.evaluate.intervals import Interval, percentile_interval
from bestiary.evaluate.resampling import group_weights

Labels = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float32]

LEAST_SKILL = 0.5
# A noise rate up to this is stated whatever the probe's own errors are: it can be wrong by no more than itself.
SMALL_NOISE = 0.05
# Above it, the probe's own errors may be half as many as the labels that it calls wrong, at most.
_OWN_ERRORS = 0.5
_RESAMPLES = 500


def probe_skill(labels: Labels, probabilities: Probabilities, groups: npt.NDArray[np.int64], *, seed: int) -> Interval:
    """Balanced accuracy adjusted for chance, with a percentile interval over groups.

    Args:
        labels: of the judged images, `(n,) int64`.
        probabilities: of them, `(n, class_count) float32`, out of fold.
        groups: of them, `(n,) int64`; copies are drawn together.
        seed: of the resamples.

    Returns:
        At most 1; below 0 where the probe is worse than chance. NaN where fewer than two classes are judged.
    """
    classes, own = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        return Interval(float("nan"), float("nan"), float("nan"))
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    chance = 1 / len(classes)

    def skill(weights: npt.NDArray[np.float64]) -> float:
        images = np.bincount(own, weights, minlength=len(classes))
        recalls = np.bincount(own, weights * right, minlength=len(classes))[images > 0] / images[images > 0]
        return float((recalls.mean() - chance) / (1 - chance))

    resampled = [skill(drawn.astype(np.float64)) for drawn in group_weights(groups, resamples=_RESAMPLES, seed=seed)]
    return percentile_interval(skill(np.ones(len(labels))), np.array(resampled))


def why_not_judged(skill: Interval, class_count: int) -> str:
    """Why no label is doubted, in a sentence; "" where labels can be judged.

    Args:
        skill: of `probe_skill`.
        class_count: how many classes are judged.
    """
    if skill.low > LEAST_SKILL:
        return ""
    if np.isnan(skill.value):
        return "Labels were not checked: fewer than two classes have enough images."
    chance = 1 / class_count
    accuracy, low, high, least = (
        f"{100 * (chance + (1 - chance) * value):.0f}\u00a0%"
        for value in (skill.value, skill.low, skill.high, LEAST_SKILL)
    )
    return (
        f"Labels were not checked: the probe that would judge them has a balanced accuracy of {accuracy} "
        f"({low} to {high}; chance is {100 * chance:.0f}\u00a0%). Labels are checked where the whole interval is above "
        f"{least}; below, what the probe doubts says more of the probe than of the labels."
    )


def why_noise_is_not_stated(noise: Interval, accuracy: float) -> str:
    """Why the noise rate and the ceiling stay unsaid, in a sentence; "" where they can be stated.

    Args:
        noise: the estimated rate.
        accuracy: the probe's, out of fold, on the labels as given, in [0, 1].
    """
    own_errors = max(1 - accuracy - noise.value, 0.0)
    if noise.value <= SMALL_NOISE or own_errors <= _OWN_ERRORS * noise.value:
        return ""
    return (
        f"How many labels are wrong cannot be said: the probe that judges them disagrees with "
        f"{100 * (1 - accuracy):.0f}\u00a0% of them, and much of that is its own error. What it doubts most is listed."
    )
