"""Bursts: times and cameras → which photos were taken in one go.

In: for each photo, when it was taken and by which camera. Out: a burst for each. Owns no file.

Photos of one camera are put in the order of their times. One that was taken at most so many seconds after the one
before it belongs to the same burst: a sequence lasts as long as it goes on, as camera-trap studies count it.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from bestiary.data.bursts.exif_shots import Shot
from bestiary.data.bursts.times import microseconds
from bestiary.data.folders.layout import split_of


def burst_names(taken: Sequence[str], cameras: Sequence[str], *, within_s: float) -> list[str]:
    """The burst of each photo, named after its camera and its first time; "" where a photo stands alone.

    Which photos belong together does not depend on their order.

    Args:
        taken: times as of `times.as_time`, either all numbers or none; "" where unknown, and then alone.
        cameras: the camera of each.
        within_s: the longest gap in seconds between two photos of one burst; a gap as long as this still joins them.
    """
    by_camera: dict[str, list[int]] = defaultdict(list)
    for place, (time, camera) in enumerate(zip(taken, cameras, strict=True)):
        if time:
            by_camera[camera].append(place)
    names = [""] * len(taken)
    for camera, places in by_camera.items():
        ticks = _ticks([taken[place] for place in places])
        order = sorted(range(len(places)), key=lambda at: (ticks[at], taken[places[at]]))
        starts = [at for at, gap in enumerate(_gaps(ticks, order)) if gap > round(within_s * 1e6)]
        for start, end in zip([0, *starts], [*starts, len(order)], strict=True):
            if end - start > 1:
                name = f"{camera} {taken[places[order[start]]]}".strip()
                for at in order[start:end]:
                    names[places[at]] = name
    return names


def _ticks(times: Sequence[str]) -> list[int]:
    """Microseconds: in UTC where all offsets are known, else by the camera's own clock."""
    both = [microseconds(time) for time in times]
    in_utc = [utc for _, utc in both if utc is not None]
    return in_utc if len(in_utc) == len(both) else [by_clock for by_clock, _ in both]


def _gaps(ticks: Sequence[int], order: Sequence[int]) -> list[int]:
    """How long after the one before each was taken; of the first 0."""
    return [0, *(ticks[later] - ticks[earlier] for earlier, later in pairwise(order))]


def camera_of(named: str, folder: str, shot: Shot) -> str:
    """Which camera took a photo: what the table says, else the body's serial number, else folder and model."""
    if named:
        return named
    if shot.serial:
        return f"{shot.model} {shot.serial}".strip()
    return f"{folder} {shot.model}".strip()


def folder_of_camera(path: str, label: str) -> str:
    """The folders of a file that may be a camera's: without those that are its class or a split."""
    return "/".join(name for name in path.split("/")[:-1] if name != label and split_of(name) is None)
