"""The cache of decoded pixels: right, decoded once, and whole after anything that breaks it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bestiary.config.schema import DataConfig
from bestiary.data import pixels as pixels_module
from bestiary.data.geometry import Geometry, arrange
from bestiary.data.images import load_rgb
from bestiary.data.index import build_index
from bestiary.data.parallel import in_order
from bestiary.data.pixels import PixelTable, content_key, pixel_table
from bestiary.errors import BestiaryError, DataError

GEOMETRY = Geometry(16, "crop", "bilinear", 0.9)
COUNT = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(COUNT):
        path = tmp_path / "photos" / ("cat" if number % 2 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(path)
    return tmp_path / "photos"


@pytest.fixture
def images(root: Path) -> pd.DataFrame:
    return build_index(DataConfig(path=str(root)))


def table(images: pd.DataFrame, root: Path, geometry: Geometry = GEOMETRY) -> PixelTable:
    made = pixel_table(images, root, geometry=geometry)
    assert len(made) == len(images)
    expected = np.stack([arrange(load_rgb(root / path), geometry) for path in images["path"]])
    np.testing.assert_array_equal(made.take(np.arange(len(images))), expected)
    assert made.array.dtype == np.uint8
    return made


def rows_file(cache: Path) -> Path:
    (path,) = cache.glob("pixels/*/rows.bin")
    return path


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["nearest", "bicubic"])
def test_pixels_equal_decoding_and_arranging_each_file(
    images: pd.DataFrame, root: Path, fit: str, interpolation: str
) -> None:
    made = table(images, root, Geometry(24, fit, interpolation))  # type: ignore[arg-type]
    assert made.decoded == COUNT
    assert made.keys == tuple(content_key(digest) for digest in images["sha256"])


def test_second_call_decodes_nothing_and_opens_no_photo(
    images: pd.DataFrame, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = table(images, root)
    monkeypatch.setattr(pixels_module, "load_rgb", lambda _: pytest.fail("decoded again"))
    again = pixel_table(images, root, geometry=GEOMETRY)
    assert again.decoded == 0
    np.testing.assert_array_equal(again.take(np.arange(COUNT)), first.take(np.arange(COUNT)))


def test_only_new_images_are_decoded(images: pd.DataFrame, root: Path) -> None:
    assert table(images.iloc[:5].reset_index(drop=True), root).decoded == 5
    assert table(images, root).decoded == COUNT - 5


def test_array_is_mapped_from_disk_and_cannot_be_written(images: pd.DataFrame, root: Path) -> None:
    array = table(images, root).array
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


@pytest.mark.parametrize(
    "other",
    [
        Geometry(17, "crop", "bilinear", 0.9),
        Geometry(16, "pad", "bilinear", 0.9),
        Geometry(16, "crop", "nearest", 0.9),
        Geometry(16, "crop", "bilinear", 0.8),
    ],
)
def test_each_geometry_has_a_cache_of_its_own(images: pd.DataFrame, root: Path, other: Geometry) -> None:
    table(images, root)
    assert table(images, root, other).decoded == COUNT
    assert table(images, root).decoded == 0


def test_copies_share_one_decoding_and_one_row(images: pd.DataFrame, root: Path) -> None:
    (root / "cat" / "copy.png").write_bytes((root / "dog" / "00.png").read_bytes())
    index = build_index(DataConfig(path=str(root)))
    made = table(index, root)
    assert made.decoded == COUNT
    places = dict(zip(index["path"], made.rows, strict=True))
    assert places["cat/copy.png"] == places["dog/00.png"]


def test_cache_is_shared_by_folders_with_the_same_contents(images: pd.DataFrame, root: Path, tmp_path: Path) -> None:
    table(images, root)
    moved = root.rename(tmp_path / "elsewhere")
    assert table(build_index(DataConfig(path=str(moved))), moved).decoded == 0


def test_subset_shows_the_chosen_images(images: pd.DataFrame, root: Path) -> None:
    whole = table(images, root)
    some = whole.subset(np.array([7, 2, 7]))
    assert len(some) == 3
    assert some.keys == (whole.keys[7], whole.keys[2], whole.keys[7])
    np.testing.assert_array_equal(some.take(np.array([1, 0])), whole.take(np.array([2, 7])))


@pytest.mark.parametrize("number", [0, 5, COUNT - 1])
def test_damaged_row_alone_is_decoded_again(images: pd.DataFrame, root: Path, cache: Path, number: int) -> None:
    table(images, root)
    path = rows_file(cache)
    data = bytearray(path.read_bytes())
    data[number * 16 * 16 * 3 + 100] ^= 1
    path.write_bytes(bytes(data))
    assert table(images, root).decoded == 1
    assert table(images, root).decoded == 0


@pytest.mark.parametrize("name", ["rows.bin", "keys.bin", "meta.json"])
@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_damaged_cache_file_costs_time_only(
    images: pd.DataFrame, root: Path, cache: Path, name: str, content: bytes
) -> None:
    table(images, root)
    (rows_file(cache).parent / name).write_bytes(content)
    assert table(images, root).decoded == COUNT
    assert table(images, root).decoded == 0


@pytest.mark.parametrize(
    ("content", "reason"), [(b"other bytes", "the file has changed"), (None, "cannot be read: No such file")]
)
def test_file_that_changed_since_the_index_is_named(
    images: pd.DataFrame, root: Path, content: bytes | None, reason: str
) -> None:
    path = root / "cat" / "03.png"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"cat/03\.png: {reason}.*run `bestiary index` again"):
        pixel_table(images, root, geometry=GEOMETRY)


def test_another_whole_image_in_the_place_of_an_indexed_one_is_not_taken(images: pd.DataFrame, root: Path) -> None:
    (root / "cat" / "03.png").write_bytes((root / "dog" / "00.png").read_bytes())
    with pytest.raises(DataError, match=r"cat/03\.png: the file has changed"):
        pixel_table(images, root, geometry=GEOMETRY)


def test_killed_in_the_middle_it_goes_on_from_the_last_whole_block(images: pd.DataFrame, root: Path) -> None:
    images.to_parquet(root.parent / "index.parquet")
    # Blocks of two images; the process ends while it records the fourth.
    code = (
        "import os, sys\nfrom pathlib import Path\nimport pandas as pd\n"
        "from bestiary.data import pixels\nfrom bestiary.data.geometry import Geometry\n"
        "pixels._BLOCK_BYTES = 2 * 16 * 16 * 3\n"
        "append, calls = pixels.RowStore.append, []\n"
        "def killed(store, keys, rows):\n"
        "    calls.append(1)\n    len(calls) == 4 and os._exit(9)\n    append(store, keys, rows)\n"
        "pixels.RowStore.append = killed\n"
        "images = pd.read_parquet(sys.argv[1])\n"
        "pixels.pixel_table(images, Path(sys.argv[2]), geometry=Geometry(16, 'crop', 'bilinear', 0.9))\n"
    )
    arguments = [str(root.parent / "index.parquet"), str(root)]
    assert subprocess.run([sys.executable, "-c", code, *arguments]).returncode == 9
    assert table(images, root).decoded == COUNT - 6


def test_interrupted_it_keeps_what_was_recorded(
    images: pd.DataFrame, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels_module, "_BLOCK_BYTES", 16 * 16 * 3)
    real = pixels_module.load_rgb

    def load(data: bytes) -> Image.Image:
        if data == (root / images["path"][7]).read_bytes():
            raise KeyboardInterrupt
        return real(data)

    monkeypatch.setattr(pixels_module, "load_rgb", load)
    with pytest.raises(KeyboardInterrupt):
        pixel_table(images, root, geometry=GEOMETRY)
    monkeypatch.setattr(pixels_module, "load_rgb", real)
    assert table(images, root).decoded == COUNT - 7


def test_cache_that_cannot_be_written_is_named(
    images: pd.DataFrame, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BestiaryError, match=r"cannot write .*BESTIARY_CACHE"):
        pixel_table(images, root, geometry=GEOMETRY)


def test_work_in_threads_comes_back_in_order_and_never_runs_far_ahead() -> None:
    from concurrent.futures import ThreadPoolExecutor

    taken: list[int] = []

    def numbers():  # type: ignore[no-untyped-def]
        for number in range(500):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(4) as pool:
        done = in_order(pool, lambda number: number * 2, numbers())
        for expected in range(500):
            assert next(done) == expected * 2
            assert len(taken) <= expected + 65


def test_failure_in_a_thread_stops_the_work() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def work(number: int) -> int:
        if number == 10:
            raise DataError("the tenth")
        return number

    with ThreadPoolExecutor(2) as pool:
        done = in_order(pool, work, range(1000))
        assert [next(done) for _ in range(10)] == list(range(10))
        with pytest.raises(DataError, match="the tenth"):
            next(done)
        assert list(done) == []
