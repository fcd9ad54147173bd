"""Allotment: how many images of each class a side gets, and which.

In: classes, groups, and the sides that images have already. Out: a side for every image. Owns no file.

Each class gives the asked fraction by largest remainder, so that totals equal scikit-learn's
`train_test_split(stratify=...)`. A class large enough for it gives every side one image at least: where the fraction
gives it none, a side gets one more, and train one less.

Which groups go where is chance, and not their size:

1. Groups of several images draw lots. A group goes to a side with the probability of what its classes still lack there,
   whatever its size; at first that is the asked fraction. Only a side of which it alone is more than one of its classes
   lacks there is closed to it: groups so large are in train more often than others, and no draw could help it.
2. Where lots put more of a class on a side than it lacks, groups of that class are moved or exchanged, as few as it
   takes. Which ones is chance among those that serve equally.
3. Images that stand alone fill all sides up exactly. Since groups have the asked fraction in the mean, so have these.
4. A class that groups left without an image of a side gets the smallest group that can be spared there; a class of two
   groups is in train and test, and one of a single group in train.

Lots of one draw are spread evenly over groups of like classes and size (the additive recurrence of the golden ratio
from a random start: each lot alone is uniform), so that the sides differ less in sizes of groups than by plain chance.

Images that have a side keep it. They count towards the targets of the whole; a side that has more than its target of a
class gets none of that class.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from bestiary.config.schema import SPLITS

Counts = npt.NDArray[np.int64]
Sides = npt.NDArray[np.object_]
Shares = npt.NDArray[np.float64]
Needs = tuple[Counts, Counts]

_GOLDEN = (math.sqrt(5) - 1) / 2


def allot(
    sizes: Counts,
    fraction: float,
    *,
    least: Counts | None = None,
    most: Counts | None = None,
    have: Counts | None = None,
    growing: npt.NDArray[np.bool_] | None = None,
) -> Counts:
    """How many of each class a fraction takes, by largest remainder; the total is `ceil(fraction * sum(sizes))`.

    Ties go to the larger class, then to the earlier one. With `least` or `most` the total can be larger or smaller.

    Args:
        sizes: of each class, `(c,) int64`.
        fraction: in [0, 1].
        least: what each class gives at least.
        most: what each class gives at most.
        have: what the side has of each class already. A class of which it has more than the whole part of its share
            is rounded up first: nothing can be taken back from it.
        growing: which classes have images to give; the others are rounded up last.
    """
    exact = sizes * fraction
    floors = np.floor(exact + 1e-9).astype(np.int64)
    counts = np.maximum(floors, 0 if least is None else least)
    counts = counts if most is None else np.minimum(counts, most)
    lacking = max(math.ceil(fraction * int(sizes.sum()) - 1e-9) - int(counts.sum()), 0)
    urgency = np.zeros(len(sizes), dtype=np.int64)
    if growing is not None:
        urgency[~growing] = 1
    if have is not None:
        urgency[have > floors] = -1
    order = np.lexsort((np.arange(len(sizes)), -sizes, -np.round(exact - floors, 9), urgency))
    roundable = counts == floors if most is None else (counts == floors) & (counts < most)
    counts[order[roundable[order]][:lacking]] += 1
    return counts


def targets(sizes: Counts, fractions: Mapping[str, float], have: Mapping[str, Counts]) -> dict[str, Counts]:
    """How many images of each class every side should have: by side, `(c,) int64` each; train takes the rest.

    Args:
        sizes: of each class, `(c,) int64`.
        fractions: by side, without train.
        have: by side, what it has of each class already, `(c,) int64`.
    """
    growing = np.sum(list(have.values()), axis=0) < sizes
    rest, found = sizes.copy(), {}
    for number, (side, fraction) in enumerate(fractions.items()):
        others = len(fractions) - number  # sides that come after this one, train among them: an image for each
        most = np.maximum(rest - others, 0)
        found[side] = allot(sizes, fraction, least=np.minimum(most, 1), most=most, have=have[side], growing=growing)
        rest = rest - found[side]
    return {**found, "train": rest}


def draw(
    labels: npt.NDArray[np.object_], groups: Counts, fractions: Mapping[str, float], *, seed: int, kept: Sides
) -> Sides:
    """Give every image that has no side one.

    Args:
        labels: the class of each image, `(n,)` strings.
        groups: the group of each, `(n,) int64`.
        fractions: by side to draw, without train, in [0, 1].
        seed: decides which images of equal standing go where.
        kept: the side that each image has already, or "", `(n,)` strings. A group has one side or none.

    Returns:
        The side of each image, `(n,)` strings.
    """
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    order = [side for side in SPLITS if side == "train" or side in fractions]
    placed = np.stack([np.bincount(codes[kept == side], minlength=len(names)) for side in order])  # (sides, classes)
    known = placed.sum(axis=0)
    sizes = np.bincount(codes, minlength=len(names))
    goal = targets(sizes, fractions, dict(zip(order, placed, strict=True)))
    # An overfull side gets none of that class, whatever its others lack.
    lacking = np.maximum(np.stack([goal[side] for side in order]) - placed, 0).astype(float)
    wanted = np.stack([sizes * fractions.get(side, 0.0) for side in order])

    new = np.flatnonzero(kept == "")
    random = np.random.default_rng(seed)
    members = [new[positions] for positions in _members(groups[new], random)]
    sides = kept.copy()
    several = [positions for positions in members if len(positions) > 1]
    if several:
        needs = [np.unique(codes[positions], return_counts=True) for positions in several]
        places = _exchange(needs, _by_lot(needs, lacking, random), lacking, random)
        for positions, (of, count), place in zip(several, needs, places, strict=True):
            sides[positions] = order[place]
            lacking[place, of] -= count
            placed[place, of] += count
    singles = np.array([positions[0] for positions in members if len(positions) == 1], dtype=np.int64)
    singles = singles[np.argsort(codes[singles], kind="stable")]
    ends = np.cumsum(np.bincount(codes[singles], minlength=len(names)))
    for number, of_class in enumerate(np.split(singles, ends[:-1])):
        if known[number] > 0:
            counts = _fill_up(lacking[:, number], placed[:, number], wanted[:, number], len(of_class))
        else:
            counts = _share_out(lacking[:, number], len(of_class))
        sides[of_class] = np.repeat(order, counts)
    _spare_for_empty(sides, codes, groups, order, movable=kept == "")
    return sides


def _members(groups: Counts, random: np.random.Generator) -> list[Counts]:
    """The positions of each group, in random order."""
    order = random.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    members = np.split(order, starts[1:])
    return [members[number] for number in random.permutation(len(members))]


def _by_lot(needs: Sequence[Needs], lacking: Shares, random: np.random.Generator) -> Counts:
    """A side for each group of several images, by lot: `(groups,) int64`.

    Args:
        needs: of each group, the classes it holds and how many images of each.
        lacking: what each side lacks of each class, `(sides, classes)`.
        random: where the lots start, and the order of groups that are alike.
    """
    shuffled = random.permutation(len(needs))
    alike = sorted(shuffled, key=lambda number: (tuple(needs[number][0]), int(needs[number][1].sum())))
    lots = (random.random() + _GOLDEN * np.arange(len(needs))) % 1
    places = np.zeros(len(needs), dtype=np.int64)
    for number, lot in zip(alike, lots, strict=True):
        of, count = needs[number]
        room = lacking[:, of]
        shares = (room / np.maximum(room.sum(axis=0), 1) * count).sum(axis=1)
        closed = (room < count).any(axis=1)
        shares = np.where(closed, 0.0, shares)
        total = shares.sum()  # 0 where it fits nowhere: then it trains
        places[number] = (
            0 if total == 0 else min(int(np.searchsorted(np.cumsum(shares), lot * total, "right")), len(shares) - 1)
        )
    return places


def _exchange(needs: Sequence[Needs], places: Counts, lacking: Shares, random: np.random.Generator) -> Counts:
    """Move groups of one class, or exchange two, until no side has more of a class than it lacks, or none helps.

    Args:
        needs: of each group, as above.
        places: of `_by_lot`.
        lacking: as above, before any group was placed.
        random: which of the groups that serve equally.
    """
    places, left = places.copy(), lacking.copy()
    for place, (of, count) in zip(places, needs, strict=True):
        left[place, of] -= count
    of_class: dict[int, list[int]] = {}
    for number, (of, _) in enumerate(needs):
        if len(of) == 1:
            of_class.setdefault(int(of[0]), []).append(number)
    for code in np.flatnonzero((left < 0).any(axis=0)):
        own = np.array(of_class.get(int(code), []), dtype=np.int64)
        sizes = np.array([int(needs[number][1][0]) for number in own], dtype=np.int64)
        for _ in range(2 * len(own)):
            change = _best_exchange(sizes, places[own], left[:, code])
            if change is None:
                break
            source, target, given, taken = change
            for size, here, there in ((given, source, target), (taken, target, source)):
                if size:
                    chosen = own[random.choice(np.flatnonzero((sizes == size) & (places[own] == here)))]
                    places[chosen] = there
            left[source, code] += given - taken
            left[target, code] -= given - taken
    return places


def _best_exchange(sizes: Counts, places: Counts, left: Shares) -> tuple[int, int, int, int] | None:
    """From which side to which, a group of what size, for one of what size (0: for none); None where nothing helps."""
    best, least = None, 0.0
    for source in np.flatnonzero(left < 0):
        for target in range(len(left)):
            if target == source:
                continue
            given = np.unique(sizes[places == source])
            taken = np.append(0, np.unique(sizes[places == target]))
            moved = given[:, None] - taken[None, :]
            before = min(left[source], 0.0) + min(left[target], 0.0)
            gain = np.minimum(left[source] + moved, 0) + np.minimum(left[target] - moved, 0) - before
            if gain.size and gain.max() > least:
                row, column = np.unravel_index(int(gain.argmax()), gain.shape)
                best, least = (int(source), target, int(given[row]), int(taken[column])), float(gain.max())
    return best


def _share_out(lacking: Shares, count: int) -> Counts:
    """Share `count` single images out by what the sides lack; a side that groups overfilled gets none."""
    room = np.maximum(lacking, 0)
    if room.sum() == 0:
        return np.array([count] + [0] * (len(lacking) - 1), dtype=np.int64)
    counts = np.floor(room * count / room.sum()).astype(np.int64)
    remainder = room * count / room.sum() - counts
    counts[np.argsort(-remainder, kind="stable")[: count - int(counts.sum())]] += 1
    return counts


def _fill_up(lacking: Shares, placed: Counts, wanted: Shares, count: int) -> Counts:
    """Fill val and test up to their targets with `count` single images, and train with the rest.

    For classes that have images on the sides already. Sharing out by what the sides lack would starve val where test is
    overfull, since train then lacks most for good. An empty side goes first, train before all; then the one that is
    furthest below its exact share.
    """
    counts = np.zeros(len(lacking), dtype=np.int64)
    while (left := count - int(counts.sum())) > 0:
        now = placed + counts
        short = [side for side in range(1, len(lacking)) if lacking[side] - counts[side] >= 1]
        if now[0] == 0:
            counts[0] += 1
        elif short:
            counts[max(short, key=lambda side: (now[side] == 0, wanted[side] - now[side]))] += 1
        else:
            counts[0] += left
    return counts


def _spare_for_empty(
    sides: Sides, codes: Counts, groups: Counts, order: Sequence[str], *, movable: npt.NDArray[np.bool_]
) -> None:
    """Give each side that lacks a class the smallest new group with it whose move leaves no class empty elsewhere.

    A class of two groups is in train and test, and one of a single group in train.
    """
    places = np.array([order.index(name) for name in sides], dtype=np.int64)
    counts = np.zeros((len(order), int(codes.max()) + 1), dtype=np.int64)
    np.add.at(counts, (places, codes), 1)
    # Where a class has too few groups, train comes first and val last.
    first = {"train": 0, "test": 1, "val": 2}
    rank = np.array([first[side] for side in order])
    for place, number in sorted(np.argwhere(counts == 0).tolist(), key=lambda empty: (rank[empty[0]], empty[1])):
        if counts[place, number]:  # a group that moved before has brought it
            continue
        candidates, sizes = np.unique(groups[np.isin(groups, groups[movable & (codes == number)])], return_counts=True)
        for group in candidates[np.argsort(sizes, kind="stable")]:
            members = np.flatnonzero(groups == group)
            needs, source = np.bincount(codes[members], minlength=counts.shape[1]), places[members[0]]
            is_spared = (counts[source] > needs) | ((rank[source] > rank[place]) & (counts[place] == 0))
            if is_spared[needs > 0].all():
                counts[source], counts[place] = counts[source] - needs, counts[place] + needs
                places[members], sides[members] = place, order[place]
                break
