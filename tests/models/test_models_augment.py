"""Flips and rotations: what they do to pixels, and what they depend on."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from small_models import photos

from bestiary.config.schema import AugmentConfig
from bestiary.models.augment import PLAIN_VIEW, View, apply_view, augment, flip_and_rotate, views_of

NO, YES = torch.tensor([False]), torch.tensor([True])


def batch(count: int, height: int, width: int, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_a_flip_mirrors_left_and_right_exactly():
    images = batch(3, 5, 8)
    found = flip_and_rotate(images, torch.tensor([True, False, True]), torch.zeros(3))
    assert torch.equal(found[0], images[0].flip(2))
    assert torch.equal(found[1], images[1])
    assert torch.equal(found[2], images[2].flip(2))


@pytest.mark.parametrize("quarters", [-3, -2, -1, 0, 1, 2])
@pytest.mark.parametrize("size_px", [7, 16])
def test_quarter_turns_of_a_square_are_rot90_anticlockwise(quarters, size_px):
    images = batch(1, size_px, size_px)
    found = flip_and_rotate(images, NO, torch.tensor([90.0 * quarters]))
    torch.testing.assert_close(found, torch.rot90(images, quarters, (2, 3)), atol=1e-4, rtol=0)


def test_a_flip_comes_before_the_turn():
    images = batch(1, 9, 9)
    found = flip_and_rotate(images, YES, torch.tensor([90.0]))
    torch.testing.assert_close(found, torch.rot90(images.flip(3), 1, (2, 3)), atol=1e-4, rtol=0)


@settings(max_examples=40, deadline=None)
@given(degrees=st.floats(-180, 180), height=st.integers(4, 24), width=st.integers(4, 24))
def test_any_turn_equals_sampling_by_hand_with_the_edge_repeated(degrees, height, width):
    images = batch(1, height, width, seed=height * 100 + width)
    found = flip_and_rotate(images, NO, torch.tensor([degrees])).numpy()[0]
    angle = np.deg2rad(degrees)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    up, right = (height - 1) / 2 - y, x - (width - 1) / 2
    # What is seen at a place came from the place turned back, clockwise.
    from_right = np.cos(angle) * right + np.sin(angle) * up
    from_up = -np.sin(angle) * right + np.cos(angle) * up
    places = [(height - 1) / 2 - from_up, from_right + (width - 1) / 2]
    expected = [map_coordinates(channel, places, order=1, mode="nearest") for channel in images.numpy()[0]]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_what_comes_from_outside_repeats_the_edge():
    images = torch.full((1, 3, 10, 14), 0.25)
    found = flip_and_rotate(images, NO, torch.tensor([37.0]))
    torch.testing.assert_close(found, images)


def test_augment_draws_the_same_for_the_same_generator_state_and_moves_on():
    images, config = batch(8, 12, 12), AugmentConfig(flip=True, rotation_degrees=20)
    first, second = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    one = augment(images, config, generator=first)
    assert torch.equal(one, augment(images, config, generator=second))
    assert not torch.equal(one, augment(images, config, generator=first))


def test_augment_flips_about_half_and_leaves_the_others_alone():
    images = batch(1, 4, 4).repeat(2000, 1, 1, 1)
    found = augment(images, AugmentConfig(flip=True), generator=torch.Generator().manual_seed(0))
    flipped = (found == images.flip(3)).all(dim=(1, 2, 3))
    assert (flipped | (found == images).all(dim=(1, 2, 3))).all()
    assert 850 < int(flipped.sum()) < 1150


def test_augment_turns_within_the_limit_both_ways():
    # A bright column right of the centre: its weight moves up for an anticlockwise turn.
    images = torch.zeros(400, 3, 31, 31)
    images[:, :, 15, 25] = 1.0
    found = augment(images, AugmentConfig(rotation_degrees=30), generator=torch.Generator().manual_seed(0))
    weight = found.mean(dim=1)
    y, x = torch.meshgrid(torch.arange(31.0), torch.arange(31.0), indexing="ij")
    total = weight.sum(dim=(1, 2))
    angles = torch.rad2deg(
        torch.atan2(15 - (weight * y).sum(dim=(1, 2)) / total, (weight * x).sum((1, 2)) / total - 15)
    )
    assert float(angles.abs().max()) < 32
    assert float(angles.max()) > 25
    assert float(angles.min()) < -25


def test_nothing_asked_changes_nothing():
    images = batch(2, 6, 6)
    assert augment(images, AugmentConfig(), generator=torch.Generator()) is images


def test_the_first_view_is_the_image_as_it_is():
    pixels = photos(3, 16)
    for config in (AugmentConfig(flip=True, views=4), AugmentConfig(rotation_degrees=9, views=3), AugmentConfig()):
        views = views_of(config)
        assert views[0] == PLAIN_VIEW
        assert np.array_equal(apply_view(pixels, ["a", "b", "c"], views[0]), pixels)


def test_views_are_as_many_as_asked_and_all_differ():
    pixels, keys = photos(2, 16), ["a", "b"]
    for config in (
        AugmentConfig(flip=True, views=2),
        AugmentConfig(flip=True, rotation_degrees=15, views=5),
        AugmentConfig(rotation_degrees=15, views=3),
    ):
        seen = [apply_view(pixels, keys, view) for view in views_of(config)]
        assert len(seen) == config.views
        assert all(array.dtype == np.uint8 and array.shape == pixels.shape for array in seen)
        assert not any(np.array_equal(a, b) for a, b in itertools.combinations(seen, 2))


def test_the_second_view_of_flips_is_the_mirror_image():
    pixels = photos(2, 16)
    views = views_of(AugmentConfig(flip=True, rotation_degrees=15, views=4))
    assert np.array_equal(apply_view(pixels, ["a", "b"], views[1]), pixels[:, :, ::-1])


def test_a_view_depends_on_content_and_number_and_not_on_place_or_company():
    pixels, keys, view = photos(4, 16), ["a", "b", "c", "d"], View(2, rotation_degrees=20.0)
    together = apply_view(pixels, keys, view)
    order = [2, 0, 3, 1]
    assert np.array_equal(apply_view(pixels[order], [keys[i] for i in order], view), together[order])
    assert np.array_equal(apply_view(pixels[1:2], keys[1:2], view), together[1:2])
    assert not np.array_equal(apply_view(pixels, keys, View(3, rotation_degrees=20.0)), together)


@given(keys=st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=20), number=st.integers(1, 9))
def test_angles_stay_within_the_limit(keys, number):
    angles = View(number, rotation_degrees=12.5).angles(keys)
    assert angles.shape == (len(keys),)
    assert np.all(np.abs(angles) <= 12.5)


def test_angles_fill_the_range_evenly():
    angles = View(1, rotation_degrees=1.0).angles([f"{number:032x}" for number in range(2000)])
    counts, _ = np.histogram(angles, bins=4, range=(-1, 1))
    assert counts.min() > 400
