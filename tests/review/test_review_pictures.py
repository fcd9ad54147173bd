"""Pictures for the browser: their size, and that memory stays bounded while what was asked for last is kept."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bestiary.review import pictures
from bestiary.review.pictures import LONG_SIDE_PX, Pictures
from bestiary.store.hashing import sha256_file


@pytest.fixture
def noise(tmp_path: Path) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = []
    for number in range(4):
        file = tmp_path / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (900, 1800, 3), dtype=np.uint8)).resize((1800, 900)).save(file)
        rows.append({"image_id": f"i{number}", "path": file.name, "sha256": sha256_file(file)})
    return pd.DataFrame(rows)


def test_large_images_are_made_smaller_and_keep_their_shape(noise, tmp_path) -> None:
    asked = Pictures(noise, tmp_path)
    for size, long_side in LONG_SIDE_PX.items():
        assert Image.open(io.BytesIO(asked.get("i0", size))).size == (long_side, long_side // 2)
    with pytest.raises(KeyError):
        asked.get("0.png", "small")


def test_memory_is_bounded_and_the_latest_stay(noise, tmp_path, monkeypatch) -> None:
    made: list[str] = []
    encode = pictures._encode
    monkeypatch.setattr(pictures, "_encode", lambda path, *rest: (made.append(path.stem), encode(path, *rest))[1])
    one = len(encode(tmp_path / "0.png", noise["sha256"][0], "small"))
    asked = Pictures(noise, tmp_path, keep_bytes=int(2.5 * one))
    for image_id in ("i0", "i1", "i0", "i2", "i0", "i1"):
        asked.get(image_id, "small")
    assert made == ["0", "1", "2", "1"]  # i1 was let go for i2; i0 had just been asked for
