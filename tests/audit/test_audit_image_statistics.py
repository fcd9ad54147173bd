"""Looks: measured once a file, kept under its content, and whole after what damages them."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bestiary.audit import image_statistics as looks_module
from bestiary.audit.image_statistics import Looks, look_at
from bestiary.audit.measures import COLUMNS, measure, sketch
from bestiary.data.images import load_rgb
from bestiary.errors import DataError
from bestiary.store.caches import list_caches
from tests.audit.looks_made import photo, saved

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


def check(looks: Looks, images: pd.DataFrame, root: Path) -> None:
    numbers, grey = measure([sketch(load_rgb(root / path)) for path in images["path"]])
    np.testing.assert_allclose(looks.values[list(COLUMNS)].to_numpy(), numbers, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(looks.grey, grey)
    sizes = images["width_px"] * images["height_px"]
    np.testing.assert_allclose(looks.values["size"] ** 2, sizes)
    shapes = [min(w, h) / max(w, h) for w, h in zip(images["width_px"], images["height_px"], strict=True)]
    np.testing.assert_allclose(looks.values["aspect_ratio"], shapes)


def test_looks_are_those_of_each_file_in_the_order_asked_for(images: pd.DataFrame, root: Path) -> None:
    looks = look_at(images, root)
    assert looks.measured == COUNT
    check(looks, images, root)
    other_way = images.iloc[::-3].reset_index(drop=True)
    check(look_at(other_way, root), other_way, root)


def test_second_call_opens_no_photo(images: pd.DataFrame, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at(images, root)
    monkeypatch.setattr(looks_module, "load_as_indexed", lambda *_: pytest.fail("decoded again"))
    again = look_at(images, root)
    assert again.measured == 0
    check(again, images, root)


def test_ten_new_images_cost_ten(images: pd.DataFrame, root: Path) -> None:
    look_at(images.iloc[10:].reset_index(drop=True), root)
    looks = look_at(images, root)
    assert looks.measured == 10
    check(looks, images, root)


def test_copies_are_measured_once(images: pd.DataFrame, root: Path) -> None:
    twice = pd.concat([images, images], ignore_index=True)
    looks = look_at(twice, root)
    assert looks.measured == COUNT
    check(looks, twice, root)


def test_damaged_row_is_measured_again(images: pd.DataFrame, root: Path, cache: Path) -> None:
    look_at(images, root)
    (rows,) = cache.glob("looks/*/rows.bin")
    with rows.open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        stream.write(b"\xff\x00\xff")
    looks = look_at(images, root)
    assert looks.measured == 1
    check(looks, images, root)


def test_other_version_measures_anew(
    images: pd.DataFrame, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_at(images, root)
    monkeypatch.setattr(looks_module, "VERSION", 999)
    assert look_at(images, root).measured == COUNT
    stores = [(entry.kind, entry.state, entry.rows) for entry in list_caches(cache)]
    assert stores == [("looks", "store", COUNT)] * 2


def test_file_that_changed_since_it_was_indexed_is_an_error(images: pd.DataFrame, root: Path) -> None:
    path = images["path"].iloc[3]
    photo(999).save(root / path)
    with pytest.raises(DataError, match=rf"{path}.*has changed.*bestiary index"):
        look_at(images, root)


def test_no_images_give_no_looks(images: pd.DataFrame, root: Path) -> None:
    looks = look_at(images.iloc[:0], root)
    assert looks.grey.shape == (0, 64, 64)
    assert looks.values.empty
