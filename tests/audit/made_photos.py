"""Made photos: colour, detail of all sizes, no two alike; and what may be wrong with one."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter, ImageOps

from bestiary.config.schema import DataConfig
from bestiary.data.index import build_index

WIDTH, HEIGHT = 160, 120


def photo(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Noise whose strength falls with its frequency, as in photographs, over the whole range of brightness."""
    random = np.random.default_rng(seed)
    layers = np.zeros((size[1], size[0], 3))
    for side in (2, 6, 16, 48, 128, 256):
        noise = random.normal(0, side**-0.25, (side, side, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel]).resize(size, Image.Resampling.BILINEAR)
            layers[..., channel] += np.asarray(layer)
    low, high = np.percentile(layers, [1, 99])
    return Image.fromarray(np.clip((layers - low) / (high - low) * 255, 0, 255).astype(np.uint8))


def scaled(image: Image.Image, factor: float, offset: float = 0.0) -> Image.Image:
    """Every channel times a factor, plus an offset."""
    return image.point(lambda value: int(value * factor + offset))


def as_jpeg(image: Image.Image, quality: int = 80) -> Image.Image:
    """The same, saved as JPEG and opened again."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


# What is done to a photo, by the issue that it should raise.
FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda image: scaled(image, 0.2),
    "light": lambda image: scaled(image, 0.04, 245),
    "blurry": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "low_information": lambda image: Image.new("RGB", image.size, (90, 120, 60)),
    "odd_aspect_ratio": lambda image: image.resize((320, 96)),
    "odd_size": lambda image: image.resize((640, 480)),
    "grayscale": lambda image: as_jpeg(image.convert("L").convert("RGB")),
}


def framed(image: Image.Image, width: int) -> Image.Image:
    """With a white frame."""
    return ImageOps.expand(image, width, "white")


def saved(folder: Path, pictures: dict[str, Image.Image]) -> pd.DataFrame:
    """Write pictures, by their paths, and index the folder."""
    for path, picture in pictures.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / path)
    return build_index(DataConfig(path=str(folder)))
