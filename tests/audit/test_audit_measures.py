"""Measures: what CleanVision and the published formulas give, and borders as they were drawn."""

import numpy as np
import pytest
from cleanvision.issue_managers import image_property as cleanvision
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import uniform_filter1d

from bestiary.audit.quality.measures import COLUMNS, GREY_PX, measure, sketch
from tests.audit.made_photos import FAULTS, as_jpeg, framed, photo


def numbers_of(image: Image.Image) -> dict[str, float]:
    (row,) = measure([sketch(image)])[0]
    return dict(zip(COLUMNS, row.tolist(), strict=True))


PICTURES = {
    "photo": photo(0),
    "large": photo(1, (700, 500)),
    "tall": photo(2, (90, 400)),
    "tiny": photo(3, (20, 13)),
    "pixel": Image.new("RGB", (1, 1), (9, 99, 199)),
    **{fault: spoil(photo(4)) for fault, spoil in FAULTS.items()},
}


@pytest.mark.parametrize("name", PICTURES)
def test_numbers_are_those_that_cleanvision_calculates(name: str) -> None:
    image, ours = PICTURES[name], numbers_of(PICTURES[name])
    for asked in (
        cleanvision.BrightnessProperty("dark"),
        cleanvision.EntropyProperty(),
    ):
        for column, value in asked.calculate(image).items():
            # Brightness is sampled. Of 260 pixels a percentile lies between two that may be far apart.
            bright = 0.015 if image.width * image.height > 1000 else 0.03
            near = {"entropy": 1e-5}.get(column, bright)
            assert ours[column] == pytest.approx(value, abs=near), column


def test_a_batch_gives_what_each_image_gives() -> None:
    sketches = [sketch(image) for image in PICTURES.values()]
    numbers, grey = measure(sketches)
    for row, one in enumerate(sketches):
        alone = measure([one])
        np.testing.assert_allclose(numbers[row], alone[0][0], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(grey[row], alone[1][0])
    assert np.isfinite(numbers).all()


def test_grey_picture_is_the_whole_image_squashed() -> None:
    image = photo(5, (320, 240))
    grey = measure([sketch(image)])[1][0]
    expected = np.asarray(image.convert("L").resize((GREY_PX, GREY_PX), Image.Resampling.BILINEAR), dtype=float)
    assert (grey.shape, grey.dtype) == ((64, 64), np.uint8)
    assert np.abs(grey - expected).mean() < 2


def blur_by_scipy(image: Image.Image) -> tuple[float, float]:
    """Crete et al. 2007, as their figure 1 has it: of the strongest 2 % of all changes, and of all."""
    values = np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR).convert("L"), dtype=float)
    strongest, everything = [], []
    for lines in (values, values.T):
        change = np.abs(np.diff(lines[:, 2:-2], axis=1)).ravel()
        left = np.abs(np.diff(uniform_filter1d(lines, 5, axis=1)[:, 2:-2], axis=1)).ravel()
        lost = np.maximum(change - left, 0)
        strong = change >= np.sort(change)[-round(0.02 * len(change))]
        strongest.append(1 - lost[strong].sum() / change[strong].sum())
        everything.append(1 - lost.sum() / change.sum())
    return max(strongest), max(everything)


@pytest.mark.parametrize("radius", [0, 1, 3, 6])
def test_blur_is_cretes_and_rises_with_blur(radius: int) -> None:
    image = photo(6, (240, 180)).filter(ImageFilter.GaussianBlur(radius))
    numbers = numbers_of(image)
    assert (numbers["edge_blur"], numbers["blur_effect"]) == pytest.approx(blur_by_scipy(image), abs=1e-3)
    if radius < 6:  # beyond that it is about as high as it can be
        more = numbers_of(image.filter(ImageFilter.GaussianBlur(2)))
        assert numbers["edge_blur"] < more["edge_blur"]
        assert numbers["blur_effect"] < more["blur_effect"]


