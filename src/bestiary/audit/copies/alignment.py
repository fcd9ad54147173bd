"""Where one picture lies in another: mirrored or not, whole or cropped.

In: small grey pictures. Out: correlations of whole pictures, and `Placements`. Owns no file.

Pictures are compared by normalised cross-correlation (Lewis 1995, Fast Normalized Cross-Correlation), which does not
see brightness and contrast. A crop is found in two steps: the one picture is compared with windows of the other, in
both directions; then the best window is moved and scaled by less than a pixel, by least squares (Lucas and Kanade 1981,
IJCAI).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
Pairs = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]

# Sides of the windows as shares of the picture; each side has its own, so that a crop may change the aspect.
_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8)
_OFFSET = 0.05
# Of 255: below this a picture counts as flat. JPEG noise of a uniform picture stays under it.
_FLAT = 1.0
# A window may be refined to these scales. Above 1 it shows more than the other picture does.
_LEAST_SCALE, _MOST_SCALE = 0.7, 1.1
# Sigmas, in pixels, of the band of detail that is laid over one another: first of pictures of half the size, which
# forgives half a step of the windows, and then of whole pictures.
_BAND, _STEPS = (1.0, 3.0), (4, 3)
_LONGEST_STEP = 0.05
_DAMPING = 1e-4


@dataclass(frozen=True)
class Placements:
    """Where the part of each pair lies in its whole.

    Attributes:
        turn: `(m,) int64`: which picture of the pair is the whole, and whether one is mirrored; see `turned`.
        windows: `(m, 4) float32`: left, width, top, height, as shares of the whole.
    """

    turn: npt.NDArray[np.int64]
    windows: Values

    def subset(self, which: npt.NDArray[np.bool_] | slice) -> "Placements":
        """Those of some pairs."""
        return Placements(self.turn[which], self.windows[which])


def direct_correlation(pictures: Pictures, pairs: Pairs, *, side: int) -> Values:
    """The correlation of each pair as wholes, mirrored or not, whichever is higher: `(m,) float32` in [-1, 1].

    Args:
        pictures: `(n, picture, picture) uint8` luminance of whole images, squashed to a square.
        pairs: `(m, 2) int64`, places in `pictures`.
        side: to which pictures are reduced first; a divisor of `picture`. Small sides forgive small shifts.
    """
    return as_wholes(pictures, pairs, side=side)[1]


def as_wholes(pictures: Pictures, pairs: Pairs, *, side: int) -> tuple[Placements, Values]:
    """Each pair laid over one another as wholes, mirrored where that is more alike, and the correlation."""
    plain, mirrored = wholes(pictures, side=side)
    found = np.empty((2, len(pairs)), dtype=np.float32)
    for start in range(0, len(pairs), 8192):
        first, second = pairs[start : start + 8192].T
        for row, other in enumerate((plain, mirrored)):
            found[row, start : start + len(first)] = (plain[first] * other[second]).sum(axis=1)
    windows = np.tile(np.array([0, 1, 0, 1], dtype=np.float32), (len(pairs), 1))
    return Placements(2 * found.argmax(axis=0), windows), found.max(axis=0)


def wholes(pictures: Pictures, *, side: int) -> tuple[Values, Values]:
    """Whole pictures as they are, and mirrored, as rows whose products are correlations: `(n, side**2) float32` each.

    Args:
        pictures: as above.
        side: as above.
    """
    step = pictures.shape[1] // side
    small = pictures.reshape(len(pictures), side, step, side, step).mean(axis=(2, 4), dtype=np.float32)
    plain = standardised(small)
    return plain.reshape(len(small), -1), plain[:, :, ::-1].reshape(len(small), -1)


def turned(pictures: Pictures, pairs: Pairs, turn: npt.NDArray[np.int64]) -> tuple[Values, Values]:
    """Whole and part of each pair, `(m, picture, picture) float32` each, about a middle grey.

    Turns: 0 the first picture is the whole, 1 the second; 2 and 3 the same with the part mirrored.
    """
    # About a middle grey, so that sums of squares keep their digits in float32.
    first, second = (pictures[pairs[:, column]].astype(np.float32) - 128 for column in (0, 1))
    swapped = (turn % 2 == 1)[:, None, None]
    whole, part = np.where(swapped, second, first), np.where(swapped, first, second)
    return whole, np.where((turn >= 2)[:, None, None], part[:, :, ::-1], part)


def best_windows(pictures: Pictures, pairs: Pairs, *, side: int) -> tuple[Placements, Values]:
    """The best of all windows and turns of each pair, and its correlation: `(m,) float32` in [-1, 1].

    Windows are 80 to 100 % of a picture wide and high. A flat picture correlates with nothing: 0.

    Args:
        pictures: as above.
        pairs: as above; memory is for all at once.
        side: to which windows are reduced. Time grows with its square.
    """
    # By turn: the first picture as the whole, the second; then the same with the part mirrored.
    found = np.stack(
        [_inside(*turned(pictures, pairs, np.full(len(pairs), turn)), side=side) for turn in (0, 1)], axis=1
    ).transpose(3, 1, 0, 2)
    found = found.reshape(4, len(pairs), found.shape[3])
    correlations = found.max(axis=2)
    turn = correlations.argmax(axis=0)
    window = found[turn, np.arange(len(pairs))].argmax(axis=1)
    spans = np.array(list(_spans()), dtype=np.float32)
    vertical, horizontal = np.divmod(window, len(spans))
    return Placements(turn, np.hstack([spans[horizontal], spans[vertical]])), correlations.max(axis=0)


def _inside(whole: Values, part: Values, *, side: int) -> Values:
    """The correlation of `part`, entire, as it is and mirrored, with every window of `whole`: `(m, windows, 2)`."""
    sampling = _windows(whole.shape[1], side)
    count, _, width = sampling.shape
    wanted = standardised(np.asarray(sampling[0] @ part @ sampling[0].T, dtype=np.float32))
    both = np.stack([wanted, wanted[:, :, ::-1]], axis=3).reshape(len(part), side**2, 2)
    flat = sampling.reshape(count * side, width)
    cut = (flat @ whole @ flat.T).reshape(len(whole), count, side, count, side).transpose(0, 1, 3, 2, 4)
    windows = np.ascontiguousarray(cut).reshape(len(whole), count**2, side**2)
    axis = sampling.sum(axis=1)
    sums = (axis @ whole @ axis.T).reshape(len(whole), count**2)
    squares = np.einsum("mwp,mwp->mw", windows, windows)
    lengths = np.sqrt(np.maximum(squares - sums * sums / side**2, 0))[:, :, None]
    # The wanted picture has no mean, so that of a window plays no part in the product.
    products = windows @ both
    return np.asarray(np.where(lengths < _FLAT * side, 0, products / np.maximum(lengths, 1e-6)), dtype=np.float32)


def standardised(pictures: Values) -> Values:
    """Pictures `(..., side, side)` less their mean, of length 1; a flat one becomes 0."""
    centred = pictures - pictures.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt((centred * centred).sum(axis=(-2, -1), keepdims=True))
    flat = length < _FLAT * pictures.shape[-1]
    return np.asarray(np.where(flat, 0, centred / np.maximum(length, 1e-6)), dtype=np.float32)


def _spans() -> Iterator[tuple[float, float]]:
    """Offset and scale of each window along one axis; the first is the whole."""
    for scale in _SCALES:
        for offset in np.linspace(0, 1 - scale, 1 + round((1 - scale) / _OFFSET)):
            yield float(offset), scale


@cache
def _windows(picture: int, side: int) -> Values:
    """Means over `side` equal stretches of each window along one axis of `picture` pixels, a matrix for each."""
    matrices = []
    for offset, scale in _spans():
        edges = (offset + scale * np.arange(side + 1) / side) * picture
        pixels = np.arange(picture)
        overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        weights = np.maximum(overlap, 0)
        matrices.append(weights / weights.sum(axis=1, keepdims=True))
    return np.stack(matrices).astype(np.float32)


def refined(whole: Values, part: Values, windows: Values) -> Values:
    """Windows moved and scaled until the details of whole and part lie over one another: `(m, 4) float32`.

    Args:
        whole: `(m, picture, picture) float32`.
        part: the same, entire.
        windows: as in `Placements`, right within a few pixels.
    """
    for size, steps in zip((2, 1), _STEPS, strict=True):
        details = [band(_reduced(picture, size), *_BAND) for picture in (whole, part)]
        windows = _refined(details[0], details[1], windows, steps=steps)
    return windows


def _reduced(pictures: Values, factor: int) -> Values:
    count, side = len(pictures), pictures.shape[1] // factor
    return pictures.reshape(count, side, factor, side, factor).mean(axis=(2, 4), dtype=np.float32)


def _refined(whole: Values, part: Values, windows: Values, *, steps: int) -> Values:
    """By Gauss-Newton on a window's place, scale, contrast and brightness; the most alike of all steps is kept."""
    count, side = len(whole), whole.shape[1]
    wanted, _ = _centred(part)
    place = (np.arange(side, dtype=np.float32) + 0.5) / side
    best, most_alike = windows, np.full(count, -2, dtype=np.float32)
    for step in range(steps + 1):
        across, across_slope, _ = _sampling(windows[:, :2], side)
        down, down_slope, _ = _sampling(windows[:, 2:], side)
        rows = down @ whole
        values = np.asarray(rows @ across.transpose(0, 2, 1), dtype=np.float32)
        centred, length = _centred(values)
        alike = (centred * wanted).sum(axis=(1, 2))
        better = alike > most_alike
        best, most_alike = np.where(better[:, None], windows, best), np.where(better, alike, most_alike)
        if step == steps:
            break
        along_x = rows @ across_slope.transpose(0, 2, 1) * side
        along_y = (down_slope @ whole) @ across.transpose(0, 2, 1) * side
        slopes = np.stack(
            [along_x, along_x * place, along_y, along_y * place[:, None], values, np.ones_like(values)], axis=1
        ).reshape(count, 6, side**2)
        missing = (wanted * length - values).reshape(count, side**2, 1)
        square = slopes @ slopes.transpose(0, 2, 1)
        square += _DAMPING * np.trace(square, axis1=1, axis2=2)[:, None, None] * np.eye(6, dtype=np.float32)
        change = np.linalg.solve(square.astype(np.float64), (slopes @ missing).astype(np.float64))[:, :4, 0]
        windows = windows + np.clip(change, -_LONGEST_STEP, _LONGEST_STEP).astype(np.float32)
        windows[:, 1::2] = np.clip(windows[:, 1::2], _LEAST_SCALE, _MOST_SCALE)
    return best


