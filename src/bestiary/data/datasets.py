"""Named data sets, and where the images of any `data.path` lie.

In: `data.path` of a config. Out: the folder that index paths are relative to. Owns `datasets/` in the cache home:
`digits/` (scikit-learn's, written out as PNGs) and `animals10.json` (where kagglehub put the download).
"""

import os
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from bestiary.errors import BestiaryError, DataError, UsageError
from bestiary.store.files import cache_home, read_json, write_json

DIGITS = "digits"
ANIMALS10 = "animals10"
NAMED_SETS = (DIGITS, ANIMALS10)
TABLE_ENDINGS = (".csv", ".parquet")

_KAGGLE_HANDLE = "alessiocorrado99/animals10"

# The original archive names its class folders in Italian.
ANIMALS10_ENGLISH = MappingProxyType(
    {
        "cane": "dog",
        "cavallo": "horse",
        "elefante": "elephant",
        "farfalla": "butterfly",
        "gallina": "chicken",
        "gatto": "cat",
        "mucca": "cow",
        "pecora": "sheep",
        "ragno": "spider",
        "scoiattolo": "squirrel",
    }
)


def is_named_set(path: str | Path) -> bool:
    """Whether `data.path` means a named set; a folder or file of that name in the working directory goes first."""
    return str(path) in NAMED_SETS and not os.path.exists(path)


def is_table(path: str | Path) -> bool:
    """Whether `data.path` is a CSV or Parquet table; a folder may have such an ending in its name."""
    place = Path(path)
    return not is_named_set(path) and place.suffix.casefold() in TABLE_ENDINGS and not place.is_dir()


def data_root(path: str | Path) -> Path:
    """The folder that the index's paths are relative to: the folder itself, a table's folder, or a named set's.

    Raises:
        UsageError: there is no such folder or table.
        DataError: the named set has not been fetched.
    """
    if str(path) == "":
        raise UsageError("no data: name a folder of class folders, a CSV or Parquet table, or a named set")
    if is_named_set(path):
        return write_digits() if str(path) == DIGITS else _fetched_animals10()
    place = Path(path)
    # Unlike `Path.exists`, without an error where a folder above it may not be read.
    if not os.path.exists(place):
        named = ", ".join(NAMED_SETS)
        raise UsageError(f"no such folder: {path}. Give a folder, a CSV or Parquet table, or a named set ({named})")
    if place.is_dir():
        return place
    if is_table(path):
        return place.parent
    raise UsageError(f"{path} is a file but no .csv or .parquet table: give the folder that holds the class folders")


def default_rename(path: str | Path) -> dict[str, str]:
    """The class names that a named set is known by, where the config renames none."""
    return dict(ANIMALS10_ENGLISH) if is_named_set(path) and str(path) == ANIMALS10 else {}


def write_digits() -> Path:
    """Write scikit-learn's 1,797 digits as 32 x 32 grey PNGs (each of the 8 x 8 values four pixels wide), once."""
    folder = cache_home() / "datasets" / DIGITS
    complete = cache_home() / "datasets" / f"{DIGITS}.json"
    if complete.exists() and folder.is_dir():
        return folder
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    try:
        for number, (values, label) in enumerate(zip(images, labels, strict=True)):
            grey = np.rint(values.reshape(8, 8) * (255 / 16)).astype(np.uint8)
            place = folder / str(label) / f"{number:04d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(grey).resize((32, 32), Image.Resampling.NEAREST).save(place)
    except OSError as error:
        raise BestiaryError(
            f"cannot write the digits to {folder}: {error.strerror or error}. Free some space, or set BESTIARY_CACHE "
            "to a folder with room."
        ) from error
    write_json(complete, {"images": len(labels), "source": "scikit-learn load_digits"})
    return folder


def fetch_animals10() -> Path:
    """Download Animals-10 through kagglehub and remember where it lies.

    Raises:
        UsageError: kagglehub is not installed.
        DataError: the download failed; says how to go on by hand.
    """
    try:
        import kagglehub
    except ImportError as error:
        raise UsageError("fetch needs kagglehub: install bestiary[kaggle] (uv sync --extra kaggle)") from error
    try:
        folder = Path(kagglehub.dataset_download(_KAGGLE_HANDLE)) / "raw-img"
    # kagglehub raises its own, requests' and urllib3's errors; all mean that the download did not succeed.
    except Exception as error:
        raise DataError(
            f"could not download {_KAGGLE_HANDLE}: {' '.join(str(error).split())}. Connect and try again, or download "
            "the archive in a browser, unpack it and give its raw-img folder to `bestiary study`."
        ) from error
    if not folder.is_dir():
        raise DataError(
            f"the download has no folder raw-img: look into {folder.parent} and give the class folders' parent"
        )
    write_json(cache_home() / "datasets" / f"{ANIMALS10}.json", {"path": str(folder)})
    return folder


def _fetched_animals10() -> Path:
    note = cache_home() / "datasets" / f"{ANIMALS10}.json"
    folder = Path(read_json(note)["path"]) if note.exists() else None
    if folder is None or not folder.is_dir():
        raise DataError("animals10 is not here yet: run `bestiary fetch animals10` (needs the extra bestiary[kaggle])")
    return folder
