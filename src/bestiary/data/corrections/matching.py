"""Matching: which image of an index a row means that names it by its content's id, by its path, or by both.

In: an index; ids and paths as people and programs wrote them. Out: positions in the index, or the reason why a row
means none, with the mend. No file here.

The path counts among copies; the content counts where a file has moved. A path that now holds other content than the id
says is no match: nobody has reviewed that content. Where it is not certain which image is meant, none is. An image that
was there once, by its id, and is there no more has a reason of its own, `Gone`.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property

import pandas as pd

_ID = re.compile(r"[0-9a-f]{20}(-[1-9][0-9]*)?")
_ID_CHARACTERS = 20


class Gone(str):
    """The reason why a row means no image: the one that it meant is no longer in the data."""

    __slots__ = ()


def loose(path: str) -> str:
    """A path as it is compared where no path is equal: with `/`, without `./` or space around it, in Unicode's NFC."""
    return unicodedata.normalize("NFC", path.strip().replace("\\", "/")).removeprefix("./")


class Places:
    """The images of an index, found by what a row says of them."""

    def __init__(self, index: pd.DataFrame) -> None:
        self._ids: list[str] = index["image_id"].tolist()
        self._paths: list[str] = index["path"].tolist()
        self._by_path = _numbers(self._paths)

    @cached_property
    def _by_loose(self) -> dict[str, list[int]]:
        return _numbers(loose(path) for path in self._paths)

    @cached_property
    def _by_content(self) -> dict[str, list[int]]:
        return _numbers(image_id[:_ID_CHARACTERS] for image_id in self._ids)

    def find(self, named: Sequence[tuple[str, str]], *, strict: Sequence[bool] | None = None) -> list[int | str]:
        """The position in the index of each (image_id, path), or why there is none.

        Rows whose path is there go first; of copies, those that they mean are not taken for files that moved.

        Args:
            named: what rows say.
            strict: of each, whether it must not go to a copy that may have been left where its own file was deleted.
        """
        strict = [False] * len(named) if strict is None else strict
        found: list[int | str | None] = [self._in_place(image_id, path) for image_id, path in named]
        taken = {number for number in found if isinstance(number, int)}
        return [
            self._moved(image_id, path, taken, strict=is_strict) if number is None else number
            for (image_id, path), number, is_strict in zip(named, found, strict, strict=True)
        ]

    def _in_place(self, image_id: str, path: str) -> int | str | None:
        """As `find`; None where the row's path is no longer there, but its content may be."""
        if image_id and not _ID.fullmatch(image_id):
            return (
                f"image_id {image_id!r} is none (20 hexadecimal digits, for a further copy -1, -2 ... after them); "
                "spreadsheets change some: copy it anew, or leave it empty and give the path"
            )
        there = self._at(path) if path else []
        if there:
            return self._agreed(there, image_id)
        if path:
            return None if image_id else self._no_path(path)
        same = self._by_content.get(image_id[:_ID_CHARACTERS], [])
        exact = [number for number in same if self._ids[number] == image_id]
        if exact:
            return exact[0]
        return Gone("no image of this image_id is in the data: delete the row, or put the file back")

    def _agreed(self, there: list[int], image_id: str) -> int | str:
        """The one of several rows with one path that the id means; more than one only where a table repeats a path."""
        same = there
        if image_id:
            same = [number for number in there if self._ids[number][:_ID_CHARACTERS] == image_id[:_ID_CHARACTERS]]
        if not same:
            return (
                "the file has changed since it was reviewed: review it again and delete this row; or, if the "
                "reviewed image has moved, empty the row's path"
            )
        exact = [number for number in same if self._ids[number] == image_id] or same
        return exact[0] if len(exact) == 1 else f"{len(same)} rows of the data have this path: give the image_id of one"

    def _moved(self, image_id: str, path: str, taken: set[int], *, strict: bool) -> int | str:
        same = self._by_content.get(image_id[:_ID_CHARACTERS], [])
        if not same:
            return Gone("the image is no longer in the data, here or elsewhere: delete the row, or put the file back")
        left = [number for number in same if number not in taken]
        if strict and all(self._may_be_left(number, image_id, path) for number in left):
            left = []
        if len(same) <= _copies_before(image_id) or not left:
            return Gone(
                f"this copy is no longer in the data; its bytes are only at {self._told(same)}: delete the row, or "
                "give the path of the copy that is meant"
            )
        same_name = [number for number in left if _file_name(self._paths[number]) == _file_name(path)]
        chosen = same_name if len(same_name) == 1 else left
        if len(chosen) > 1:
            return f"the file has moved, and {self._told(left)} have its bytes: give the path of the one that is meant"
        return chosen[0]

    def _may_be_left(self, number: int, image_id: str, path: str) -> bool:
        """Whether a copy may have lain where it lies already when a row was written about another, which is gone.

        One of the same file name is taken for the file itself, moved. Any other lay elsewhere for certain only where
        the row's id would have another number otherwise: it tells how many copies had a path before the row's own.
        """
        here = self._paths[number]
        if _file_name(here) == _file_name(path):
            return False
        same = self._by_content[image_id[:_ID_CHARACTERS]]
        return here > path or sum(self._paths[other] < path for other in same) <= _copies_before(image_id)

    def _at(self, path: str) -> list[int]:
        return self._by_path.get(path) or self._by_loose.get(loose(path), [])

    def _no_path(self, path: str) -> str:
        name = _file_name(path)
        alike = [number for number, known in enumerate(self._paths) if _file_name(known) == name]
        hint = f" (a file of this name is at {self._told(alike)})" if alike else ""
        return (
            f"no file is at this path{hint}: paths are written from the data folder on, with /. Mend the path, or "
            "delete the row"
        )

    def _told(self, numbers: Sequence[int]) -> str:
        paths = [repr(self._paths[number]) for number in numbers[:3]]
        return ", ".join(paths) + (f" and {len(numbers) - 3} more" if len(numbers) > 3 else "")


def _numbers(names: Iterable[str]) -> dict[str, list[int]]:
    """Where each name stands."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        found.setdefault(name, []).append(number)
    return found


def _copies_before(image_id: str) -> int:
    """How many copies of the same bytes came before this one, in the order of paths."""
    return int(image_id[_ID_CHARACTERS + 1 :] or 0)


def _file_name(path: str) -> str:
    return loose(path).rpartition("/")[2]
