"""Masks beside photos: pictures that say where something is in the photo of the same name, and are no photos.

In: an index, and the files. Out: which rows are masks. Owns no file.

Names propose and pictures decide. A PNG, GIF, BMP or TIFF may be a mask where a photo of its name lies in its folder
(`7.png` beside `7.jpg`), or an image of its name without a word such as `_mask` (`7_mask.png`, `7_mask_1.png` beside
`7.png`). It is one where it has the photo's shape, few colours or nearly all of its pixels in a few greys, and does not
look like the photo; a copy in another format does, and a drawing beside a drawing is no mask.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from bestiary.data.images import load_rgb
from bestiary.errors import ImageError

MASK_FILE = "mask of the photo beside it (data.masks)"

_MASK_FORMATS = frozenset(["PNG", "GIF", "BMP", "TIFF"])
_MASK_WORD = re.compile(
    r"^(.+?)[ _.-]+(?:mask|masks|seg|segmentation|gt|groundtruth|ground_truth|label|labels|annotation)(?:[ _-]?\d+)?$"
)
_MOST_COLOURS = 64
# Soft edges have many greys, and few pixels in them.
_FEW_GREYS, _LEAST_IN_FEW = 8, 0.95
# A mask of a thing that stands out may be like the photo; a copy as JPEG correlates by 0.99.
_COPY_CORRELATION = 0.95
_SHAPE_TOLERANCE = 0.02
_SIDE_PX = 64


def find_masks(index: pd.DataFrame, root: Path, *, previous: pd.DataFrame | None = None) -> npt.NDArray[np.bool_]:
    """Which rows are masks: `(n,)`.

    Args:
        index: all files, with `path, format, width_px, height_px, sha256, error`.
        root: the data root.
        previous: an earlier index; what was a mask of the same photo then is one without being opened.
    """
    pairs = list(_pairs(index))
    known = _known(previous)
    contents, paths = index["sha256"].tolist(), index["path"].tolist()

    def judge(pair: tuple[int, int]) -> bool:
        mask, photo = pair
        if (contents[mask], contents[photo]) in known:
            return True
        try:
            return is_mask(load_rgb(root / paths[mask]), load_rgb(root / paths[photo]))
        except ImageError:  # it went since it was read
            return False

    found = np.zeros(len(index), dtype=bool)
    with ThreadPoolExecutor() as pool:
        for (mask, _), is_one in zip(pairs, pool.map(judge, pairs), strict=True):
            found[mask] = is_one
    return found


def _pairs(index: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Rows of what may be a mask by its name and shape, each with the row of its photo."""
    stems = [os.path.splitext(path)[0].casefold() for path in index["path"]]
    is_read = index["error"].isin(["", MASK_FILE])
    read, may_be = is_read.tolist(), (index["format"].isin(_MASK_FORMATS) & is_read).tolist()
    photos: dict[str, int] = {}
    images: dict[str, int] = {}
    for row, stem in enumerate(stems):
        if read[row]:
            images.setdefault(stem, row)
            if not may_be[row]:
                photos.setdefault(stem, row)
    sizes = index[["width_px", "height_px"]].to_numpy(dtype=float)
    for row, stem in enumerate(stems):
        if not may_be[row]:
            continue
        folder, _, name = stem.rpartition("/")
        word = _MASK_WORD.match(name)
        photo = photos.get(stem)
        if photo is None and word:
            photo = images.get(f"{folder}/{word[1]}" if folder else word[1])
        if photo is not None and _same_shape(sizes[row], sizes[photo]):
            yield row, photo


def _same_shape(size: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """Whether two sizes have one ratio of sides; a photo may be turned by its EXIF, and its mask not."""
    ratio, wanted = size[0] / size[1], other[0] / other[1]
    return any(abs(ratio / one - 1) <= _SHAPE_TOLERANCE for one in (wanted, 1 / wanted))


def _known(previous: pd.DataFrame | None) -> set[tuple[str, str]]:
    if previous is None or not (previous["error"] == MASK_FILE).any():
        return set()
    contents, errors = previous["sha256"].tolist(), previous["error"].tolist()
    return {(contents[mask], contents[photo]) for mask, photo in _pairs(previous) if errors[mask] == MASK_FILE}


def is_mask(picture: Image.Image, photo: Image.Image) -> bool:
    """Whether a picture is a mask of a photo, by what both look like; both of mode `RGB`."""
    if not (_has_few_colours(picture) or _is_flat(picture)) or _is_flat(photo):
        return False
    return _correlation(picture, photo) < _COPY_CORRELATION


def _has_few_colours(picture: Image.Image) -> bool:
    return picture.getcolors(_MOST_COLOURS) is not None


def _is_flat(picture: Image.Image) -> bool:
    """Whether it is grey, and nearly all of its pixels have one of a few greys."""
    values = np.asarray(picture.resize((4 * _SIDE_PX,) * 2, Image.Resampling.NEAREST))
    if (values.max(axis=2) != values.min(axis=2)).any():
        return False
    counts = np.sort(np.bincount(values[..., 0].ravel(), minlength=256))[::-1]
    return bool(counts[:_FEW_GREYS].sum() >= _LEAST_IN_FEW * counts.sum())


def _correlation(picture: Image.Image, photo: Image.Image) -> float:
    """How alike two pictures are as small grey ones: Pearson's r; 0 where one is of a single grey."""
    one, other = (
        np.asarray(image.convert("L").resize((_SIDE_PX,) * 2, Image.Resampling.BOX), dtype=np.float64).ravel()
        for image in (picture, photo)
    )
    return float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else 0.0
