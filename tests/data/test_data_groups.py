import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.data.groups import connected, least_of_group


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_components_are_numbered_by_their_first(count, drawn):
    pairs = [(first % count, second % count) for first, second in drawn]
    # Each takes over the least number within reach, until nothing changes.
    least = list(range(count))
    for _ in range(count):
        for first, second in pairs:
            least[first] = least[second] = min(least[first], least[second])
    wanted = [sorted(set(least)).index(number) for number in least]
    assert connected(count, np.array(pairs, dtype=np.int64).reshape(-1, 2)).tolist() == wanted


@given(rows=st.lists(st.tuples(st.text(max_size=3), st.integers(0, 4)), max_size=30))
def test_the_least_name_of_a_group_is_pandas(rows: list[tuple[str, int]]) -> None:
    names = pd.Series([name for name, _ in rows], dtype=object)
    groups = np.array([group for _, group in rows], dtype=np.int64)
    assert least_of_group(names, groups) == names.groupby(groups).transform("min").tolist()
