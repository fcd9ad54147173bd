"""What a run ran on: versions, device, precision.

In: the installed packages and a device. Out: plain values for `environment.json`. No network, no names of users.
"""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "bestiary", "torch", "torchvision", "timm", "openvino", "numpy", "pandas", "pyarrow", "pillow", "scikit-learn",
    "scipy", "statsmodels", "safetensors", "onnx", "matplotlib",
)  # fmt: skip


def bestiary_version() -> str | None:
    """The installed version of bestiary alone: reading those of all packages takes 30 ms."""
    return _version("bestiary")


def package_versions() -> dict[str, str | None]:
    """The installed version of every package whose version may change a figure; None where it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def describe_environment(device: dict[str, Any]) -> dict[str, Any]:
    """Python, system, package versions and the device's own description."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": package_versions(),
        **device,
    }
