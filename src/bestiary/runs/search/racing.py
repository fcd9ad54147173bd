"""The race: what a sample of the training images says of each backbone, and which of them lose.

In: blocks of features of a sample, by backbone. Out: a `Standing` for each. No file.

Every backbone is judged by the out-of-fold log loss of a linear probe on it. The one with the lowest leads. Another
loses where it is worse than the leader by more than `ERRORS_BEHIND` standard errors of the paired difference, and
where joining it to the leader does not lower the leader's loss by more than one standard error either: a backbone that
is worse alone may still see what the leader does not. Samples grow by `_GROWTH`, and of a backbone that has lost no
further features are made (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter
optimization", with a test in place of a share).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bestiary.config.schema import ModelConfig
from bestiary.evaluate.intervals import grouped_error
from bestiary.models.linear_probe import OutOfFold
from bestiary.runs.search.judging import Blocks, judge_probe

# The leader is the best of several by chance, too: hence more than the 2 of a single comparison.
ERRORS_BEHIND = 3.0
_GROWTH = 4
_FIRST_IMAGES, _FIRST_IMAGES_A_CLASS = 256, 10
# A probe on more images takes longer than it tells.
_MOST_IMAGES = 4096


@dataclass(frozen=True)
class Standing:
    """One backbone on one sample.

    Attributes:
        backbone: the architecture.
        images: how many of the sample were judged.
        loss: out-of-fold log loss in nats.
        accuracy: out of fold, in [0, 1].
        behind: how much higher its loss is than the leader's, in nats; 0 for the leader.
        error: standard error of that, groups taken as the units.
        gain_joined: how much lower the leader's loss is with this one joined, in nats; None where that was not asked.
        lost: whether the race is over for it.
    """

    backbone: str
    images: int
    loss: float
    accuracy: float
    behind: float = 0.0
    error: float = 0.0
    gain_joined: float | None = None
    lost: bool = False


def sample_sizes(images: int, *, class_count: int) -> list[int]:
    """How many training images each round of a race is judged on, ascending; the last is all, or enough of them."""
    size, sizes = max(_FIRST_IMAGES, _FIRST_IMAGES_A_CLASS * class_count), []
    last = min(images, _MOST_IMAGES)
    while size <= last // 2:
        sizes.append(size)
        size *= _GROWTH
    return [*sizes, last]


def stand(blocks: Blocks, models: Sequence[ModelConfig], *, joined: bool) -> list[Standing]:
    """Judge backbones on one sample.

    Args:
        blocks: of the sample, with the features of every model.
        models: linear probes, a backbone each.
        joined: whether a backbone may also win a place by what it adds to the leader.

    Returns:
        In the order of their losses; empty where the sample leaves no two folds.
    """
    judged = {model.backbone: found for model in models if (found := _judge(model, blocks))}
    ranked = sorted(judged, key=lambda name: (float(judged[name].losses.mean()), name))
    return [_standing(name, judged, ranked[0], blocks, models, joined=joined) for name in ranked]


def _standing(
    name: str,
    judged: dict[str, OutOfFold],
    leader: str,
    blocks: Blocks,
    models: Sequence[ModelConfig],
    *,
    joined: bool,
) -> Standing:
    own, best = judged[name], judged[leader]
    standing = Standing(name, len(own.losses), float(own.losses.mean()), own.strength.accuracy)
    if name == leader:
        return standing
    # The same folds, so the same images are judged.
    difference = own.losses - best.losses
    behind, error = float(difference.mean()), grouped_error(difference, blocks.groups[own.judged])
    lost, gain = behind > ERRORS_BEHIND * error, None
    if lost and joined and (both := _judge(_join(models, leader, name), blocks)):
        gained = best.losses - both.losses
        gain = float(gained.mean())
        lost = gain <= grouped_error(gained, blocks.groups[own.judged])
    return Standing(name, standing.images, standing.loss, standing.accuracy, behind, error, gain, lost)


def _join(models: Sequence[ModelConfig], *names: str) -> ModelConfig:
    """A linear probe on several of them; each has its own weights, as where it stands alone."""
    values = models[0].model_dump() | {"backbone": "", "backbones": names, "weights": "auto"}
    return ModelConfig.model_validate(values)


def _judge(model: ModelConfig, blocks: Blocks) -> OutOfFold | None:
    # One dealing of the folds: a race has little time, and compares on the same folds.
    return judge_probe(model, blocks, repeats=1, threads=2)
