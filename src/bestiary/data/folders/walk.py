"""Every file below a folder, each with the reason where it is no image to read. One walk for studies and predictions.

In: a folder. Out: `Found`, files and folders, in a fixed order. Owns no file, and opens none.

Links are followed, but not in circles; what they lead to counts as lying where the link lies. Hidden files and what
systems and programs leave in folders are no images, and neither is what lies in such folders. Nor are the small files
that cameras, programs and archives put beside photos, which their endings show.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM_FILE = "hidden or system file"
SIDECAR_FILE = "no image: a file that accompanies images"
BAD_FILE_NAME = "file name is not valid UTF-8: rename it"
BAD_FOLDER_NAME = "lies in a folder whose name is not valid UTF-8: rename the folder"

_SYSTEM_NAMES = frozenset(
    [
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "system volume information"),
        *("$recycle.bin", "recycler", "recycled", "picasa.ini", "zbthumbnail.info"),
        # macOS, and its archives
        *("__macosx", "icon\r", "network trash folder", "temporary items"),
        # Linux and network storage
        *("lost+found", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "@eadir", "@tmp", "@__thumb"),
        # Python
        *("__pycache__",),
    ]
)
_SIDECAR_ENDINGS = frozenset(
    [
        # metadata and edits of photos; .thm and .lrv are small pictures of videos
        *(".xmp", ".aae", ".thm", ".lrv", ".pp3", ".dop", ".on1", ".cos", ".gpx", ".exif", ".mie", ".ithmb"),
        # annotations, tables, notes
        *(".json", ".jsonl", ".geojson", ".csv", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
        *(".md", ".rst", ".rtf", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".htm", ".html", ".log", ".names", ".cache"),
        # checksums and links
        *(".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".url", ".lnk", ".webloc", ".torrent"),
    ]
)

_Identity = tuple[int, int]


@dataclass(frozen=True)
class Found:
    """A file or folder below the root.

    Attributes:
        path: from the root, for people and tables.
        error: why it is no image to read, or why the folder was not entered.
        is_folder: else a file.
        place: the whole path as the system has it, odd bytes and all.
    """

    path: str
    error: str = ""
    is_folder: bool = False
    place: str = ""


@dataclass(frozen=True)
class _Pending:
    """A folder to list. `error` is what its name or a folder above it makes of all its files."""

    place: Path
    prefix: str
    ancestors: tuple[_Identity, ...]
    error: str = ""


def walk(root: str | Path) -> Iterator[Found]:
    """Every file below `root`, and every folder that may hold images, by their paths from there, with `/`.

    The files of a folder come before what is in its folders. A folder that cannot be listed comes once more, with its
    error. Names that are not valid UTF-8 are written with their odd bytes spelt out, and their files are not read.
    """
    root = Path(root)
    try:
        pending = [_Pending(root, "", (_identity(os.fspath(root)),))]
    except OSError as error:
        yield Found("", f"folder cannot be listed: {error.strerror}", is_folder=True)
        return
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder.place) as listed:
                entries = sorted(listed, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            reason = folder.error or f"folder cannot be listed: {error.strerror}"
            yield Found(_printable(folder.prefix.rstrip("/")), reason, is_folder=True)
            continue
        below: list[_Pending] = []
        for entry in entries:
            found, inner = _look_at(entry, folder)
            if not (found.is_folder and found.error):
                yield found
            if inner is not None:
                below.append(inner)
        pending.extend(reversed(below))


def _look_at(entry: os.DirEntry[str], folder: _Pending) -> tuple[Found, _Pending | None]:
    """What an entry is; and, where it is a folder to enter, the folder."""
    path = folder.prefix + entry.name
    error = SYSTEM_FILE if is_system(entry.name) else folder.error
    try:
        is_folder = entry.is_dir()
        identity = _identity(entry.path)
    except OSError as problem:
        kind = "broken link" if entry.is_symlink() else "cannot be read"
        return Found(_printable(path), error or f"{kind}: {problem.strerror}", place=entry.path), None
    if is_folder and identity in folder.ancestors:
        return Found(_printable(path), error or "link that leads back to a folder above it", place=entry.path), None
    if is_folder:
        if not error and _printable(entry.name) != entry.name:
            error = BAD_FOLDER_NAME
        inner = _Pending(Path(entry.path), path + "/", (*folder.ancestors, identity), error)
        return Found(_printable(path), error, is_folder=True, place=entry.path), inner
    if not error and _printable(entry.name) != entry.name:
        error = BAD_FILE_NAME
    if not error and not entry.is_file():
        error = "no regular file"
    if not error and is_sidecar(entry.name):
        error = SIDECAR_FILE
    return Found(_printable(path), error, place=entry.path), None


def is_system(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or one that systems and programs put everywhere."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def is_sidecar(name: str) -> bool:
    """Whether a file of this name accompanies images and is none itself, by its ending."""
    return os.path.splitext(name)[1].casefold() in _SIDECAR_ENDINGS


def _identity(path: str) -> _Identity:
    status = os.stat(path)  # not DirEntry.stat, whose numbers are 0 on Windows
    return status.st_dev, status.st_ino


def _printable(path: str) -> str:
    """The path where it is valid Unicode; else with its odd bytes written out."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
