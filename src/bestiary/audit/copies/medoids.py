"""Clusters in which every member is like one picture, so that nothing chains.

In: pairs that are alike, and a way to compare further ones. Out: a cluster number for each picture. Owns no file.

Where pictures are alike throughout, such as textures, sunrises or frames of one camera, pairs that are alike by chance
form chains, whose ends have nothing in common. So a cluster has a medoid, the member that most others are like (Kaufman
and Rousseeuw 1987, Clustering by means of medoids), and every other member is as like to it as copies are. What is not
forms clusters of its own.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bestiary.audit.copies.alignment import Pairs, Values
from bestiary.data.groups import connected

Compare = Callable[[Pairs], Values]

# Of a chain of so many pictures all pairs are compared, so that the medoid does not depend on which were candidates.
_ALL_PAIRS = 30


def around_medoids(count: int, pairs: Pairs, similarity: Values, *, compare: Compare, least: float) -> Pairs:
    """The cluster of each of `count` pictures, numbered from 0 in the order of their first: `(count,) int64`.

    Args:
        count: how many pictures.
        pairs: `(m, 2) int64`, the smaller place first, of pictures that are alike.
        similarity: of each pair, `(m,)`, at least `least`.
        compare: the similarity of further pairs.
        least: the near-duplicate threshold.
    """
    chains = _members(connected(count, pairs))
    known = dict(zip(map(tuple, pairs.tolist()), similarity.tolist(), strict=True))
    missing = [
        (int(a), int(b))
        for chain in chains
        if 2 < len(chain) <= _ALL_PAIRS
        for number, a in enumerate(chain)
        for b in chain[number + 1 :]
        if (int(a), int(b)) not in known
    ]
    if missing:
        known |= dict(zip(missing, compare(np.array(missing, dtype=np.int64)).tolist(), strict=True))
    links = [pair for pair, value in known.items() if value >= least]
    found = np.arange(count, dtype=np.int64)
    while chains:
        chain = chains.pop()
        if len(chain) < 2:
            continue
        medoid, kept = _around(chain, known, compare, least)
        found[kept] = medoid
        rest = np.setdiff1d(chain, kept)
        chains += _parts(rest, links)
    return connected(count, np.stack([np.arange(count), found], axis=1))


def _around(
    chain: npt.NDArray[np.int64], known: dict[tuple[int, int], float], compare: Compare, least: float
) -> tuple[int, npt.NDArray[np.int64]]:
    """The medoid of a chain, and which of its members are like it, itself among them."""
    place = {int(member): number for number, member in enumerate(chain)}
    alike = np.full((len(chain), len(chain)), np.nan)
    for (a, b), value in known.items() if len(known) < len(chain) ** 2 else _within(chain, known):
        if a in place and b in place:
            alike[place[a], place[b]] = alike[place[b], place[a]] = value
    linked = alike >= least
    total = np.where(linked, alike, 0.0).sum(axis=1)
    centre = int(np.lexsort((np.arange(len(chain)), -np.round(total, 4), -linked.sum(axis=1)))[0])
    unknown = np.flatnonzero(np.isnan(alike[centre]) & (np.arange(len(chain)) != centre))
    kept = linked[centre].copy()
    if len(unknown):
        asked = np.sort(np.stack([np.full(len(unknown), chain[centre]), chain[unknown]], axis=1), axis=1)
        kept[unknown] = compare(asked) >= least
    kept[centre] = True
    return int(chain[centre]), chain[kept]


def _within(chain: npt.NDArray[np.int64], known: dict[tuple[int, int], float]) -> list[tuple[tuple[int, int], float]]:
    members = chain.tolist()
    asked = [(a, b) for number, a in enumerate(members) for b in members[number + 1 :]]
    return [(pair, known[pair]) for pair in asked if pair in known]


def _members(groups: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """The places of each group of two or more, ascending."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return [part for part in parts if len(part) > 1]


def _parts(places: npt.NDArray[np.int64], links: list[tuple[int, int]]) -> list[npt.NDArray[np.int64]]:
    """Places that are still linked, apart from what has left: the members of each part."""
    if len(places) < 2:
        return []
    at = {int(place): number for number, place in enumerate(places)}
    inside = [(at[a], at[b]) for a, b in links if a in at and b in at]
    if not inside:
        return []
    return [places[part] for part in _members(connected(len(places), np.array(inside, dtype=np.int64)))]
