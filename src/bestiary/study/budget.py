"""The time that a study is given: whether one model fits in it, and when what comes before the last fits must be over.

In: a study at work. Out: a refusal, or a time. Owns no file.
"""

import time

import numpy as np

from bestiary.config.schema import NO_BACKBONE, ModelConfig
from bestiary.errors import UsageError
from bestiary.plurals import counted
from bestiary.study.work import Work

# What is remembered of backbones that were timed, by their names.
COSTS = "costs of backbones"
# What comes after a search besides fitting its finalists: comparison, refit, report, export.
_AFTER_S, _AFTER_S_AN_IMAGE = 16.0, 0.003
# The audit and its image statistics, without features.
_AUDIT_S_AN_IMAGE = 0.007
# Fitting one finalist, a strength chosen anew included.
_FIT_S, _FIT_S_AN_IMAGE = 3.0, 0.0015


def refuse_short_budget(work: Work, key: str) -> None:
    """Refuse a budget in which not one model can be made, before hours are spent on it.

    Raises:
        UsageError: says what would do, by passes that are timed here.
    """
    # Torch takes seconds to import; a study with nothing to do is spared it.
    from bestiary.models.devices import pick_device
    from bestiary.runs.search.features_of_space import SpaceFeatures

    config, images = work.snapshot.config, work.snapshot.readable
    audit, count = config.audit, len(images)
    if not audit.enabled or audit.backbone == NO_BACKBONE:
        return
    member = ModelConfig(backbone=audit.backbone, weights=audit.weights, pixels=audit.pixels)
    features = SpaceFeatures(images, work.snapshot.data_root, device=pick_device(config.device), progress=work.progress)
    order = np.random.default_rng(config.search.seed).permutation(count)
    cost = features.cost([member], order=order)
    work.remember(COSTS, dict)[audit.backbone] = cost
    rest = cost.seconds + count * (_AUDIT_S_AN_IMAGE + _AFTER_S_AN_IMAGE + _FIT_S_AN_IMAGE)
    wanted = time.monotonic() - work.started + rest + _AFTER_S + _FIT_S
    if wanted > config.search.budget_s:
        enough = 10 * int(wanted / 10 + 2)
        raise UsageError(
            f"a budget of {config.search.budget_s:g} s is too short: an audit and one model take about {wanted:.0f} s "
            f"for {counted(count, 'image')} here. Give --budget {enough}s or more"
        )


def search_ends(work: Work) -> float | None:
    """When the last trial has to be over, of `time.monotonic()`: what follows has to fit in the budget, too."""
    search, count = work.snapshot.config.search, len(work.snapshot.images)
    if not search.budget_s:
        return None
    after = _AFTER_S + _AFTER_S_AN_IMAGE * count + search.finalists * (_FIT_S + _FIT_S_AN_IMAGE * count)
    return work.started + search.budget_s - after
