import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bestiary.errors import BestiaryError, ImageError
from bestiary.report.figures import thumbnail_store
from bestiary.report.figures.thumbnail_store import ThumbnailStore


def photo(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((300, 200)).rotate(seed).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def noise() -> bytes:
    stream = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of thumbnails that are encoded; the cache is empty."""
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path))
    sizes: list[int] = []
    real = thumbnail_store._encoded
    monkeypatch.setattr(thumbnail_store, "_encoded", lambda file, side: sizes.append(side) or real(file, side))
    return sizes


def test_what_was_kept_is_not_encoded_again(encoded: list[int]) -> None:
    first = ThumbnailStore(96)
    pictures = [first.thumbnail(photo(seed)) for seed in (1, 2)]
    first.keep()
    second = ThumbnailStore(96)
    assert [second.thumbnail(photo(seed)) for seed in (1, 2)] == pictures
    assert encoded == [96, 96]
    with Image.open(io.BytesIO(pictures[0])) as image:
        assert (image.format, image.size) == ("WEBP", (96, 64))
    second.thumbnail(photo(3))
    ThumbnailStore(192).thumbnail(photo(1))
    assert encoded == [96, 96, 96, 192]


def test_what_is_too_long_for_a_row_is_encoded_anew(encoded: list[int]) -> None:
    long, short = noise(), photo(0)
    for _ in range(2):
        store = ThumbnailStore(96)
        store.thumbnail(long)
        store.thumbnail(short)
        store.keep()
    assert encoded == [96] * 3


def test_no_picture_and_no_room_are_no_harm(encoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    store = ThumbnailStore(96)
    with pytest.raises(ImageError):
        store.thumbnail(b"no image")

    def full(*_: object) -> None:
        raise BestiaryError("the disk is full")

    picture = store.thumbnail(photo(1))
    monkeypatch.setattr(store._store, "append", full)
    store.keep()
    assert ThumbnailStore(96).thumbnail(photo(1)) == picture
