"""What a person gives to be classified → a list of images.

In: paths of files and folders, glob patterns, bytes, Pillow images, arrays. Out: `ImageInput`s, in the order given; one
that cannot be read has the reason. Folders are walked as those of a study are. Owns no file, and opens none.
"""

import glob
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bestiary.data.folders.walk import BAD_FILE_NAME, BAD_FOLDER_NAME, SIDECAR_FILE, SYSTEM_FILE, walk
from bestiary.data.images import load_rgb, rgb_of
from bestiary.errors import ImageError, UsageError
from bestiary.plurals import counted
from bestiary.progress import SILENT, Progress

_LOADING = threading.Lock()

# One image, or what stands for several.
Source = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageInput:
    """One image to classify.

    Attributes:
        path: of its file; `image 0`, `image 1` ... where it has none, counted in all that was given.
        source: what to decode.
        error: why it will not be read.
    """

    path: str
    source: Source = field(default=b"", repr=False)
    error: str = ""

    def load(self) -> Image.Image:
        """Decode to RGB, as `images.load_rgb`.

        Raises:
            ImageError: the reason alone.
        """
        if self.error:
            raise ImageError(self.error)
        if isinstance(self.source, Image.Image):
            with _LOADING:  # the same image may have been given twice
                return rgb_of(self.source)
        return Image.fromarray(self.source) if isinstance(self.source, np.ndarray) else load_rgb(self.source)


def expand_inputs(given: Source | Iterable[Source], *, progress: Progress = SILENT) -> list[ImageInput]:
    """Every image, in the order given: files, folders (all below, links followed), patterns, and images in memory.

    Hidden and system files in folders, and files that accompany images, are skipped; `progress` says how many. All
    else that cannot be read is an input with its error.

    Args:
        given: one source or several. Arrays are RGB: `(height, width, 3)` or `(n, height, width, 3) uint8`.
        progress: says how many files are skipped.

    Raises:
        UsageError: a pattern matches nothing, there is no image at all, or something is of another type.
    """
    single = isinstance(given, str | os.PathLike | bytes | bytearray | Image.Image | np.ndarray)
    found: list[ImageInput] = []
    skipped = 0
    for source in [given] if single else _several(given):
        for item in _expanded(source, number=len(found)):
            if item.error in (SYSTEM_FILE, SIDECAR_FILE):
                skipped += 1
            else:
                found.append(item)
    if skipped:
        files = counted(skipped, "file that is", "files that are")
        progress.say(f"  skipped {files} hidden, of the system, or beside images")
    if not found:
        raise UsageError("no images given: name files, folders or patterns, or - for a list on standard input")
    return found


def _several(given: Any) -> Iterable[Any]:
    if not isinstance(given, Iterable):
        raise _unknown(given)
    return given


def _unknown(source: Any) -> UsageError:
    return UsageError(
        f"cannot classify an object of type {type(source).__name__}: give a path, bytes, a Pillow image, an array "
        "(height, width, 3) or (n, height, width, 3) of uint8, or a list of these"
    )


def _expanded(source: Any, *, number: int) -> Iterator[ImageInput]:
    if isinstance(source, str | os.PathLike):
        yield from _from_path(os.fspath(source))
    elif isinstance(source, bytes | bytearray):
        yield ImageInput(f"image {number}", bytes(source))
    elif isinstance(source, Image.Image):
        yield ImageInput(f"image {number}", source)
    elif isinstance(source, np.ndarray):
        yield from _from_array(source, number=number)
    else:
        raise _unknown(source)


def _from_path(path: str) -> Iterator[ImageInput]:
    if os.path.isdir(path):
        for found in walk(path):
            if found.error or not found.is_folder:
                inner = os.path.join(path, found.path) if found.path else path
                if found.error in (BAD_FILE_NAME, BAD_FOLDER_NAME):  # no matter here: no table keeps the name
                    yield ImageInput(inner, found.place)
                else:
                    yield ImageInput(inner, inner, found.error)
    elif os.path.exists(path) or not glob.has_magic(path):
        # A missing file becomes a row with its error, as any other that cannot be read.
        yield ImageInput(path, path)
    else:
        matches = sorted(glob.glob(path, recursive=True))
        if not matches:
            raise UsageError(f"no file matches {path}")
        for match in matches:
            yield from _from_path(match)


def _from_array(array: npt.NDArray[Any], *, number: int) -> Iterator[ImageInput]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape[-3:]:
        raise UsageError(
            f"an array of shape {array.shape} and type {array.dtype} is no image: give RGB, (height, width, 3) or "
            "(n, height, width, 3) of uint8, values 0 to 255"
        )
    for place, pixels in enumerate(array if array.ndim == 4 else [array]):
        yield ImageInput(f"image {number + place}", pixels)
