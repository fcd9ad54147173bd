"""Doctor: what this machine and this installation offer.

In: nothing. Out: plain values: packages, extras, device, caches and their size, weights at hand.
"""

import importlib.util
import platform
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from bestiary.cli.printing import print_pairs, print_table
from bestiary.errors import WeightsError
from bestiary.plurals import counted
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
    """For a person: packages, extras, device and weights, then the size of each kind of cache."""
    device, cache, weights = found["device"], found["cache"], found["weights"]
    precision = "bf16" if device["fast_bf16"] else "fp32"
    print_pairs(
        [
            ("python", f"{found['python']} on {found['system']}"),
            ("device", f"{device['device']}: {device['device_name']}, {counted(device['threads'], 'thread')}"),
            ("", f"frozen passes by {device['engine']}, {precision}"),
            ("packages", ", ".join(f"{name} {version or 'MISSING'}" for name, version in found["packages"].items())),
            ("extras", ", ".join(f"{name}: {'yes' if here else 'no'}" for name, here in found["extras"].items())),
            (
                "weights",
                ", ".join(f"{name}: {'yes' if here else 'MISSING'}" for name, here in weights["packaged"].items()),
            ),
            ("", "from the hub, cached: " + (", ".join(weights["hub"]) or "none")),
            ("cache", cache["path"]),
        ]
    )
    print()
    sizes = [(name, decimal(size)) for name, size in cache["bytes"].items()]
    print_table(("in the cache", "size"), sizes, numbers=["size"])
