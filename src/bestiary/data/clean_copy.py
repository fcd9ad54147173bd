"""Apply: a data set and its corrections → a clean copy in class folders.

In: the index as found, corrections, the folder that paths are relative to. Out: a new folder and, beside it,
`<folder>.manifest.csv`, which this module owns: what became of each file. Nothing is written where the images lie.

The copy holds `[split/]class/file`, with split folders where the data came with splits (images without one then go to
train). Dropped and unreadable files are left out. File names are kept; folders inside a class are not, and a second
file of one name in a folder gets `-2`, a third `-3`. The copy is filled in a temporary folder beside its place and
moved there in one step, after it was listed as a study would list it; a process that is killed leaves
`.<folder>.<random>.part`, which may be deleted.

Hard links and symbolic links need no space; with hard links a file that is changed in one place changes in both.
"""

import os
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from bestiary.config.schema import SPLITS, DataConfig
from bestiary.data.confusable import confusable_classes
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.overlay import corrected, resolve
from bestiary.data.folders.layout import split_of
from bestiary.data.folders.walk import is_sidecar, is_system
from bestiary.data.groups import group_names
from bestiary.data.index import is_dropped, stands_for_no_image
from bestiary.data.listing import list_files
from bestiary.data.splits.rare_classes import is_rare
from bestiary.errors import BestiaryError, DataError, UsageError
from bestiary.progress import SILENT, Progress
from bestiary.store.caches import free_bytes
from bestiary.store.files import cannot_write, write_text
from bestiary.store.hashing import sha256_file

How = Literal["copy", "hardlink", "symlink"]

MANIFEST_ENDING = ".manifest.csv"
MANIFEST_COLUMNS = ("path", "label", "split", "group", "image_id", "path_given", "label_given", "action", "left_out")

# Some file systems keep 255 bytes of a name.
_LONGEST_NAME_BYTES = 255
_WINDOWS_FORBIDS = '<>:"|?*\\'


@dataclass(frozen=True)
class Applied:
    """What became of the images: `files` are in the copy, `relabelled` and `renamed` among them.

    Hidden and system files, and files that accompany images, are in the manifest and in no count.
    """

    folder: Path
    manifest: Path
    files: int
    relabelled: int
    dropped: int
    unreadable: int
    renamed: int


def apply_corrections(
    index: pd.DataFrame,
    corrections: Sequence[Correction],
    root: str | Path,
    to: str | Path,
    *,
    keep_out: Mapping[str, str | Path],
    how: How = "copy",
    progress: Progress = SILENT,
) -> Applied:
    """Make a clean copy of a data set; what is there already is neither changed nor moved.

    Args:
        index: as found.
        corrections: as read.
        root: the folder that the index's paths are relative to.
        to: the new folder: not there yet, or empty.
        keep_out: folders in which the copy may not lie, by what they are: "data", "study".
        how: copy the bytes, or link to the files.
        progress: shows every file.

    Raises:
        CorrectionsError: as `corrections.corrected`.
        UsageError: `to` is not empty, or lies inside one of `keep_out`.
        DataError: a class has a name that a folder cannot have, or two would be one folder on some systems; a file
            changed since it was indexed.
        BestiaryError: too little space, or the place cannot be written.
    """
    root, to = Path(root), Path(to).absolute().resolve()
    if not to.name:
        raise UsageError(f"--to {to} is the root of a disk: choose a new folder on it")
    manifest = to.with_name(to.name + MANIFEST_ENDING)
    _refuse_place(to, manifest, keep_out)
    plan = _plan(index, corrections)
    copied = plan[plan["left_out"] == ""]
    _refuse_names(sorted(set(copied["label"])), has_splits=bool((copied["split"] != "").any()))
    if how == "copy":
        _refuse_full(to, int(copied["bytes"].sum()))
    temporary = to.with_name(f".{to.name}.{secrets.token_hex(4)}.part")
    try:
        _fill(temporary, copied, root, how=how, progress=progress)
        _refuse_otherwise_read(temporary, copied)
        write_text(manifest, _manifest_text(plan, to.name))
        if to.exists():
            to.rmdir()
        temporary.rename(to)
    except OSError as error:
        raise cannot_write(to, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Applied(
        folder=to,
        manifest=manifest,
        files=len(copied),
        relabelled=int((copied["label"] != copied["label_given"]).sum()),
        dropped=int(is_dropped(plan).sum()),
        unreadable=int(((plan["left_out"] != "") & ~is_dropped(plan) & ~stands_for_no_image(plan)).sum()),
        renamed=int((copied["new_path"].map(_file_name) != copied["path"].map(_file_name)).sum()),
    )


def _refuse_place(to: Path, manifest: Path, keep_out: Mapping[str, str | Path]) -> None:
    for what, folder in keep_out.items():
        if to.is_relative_to(place := Path(folder).resolve()):
            raise UsageError(f"--to {to} lies inside the {what} folder {place}: choose a folder outside it")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"--to {to} is there and is not empty: choose a new folder")
    if manifest.exists() and not _is_manifest(manifest):
        raise UsageError(f"{manifest} is there and is no manifest: choose another --to, or move that file")


