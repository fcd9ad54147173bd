"""The race as a stage of a study: what each backbone costs, and which of them a sample of train leaves in.

In: a study at work. Out: `race.json`, through `runs.race_record`. Caches features; see `models.extract.features`.

Before any features are made, two small samples of each backbone are timed. The cheapest are taken while the time
lasts. Then they race over growing samples of the training images (see `runs.search.racing`). Val and test have no part
in it.
"""

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.config.schema import ModelConfig, SearchConfig
from bestiary.data.groups import least_of_group
from bestiary.errors import WeightsError
from bestiary.plurals import counted
from bestiary.runs.fit_order import in_order
from bestiary.runs.keys import content_id
from bestiary.runs.race_record import read_race, write_race
from bestiary.store.hashing import fingerprint
from bestiary.study.budget import COSTS, search_ends
from bestiary.study.run_stage import images_to_fit
from bestiary.study.work import Work

if TYPE_CHECKING:
    from bestiary.runs.search.features_of_space import Cost, SpaceFeatures
    from bestiary.runs.search.racing import Standing

_RULES = "race 1"
# Of the time that is left, so much goes to the heads at least.
_SHARE_OF_HEADS = 0.1
# With less than this left, backbones whose features are known are not timed.
_TIMED_WITH_S = 60.0
# The last round only measures: it may take so much of the time that is left.
_SHARE_OF_LAST = 0.05


@dataclass(frozen=True)
class Entrant:
    """A backbone in a race.

    Attributes:
        name: the architecture.
        images: of how many the feature cache lacked features.
        seconds: estimated, for these.
        a_thousand_s: what 1,000 images take; None where that was not timed.
        licence: of the weights; empty where none is stated.
        reason: why it is out; empty where it is not.
        rounds: how it stood in each.
    """

    name: str
    images: int = 0
    seconds: float = 0.0
    a_thousand_s: float | None = None
    licence: str = ""
    reason: str = ""
    rounds: tuple["Standing", ...] = field(default=())


def train_rows(work: Work) -> pd.DataFrame:
    """The training images, in the order of their contents."""
    images = in_order(images_to_fit(work))
    return images[images["split"] == "train"].reset_index(drop=True)


def train_key(work: Work) -> str:
    """Of the training images, their labels and groups."""

    def compute() -> str:
        train = train_rows(work)
        tied = least_of_group(train["image_id"], train["group_id"])
        return fingerprint(list(zip(map(content_id, train["image_id"]), train["label"], tied, strict=True)))

    return str(work.remember("train key", compute))


def numbered(values: pd.Series, *, sort: bool = False) -> npt.NDArray[np.int64]:
    """Labels or groups as numbers."""
    return pd.factorize(values, sort=sort)[0].astype(np.int64)


def members_of(search: SearchConfig, name: str) -> list[ModelConfig]:
    """The frozen models whose features a search needs of one backbone: one for each crop."""
    flip = "flip" in search.views
    return [
        ModelConfig.model_validate(
            {"backbone": name, "pixels": {"crop_fraction": crop}, "augment": {"flip": flip}, "seed": search.seed}
        )
        for crop in search.crops
    ]


def race_key(work: Work) -> str:
    """Of what a race came to; empty where no search is asked for."""
    config = work.snapshot.config
    search = config.search
    if not search.asked:
        return ""
    space = [search.backbones, search.crops, search.views, search.joins > 1, search.race, search.seed]
    return fingerprint([train_key(work), space, search.budget_s, config.device, _RULES])


def has_race(work: Work, key: str) -> bool:
    """Whether the race that is asked for came to its end."""
    return not key or read_race(work.paths.race).get("key") == key


def make_race(work: Work, key: str) -> None:
    """Time the backbones, and race those that there is time for."""
    if not key:
        return
    # Torch takes seconds to import; a study with nothing to do is spared it.
    from bestiary.models.devices import pick_device
    from bestiary.runs.search.features_of_space import SpaceFeatures

    start, images, search = time.monotonic(), in_order(images_to_fit(work)), work.snapshot.config.search
    features = SpaceFeatures(
        images, work.snapshot.data_root, device=pick_device(work.snapshot.config.device), progress=work.progress
    )
    sides = images["split"].to_numpy()
    drawn = np.random.default_rng(search.seed).permutation(np.flatnonzero(sides == "train"))
    entrants = _timed(work, features, order=np.concatenate([drawn, np.flatnonzero(sides != "train")]))
    entrants = _raced(work, images.iloc[drawn].reset_index(drop=True), entrants)
    content = {
        "seconds": time.monotonic() - start,
        "budget_s": search.budget_s,
        "train_images": len(drawn),
        "backbones": [asdict(entrant) for entrant in entrants],
    }
    # A race that left nobody in is run again by the next call, which finds more in the caches.
    write_race(work.paths.race, content, key=key if any(not one.reason for one in entrants) else "")


