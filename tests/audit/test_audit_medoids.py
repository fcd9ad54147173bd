"""Clusters around medoids: what chains falls apart, what is like one picture stays together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.audit.copies.medoids import around_medoids
from bestiary.data.groups import connected

LEAST = 0.9


def likeness(places: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return (1 - np.abs(places[pairs[:, 0]] - places[pairs[:, 1]])).astype(np.float32)


def clustered(places: np.ndarray, pairs: np.ndarray | None = None) -> np.ndarray:
    """Pictures on a line; two that are within 0.1 are alike."""
    if pairs is None:
        pairs = np.array([(a, b) for a in range(len(places)) for b in range(a + 1, len(places))], dtype=np.int64)
        pairs = pairs.reshape(-1, 2)
        pairs = pairs[likeness(places, pairs) >= LEAST]
    return around_medoids(
        len(places), pairs, likeness(places, pairs), compare=lambda asked: likeness(places, asked), least=LEAST
    )


@given(
    places=st.lists(st.integers(0, 300), min_size=1, max_size=60, unique=True).map(
        lambda found: np.array(sorted(found)) / 90
    )
)
@settings(max_examples=150, deadline=None)
def test_every_member_is_like_one_and_no_cluster_goes_beyond_a_chain(places: np.ndarray) -> None:
    found = clustered(places)
    for number in np.unique(found):
        members = places[found == number]
        gaps = np.abs(members[:, None] - members[None, :])
        assert (gaps <= 1 - LEAST + 1e-6).all(axis=1).any()  # the medoid
    pairs = np.array([(a, a + 1) for a in range(len(places) - 1) if places[a + 1] - places[a] <= 0.1], dtype=np.int64)
    chains = connected(len(places), pairs.reshape(-1, 2))
    assert all(len(np.unique(chains[found == number])) == 1 for number in np.unique(found))


def test_a_chain_falls_apart_and_a_star_stays() -> None:
    chain = clustered(np.arange(12) * 0.09)
    assert np.bincount(chain).max() == 3
    star = clustered(np.array([0.5, 0.41, 0.42, 0.58, 0.59, 0.57]))
    assert set(star) == {0}


def test_of_short_chains_the_medoid_does_not_depend_on_which_pairs_were_candidates() -> None:
    places = np.array([0.0, 0.04, 0.08, 0.12, 0.16])
    spanning = np.array([(0, 1), (1, 2), (2, 3), (3, 4)], dtype=np.int64)
    assert clustered(places, spanning).tolist() == clustered(places).tolist() == [0] * 5


def test_long_chains_are_compared_with_their_medoid_alone() -> None:
    places = np.concatenate([np.linspace(0, 0.09, 40), [0.17]])
    asked: list[int] = []
    pairs = np.array([(number, number + 1) for number in range(40)], dtype=np.int64)

    def compare(further: np.ndarray) -> np.ndarray:
        asked.append(len(further))
        return likeness(places, further)

    found = around_medoids(41, pairs, likeness(places, pairs), compare=compare, least=LEAST)
    assert found[:40].max() == 0
    assert sum(asked) <= 41


def test_nothing_alike_is_nothing_joined() -> None:
    assert clustered(np.arange(4.0)).tolist() == [0, 1, 2, 3]
    assert clustered(np.array([1.0])).tolist() == [0]
