"""In a set that is alike throughout: copies are certain; other frames and other exposures are not."""

import functools

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from bestiary.audit.copies.certain import certain_pairs
from bestiary.audit.copies.closer import SIDE
from bestiary.audit.copies.clusters import find_duplicates
from bestiary.audit.quality.measures import squashed
from tests.audit.made_photos import as_jpeg, photo, scaled


def frame(shot: int) -> Image.Image:
    """One scene, with the noise of one shot, which also shows when a picture is made smaller."""
    scene = np.asarray(photo(3, (240, 180)).convert("L").convert("RGB"), dtype=np.float32) * 0.6 + 40
    noise = np.random.default_rng(shot).normal(0, 12, (180, 240, 1))
    return Image.fromarray(np.clip(scene + noise, 0, 255).astype(np.uint8))


def certain(first: Image.Image, second: Image.Image) -> bool:
    small, large = (np.stack([squashed(image, side) for image in (first, second)]) for side in (64, SIDE))
    alike = np.array([0.99], np.float32)
    return bool(certain_pairs(small, np.array([[0, 1]]), alike, lambda places: large[places])[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda image: as_jpeg(image, 70),
        lambda image: image.crop((12, 9, 228, 171)),
        ImageOps.mirror,
        lambda image: image.resize((200, 150), Image.Resampling.LANCZOS),
    ],
    ids=["encoded", "cropped", "mirrored", "resized"],
)
def test_copies_of_a_frame_are_certain(change) -> None:
    assert certain(frame(1), change(frame(1)))


def test_another_frame_and_another_exposure_are_not() -> None:
    assert not certain(frame(1), frame(2))
    # With every detail the same, only the tone says that it is another exposure.
    assert not certain(frame(1), scaled(frame(1), 0.85))
    assert not certain(frame(1), scaled(frame(1), 0.97, 8))


def test_the_copy_of_a_frame_stands_out_among_the_frames_of_its_scene() -> None:
    shots = [frame(number) for number in range(12)]
    shots += [as_jpeg(shots[4], 80), shots[7].crop((12, 9, 228, 171))]
    small, large = (np.stack([squashed(image, side) for image in shots]) for side in (64, SIDE))
    names = [f"{number:02}" for number in range(len(shots))]
    table = pd.DataFrame({"image_id": names, "sha256": names, "phash": "0" * 16})
    colours = np.tile([0.2, 0.3, 0.3], (len(shots), 1))
    find = functools.partial(find_duplicates, table, small, None, load=lambda places: large[places])
    found = find(colours=colours)
    pictures = found[found["kind"] == "same_picture"].groupby("picture_id")["image_id"].apply(set)
    assert sorted(map(sorted, pictures)) == [["04", "12"], ["07", "13"]]
    assert (found["least"] > 0.83).all()
    together = found.groupby("cluster_id")["image_id"].apply(set)
    assert all(any(picture <= cluster for cluster in together) for picture in pictures)
    # Pictures of 96 pixels show no finer detail: larger ones decide nothing.
    coarse = find(colours=colours, sides_px=np.full(len(shots), 96))
    pd.testing.assert_frame_equal(find(colours=colours, sides_px=np.full(len(shots), 260)), found)
    assert not coarse.equals(found)
    colours[12] = 0.2, 0.6, 0.3  # of another colour
    assert find(colours=colours).set_index("image_id")["kind"].loc[["04", "12"]].eq("same_scene").all()


def test_no_pairs_are_no_failure() -> None:
    none = np.zeros((0, 2), np.int64)
    assert not len(certain_pairs(np.zeros((2, 64, 64), np.uint8), none, np.zeros(0, np.float32), lambda places: places))