def _timed(work: Work, features: "SpaceFeatures", *, order: npt.NDArray[np.int64]) -> list[Entrant]:
    """What each backbone costs, before its features are made; the cheapest first, while the time lasts."""
    from bestiary.runs.search.features_of_space import licence_of

    search, ends, found = work.snapshot.config.search, search_ends(work), []
    for name in search.backbones:
        if ends is not None and time.monotonic() > ends:
            found.append(Entrant(name, licence=licence_of(name), reason="no time was left to time it"))
            continue
        try:
            found.append(Entrant(name, **asdict(_cost(work, features, name, order, ends))))
        except WeightsError as error:
            found.append(Entrant(name, licence=licence_of(name), reason=str(error)))
    left, decided = np.inf if ends is None else (1 - _SHARE_OF_HEADS) * (ends - time.monotonic()), []
    for entrant in sorted(found, key=lambda one: one.seconds):
        reason = entrant.reason
        if not reason and entrant.seconds > max(left, 0.0):
            reason = f"its features take about {entrant.seconds:.0f} s, and {max(left, 0.0):.0f} s are left for them"
        left -= 0.0 if reason else entrant.seconds
        decided.append(replace(entrant, reason=reason))
        work.progress.say(f"  race: {_offer_text(decided[-1])}")
    return decided


def _cost(work: Work, features: "SpaceFeatures", name: str, order: npt.NDArray[np.int64], ends: float | None) -> "Cost":
    # The audit's backbone was timed before the audit, by whether one model fits in the budget.
    known: dict[str, Cost] = work.remember(COSTS, dict)
    time_known = name not in known and (ends is None or ends - time.monotonic() > _TIMED_WITH_S)
    cost = features.cost(members_of(work.snapshot.config.search, name), order=order, time_known=time_known)
    return replace(cost, a_thousand_s=known[name].a_thousand_s) if name in known else cost


def _offer_text(entrant: Entrant) -> str:
    cost = "in the cache"
    if entrant.images:
        cost = f"{entrant.seconds / 60:.1f} minutes for {counted(entrant.images, 'image')}"
    said = f"left out: {entrant.reason}" if entrant.reason else f"features {cost}"
    return f"{entrant.name}, licence {entrant.licence or 'not stated'}, {said}"


def _raced(work: Work, train: pd.DataFrame, entrants: list[Entrant]) -> list[Entrant]:
    """Judge those that are in on growing samples of `train`, whose rows are in the order in which they are drawn."""
    from bestiary.runs.search.racing import sample_sizes

    *rounds, last = sample_sizes(len(train), class_count=train["label"].nunique())
    by_name, seconds, ends = {entrant.name: entrant for entrant in entrants}, 0.0, search_ends(work)
    for size in [*(rounds if work.snapshot.config.search.race else ()), last]:
        start, names = time.monotonic(), [one.name for one in by_name.values() if not one.reason]
        if size == last and ends is not None and seconds > _SHARE_OF_LAST * (ends - start):
            break
        for standing in _round(work, train.iloc[:size], names):
            entrant = by_name[standing.backbone]
            reason = _why_out(standing) if standing.lost and size != last else ""
            by_name[standing.backbone] = replace(entrant, rounds=(*entrant.rounds, standing), reason=reason)
            if reason:
                work.progress.say(f"  race: {standing.backbone} is out: {reason}")
        seconds = (time.monotonic() - start) * last / size
    return list(by_name.values())


def _round(work: Work, sample: pd.DataFrame, names: list[str]) -> list["Standing"]:
    from bestiary.models.devices import pick_device
    from bestiary.runs.search.features_of_space import SpaceFeatures
    from bestiary.runs.search.racing import stand

    config = work.snapshot.config
    features = SpaceFeatures(sample, work.snapshot.data_root, device=pick_device(config.device), progress=work.progress)
    models = [members_of(config.search, name)[0] for name in names]
    if not models:
        return []
    blocks = features.blocks(
        models,
        train=np.arange(len(sample)),
        labels=numbered(sample["label"], sort=True),
        groups=numbered(sample["group_id"]),
        folds=np.zeros(len(sample), dtype=np.int64),
    )
    return stand(blocks, models, joined=config.search.joins > 1)


def _why_out(standing: "Standing") -> str:
    behind = f"its log loss is {standing.behind:.3f} above the leader's (standard error {standing.error:.3f})"
    joined = "" if standing.gain_joined is None else ", and joining it to the leader does not lower that"
    return f"on {counted(standing.images, 'training image')} {behind}{joined}"
