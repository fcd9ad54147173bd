"""Masks beside photos: left out by what they look like, and a copy, a drawing or an unrelated photo is not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from bestiary.config.schema import DataConfig
from bestiary.data import masks
from bestiary.data.index import build_index, index_fingerprint, stands_for_no_image
from bestiary.data.masks import MASK_FILE, is_mask

SIZE = (96, 64)


def photo(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = random.integers(-12, 13, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8))


def blob(*, soft: bool = False, size: tuple[int, int] = SIZE) -> Image.Image:
    """A white ellipse on black."""
    image = Image.new("L", size)
    ImageDraw.Draw(image).ellipse((20, 10, 70, 50), fill=255)
    return image.filter(ImageFilter.GaussianBlur(0.7)) if soft else image


def palette() -> Image.Image:
    """Several things, each of its own colour."""
    values = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    for number in range(1, 30):
        values[2 * number : 2 * number + 2, 3 * number :] = number
    image = Image.fromarray(values, "P")
    image.putpalette([(37 * place) % 256 for place in range(768)])
    return image


def cut_out() -> Image.Image:
    """White where something is, and transparent elsewhere."""
    image = Image.new("LA", SIZE, (255, 0))
    image.putalpha(blob())
    return image


def labels_of_16_bits() -> Image.Image:
    return Image.fromarray((np.asarray(blob()) // 255 * 7).astype(np.uint16))


def drawing(seed: int) -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    random = np.random.default_rng(seed)
    ImageDraw.Draw(image).line(
        [tuple(map(int, point)) for point in random.uniform(5, 60, (4, 2))], fill="black", width=2
    )
    return image


MASKS = {
    "black and white": blob,
    "one bit": lambda: blob().convert("1"),
    "soft": lambda: blob(soft=True),
    "nothing there": lambda: Image.new("L", SIZE),
    "in colours": lambda: blob().convert("RGB"),
    "palette": palette,
    "cut out": cut_out,
    "16 bits": labels_of_16_bits,
}
OTHERS = {
    "the photo": lambda: photo(0),
    "the photo in grey": lambda: photo(0).convert("L"),
    "another photo": lambda: photo(7),
    "another photo in grey": lambda: photo(7).convert("L"),
    "the photo in a palette": lambda: photo(0).quantize(48),
    "of another shape": lambda: blob(size=(64, 64)),
}


def data_set(root: Path, beside: Image.Image, name: str = "0.png", of: str = "0.jpg") -> Path:
    """Two classes of three photos, and a picture beside the first."""
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(3):
            photo(10 * "ab".index(label) + number).save(root / label / f"{number}.jpg", quality=90)
    photo(0).save(root / "a" / of, quality=90)
    beside.save(root / "a" / name)
    return root


def left_out(root: Path, **settings: str) -> list[str]:
    index = build_index(DataConfig(path=str(root), **settings))
    assert set(index["error"]) <= {"", MASK_FILE}
    return index.loc[index["error"] == MASK_FILE, "path"].tolist()


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_of_any_make_is_left_out(kind: str, tmp_path: Path) -> None:
    assert left_out(data_set(tmp_path, MASKS[kind]())) == ["a/0.png"]


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_mask_is_an_image(kind: str, tmp_path: Path) -> None:
    assert left_out(data_set(tmp_path, OTHERS[kind]())) == []


@pytest.mark.parametrize(
    ("name", "of", "expected"),
    [
        ("7.PNG", "7.JPG", True),
        ("7.bmp", "7.jpeg", True),
        ("7_mask.png", "7.png", True),
        ("7 (2)_mask_1.png", "7 (2).png", True),
        ("7-seg.png", "7.jpg", True),
        ("7.png", "8.jpg", False),
        ("7_mask.png", "8.png", False),
        ("mask.png", "7.png", False),
        ("7.webp", "7.jpg", False),  # lossy: no mask is kept so
    ],
)
def test_names_propose(name: str, of: str, expected: bool, tmp_path: Path) -> None:
    assert bool(left_out(data_set(tmp_path, blob().convert("RGB"), name, of))) == expected


def test_two_drawings_of_one_name_are_two_images() -> None:
    assert not is_mask(drawing(0), drawing(1))
    assert is_mask(drawing(0), photo(0))


def test_masks_are_kept_where_that_is_asked_for_and_in_tables(tmp_path: Path) -> None:
    root = data_set(tmp_path / "photos", blob())
    assert left_out(root, masks="keep") == []
    rows = [f"photos/{path.relative_to(root).as_posix()},{path.parent.name}" for path in sorted(root.rglob("*.*"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    assert left_out(tmp_path / "list.csv") == []


def test_a_photo_turned_by_exif_has_a_mask_that_is_not(tmp_path: Path) -> None:
    root = data_set(tmp_path, blob())
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(0).save(root / "a" / "0.jpg", exif=exif)
    assert left_out(root) == ["a/0.png"]


def test_a_known_mask_is_not_opened_again_and_a_new_photo_asks_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataConfig(path=str(data_set(tmp_path, blob())))
    index = build_index(data)
    row = index[index["error"] == MASK_FILE].iloc[0]
    assert (row["width_px"], bool(row["phash"])) == (SIZE[0], True)
    assert stands_for_no_image(index).sum() == 1
    opened: list[Path] = []
    real = masks.load_rgb
    monkeypatch.setattr(masks, "load_rgb", lambda source: (opened.append(source), real(source))[1])
    assert index_fingerprint(build_index(data, previous=index)) == index_fingerprint(index)
    assert opened == []
    blob().convert("RGB").save(tmp_path / "a" / "0.jpg", quality=95)
    again = build_index(data, previous=index)
    assert (again["error"] == "").all()
    assert opened