def test_the_strongest_edges_count_though_all_else_is_soft() -> None:
    sky = np.repeat(np.linspace(90, 250, 200)[:, None], 300, axis=1)
    sky[170:, 40:200] = 20  # roofs
    numbers = numbers_of(Image.fromarray(sky.astype(np.uint8)).convert("RGB"))
    assert numbers["edge_blur"] < 0.5
    assert numbers["blur_effect"] > 0.6
    blurred = Image.fromarray(sky.astype(np.uint8)).convert("RGB").filter(ImageFilter.GaussianBlur(6))
    assert numbers_of(blurred)["edge_blur"] > 0.8


def test_small_and_even_pictures_are_not_called_blurred() -> None:
    soft = photo(7, (63, 300)).filter(ImageFilter.GaussianBlur(4))
    assert numbers_of(soft)["edge_blur"] == 0
    assert numbers_of(Image.new("RGB", (200, 200), "red"))["edge_blur"] == 0
    # Camera noise on an even wall has no edges.
    noise = np.random.default_rng(0).normal(128, 1, (200, 200, 3)).clip(0, 255).astype(np.uint8)
    assert numbers_of(Image.fromarray(noise))["edge_blur"] == 0


def test_small_pictures_are_not_softened_by_being_enlarged() -> None:
    small = photo(7, (70, 66))
    assert numbers_of(small)["edge_blur"] < 0.5


def test_colourfulness_is_that_of_hasler_and_suesstrunk() -> None:
    pixels = np.asarray(photo(8, (64, 64)), dtype=float) / 255
    red, green, blue = np.moveaxis(pixels, -1, 0)
    first, second = red - green, 0.5 * (red + green) - blue
    expected = np.sqrt(first.var() + second.var()) + 0.3 * np.sqrt(first.mean() ** 2 + second.mean() ** 2)
    assert numbers_of(photo(8, (64, 64)))["colourfulness"] == pytest.approx(expected, rel=1e-4)


def test_the_tint_is_that_of_what_is_coloured() -> None:
    bucket = Image.new("RGB", (100, 100), "white")
    ImageDraw.Draw(bucket).rectangle((40, 40, 60, 60), fill=(0, 50, 150))
    numbers = numbers_of(bucket)
    assert (numbers["tint_red"], numbers["tint_green"]) == pytest.approx((0.0, 0.25), abs=0.08)
    grey = numbers_of(photo(8).convert("L").convert("RGB"))
    assert (grey["tint_red"], grey["tint_green"]) == pytest.approx((1 / 3, 1 / 3))


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_grey_saved_as_colour_jpeg_has_no_chroma_and_colour_has(quality: int) -> None:
    image = photo(9)
    assert numbers_of(as_jpeg(image.convert("L").convert("RGB"), quality))["chroma"] < 4 / 255
    assert numbers_of(as_jpeg(image, quality))["chroma"] > 0.2


def test_borders_are_as_wide_as_they_were_drawn() -> None:
    image = photo(10, (200, 100))
    ImageDraw.Draw(image).rectangle((0, 0, 200, 9), fill="black")
    ImageDraw.Draw(image).rectangle((0, 80, 200, 100), fill="black")
    numbers = numbers_of(as_jpeg(image, 95))
    assert numbers["border_top"] == pytest.approx(0.1, abs=0.02)
    assert numbers["border_bottom"] == pytest.approx(0.2, abs=0.02)
    assert numbers["border_left"] == numbers["border_right"] == 0
    assert numbers["border_shade"] < 0.05


@pytest.mark.parametrize("size", [(150, 110), (1500, 1100)])
def test_frame_is_seen_on_all_sides_at_any_size(size: tuple[int, int]) -> None:
    width = size[0] // 20
    numbers = numbers_of(framed(photo(11, size), width))
    for side, length in (("left", size[0]), ("right", size[0]), ("top", size[1]), ("bottom", size[1])):
        assert numbers[f"border_{side}"] == pytest.approx(width / (length + 2 * width), abs=0.01)
    assert numbers["border_shade"] > 0.99


def test_picture_without_a_border_has_none() -> None:
    numbers = numbers_of(photo(12))
    assert [numbers[f"border_{side}"] for side in ("top", "bottom", "left", "right")] == [0, 0, 0, 0]
    assert numbers["border_shade"] == 0.5
