"""Doctor: what this machine and this installation offer.

In: nothing. Out: plain values: packages, extras, device, caches and their size, weights at hand.
"""

import importlib.util
import platform
from pathlib import Path
from typing import Any

from bestiary.cli.cache_report import human_bytes
from bestiary.errors import WeightsError
from bestiary.runs.environment import package_versions
from bestiary.store.caches import bytes_by_kind, list_caches
from bestiary.store.files import cache_home

_EXTRAS = {"kaggle": "kagglehub"}


def examine() -> dict[str, Any]:
    """Look at everything; nothing is downloaded or changed."""
    from bestiary.models.devices import describe_device, pick_device
    from bestiary.models.extract.engines import pick_engine

    device = pick_device("auto")
    home = cache_home()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": package_versions(),
        "extras": {name: importlib.util.find_spec(module) is not None for name, module in _EXTRAS.items()},
        "device": {**describe_device(device), "engine": pick_engine(device)},
        "cache": {"path": str(home), "bytes": bytes_by_kind(list_caches(home))},
        "weights": {"packaged": _packaged(), "hub": _hub_cached()},
    }


def _packaged() -> dict[str, bool]:
    from bestiary.models.weights import PACKAGED, packaged_path

    found = {}
    for architecture in PACKAGED:
        try:
            found[architecture] = packaged_path(architecture).is_file()
        except WeightsError:
            found[architecture] = False
    return found


def _hub_cached() -> list[str]:
    """Repositories of timm weights in the hub's local cache."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    return sorted(entry.name.removeprefix("models--").replace("--", "/") for entry in folder.glob("models--timm--*"))


def print_examination(found: dict[str, Any]) -> None:
    """For a person."""
    device, cache, weights = found["device"], found["cache"], found["weights"]
    print(f"python    {found['python']} on {found['system']}")
    print(f"device    {device['device']}: {device['device_name']}, {device['threads']} threads")
    print(f"          frozen passes by {device['engine']}, {'bf16' if device['fast_bf16'] else 'fp32'}")
    print("packages  " + ", ".join(f"{name} {version or 'MISSING'}" for name, version in found["packages"].items()))
    print("extras    " + ", ".join(f"{name}: {'yes' if here else 'no'}" for name, here in found["extras"].items()))
    print(
        "weights   "
        + ", ".join(f"{name}: {'yes' if here else 'MISSING'}" for name, here in weights["packaged"].items())
    )
    print("          from the hub, cached: " + (", ".join(weights["hub"]) or "none"))
    print(f"cache     {cache['path']}")
    for name, size in cache["bytes"].items():
        print(f"          {name}: {human_bytes(size)}")
