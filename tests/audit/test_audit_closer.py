"""A closer look: copies keep their fine detail, and what is merely alike at 64 pixels has its own."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from bestiary.audit.copies.closer import LEAST_CLOSE, SIDE, fine_agreement
from bestiary.audit.copies.kinds_of_copies import kinds
from bestiary.audit.copies.threshold import LEAST_SIMILARITY
from bestiary.audit.quality.measures import squashed
from tests.audit.made_photos import as_jpeg


def textured(coarse: int, fine: int) -> Image.Image:
    """A picture of large shapes drawn from one seed, and of fine grain drawn from another."""
    large = np.random.default_rng(coarse).normal(0, 1, (6, 8))
    shapes = np.asarray(Image.fromarray((60 * large).astype(np.float32)).resize((480, 360), Image.Resampling.BICUBIC))
    grain = np.random.default_rng(1000 + fine).normal(0, 1, (90, 120))
    grain = np.asarray(Image.fromarray(grain.astype(np.float32)).resize((480, 360), Image.Resampling.BICUBIC))
    grey = np.clip(128 + shapes + 18 * grain, 8, 247).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=2))


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((24, 18, 456, 342))


CHANGES = {
    "quality 60": lambda image: as_jpeg(image, 60),
    "resized": lambda image: image.resize((288, 216), Image.Resampling.LANCZOS),
    "cropped": cropped,
    "mirrored": ImageOps.mirror,
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "cropped and mirrored": lambda image: as_jpeg(ImageOps.mirror(cropped(image)), 80),
}


def agreement(first: Image.Image, second: Image.Image) -> float:
    small, large = (np.stack([squashed(image, side) for image in (first, second)]) for side in (64, SIDE))
    return float(fine_agreement(small, np.array([[0, 1]]), lambda places: large[places])[0])


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_keep_their_detail(change: str) -> None:
    image = textured(1, 1)
    assert agreement(image, CHANGES[change](image)) > LEAST_CLOSE


@pytest.mark.parametrize("seed", range(4))
def test_another_photo_of_the_same_shapes_has_detail_of_its_own(seed: int) -> None:
    # At 64 pixels the two are alike.
    first, second = textured(seed, 1), textured(seed, 2)
    at_a_glance = np.corrcoef(squashed(first, 64).ravel(), squashed(second, 64).ravel())[0, 1]
    assert at_a_glance > 0.95
    assert agreement(first, second) < 0.6


def test_even_pictures_and_no_pairs_do_no_harm() -> None:
    grey = Image.new("RGB", (300, 200), (90, 90, 90))
    assert np.isfinite(agreement(grey, textured(1, 1)))
    small = np.zeros((2, 64, 64), np.uint8)
    assert fine_agreement(small, np.zeros((0, 2), np.int64), lambda places: small).shape == (0,)


def test_pairs_of_several_blocks_come_in_their_order() -> None:
    images = [textured(seed, seed) for seed in range(6)]
    images += [CHANGES["mirrored"](image) for image in images[:5]] + [textured(9, 9)]
    small, large = (np.stack([squashed(image, side) for image in images]) for side in (64, SIDE))
    pairs = np.array([[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11], [0, 6], [1, 2], [4, 10], [3, 9], [5, 0]])
    found = fine_agreement(small, pairs, lambda places: large[places])
    same = np.array([True, True, True, True, True, False, True, False, True, True, False])
    assert ((found > LEAST_CLOSE) == same).all()
    alone = [fine_agreement(small, pairs[[row]], lambda places: large[places])[0] for row in range(len(pairs))]
    np.testing.assert_allclose(found, alone, atol=1e-4)


def test_a_cluster_is_one_picture_where_every_member_agrees_closely() -> None:
    first = textured(1, 1)
    images = [first, CHANGES["cropped"](first), textured(1, 2), textured(3, 3), as_jpeg(textured(3, 3), 60)]
    small, large = (np.stack([squashed(image, side) for image in images]) for side in (64, SIDE))
    cluster, alike = np.array([0, 0, 0, 1, 1]), np.full(5, 0.98, np.float32)
    pairs = np.array([[0, 1], [0, 2], [3, 4]])
    found = kinds(small, cluster, alike, least=LEAST_SIMILARITY, pairs=pairs, load=lambda places: large[places])
    assert found.tolist() == ["same_scene"] * 3 + ["same_picture"] * 2
    assert set(kinds(small, cluster, alike, least=LEAST_SIMILARITY)) == {"same_picture"}
