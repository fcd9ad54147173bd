"""Allotment: largest remainders, an image for every side, and filling up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.config.schema import SplitConfig
from bestiary.data.splits.allotment import allot, targets
from bestiary.data.splits.split_table import split_images
from tests.data.split_frames import counts, fraction, frame, of_sizes

sizes_ = st.lists(st.integers(3, 90), min_size=1, max_size=12)


def from_nothing(sizes: list[int], *, test: float, val: float) -> dict[str, np.ndarray]:
    none = np.zeros(len(sizes), dtype=np.int64)
    return targets(np.array(sizes), {"test": test, "val": val}, {"train": none, "val": none, "test": none})


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=8), share=st.floats(0.001, 0.999))
def test_allotment_is_by_largest_remainder(sizes: list[int], share: float) -> None:
    exact, taken = np.array(sizes) * share, allot(np.array(sizes), share)
    total = sum(sizes) * share
    assert taken.sum() in (int(np.ceil(total)), round(total))
    assert (np.abs(taken - exact) < 1 + 1e-6).all()
    raised = taken > exact + 1e-6
    remainders = exact - np.floor(exact)
    if raised.any() and not raised.all():
        assert remainders[raised].min() >= remainders[~raised & (taken < exact - 1e-6)].max(initial=0) - 1e-6


@given(sizes=sizes_, test=fraction, val=fraction)
def test_every_class_of_three_gives_each_side_an_image(sizes: list[int], test: float, val: float) -> None:
    found = from_nothing(sizes, test=test, val=val)
    assert (np.stack(list(found.values())).sum(axis=0) == sizes).all()
    assert min(side.min() for side in found.values()) >= 1
    plain = {"test": allot(np.array(sizes), test), "val": allot(np.array(sizes), val)}
    if min(plain["test"].min(), plain["val"].min(), (sizes - plain["test"] - plain["val"]).min()) > 0:
        assert (found["test"] == plain["test"]).all()
        assert (found["val"] == plain["val"]).all()


@given(sizes=sizes_, test=st.floats(0.001, 0.3), val=st.floats(0.001, 0.3))
def test_totals_are_as_near_the_wanted_ones_as_an_image_for_every_class_allows(
    sizes: list[int], test: float, val: float
) -> None:
    for side, share in (("test", test), ("val", val)):
        found = from_nothing(sizes, test=test, val=val)[side]
        exact = np.array(sizes) * share
        least = np.maximum(np.floor(exact + 1e-9), 1).sum()
        if min(sizes) >= 6:  # below, an image for each of the others may take one from this side
            assert found.sum() == max(np.ceil(share * sum(sizes) - 1e-9), least)
        assert (np.abs(found - exact) < 1 + 1e-6).all()


@pytest.mark.parametrize(
    ("sizes", "test", "val"),
    [
        ([9] * 10, [2] * 8 + [1] * 2, [1] * 10),
        ([5] * 200, [1] * 200, [1] * 200),
        ([3, 3], [1, 1], [1, 1]),
        ([28, 24, 3], [5, 5, 1], [3, 2, 1]),
    ],
)
def test_small_classes_are_raised_to_one_at_the_default_fractions(
    sizes: list[int], test: list[int], val: list[int]
) -> None:
    found = from_nothing(sizes, test=0.2, val=0.1)
    assert found["test"].tolist() == test
    assert found["val"].tolist() == val


@pytest.mark.parametrize("sizes", [(500, 5), (3, 3), (100, 100, 7), (1000, 4, 9), (60, 3)])
@pytest.mark.parametrize(("test", "val"), [(0.002, 0.001), (0.49, 0.5), (0.9, 0.05), (0.05, 0.9)])
def test_any_fractions_give_every_class_an_image_of_each_side(sizes: tuple[int, ...], test: float, val: float) -> None:
    index = frame(of_sizes(*sizes))
    table = counts(index, split_images(index, SplitConfig(test_fraction=test, val_fraction=val)))
    assert (table > 0).all(axis=None)


def test_a_class_that_was_rounded_up_stays_so_and_one_that_gives_nothing_is_last() -> None:
    sizes = np.array([14, 13, 18])  # 2.8, 2.6 and 3.6: a total of 9, so two of them are rounded up
    assert allot(sizes, 0.2).tolist() == [3, 2, 4]
    assert allot(sizes, 0.2, have=np.array([2, 3, 3])).tolist() == [3, 3, 3]
    assert allot(sizes, 0.2, growing=np.array([False, True, True])).tolist() == [2, 3, 4]
    assert allot(sizes, 0.2, have=np.array([3, 2, 3]), growing=np.array([False, True, True])).tolist() == [3, 2, 4]
