"""Matching: which image of an index a row is about that names it by its id, by its path, or by both.

In: an index; ids and paths as people and programs wrote them. Out: positions in the index, or the reason why there is
none, with the fix. Owns no file.

An id is that of the content, with the number of the copy where several files have the same bytes: `-1`, `-2` ... in the
order of paths. The numbers change when a copy comes, goes or moves. So among copies the path decides. Where no file is
at the path any more, the content is looked for elsewhere: the file may have moved. A path that now holds other content
than the id says is no match, since nobody has reviewed that content; nor is there one where two images are possible.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from bestiary.data.index import class_names

_ID = re.compile(r"[0-9a-f]{20}(-[1-9][0-9]*)?")
_CONTENT_DIGITS = 20


class NamedImage(NamedTuple):
    """What a row says of its image; either text may be empty.

    `sure_move_only`: where the file has gone from its path, do not take a copy that may have lain elsewhere all along.
    """

    image_id: str
    path: str
    sure_move_only: bool = False


@dataclass(frozen=True)
class NoMatch:
    """Why a row is about no image of the index. `is_gone`: the image was there, by its id, and is there no more."""

    reason: str
    is_gone: bool = False


# A position in the index, or why there is none.
Match = int | NoMatch


def comparable(path: str) -> str:
    """A path as it is compared where none is equal: with `/`, without `./` or space around it, in Unicode's NFC."""
    return unicodedata.normalize("NFC", path.strip().replace("\\", "/")).removeprefix("./")


class ImageLookup:
    """The images of an index, found by what a row says of them.

    Building one takes several passes over the index: keep it as long as the index is the same.

    Args:
        index: as `data.index` builds it, with or without corrections.
    """

    def __init__(self, index: pd.DataFrame) -> None:
        self.image_ids: list[str] = index["image_id"].tolist()
        self.paths: list[str] = index["path"].tolist()
        self.class_names: list[str] = class_names(index)
        self._by_path = _positions(self.paths)

    @classmethod
    def of(cls, index: "pd.DataFrame | ImageLookup") -> "ImageLookup":
        """A lookup as it is, or one of an index."""
        return index if isinstance(index, ImageLookup) else cls(index)

    @cached_property
    def path_of(self) -> dict[str, str]:
        """The path of each image id."""
        return dict(zip(self.image_ids, self.paths, strict=True))

    @cached_property
    def _by_comparable_path(self) -> dict[str, list[int]]:
        return _positions(comparable(path) for path in self.paths)

    @cached_property
    def _by_content(self) -> dict[str, list[int]]:
        return _positions(_content(image_id) for image_id in self.image_ids)

    def find(self, named: Sequence[NamedImage]) -> list[Match]:
        """Find the image of each row.

        Rows whose path is in the index come first; the copies that they are about are not taken for files that moved.
        """
        found = [self._find_in_place(image) for image in named]
        taken = {match for match in found if isinstance(match, int)}
        return [
            self._find_moved(image, taken) if match is None else match
            for image, match in zip(named, found, strict=True)
        ]

    def _find_in_place(self, image: NamedImage) -> Match | None:
        """The match by the path, or by the id where there is no path; None: the file may have moved."""
        if image.image_id and not _ID.fullmatch(image.image_id):
            return NoMatch(
                f"image_id {image.image_id!r} is none (20 hexadecimal digits, for a further copy -1, -2 ... after "
                "them); spreadsheets change some: copy it again, or leave it empty and give the path"
            )
        if not image.path:
            return self._find_by_id(image.image_id)
        at_path = self._by_path.get(image.path) or self._by_comparable_path.get(comparable(image.path), [])
        if at_path:
            return self._agreeing(at_path, image.image_id)
        return None if image.image_id else self._no_file_at(image.path)

    def _find_by_id(self, image_id: str) -> Match:
        exact = [number for number in self._copies(image_id) if self.image_ids[number] == image_id]
        if exact:
            return exact[0]
        return NoMatch("no image of this image_id is in the data: delete the row, or put the file back", is_gone=True)

    def _agreeing(self, at_path: list[int], image_id: str) -> Match:
        """Of the images at one path, the one that the id is about; more than one where a table repeats a path."""
        same = at_path
        if image_id:
            same = [number for number in at_path if _content(self.image_ids[number]) == _content(image_id)]
        if not same:
            return NoMatch(
                "the file has changed since it was reviewed: review it again and delete this row; or, if the "
                "reviewed image has moved, empty the row's path"
            )
        exact = [number for number in same if self.image_ids[number] == image_id] or same
        if len(exact) > 1:
            return NoMatch(f"{len(same)} rows of the data have this path: give the image_id of one")
        return exact[0]

    def _find_moved(self, image: NamedImage, taken: set[int]) -> Match:
        """The match by content of a row at whose path no file is any more."""
        copies = self._copies(image.image_id)
        if not copies:
            reason = "the image is no longer in the data, here or elsewhere: delete the row, or put the file back"
            return NoMatch(reason, is_gone=True)
        candidates = [number for number in copies if number not in taken]
        if image.sure_move_only and not any(self._has_moved_for_sure(number, image) for number in candidates):
            candidates = []
        if len(copies) <= _copies_before(image.image_id) or not candidates:
            reason = (
                f"this copy is no longer in the data; its bytes are only at {self._listed(copies)}: delete the row, or "
                "give the path of the copy that is meant"
            )
            return NoMatch(reason, is_gone=True)
        same_name = [number for number in candidates if _file_name(self.paths[number]) == _file_name(image.path)]
        chosen = same_name if len(same_name) == 1 else candidates
        if len(chosen) > 1:
            return NoMatch(
                f"the file has moved, and {self._listed(candidates)} have its bytes: give the path of the one that is "
                "meant"
            )
        return chosen[0]

    def _has_moved_for_sure(self, number: int, image: NamedImage) -> bool:
        """Whether a copy cannot have been where it is when the row was written about another file, now deleted.

        One of the same file name is taken for the file itself. Any other was elsewhere for sure only where the row's id
        would have had a higher number otherwise: it is how many copies had a path before the row's own.
        """
        here = self.paths[number]
        if _file_name(here) == _file_name(image.path):
            return True
        before = sum(self.paths[other] < image.path for other in self._copies(image.image_id))
        return here <= image.path and before > _copies_before(image.image_id)

    def _copies(self, image_id: str) -> list[int]:
        """All images with the bytes of an id."""
        return self._by_content.get(_content(image_id), [])

    def _no_file_at(self, path: str) -> NoMatch:
        alike = [number for number, known in enumerate(self.paths) if _file_name(known) == _file_name(path)]
        hint = f" (a file of this name is at {self._listed(alike)})" if alike else ""
        return NoMatch(
            f"no file is at this path{hint}: paths are written from the data folder on, with /. Fix the path, or "
            "delete the row"
        )

    def _listed(self, numbers: Sequence[int]) -> str:
        paths = [repr(self.paths[number]) for number in numbers[:3]]
        return ", ".join(paths) + (f" and {len(numbers) - 3} more" if len(numbers) > 3 else "")


def _positions(names: Iterable[str]) -> dict[str, list[int]]:
    """Where each name is."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        found.setdefault(name, []).append(number)
    return found


def _content(image_id: str) -> str:
    return image_id[:_CONTENT_DIGITS]


def _copies_before(image_id: str) -> int:
    """How many copies of the same bytes came before this one, in the order of paths."""
    return int(image_id[_CONTENT_DIGITS + 1 :] or 0)


def _file_name(path: str) -> str:
    return comparable(path).rpartition("/")[2]
