"""The exported model folder: what is in it, and whether it is whole.

In: a folder `model/`. Out: a `Bundle`. Owns `bundle.json`: format, class names, inputs with their preprocessing, the
model's config, and the SHA-256 of every other file that predictions depend on, and of itself. No torch here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bestiary.data.geometry import Geometry
from bestiary.errors import BestiaryError, BundleError
from bestiary.store.files import read_json, write_json
from bestiary.store.hashing import sha256_bytes, sha256_file

FOLDER = "model"
FORMAT = 2
# Bundles of one input, which this format states as a list of one.
_FORMAT_OF_ONE = 1
BUNDLE, WEIGHTS, ONNX, CARD = "bundle.json", "model.safetensors", "model.onnx", "README.md"
HASHED = (WEIGHTS, ONNX)


@dataclass(frozen=True)
class Input:
    """One input of the network: its name in the ONNX file, and how an image becomes its square of uint8 pixels."""

    name: str
    geometry: Geometry


@dataclass(frozen=True)
class Bundle:
    """An exported model, its files checked against their hashes.

    Attributes:
        folder: where it lies.
        class_names: in the order of the outputs.
        inputs: of the network, each with the geometry in which it takes the image.
        content: all of `bundle.json`.
    """

    folder: Path
    class_names: tuple[str, ...]
    inputs: tuple["Input", ...]
    content: dict[str, Any]

    @property
    def precision(self) -> str:
        """The precision that the model was trained and scored with: `fp32` or `bf16`."""
        return str(self.content["precision"])


def write_bundle_file(folder: Path, content: dict[str, Any]) -> None:
    """Write `bundle.json` beside the files it speaks for, adding their hashes and its own."""
    content = {"format": FORMAT, **content, "files": {name: sha256_file(folder / name) for name in HASHED}}
    write_json(folder / BUNDLE, {**content, "sha256": _own_hash(content)})


def _own_hash(content: dict[str, Any]) -> str:
    import json

    return sha256_bytes(json.dumps(content, sort_keys=True, ensure_ascii=True).encode())


def read_bundle(folder: Path) -> Bundle:
    """Read an exported model and check that it is whole.

    Args:
        folder: the model folder, or a study folder that holds one as `model/`.

    Raises:
        BundleError: no bundle there, a file is missing or altered, or the format is not known.
    """
    if not (folder / BUNDLE).exists() and (folder / FOLDER / BUNDLE).exists():
        folder = folder / FOLDER
    if not folder.is_dir():
        raise BundleError(f"no model folder at {folder}: give the folder that `bestiary export` wrote")
    if not (folder / BUNDLE).exists():
        raise BundleError(f"{folder} has no {BUNDLE}: it is no exported model, or the file is missing; export it again")
    try:
        content = read_json(folder / BUNDLE)
    except BestiaryError as error:
        raise BundleError(f"{folder / BUNDLE} is damaged: export the model again") from error
    if not isinstance(content, dict) or content.get("format") not in (_FORMAT_OF_ONE, FORMAT):
        found = content.get("format") if isinstance(content, dict) else None
        raise BundleError(
            f"{folder / BUNDLE} has format {found!r}, this bestiary reads {FORMAT}: export the model again"
        )
    stated = content.pop("sha256", "")
    if stated != _own_hash(content):
        raise BundleError(f"{folder / BUNDLE} is altered: its content does not match its hash; export the model again")
    for name, digest in content["files"].items():
        _check(folder / name, digest)
    return Bundle(
        folder=folder,
        class_names=tuple(content["class_names"]),
        inputs=tuple(Input(each["name"], Geometry(**each["geometry"])) for each in _inputs(content)),
        content={**content, "inputs": _inputs(content)},
    )


def _inputs(content: dict[str, Any]) -> list[dict[str, Any]]:
    if content["format"] == _FORMAT_OF_ONE:
        return [{"name": input_names(1)[0], **content["preprocessing"]}]
    return list(content["inputs"])


def input_names(count: int) -> list[str]:
    """What the inputs of a network are called in the ONNX file: `pixels`, or `pixels_1` and so on."""
    return ["pixels"] if count == 1 else [f"pixels_{number}" for number in range(1, count + 1)]


def _check(path: Path, digest: str) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is missing: the model folder is incomplete; copy it whole or export it again")
    if sha256_file(path) != digest:
        raise BundleError(f"{path} is altered: it does not match the hash in {BUNDLE}; export the model again")


def is_whole(folder: Path, *, fingerprint: str) -> bool:
    """Whether a bundle made from these inputs lies there, unaltered."""
    if not (folder / BUNDLE).exists():
        return False
    try:
        return read_bundle(folder).content.get("fingerprint") == fingerprint
    except BundleError:
        return False
