"""Thumbnails: image files → small WebP pictures as data URIs, as many as fit.

In: image ids in order of importance, where their files lie, a budget in bytes. Out: `Thumbnails`. Owns no file
(`thumbnail_store` does).
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bestiary.data.images import read_bytes
from bestiary.data.parallel import in_order
from bestiary.errors import ImageError
from bestiary.report.figures.thumbnail_store import ThumbnailStore


@dataclass(frozen=True)
class Thumbnails:
    """What was kept.

    `uris` maps image ids to data URIs, empty where the file cannot be read; `missing` maps those ids to the reason.
    """

    uris: Mapping[str, str]
    missing: Mapping[str, str]


def make_thumbnails(
    image_ids: Sequence[str],
    *,
    paths: Mapping[str, str],
    root: Path | None,
    long_side_px: int,
    budget_bytes: int,
    overhead_bytes: Callable[[str], int] = lambda image_id: 0,
    known: Mapping[str, str] | None = None,
) -> Thumbnails:
    """Make thumbnails in the given order until the budget is spent.

    Args:
        image_ids: the most important first; each is taken once.
        paths: image id → path below the root.
        root: the data root; None where it is gone: no picture, only placeholders.
        long_side_px: long side of a thumbnail; smaller images stay as they are.
        budget_bytes: what all entries may take.
        overhead_bytes: what an entry takes beside its picture.
        known: pictures that are in the file already: they are kept as they are, and cost their overhead only.
    """
    uris: dict[str, str] = {}
    missing: dict[str, str] = {}
    left = budget_bytes
    wanted = [image_id for image_id in dict.fromkeys(image_ids) if image_id in paths]

    known, store = known or {}, ThumbnailStore(long_side_px)

    def encode(image_id: str) -> tuple[str, str, str]:
        if known.get(image_id):
            return image_id, known[image_id], ""
        if root is None:
            return image_id, "", "the folder of the images is gone"
        try:
            picture = store.thumbnail(read_bytes(root / paths[image_id]))
            return image_id, "data:image/webp;base64," + base64.b64encode(picture).decode(), ""
        except ImageError as error:
            return image_id, "", str(error)

    with ThreadPoolExecutor() as pool:
        for image_id, uri, reason in in_order(pool, encode, wanted):
            left -= (0 if known.get(image_id) else len(uri)) + overhead_bytes(image_id)
            if left < 0:
                break
            uris[image_id] = uri
            if reason:
                missing[image_id] = reason
    store.keep()
    return Thumbnails(uris=uris, missing=missing)
