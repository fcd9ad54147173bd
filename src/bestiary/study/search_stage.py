"""The search as a stage of a study: heads tried over cached features of train, and the best made models of the study.

In: a study at work. Out: `search.journal` (or another storage) through `runs.search`, and `search.json`.

Val and test have no part in it: they say afterwards what the finalists are worth, as they do of every model.
"""

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bestiary.config.schema import NO_BACKBONE, ModelConfig, SearchConfig
from bestiary.data.groups import least_of_group
from bestiary.errors import StudyError, UsageError, WeightsError
from bestiary.evaluate.grouped_folds import grouped_folds, possible_folds
from bestiary.plurals import counted
from bestiary.runs.fit_order import in_order
from bestiary.runs.keys import content_id
from bestiary.runs.search_record import PREFIX, read_search, with_finalists, write_search
from bestiary.store.hashing import fingerprint
from bestiary.study.run_stage import images_to_fit
from bestiary.study.work import Work

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from bestiary.runs.search.features_of_space import SpaceFeatures
    from bestiary.runs.search.judging import Blocks

_RULES = "search 1"
# What comes after a search besides fitting its finalists: comparison, refit, report, export.
_AFTER_S, _AFTER_S_AN_IMAGE = 16.0, 0.003
# The audit and its image statistics, without features.
_AUDIT_S_AN_IMAGE = 0.007
# Fitting one finalist, a strength chosen anew included.
_FIT_S, _FIT_S_AN_IMAGE = 3.0, 0.0015


@dataclass(frozen=True)
class Offer:
    """A backbone that a search may use.

    Attributes:
        name: the architecture.
        images: how many the feature cache lacks.
        seconds: estimated, for their features.
        licence: of the weights; empty where none is stated.
        reason: why it is left out; empty where it is used.
    """

    name: str
    images: int = 0
    seconds: float = 0.0
    licence: str = ""
    reason: str = ""


def _train(work: Work) -> pd.DataFrame:
    """The training images, in the order of their contents."""
    images = in_order(images_to_fit(work))
    return images[images["split"] == "train"].reset_index(drop=True)


def _space_key(work: Work) -> str:
    """Of the images and the space: trials of the same are kept, however long the search is."""
    train, config = _train(work), work.snapshot.config
    tied = least_of_group(train["image_id"], train["group_id"])
    rows = list(zip(map(content_id, train["image_id"]), train["label"], tied, strict=True))
    space = config.search.model_dump(mode="json", exclude={"budget_s", "trials", "finalists", "storage"})
    return fingerprint([rows, space, config.device, _RULES])


def search_key(work: Work) -> str:
    """Of what a search came to; empty where none is asked for."""
    search = work.snapshot.config.search
    return fingerprint([_space_key(work), search.budget_s, search.trials, search.finalists]) if search.asked else ""


def has_search(work: Work, key: str) -> bool:
    """Whether the search that is asked for came to its end."""
    return not key or read_search(work.paths.search).get("key") == key


def make_search(work: Work, key: str) -> None:
    """Search, or go on with a search that was interrupted."""
    if not key:
        return
    # Optuna and torch take seconds to import; a study with nothing to do is spared them.
    from bestiary.models.devices import pick_device
    from bestiary.runs.search.features_of_space import SpaceFeatures
    from bestiary.runs.search.searching import run_search
    from bestiary.runs.search.trials import TrialStore

    start, config = time.monotonic(), work.snapshot.config
    store = TrialStore(work.paths.search_journal, config.search.storage, key=_space_key(work))
    features = SpaceFeatures(
        in_order(images_to_fit(work)), work.snapshot.data_root,
        device=pick_device(config.device), progress=work.progress,
    )  # fmt: skip
    latest = _latest(work)
    offers = _offers(work, features, latest=latest)
    usable = tuple(offer.name for offer in offers if not offer.reason)
    if usable:
        space = config.search.model_copy(update={"backbones": usable})
        run_search(_blocks(work, space, features), space, store, deadline=latest, progress=work.progress)
    content = {
        **_outcome(store.finished(), config.search, offers),
        "seconds": time.monotonic() - start,
        "budget_s": config.search.budget_s,
        "judged_on": {"images": len(_train(work)), "folds": config.search.folds},
        "backbones": [asdict(offer) for offer in offers],
    }
    # A search that found nothing is tried again by the next call, which finds more in the caches.
    write_search(work.paths.search, content, key=key if content["heads"] else "")
    work.adopt(with_finalists(work.config_as_given, content))
    work.progress.say(f"  search: {_summary(content)}")


def _summary(content: dict[str, Any]) -> str:
    if not content["heads"]:
        return f"nothing found, {content['reason']}"
    best, tried = content["heads"][0], counted(content["trials"], "head")
    return (
        f"{tried} tried in {content['seconds']:.0f} s; out of fold, the best has an accuracy of {best['accuracy']:.4f} "
        f"and a log loss of {best['loss']:.4f}"
    )


