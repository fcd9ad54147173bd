"""Image statistics: measured once a file, kept under its content, and whole after what damages them."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bestiary.audit.quality import image_statistics as statistics_module
from bestiary.audit.quality.image_statistics import ImageStatistics, measure_images
from bestiary.audit.quality.measures import COLUMNS, measure, sketch
from bestiary.data.images import load_rgb
from bestiary.errors import DataError
from bestiary.store.caches import list_caches
from tests.audit.made_photos import photo, saved

COUNT = 70  # more than one batch


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def images(root: Path, cache: Path) -> pd.DataFrame:
    names = [f"{'cat' if number % 2 else 'dog'}/{number:02d}.png" for number in range(COUNT)]
    return saved(root, {name: photo(number, (20 + number, 30)) for number, name in enumerate(names)})


def check(statistics: ImageStatistics, images: pd.DataFrame, root: Path) -> None:
    numbers, grey = measure([sketch(load_rgb(root / path)) for path in images["path"]])
    np.testing.assert_allclose(statistics.values[list(COLUMNS)].to_numpy(), numbers, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(statistics.grey, grey)
    sizes = images["width_px"] * images["height_px"]
    np.testing.assert_allclose(statistics.values["size"] ** 2, sizes)
    shapes = [min(w, h) / max(w, h) for w, h in zip(images["width_px"], images["height_px"], strict=True)]
    np.testing.assert_allclose(statistics.values["aspect_ratio"], shapes)


def test_statistics_are_those_of_each_file_in_the_order_asked_for(images: pd.DataFrame, root: Path) -> None:
    statistics = measure_images(images, root)
    assert statistics.measured == COUNT
    check(statistics, images, root)
    other_way = images.iloc[::-3].reset_index(drop=True)
    check(measure_images(other_way, root), other_way, root)


def test_second_call_opens_no_photo(images: pd.DataFrame, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_images(images, root)
    monkeypatch.setattr(statistics_module, "load_as_indexed", lambda *_: pytest.fail("decoded again"))
    again = measure_images(images, root)
    assert again.measured == 0
    check(again, images, root)


def test_ten_new_images_cost_ten(images: pd.DataFrame, root: Path) -> None:
    measure_images(images.iloc[10:].reset_index(drop=True), root)
    statistics = measure_images(images, root)
    assert statistics.measured == 10
    check(statistics, images, root)


def test_copies_are_measured_once(images: pd.DataFrame, root: Path) -> None:
    twice = pd.concat([images, images], ignore_index=True)
    statistics = measure_images(twice, root)
    assert statistics.measured == COUNT
    check(statistics, twice, root)


def test_damaged_row_is_measured_again(images: pd.DataFrame, root: Path, cache: Path) -> None:
    measure_images(images, root)
    (rows,) = cache.glob("image_statistics/*/rows.bin")
    with rows.open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        stream.write(b"\xff\x00\xff")
    statistics = measure_images(images, root)
    assert statistics.measured == 1
    check(statistics, images, root)


def test_other_version_measures_anew(
    images: pd.DataFrame, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_images(images, root)
    monkeypatch.setattr(statistics_module, "VERSION", 999)
    assert measure_images(images, root).measured == COUNT
    stores = [(entry.kind, entry.state, entry.rows) for entry in list_caches(cache)]
    assert stores == [("image_statistics", "store", COUNT)] * 2


def test_file_that_changed_since_it_was_indexed_is_an_error(images: pd.DataFrame, root: Path) -> None:
    path = images["path"].iloc[3]
    photo(999).save(root / path)
    with pytest.raises(DataError, match=rf"{path}.*has changed.*bestiary index"):
        measure_images(images, root)


def test_no_images_give_no_statistics(images: pd.DataFrame, root: Path) -> None:
    statistics = measure_images(images.iloc[:0], root)
    assert statistics.grey.shape == (0, 64, 64)
    assert statistics.values.empty
