"""The search as a stage of a study: heads tried over cached features of train, and the best made models of the study.

In: a study at work. Out: `search.journal` (or another storage) through `runs.search`, and `search.json`.

Val and test have no part in it: they say afterwards what the finalists are worth, as they do of every model.
"""

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bestiary.config.schema import SearchConfig
from bestiary.errors import StudyError
from bestiary.evaluate.grouped_folds import grouped_folds, possible_folds
from bestiary.plurals import counted
from bestiary.runs.fit_order import in_order
from bestiary.runs.race_record import read_race, still_in
from bestiary.runs.search_record import PREFIX, read_search, with_finalists, write_search
from bestiary.store.hashing import fingerprint
from bestiary.study.budget import search_ends
from bestiary.study.race_stage import members_of, numbered, train_key, train_rows
from bestiary.study.run_stage import images_to_fit
from bestiary.study.work import Work

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from bestiary.runs.search.features_of_space import SpaceFeatures
    from bestiary.runs.search.judging import Blocks

_RULES = "search 2"


def search_key(work: Work) -> str:
    """Of what a search came to; empty where none is asked for."""
    search = work.snapshot.config.search
    asked = search.model_dump(mode="json", exclude={"storage"})
    return fingerprint([train_key(work), asked, work.key("race")]) if search.asked else ""


def _space_key(work: Work, space: SearchConfig) -> str:
    """Of the images and of what can be proposed: trials of the same are kept, however long the search is."""
    proposed = space.model_dump(mode="json", exclude={"budget_s", "trials", "finalists", "storage", "race"})
    return fingerprint([train_key(work), proposed, work.snapshot.config.device, _RULES])


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

    start, config, race = time.monotonic(), work.snapshot.config, read_race(work.paths.race)
    space = config.search.model_copy(update={"backbones": still_in(race, config.search.backbones)})
    store = TrialStore(work.paths.search_journal, config.search.storage, key=_space_key(work, space))
    features = SpaceFeatures(
        in_order(images_to_fit(work)), work.snapshot.data_root,
        device=pick_device(config.device), progress=work.progress,
    )  # fmt: skip
    if space.backbones:
        run_search(_blocks(work, space, features), space, store, deadline=search_ends(work), progress=work.progress)
    content = {
        **_outcome(store.finished(), config.search, race),
        "seconds": time.monotonic() - start,
        "budget_s": config.search.budget_s,
        "judged_on": {"images": len(train_rows(work)), "folds": config.search.folds},
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


def _outcome(finished: "list[FrozenTrial]", space: SearchConfig, race: dict[str, Any]) -> dict[str, Any]:
    from bestiary.runs.search.searching import best_after, best_heads

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
        "best_after": best_after(finished),
        "reason": "" if heads else _why_nothing(failures, race),
    }


def _why_nothing(failures: list[dict[str, Any]], race: dict[str, Any]) -> str:
    if failures:
        return Counter(row["error"] for row in failures).most_common(1)[0][0]
    if all(row["reason"] for row in race["backbones"]):
        return "; ".join(f"{row['name']}: {row['reason']}" for row in race["backbones"])
    return "the budget ended before a head was tried"


def _blocks(work: Work, space: SearchConfig, features: "SpaceFeatures") -> "Blocks":
    images, train = in_order(images_to_fit(work)), train_rows(work)
    labels, groups = numbered(train["label"], sort=True), numbered(train["group_id"])
    count = possible_folds(labels, groups, folds=space.folds)
    if count < 2:
        raise StudyError(
            "a search judges heads in folds of the training images, and these are all of one group: look at "
            "data.group_pattern and at the copies that the audit found, or name models instead"
        )
    folds = np.zeros(len(train), dtype=np.int64)
    for number, (_, held_out) in enumerate(grouped_folds(labels, groups, folds=count, seed=space.seed)):
        folds[held_out] = number
    members = [member for name in space.backbones for member in members_of(space, name)]
    at = np.flatnonzero(images["split"] == "train")
    return features.blocks(members, train=at, labels=labels, groups=groups, folds=folds)