def refuse_short_budget(work: Work, key: str) -> None:
    """Refuse a budget in which not one model can be made, before hours are spent on it.

    Raises:
        UsageError: says what would do, by passes that are timed here.
    """
    from bestiary.models.devices import pick_device
    from bestiary.runs.search.features_of_space import SpaceFeatures

    config, images = work.snapshot.config, work.snapshot.readable
    audit, count = config.audit, len(images)
    if not audit.enabled or audit.backbone == NO_BACKBONE:
        return
    member = ModelConfig(backbone=audit.backbone, weights=audit.weights, pixels=audit.pixels)
    features = SpaceFeatures(images, work.snapshot.data_root, device=pick_device(config.device), progress=work.progress)
    rest = features.cost([member]).seconds + count * (_AUDIT_S_AN_IMAGE + _AFTER_S_AN_IMAGE + _FIT_S_AN_IMAGE)
    wanted = time.monotonic() - work.started + rest + _AFTER_S + _FIT_S
    if wanted > config.search.budget_s:
        enough = 10 * int(wanted / 10 + 2)
        raise UsageError(
            f"a budget of {config.search.budget_s:g} s is too short: an audit and one model take about {wanted:.0f} s "
            f"for {counted(count, 'image')} here. Give --budget {enough}s or more"
        )


def _latest(work: Work) -> float | None:
    """When the last trial has to be over, of `time.monotonic()`: what follows has to fit in the budget, too."""
    search, count = work.snapshot.config.search, len(work.snapshot.images)
    if not search.budget_s:
        return None
    after = _AFTER_S + _AFTER_S_AN_IMAGE * count + search.finalists * (_FIT_S + _FIT_S_AN_IMAGE * count)
    return work.started + search.budget_s - after


def _outcome(finished: "list[FrozenTrial]", space: SearchConfig, offers: list[Offer]) -> dict[str, Any]:
    from bestiary.runs.search.searching import best_heads

    failures = [
        {"trial": trial.number, "params": trial.params, "error": trial.user_attrs["error"]}
        for trial in finished
        if trial.user_attrs["error"]
    ]
    heads = [
        {"loss": head.loss, "accuracy": head.accuracy, "config": head.model.model_dump(mode="json")}
        for head in best_heads(finished, space)
    ]
    finalists = [
        {"model": f"{PREFIX}{number}", **head} for number, head in enumerate(heads[: space.finalists], start=1)
    ]
    return {
        "trials": len(finished),
        "finalists": finalists,
        "heads": heads,
        "failures": failures,
        "reason": "" if heads else _why_nothing(failures, offers),
    }


def _why_nothing(failures: list[dict[str, Any]], offers: list[Offer]) -> str:
    if failures:
        return Counter(row["error"] for row in failures).most_common(1)[0][0]
    left_out = [f"{offer.name}: {offer.reason}" for offer in offers if offer.reason]
    if len(left_out) == len(offers):
        return "; ".join(left_out)
    return "the budget ended before a head was tried"


def _members(search: SearchConfig, name: str) -> list[ModelConfig]:
    """The frozen models whose features a search needs of one backbone: one for each crop."""
    flip = "flip" in search.views
    return [
        ModelConfig.model_validate({"backbone": name, "pixels": {"crop_fraction": crop}, "augment": {"flip": flip}})
        for crop in search.crops
    ]


def _offers(work: Work, features: "SpaceFeatures", *, latest: float | None) -> list[Offer]:
    """What each backbone costs, before its features are made; the cheapest first, while the time lasts."""
    search, found = work.snapshot.config.search, []
    for name in search.backbones:
        try:
            found.append(Offer(name, **asdict(features.cost(_members(search, name)))))
        except WeightsError as error:
            found.append(Offer(name, reason=str(error)))
    left, decided = np.inf if latest is None else latest - time.monotonic(), []
    for offer in sorted(found, key=lambda one: one.seconds):
        reason = offer.reason
        if not reason and offer.seconds > left:
            reason = f"its features take about {offer.seconds:.0f} s, and {max(left, 0.0):.0f} s are left for them"
        left -= 0.0 if reason else offer.seconds
        decided.append(replace(offer, reason=reason))
        work.progress.say(f"  search: {_offer_text(decided[-1])}")
    return decided


def _offer_text(offer: Offer) -> str:
    cost = f"{offer.seconds / 60:.1f} minutes for {counted(offer.images, 'image')}" if offer.images else "in the cache"
    said = f"left out: {offer.reason}" if offer.reason else f"features {cost}"
    return f"{offer.name}, licence {offer.licence or 'not stated'}, {said}"


def _blocks(work: Work, space: SearchConfig, features: "SpaceFeatures") -> "Blocks":
    images, train = in_order(images_to_fit(work)), _train(work)
    labels = pd.factorize(train["label"], sort=True)[0].astype(np.int64)
    groups = pd.factorize(train["group_id"])[0].astype(np.int64)
    count = possible_folds(labels, groups, folds=space.folds)
    if count < 2:
        raise StudyError(
            "a search judges heads in folds of the training images, and these are all of one group: look at "
            "data.group_pattern and at the copies that the audit found, or name models instead"
        )
    folds = np.zeros(len(train), dtype=np.int64)
    for number, (_, held_out) in enumerate(grouped_folds(labels, groups, folds=count, seed=space.seed)):
        folds[held_out] = number
    members = [member for name in space.backbones for member in _members(space, name)]
    at = np.flatnonzero(images["split"] == "train")
    return features.blocks(members, train=at, labels=labels, groups=groups, folds=folds)