def _is_manifest(path: Path) -> bool:
    head = ",".join(MANIFEST_COLUMNS).encode()
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(head)) == head


def _plan(index: pd.DataFrame, corrections: Sequence[Correction]) -> pd.DataFrame:
    """The corrected index with `action`, `split` (a folder, or ""), `left_out` (why) and `new_path` below the copy."""
    plan = corrected(index, corrections)
    actions = {image_id: correction.action for image_id, correction in resolve(corrections, index).items()}
    plan["action"] = [actions.get(image_id, "") for image_id in plan["image_id"]]
    plan["left_out"] = plan["error"].mask(is_rare(plan), "")  # a sound image, whatever its class
    plan["split"] = _split_folders(plan)
    plan["new_path"] = _new_paths(plan)
    return plan


def _split_folders(plan: pd.DataFrame) -> list[str]:
    """Folders above the classes, where the data came with two splits or more, as `layout` reads folders."""
    kept = plan["left_out"] == ""
    given = plan["split_given"].where(plan["split_given"] != "", "train" if plan["split_given"].any() else "")
    has_splits = given[kept].nunique() > 1 and set(given[kept]) <= set(SPLITS)
    return [split if has_splits and stays else "" for split, stays in zip(given, kept, strict=True)]


def _new_paths(plan: pd.DataFrame) -> list[str]:
    """`[split/]class/file` for each file that is kept; one whose class is as it was goes first to its name."""
    paths = [""] * len(plan)
    taken: set[str] = set()
    kept = [number for number, why in enumerate(plan["left_out"]) if not why]
    labels, given, old, formats = (plan[name].tolist() for name in ("label", "label_given", "path", "format"))
    for number in sorted(kept, key=lambda number: (labels[number] != given[number], old[number])):
        folder = "/".join(part for part in (plan["split"].iloc[number], labels[number]) if part)
        name = _file_name(old[number])
        if is_system(name) or is_sidecar(name):  # as in a table: in a folder it would be skipped by its name
            name = f"{name}.{formats[number].lower()}"
        paths[number] = _free(folder, name, taken)
    return paths


def _free(folder: str, name: str, taken: set[str]) -> str:
    """A path that is not taken, not even on a file system that knows no upper case or composes accents otherwise."""
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem else (name, "")
    path, count = f"{folder}/{name}", 1
    while _folded(path) in taken:
        count += 1
        path = f"{folder}/{stem}-{count}{ending}"
    taken.add(_folded(path))
    return path


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.casefold())


def _file_name(path: str) -> str:
    # A file whose name begins with a dot would be skipped as hidden.
    return path.rpartition("/")[2].lstrip(".") or "image"


