import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.evaluate import resampling
from bestiary.evaluate.resampling import blocks, content_order, group_draws, group_weights


def test_weights_are_those_of_numpys_draws_one_resample_after_another():
    groups = np.array([7, 7, 2, 9, 2, 11])
    random = np.random.default_rng(3)
    place = np.array([1, 1, 0, 2, 0, 3])
    for found in group_weights(groups, resamples=20, seed=3):
        drawn = random.integers(0, 4, 4)
        assert found.tolist() == [int((drawn == number).sum()) for number in place]
        assert found.dtype == np.int64


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    whole = np.concatenate(list(group_draws(13, resamples=50, seed=1)))
    monkeypatch.setattr(resampling, "_BLOCK", 40)
    parts = list(group_draws(13, resamples=50, seed=1))
    assert len(parts) > 10
    assert np.array_equal(np.concatenate(parts), whole)
    assert whole.shape == (50, 13)
    assert (whole.sum(axis=1) == 13).all()


@given(st.integers(0, 300), st.integers(0, 50))
def test_blocks_cover_every_row_once(rows, columns):
    assert np.concatenate([np.arange(rows)[part] for part in blocks(rows, columns)] or [[]]).tolist() == list(
        range(rows)
    )


def images(seed: int, count: int, group_count: int):
    random = np.random.default_rng(seed)
    # Few kinds of image, so that many are equal.
    logits = random.integers(0, 2, (count, 3)).astype(np.float32)
    return random.integers(0, 2, count), logits, random.integers(0, group_count, count)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 12), st.randoms(use_true_random=False))
def test_the_order_of_content_is_that_of_any_order_and_names(seed, count, group_count, shuffle):
    y_true, logits, groups = images(seed, count, group_count)
    order, place = content_order(y_true, logits, groups)
    assert sorted(order.tolist()) == list(range(count))
    moved = np.array(shuffle.sample(range(count), count))
    names = np.array(shuffle.sample(range(-50, 50), group_count))
    again, place_again = content_order(y_true[moved], logits[moved], names[groups[moved]])
    assert np.array_equal(place, place_again)
    assert np.array_equal(y_true[order], y_true[moved][again])
    assert np.array_equal(logits[order], logits[moved][again])


def test_groups_follow_one_another_and_are_numbered_from_0():
    order, place = content_order(*images(5, 40, 9))
    assert (np.diff(place) >= 0).all()
    assert np.array_equal(np.unique(place), np.arange(place.max() + 1))
    groups = images(5, 40, 9)[2]
    assert all(len(np.unique(groups[order][place == number])) == 1 for number in range(place.max() + 1))


def test_an_image_of_zeros_counts():
    y_true, logits = np.zeros(3, dtype=np.int64), np.zeros((3, 2), dtype=np.float32)
    for groups in ([4, 4, 9], [9, 9, 4]):
        assert (
            content_order(y_true, logits, np.array(groups))[1].tolist()
            == content_order(y_true, logits, np.array([0, 1, 1]))[1].tolist()
        )


@pytest.mark.parametrize("change", ["logits", "y_true"])
def test_images_that_differ_have_keys_that_differ(change):
    random = np.random.default_rng(0)
    logits, y_true = np.zeros((200, 5), dtype=np.float32), np.zeros(200, dtype=np.int64)
    if change == "logits":
        logits = random.standard_normal((200, 5), dtype=np.float32)
    else:
        y_true = np.arange(200)
    first = content_order(y_true, logits, np.arange(200))[0]
    moved = random.permutation(200)
    again = content_order(y_true[moved], logits[moved], np.arange(200))[0]
    assert np.array_equal(moved[again], first)
