"""Files that no model sees: those that cannot be read, those that lie in the wrong place, and those that are no images.

In: the index. Out: findings. Owns no file.

A damaged file is a finding of its own. What many files have in common, and is put right in one go, is one finding with
their number, a few names and the fix: Git LFS pointers, empty files, images in no class folder, masks, sidecars.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bestiary.audit.findings import Finding, Severity
from bestiary.data.folders.layout import EMPTY_FOLDER, NO_CLASS_FOLDER, NO_SPLIT_FOLDER
from bestiary.data.images import EMPTY_FILE, LFS_POINTER
from bestiary.data.index import is_dropped, readable
from bestiary.data.listing import SIDECAR_FILE, SYSTEM_FILE
from bestiary.data.masks import MASK_FILE
from bestiary.data.splits.rare_classes import is_rare

_MOST_NAMES, _MOST_ENDINGS = 3, 5
# So many files with one reason are one finding.
_MANY = 4
# Below this share of the images, those in no class folder are hardly missed.
_FEW = 0.01

_IMAGE_ENDINGS = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"),
        *(".heic", ".heif"),
    ]
)


@dataclass(frozen=True)
class _Kind:
    """What is said of all files with one reason. `what`: after their number; `one`: the same of a single file."""

    issue: str
    severity: Severity
    one: str
    what: str
    fix: str


_KINDS = {
    LFS_POINTER: _Kind(
        "unreadable",
        "high",
        "file is a Git LFS pointer and no photo",
        "files are Git LFS pointers and no photos",
        "run `git lfs pull` where they were cloned",
    ),
    EMPTY_FILE: _Kind(
        "unreadable",
        "medium",
        "file is empty (0 bytes)",
        "files are empty (0 bytes)",
        "copy them again from where they come from, or delete them",
    ),
    NO_CLASS_FOLDER: _Kind(
        "misplaced",
        "medium",
        "image lies in no class folder",
        "images lie in no class folder",
        "move each into the folder of its class",
    ),
    NO_SPLIT_FOLDER: _Kind(
        "misplaced",
        "medium",
        "image lies beside the split folders",
        "images lie beside the split folders",
        "move each into a class folder of a split",
    ),
    MASK_FILE: _Kind(
        "mask",
        "low",
        "mask beside a photo is left out",
        "masks beside photos are left out",
        'data.masks = "keep" takes them as images',
    ),
}


def find_unread(index: pd.DataFrame) -> list[Finding]:
    """One finding for each damaged file, and one for each kind of files that are to be treated alike.

    Files that systems put everywhere are none, but for copies of resources that macOS names like photos.

    Args:
        index: all files, with `image_id`, `path`, `label` and `error`.
    """
    files = index[(index["error"] != "") & ~is_dropped(index) & ~is_rare(index)]
    is_image = np.array([_ending(path) in _IMAGE_ENDINGS for path in files["path"]], dtype=bool)
    is_resource = np.array([os.path.basename(path).startswith("._") for path in files["path"]], dtype=bool)
    is_system = (files["error"] == SYSTEM_FILE).to_numpy(dtype=bool)
    misplaced = files["error"].isin([NO_CLASS_FOLDER, NO_SPLIT_FOLDER]).to_numpy(dtype=bool)
    is_other = (files["error"] == SIDECAR_FILE).to_numpy(dtype=bool) | (misplaced & ~is_image)
    lost = files[~is_system & ~is_other]
    count = len(readable(index))
    return [
        *(
            finding
            for error, rows in lost.groupby("error", sort=False)
            for finding in _of_reason(str(error), rows, count)
        ),
        *_other_files(files[is_other], index),
        *_resources(files[is_system & is_image & is_resource]),
    ]


def _of_reason(error: str, files: pd.DataFrame, count: int) -> Iterator[Finding]:
    """The findings of all files with one reason."""
    kind = _KINDS.get(error)
    if kind is not None and (len(files) > 1 or kind.issue != "unreadable"):
        is_hardly_missed = kind.issue == "misplaced" and len(files) < _FEW * count
        severity: Severity = "low" if is_hardly_missed else kind.severity
        yield _folded(kind.issue, severity, files, f"{kind.one if len(files) == 1 else kind.what}", kind.fix)
    elif kind is None and len(files) >= _MANY and error != EMPTY_FOLDER:
        yield _folded("unreadable", "medium", files, "files are left out", error)
    else:
        for row in files.itertuples():
            yield Finding(
                issue="unreadable",
                severity="high" if error == LFS_POINTER else "medium" if row.label else "low",
                score=1.0,
                action="fix",
                reason=f"left out: {row.error}",
                image_id=row.image_id,
                path=row.path,
                label=row.label,
            )


def _folded(issue: str, severity: Severity, files: pd.DataFrame, what: str, fix: str) -> Finding:
    """One finding for several files; it stands at the first of them."""
    first = files.iloc[0]
    labels = set(files["label"])
    return Finding(
        issue=issue,
        severity=severity,
        score=0.0 if severity == "low" else 1.0,
        action="check" if severity == "low" else "fix",
        reason=f"{len(files):,} {what} ({_named(files['path'])}): {fix}",
        image_id=first["image_id"],
        path=first["path"],
        label=labels.pop() if len(labels) == 1 else "",
        images=len(files),
    )


def _other_files(files: pd.DataFrame, index: pd.DataFrame) -> Iterator[Finding]:
    """Sidecars, which have the name of an image beside them, and all others."""
    read = index.loc[index["error"] == "", "path"]
    names = {os.path.splitext(path)[0].casefold() for path in read} | {path.casefold() for path in read}
    beside = np.array([os.path.splitext(path)[0].casefold() in names for path in files["path"]], dtype=bool)
    nothing = "no image, and not read: leave or move"
    for of_kind, one, many in (
        (files[beside], "file of an image's name beside it", "files of an image's name beside it"),
        (files[~beside], "file that is no image", "files that are no images"),
    ):
        if len(of_kind):
            what = f"{one if len(of_kind) == 1 else many}, {_endings(of_kind['path'])}"
            them = "it" if len(of_kind) == 1 else "them"
            yield _folded("other_files", "low", of_kind, what, f"{nothing} {them}")


def _resources(files: pd.DataFrame) -> Iterator[Finding]:
    if len(files):
        what = "file that macOS wrote" if len(files) == 1 else "files that macOS wrote"
        yield _folded("other_files", "low", files, f"{what} beside photos", "no photos; `dot_clean` takes them away")


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].casefold()


def _endings(paths: Sequence[str]) -> str:
    counts = Counter(_ending(path) or "no ending" for path in paths)
    named = sorted(counts, key=lambda ending: (-counts[ending], ending))
    return ", ".join(named[:_MOST_ENDINGS]) + (", ..." if len(named) > _MOST_ENDINGS else "")


def _named(paths: Sequence[str]) -> str:
    shown = list(paths)[:_MOST_NAMES]
    return ", ".join(shown) + (", ..." if len(paths) > _MOST_NAMES else "")
