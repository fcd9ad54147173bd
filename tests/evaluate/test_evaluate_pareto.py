"""The Pareto front: what nothing surpasses in both."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bestiary.evaluate.pareto import pareto_front

# Few values, so that ties are common.
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


@given(POINTS)
def test_it_is_what_comparing_all_pairs_gives(points: list[tuple[int, int]]) -> None:
    costs, values = (np.array([point[part] for point in points], dtype=np.float64) for part in (0, 1))
    expected = [
        not any((c <= cost and v >= value) and (c, v) != (cost, value) for c, v in points) for cost, value in points
    ]
    assert pareto_front(costs, values).tolist() == expected


def test_the_cheapest_and_the_best_are_on_it_and_what_both_surpass_is_not() -> None:
    assert pareto_front(np.array([1.0, 2.0, 3.0]), np.array([0.8, 0.7, 0.9])).tolist() == [True, False, True]