def _centred(pictures: Values) -> tuple[Values, Values]:
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt((centred * centred).sum(axis=(1, 2), keepdims=True))
    return centred / np.maximum(length, 1e-6), length


def cut(whole: Values, windows: Values) -> tuple[Values, npt.NDArray[np.bool_]]:
    """Each window of its whole at the size of the whole, and which of its pixels the whole has.

    Args:
        whole: `(m, picture, picture) float32`.
        windows: as in `Placements`; what lies outside repeats the edge.
    """
    side = whole.shape[1]
    (across, _, has_column), (down, _, has_row) = _sampling(windows[:, :2], side), _sampling(windows[:, 2:], side)
    window = np.asarray(down @ whole @ across.transpose(0, 2, 1), dtype=np.float32)
    return window, has_row[:, :, None] & has_column[:, None, :]


def _sampling(spans: Values, side: int) -> tuple[Values, Values, npt.NDArray[np.bool_]]:
    """Linear interpolation along one axis, from pixels to a window's: matrix, its slope, and what lies inside."""
    at = (spans[:, :1] + spans[:, 1:] * (np.arange(side, dtype=np.float32) + 0.5) / side) * side - 0.5
    inside = (at > -1) & (at < side)
    distance = np.clip(at, 0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32)
    weights = np.maximum(1 - np.abs(distance), 0, dtype=np.float32)
    slopes = np.copysign(weights > 0, -distance, dtype=np.float32)
    return weights, slopes, inside


def band(pictures: Values, fine: float, coarse: float) -> Values:
    """What of pictures is coarser than one Gaussian and finer than another, whose sigmas are in pixels."""
    return blurred(pictures, fine) - blurred(pictures, coarse)


def blurred(pictures: Values, sigma: float) -> Values:
    """Pictures `(m, side, side)` under a Gaussian; beyond the edge they go on as at the edge."""
    kernel = _gaussian(pictures.shape[1], sigma)
    return np.asarray(kernel @ pictures @ kernel.T, dtype=np.float32)


@cache
def _gaussian(side: int, sigma: float) -> Values:
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(side), sigma, axis=0, mode="nearest"), dtype=np.float32)