def _refuse_names(labels: Sequence[str], *, has_splits: bool) -> None:
    if not has_splits and all(split_of(label) for label in labels):
        raise DataError(
            f"folders named {', '.join(labels)} would be taken for splits, not for classes. Rename the classes: "
            "data.rename in study.toml"
        )
    for label in labels:
        if why := _unfit(label):
            raise DataError(f"class {label!r} cannot be a folder: {why}. Rename it: data.rename in study.toml")
    for pair in confusable_classes(labels):
        raise DataError(
            f"classes {pair.first!r} and {pair.second!r} differ only in {pair.reason}: on some systems they would be "
            "one folder. Rename one: data.rename in study.toml"
        )


def _unfit(label: str) -> str:
    forbidden = "/\0" + (_WINDOWS_FORBIDS if os.name == "nt" else "")
    if found := [character for character in label if character in forbidden or ord(character) < 32]:
        return f"it holds {found[0]!r}"
    if label.startswith("."):
        return "it begins with a dot, as hidden folders do"
    if os.name == "nt" and label[-1:] in (" ", "."):
        return "it ends with a space or a dot"
    return "it is too long" if len(label.encode()) > _LONGEST_NAME_BYTES else ""


def _refuse_full(to: Path, wanted: int) -> None:
    if (free := free_bytes(to)) < wanted:
        raise BestiaryError(
            f"the copy needs {wanted / 1e6:,.0f} MB and the disk of {to} has {free / 1e6:,.0f} MB: free some space, "
            "choose another --to, or make links (--how hardlink)"
        )


def _fill(folder: Path, copied: pd.DataFrame, root: Path, *, how: How, progress: Progress) -> None:
    put = _PUT[how]
    folder.mkdir(parents=True)
    columns = (copied[name].tolist() for name in ("path", "new_path", "sha256"))
    with progress.track("apply", len(copied), unit="files") as task:
        for path, new_path, digest in zip(*columns, strict=True):
            source, target = (root / path).resolve(), folder / new_path
            target.parent.mkdir(parents=True, exist_ok=True)
            if how != "copy":
                _refuse_changed(source, path, digest)
            put(source, target)
            if how == "copy":  # what was copied counts
                _refuse_changed(target, path, digest)
            task.advance()


def _refuse_changed(file: Path, path: str, digest: str) -> None:
    if not file.is_file() or sha256_file(file) != digest:
        raise DataError(
            f"{path} has changed or gone since it was indexed: run `bestiary index` on the study, then apply"
        )


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        shutil.copy2(source, target)


def _hardlink(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        raise BestiaryError(
            f"cannot hard-link {source} to {target}: {error.strerror or error}. Links need one disk, and rights to "
            "the file: use --how copy, or --how symlink"
        ) from error


def _symlink(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source)
    except OSError as error:
        raise BestiaryError(f"cannot link to {source}: {error.strerror or error}. Use --how copy") from error


_PUT: dict[How, Callable[[Path, Path], None]] = {"copy": _copy, "hardlink": _hardlink, "symlink": _symlink}


def _refuse_otherwise_read(folder: Path, copied: pd.DataFrame) -> None:
    """The copy must be listed with the very classes and splits that it was made with."""
    listed = {file.path: (file.label, file.split, file.error) for file in list_files(DataConfig(path=str(folder)))}
    columns = (copied[name] for name in ("new_path", "label", "split"))
    for path, label, split in zip(*columns, strict=True):
        if (read := listed.get(path)) != (label, split, ""):
            found = read[2] or f"class {read[0]!r}, split {read[1]!r}" if read else "nothing"
            raise DataError(
                f"as class folders the copy would not be read as it is meant: {path} as {found}. Rename the class "
                f"{label!r}: data.rename in study.toml"
            )


def _manifest_text(plan: pd.DataFrame, folder: str) -> str:
    sheet = plan.assign(
        path=[f"{folder}/{path}" if path else "" for path in plan["new_path"]],
        group=group_names(plan),
        path_given=plan["path"],
    )
    return str(sheet[list(MANIFEST_COLUMNS)].to_csv(index=False, lineterminator="\n"))
