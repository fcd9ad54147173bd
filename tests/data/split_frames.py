"""Indexes with the columns that splits look at, made without images."""

import hashlib
from collections.abc import Sequence

import pandas as pd
from hypothesis import strategies as st

from bestiary.config.schema import SPLITS

fraction = st.integers(5, 45).map(lambda percent: percent / 100)
seeds = st.integers(0, 2**32)


def frame(
    labels: Sequence[str],
    *,
    contents: Sequence[object] | None = None,
    groups: Sequence[str] | None = None,
    given_split: Sequence[str] | None = None,
    errors: Sequence[str] | None = None,
) -> pd.DataFrame:
    """An index with ids `id0000`, `id0001`, ... whatever the contents."""
    count = len(labels)
    contents = list(range(count)) if contents is None else contents
    return pd.DataFrame(
        {
            "image_id": [f"id{number:04d}" for number in range(count)],
            "path": [f"{number}.png" for number in range(count)],
            "label": list(labels),
            "sha256": [hashlib.sha256(repr(content).encode()).hexdigest() for content in contents],
            "group_given": [""] * count if groups is None else list(groups),
            "split_given": [""] * count if given_split is None else list(given_split),
            "error": [""] * count if errors is None else list(errors),
        }
    )


def named(index: pd.DataFrame) -> pd.DataFrame:
    """The same with ids as the index gives them: of the content, further copies numbered in the order of paths."""
    index = index.sort_values("path", kind="stable").reset_index(drop=True)
    short = index["sha256"].str[:20]
    number = index.groupby(short).cumcount()
    return index.assign(image_id=short.where(number == 0, short + "-" + number.astype(str)))


def of_sizes(*sizes: int) -> list[str]:
    """Labels: as many of each class as its size says."""
    return [f"class{number}" for number, size in enumerate(sizes) for _ in range(size)]


def counts(index: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Images by class and side."""
    joined = index.merge(splits, on="image_id", validate="one_to_one")
    return pd.crosstab(joined["label"], joined["split"]).reindex(columns=list(SPLITS), fill_value=0)


def assert_no_group_is_parted(index: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Copies, group values and groups lie on one side each."""
    joined = index.merge(splits, on="image_id")
    assert (joined.groupby("sha256")["split"].nunique() == 1).all()
    named_ = joined[joined["group_given"] != ""]
    assert (named_.groupby("group_given")["split"].nunique() == 1).all()
    assert (joined.groupby("group_id")["split"].nunique() == 1).all()


@st.composite
def indexes(draw: st.DrawFn) -> pd.DataFrame:
    """Two to four classes, with copies, groups and files that cannot be read."""
    labels = draw(st.permutations(of_sizes(*draw(st.lists(st.integers(3, 25), min_size=2, max_size=4)))))
    count = len(labels)
    few = draw(st.integers(1, count))
    contents = draw(st.lists(st.integers(0, 3 * few), min_size=count, max_size=count))
    groups = draw(st.lists(st.sampled_from(["", "", "", "", "a", "b", "c"]), min_size=count, max_size=count))
    errors = draw(st.lists(st.sampled_from(["", "", "", "", "cut"]), min_size=count, max_size=count))
    return frame(labels, contents=contents, groups=groups, errors=errors)
