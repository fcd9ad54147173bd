"""From an RGB image to a square."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bestiary.data.geometry import Geometry, arrange

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FITS = ("crop", "squash", "pad")


def photo(width: int, height: int, *, low: int = 0, high: int = 256) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(low, high, (height, width, 3), dtype=np.uint8))


def crop_in_two_steps(image: Image.Image, size: int, short: int, filter_: Image.Resampling) -> npt.NDArray[np.uint8]:
    """Resize the whole image so that its short side is `short`, then cut the centre out."""
    scale = short / min(image.size)
    whole = np.asarray(image.resize((round(image.width * scale), round(image.height * scale)), filter_))
    top, left = (whole.shape[0] - size) // 2, (whole.shape[1] - size) // 2
    return whole[top : top + size, left : left + size]


@pytest.mark.parametrize("interpolation", FILTERS)
@given(
    up=st.integers(1, 5),
    down=st.integers(1, 5),
    short=st.integers(2, 12),
    extra=st.integers(0, 8),
    margin=st.integers(0, 6),
    tall=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_crop_equals_resizing_the_whole_image_and_cutting_out_the_centre(
    interpolation: str, up: int, down: int, short: int, extra: int, margin: int, tall: bool
) -> None:
    # Sizes for which the resized image and its margins are whole numbers of pixels, so that both ways are the same.
    small, long = 2 * down * short, 2 * down * (short + extra)
    size = small - 2 * min(margin, small // 4)
    sides = (small * up // down, long * up // down)
    # Away from black and white: Pillow clips between its two passes, and their order depends on the work they make.
    image = photo(*(sides if tall else sides[::-1]), low=90, high=160)
    geometry = Geometry(size, "crop", interpolation, size / small)  # type: ignore[arg-type]
    expected = crop_in_two_steps(image, size, small, FILTERS[interpolation])
    difference = np.abs(arrange(image, geometry).astype(int) - expected)
    if interpolation == "nearest":  # a sample that falls on the border of two pixels may take either
        assert (difference > 0).mean() <= 0.02 or up % down
    else:
        assert difference.max() <= 2


@pytest.mark.parametrize("interpolation", FILTERS)
def test_squash_ignores_the_aspect_ratio(interpolation: str) -> None:
    image = photo(50, 20)
    expected = np.asarray(image.resize((16, 16), FILTERS[interpolation]))
    np.testing.assert_array_equal(arrange(image, Geometry(16, "squash", interpolation)), expected)  # type: ignore[arg-type]


def test_squash_to_half_with_bilinear_is_the_triangle_filter() -> None:
    values = np.zeros((8, 8, 3), np.uint8)
    values[:, 2:5] = 240
    shown = arrange(Image.fromarray(values), Geometry(4, "squash", "bilinear"))
    # Halving weighs four neighbours 1 : 3 : 3 : 1; at the border the weights outside are dropped.
    np.testing.assert_array_equal(shown[2, :, 0], [round(240 / 7), 210, 120, 0])


@pytest.mark.parametrize(
    ("width", "height", "inner"),
    [(40, 20, (16, 8)), (20, 40, (8, 16)), (30, 30, (16, 16)), (48, 9, (16, 3)), (1000, 1, (16, 1)), (3, 2, (16, 11))],
)
def test_pad_keeps_the_whole_image_between_exact_margins(width: int, height: int, inner: tuple[int, int]) -> None:
    white = Image.new("RGB", (width, height), "white")
    shown = arrange(white, Geometry(16, "pad", "bilinear"))
    left, top = (16 - inner[0]) // 2, (16 - inner[1]) // 2
    expected = np.full((16, 16, 3), 127, np.uint8)
    expected[top : top + inner[1], left : left + inner[0]] = 255
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", FILTERS)
def test_square_of_the_right_size_is_left_as_it_is(fit: str, interpolation: str) -> None:
    image = photo(24, 24)
    np.testing.assert_array_equal(arrange(image, Geometry(24, fit, interpolation)), np.asarray(image))  # type: ignore[arg-type]


@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    size=st.integers(8, 64),
    fit=st.sampled_from(FITS),
    interpolation=st.sampled_from(sorted(FILTERS)),
    crop_fraction=st.floats(0.05, 1.0),
)
@settings(max_examples=150, deadline=None)
def test_image_of_any_sides_fits_and_keeps_its_colour(
    width: int, height: int, size: int, fit: str, interpolation: str, crop_fraction: float
) -> None:
    shown = arrange(Image.new("RGB", (width, height), (9, 99, 199)), Geometry(size, fit, interpolation, crop_fraction))  # type: ignore[arg-type]
    assert shown.shape == (size, size, 3)
    assert shown.dtype == np.uint8
    inside = (shown == (9, 99, 199)).all(-1)
    outside = (shown == 127).all(-1)
    assert (inside | outside).all()
    assert inside.any()
    assert fit == "pad" or not outside.any()


@pytest.mark.parametrize("size", [48, 96, 100, 128, 224, 300])
def test_whole_short_side_can_be_cropped_for_every_length(size: int) -> None:
    for short in range(1, 600, 2):
        assert arrange(Image.new("RGB", (short, short + 1)), Geometry(size, interpolation="nearest")).shape[0] == size


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1), (2, 3000)])
@pytest.mark.parametrize("fit", FITS)
def test_extreme_sides_fit(width: int, height: int, fit: str) -> None:
    assert arrange(photo(width, height), Geometry(32, fit)).shape == (32, 32, 3)  # type: ignore[arg-type]


def test_crop_takes_the_centre() -> None:
    values = np.zeros((10, 30, 3), np.uint8)
    values[:, 10:20] = 200
    assert (arrange(Image.fromarray(values), Geometry(10, "crop", "nearest")) == 200).all()


def test_geometry_as_plain_values_tells_all_of_it() -> None:
    plain = Geometry(96, "pad", "lanczos", 0.5).as_dict()
    assert plain == {"size_px": 96, "fit": "pad", "interpolation": "lanczos", "crop_fraction": 0.5}
