"""Local files of weights: which file a config's `weights` names, and what is in it.

In: the text of `weights`. Out: a path and a digest. Owns no file, and needs no torch.
"""

from functools import lru_cache
from pathlib import Path

from bestiary.errors import WeightsError
from bestiary.store.hashing import sha256_file

NAMED_SOURCES = ("auto", "packaged", "hub", "random")


def weights_path(weights: str, *, root: Path | None) -> Path | None:
    """The file that `weights` names; None for packaged, hub and random weights.

    Args:
        weights: as the config has it; `~` is the user's home.
        root: the folder that a relative path is relative to. The current folder is never used.

    Raises:
        WeightsError: the path is relative, and there is no root.
    """
    if weights in NAMED_SOURCES:
        return None
    path = Path(weights).expanduser()
    if path.is_absolute():
        return path
    if root is None:
        raise WeightsError(f"weights = {weights!r} is a relative path, and nothing says to what: give the whole path")
    return root.absolute() / path


def weights_digest(weights: str, *, root: Path | None) -> str:
    """The SHA-256 of a local file of weights; "" for packaged, hub and random weights.

    For keys that must change with the weights, and not with the name or place of their file. Within a process a file is
    read again only when its size or its time of change has changed.

    Args:
        weights: as the config has it.
        root: see `weights_path`.

    Raises:
        WeightsError: no such file, it cannot be read, or a relative path without a root.
    """
    path = weights_path(weights, root=root)
    if path is None:
        return ""
    try:
        if not path.is_file():
            raise WeightsError(
                f"weights = {str(path)!r}: no such file. Give packaged, hub, random, or the path of a .safetensors or "
                ".pth file"
            )
        # Before the file is read: a change meanwhile is seen by the next call.
        status = path.stat()
        return _digest(str(path), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(
            f"weights = {str(path)!r} cannot be read ({error.strerror or error}): make the file readable"
        ) from error


@lru_cache(maxsize=64)
def _digest(path: str, size_bytes: int, changed_ns: int) -> str:
    return sha256_file(Path(path))
