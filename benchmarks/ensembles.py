"""What an ensemble of the models of a study is worth: photos that no study has seen, over repeated splits.

In: a folder of photos. Out: one row a rule by which the exported model is chosen: mean accuracy over all repeats, and
its difference to the best single model by validation accuracy. Repeats and intervals as in `repeated`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photos import cache_in
from benchmarks.repeated import Bench, Parts, difference
from benchmarks.rows import Row
from bestiary.config.schema import ModelConfig
from bestiary.evaluate.calibration import log_losses
from bestiary.evaluate.greedy_selection import Selection, accuracy_of, cross_fit, mix, select_greedily, why_left_out
from bestiary.models.learner import State

_MODELS: dict[str, dict[str, Any]] = {
    "lite0": {"backbone": "tf_efficientnet_lite0"},
    "lite1": {"backbone": "tf_efficientnet_lite1"},
    "lite2, 128 hidden units": {
        "backbone": "tf_efficientnet_lite2",
        "head": {"hidden": 128, "dropout": 0.25},
    },
    "lite0 and lite2 joined": {"backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite2"]},
}
_RULES = {
    "single": "the best model on val",
    "ensemble": "always the ensemble",
    "ensemble, lower loss": "the ensemble where its cross-fitted log loss is lower by one standard error, else single",
    "ensemble, as kept": "the same, and it ranks before every model on val: what a study does",
}
_ROUNDS = 50


def measure(data: Path, place: Path, repeats: int) -> list[Row]:
    """All rules.

    Args:
        data: a folder of class folders.
        place: an empty folder to work in.
        repeats: not looked at: as `repeated` has them.
    """
    with cache_in(place / "cache"):
        bench = Bench(data, place)
        # A head that is trained begins anew in every repeat: it has seen the photos that the next one holds out.
        fresh = {name: bench.learner(ModelConfig.model_validate(values)).state() for name, values in _MODELS.items()}
        found = [_one(bench, parts, fresh) for parts in bench.parts()]
    rows = []
    for number, (rule, what) in enumerate(_RULES.items()):
        accuracy, loss = (np.array([one[part][number] for one in found]) for part in (0, 1))
        first = np.array([one[0][0] for one in found])
        chosen = int(sum(one[2][number] for one in found))
        note = f"log loss {loss.mean():.3f}; an ensemble in {chosen} of {len(found)}; {difference(accuracy - first)}"
        rows.append(replace(Row(rule, what, repeats=len(found)), accuracy=float(accuracy.mean()), note=note))
    return rows


def _one(bench: Bench, parts: Parts, fresh: dict[str, State]) -> tuple[list[float], list[float], list[bool]]:
    """Accuracy and log loss on held-out photos by rule, and whether the rule took the ensemble."""
    on_val, held_out = [], []
    for name, values in _MODELS.items():
        learner = bench.learner(ModelConfig.model_validate(values))
        learner.load(fresh[name])
        learner.fit(bench.some(parts.train), bench.some(parts.val), checkpoint=Path(), key="")
        on_val.append(learner.logits(parts.val))
        held_out.append(learner.logits(parts.held_out))
    labels = bench.labels[parts.val]
    right = [accuracy_of(said, labels) for said in on_val]
    chosen = select_greedily(on_val, labels, rounds=_ROUNDS)
    judged = cross_fit(on_val, labels, bench.groups[parts.val], rounds=_ROUNDS, seed=0)
    assert judged is not None
    single = np.zeros(len(right))
    single[int(np.argmax(right))] = 1.0
    several = int((chosen.shares > 0).sum()) > 1
    lower = several and judged.gain.value > judged.error
    kept = not why_left_out(chosen, judged, on_val, labels)
    takes = [False, several, lower, kept]
    logits = [mix(held_out, chosen if takes_it else Selection(single, chosen.temperatures)) for takes_it in takes]
    true = bench.labels[parts.held_out]
    return [accuracy_of(one, true) for one in logits], [float(log_losses(one, true).mean()) for one in logits], takes
