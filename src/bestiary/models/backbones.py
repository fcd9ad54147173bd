"""Backbones: architecture, weights and preprocessing as one object.

In: a model's config. Out: a `Backbone`, which maps uint8 pixels to features. Preprocessing comes with the weights and
goes wherever they go; the config's `pixels` may override the geometry, never the mean and standard deviation.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from bestiary.config.kinds import SIMPLE_CNN, reserved_names
from bestiary.config.schema import ModelConfig, PixelsConfig
from bestiary.data.geometry import Geometry
from bestiary.errors import ConfigError, WeightsError
from bestiary.models.devices import seeded
from bestiary.models.weights import PACKAGED, StateDict, hub_error, load_file, load_packaged, require_hub
from bestiary.telemetry import telemetry_off

with telemetry_off():  # timm imports huggingface_hub
    import timm
    from timm.data.config import resolve_model_data_config

Pooling = Literal["avg", "flatten"]
Rgb = tuple[float, float, float]

_SIMPLE_CNN_GEOMETRY = Geometry(size_px=128, fit="squash", interpolation="nearest")


@dataclass(frozen=True)
class Preprocessing:
    """How a network expects its input: geometry, then `(pixel / 255 - mean) / std` per channel."""

    geometry: Geometry
    mean: Rgb
    std: Rgb

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the bundle and for cache keys."""
        return {"geometry": self.geometry.as_dict(), "mean": list(self.mean), "std": list(self.std)}


class Backbone(nn.Module):
    """uint8 pixels `(n, height, width, 3)`, RGB, in; features `(n, feature_count) float32` out.

    Attributes:
        name: the architecture.
        source: where the weights came from.
        preprocessing: what belongs to the weights.
        pooling: `avg` averages over positions (timm's own pooling), `flatten` keeps them.
        feature_count: the length of one image's features.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, name: str, network: nn.Module, *, preprocessing: Preprocessing, pooling: Pooling, source: str
    ) -> None:
        super().__init__()
        self.name = name
        self.source = source
        self.preprocessing = preprocessing
        self.pooling = pooling
        self.network = network
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255, persistent=False)
        self.feature_count = self._count_features()

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """What belongs to the weights, for each input: one."""
        return (self.preprocessing,)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 `(n, h, w, 3)` → float32 `(n, 3, h, w)`, channels last in memory."""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def extract(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images `(n, 3, h, w)` → features `(n, feature_count)`."""
        features = self.network.forward_features(images)  # type: ignore[operator]
        if self.pooling == "flatten":
            return features.flatten(1)
        if isinstance(self.network, SimpleCNN) or _is_vgg(self.name):
            return features.mean(dim=(2, 3))
        return self.network.forward_head(features, pre_logits=True).flatten(1)  # type: ignore[operator]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.extract(self.normalise(pixels))

    def stages(self) -> list[list[nn.Module]]:
        """The modules of each stage, from input to output; a stage ends where timm says that the features do.

        What stands after the last stage (a last convolution, a norm) belongs to it; what stands before the first
        (a stem) belongs to the first.
        """
        leaves = [
            (name, module)
            for name, module in self.network.named_modules()
            if next(module.parameters(recurse=False), None) is not None
        ]
        ends = self._stage_ends([name for name, _ in leaves])
        bounds = [0, *ends[:-1], len(leaves)]
        return [[module for _, module in leaves[a:b]] for a, b in pairwise(bounds) if b > a]

    def _stage_ends(self, names: list[str]) -> list[int]:
        """For each stage, the number of parametrised modules up to its end."""
        info = getattr(self.network, "feature_info", None)
        entries = list(info) if info is not None else []
        ends: list[int] = []
        for entry in entries:
            module = entry["module"]
            inside = [number for number, name in enumerate(names) if name == module or name.startswith(f"{module}.")]
            # A VGG stage ends at a pooling layer, which has no parameters: all before it in order belongs to it.
            end = inside[-1] + 1 if inside else _count_before(self.network, names, module)
            if end > (ends[-1] if ends else 0):
                ends.append(end)
        return ends or [len(names)]

    def _count_features(self) -> int:
        size = self.preprocessing.geometry.size_px
        training = self.training
        self.eval()
        with torch.inference_mode():
            count = self(torch.zeros(1, size, size, 3, dtype=torch.uint8)).shape[1]
        self.train(training)
        return int(count)


def _count_before(network: nn.Module, names: list[str], module: str) -> int:
    wanted, count = set(names), 0
    for name, _ in network.named_modules():
        if name == module:
            return count
        count += name in wanted
    return count


class SimpleCNN(nn.Module):
    """The notebook's baseline without its dense layers: two unpadded 3 x 3 convolutions, each with ReLU and max-pool.

    With `flatten`, a hidden layer of 256 and ten classes at 128 px it has 14,767,818 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            # Pooling before ReLU gives the same numbers, and ReLU a quarter of the work.
            nn.Conv2d(3, 32, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.feature_info = [{"module": "layers.0"}, {"module": "layers.3"}]

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """`(n, 3, h, w)` → `(n, 64, h', w')`."""
        features: torch.Tensor = self.layers(images)
        return features


def check_backbone(name: str) -> None:
    """Refuse an architecture that there is not.

    Raises:
        ConfigError: names the closest ones that there are.
    """
    if name == SIMPLE_CNN or name in reserved_names():
        return
    architecture, _, tag = name.partition(".")
    if timm.is_model(architecture):
        tagged = timm.list_models(f"{architecture}.*", include_tags=True)
        if tag and name not in tagged:
            raise ConfigError(f"backbone = {name!r}: no such weights of {architecture}; there are {', '.join(tagged)}")
        return
    close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    raise ConfigError(
        f"backbone = {name!r}: no such architecture; {hint}there are "
        f"{', '.join((SIMPLE_CNN, *reserved_names()))} and timm's"
    )


def build_backbone(config: ModelConfig) -> Backbone:
    """The backbone of a model, with its weights and preprocessing, in eval mode on the CPU.

    Raises:
        ConfigError: no such architecture, or one that cannot give features at the asked size.
        HubUnreachableError: hub weights, and no hub.
        WeightsError: the weights are missing, altered or do not fit.
    """
    check_backbone(config.backbone)
    with seeded(config.seed):
        if config.backbone == SIMPLE_CNN:
            network: nn.Module = SimpleCNN()
            preprocessing = Preprocessing(_SIMPLE_CNN_GEOMETRY, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        else:
            network, preprocessing = _build_timm(config)
    geometry = _override(preprocessing.geometry, config.pixels)
    return _assemble(config, network, replace(preprocessing, geometry=geometry), source=config.weights)


def preprocessings_from(inputs: Sequence[Mapping[str, Any]]) -> tuple[Preprocessing, ...]:
    """Preprocessing of each input, as a run's record or a bundle states it."""
    return tuple(
        Preprocessing(Geometry(**values["geometry"]), mean=tuple(values["mean"]), std=tuple(values["std"]))
        for values in inputs
    )


def rebuild_backbone(config: ModelConfig, preprocessing: Preprocessing) -> Backbone:
    """The same backbone with weights yet to be loaded, for an exported model."""
    return _assemble(config, bare_network(config), preprocessing, source=config.weights)


def bare_network(config: ModelConfig) -> nn.Module:
    """The architecture of a backbone alone, without a classifier, with random weights."""
    with seeded(config.seed):
        return SimpleCNN() if config.backbone == SIMPLE_CNN else _strip(_create(config.backbone, config, {}))


def _assemble(config: ModelConfig, network: nn.Module, preprocessing: Preprocessing, *, source: str) -> Backbone:
    pooling: Pooling = "avg"
    if config.head.pooling != "auto":
        pooling = config.head.pooling
    elif config.backbone == SIMPLE_CNN or _is_vgg(config.backbone):
        pooling = "flatten"
    try:
        backbone = Backbone(config.backbone, network, preprocessing=preprocessing, pooling=pooling, source=source)
    except (RuntimeError, AssertionError) as error:
        size = preprocessing.geometry.size_px
        raise ConfigError(
            f"backbone = {config.backbone!r} gives no features at pixels.size_px = {size}: {error}"
        ) from error
    return backbone.eval()


def _is_vgg(name: str) -> bool:
    return name.startswith("vgg")


def _build_timm(config: ModelConfig) -> tuple[nn.Module, Preprocessing]:
    name, source = config.backbone, config.weights
    if source == "hub":
        network = _from_hub(name, config)
        preprocessing = _preprocessing_of(network)
        return _strip(network), preprocessing
    network = _create(name, config, {})
    preprocessing = _preprocessing_of(network)
    keys = list(network.state_dict())
    network = _strip(network)
    if source == "packaged":
        entry = PACKAGED[name]
        preprocessing = replace(preprocessing, mean=(entry.mean,) * 3, std=(entry.std,) * 3)
        _load(network, load_packaged(name, keys), origin="packaged")
    elif source != "random":
        _load(network, load_file(Path(source).expanduser()), origin=source)
    return network, preprocessing


def _create(name: str, config: ModelConfig, extra: dict[str, Any]) -> nn.Module:
    """A timm network at the asked input size where the architecture depends on it (vision transformers)."""
    size = config.pixels.size_px
    if size != "auto":
        try:
            return timm.create_model(name, img_size=size, **extra)
        except TypeError:  # a convolutional architecture takes any size
            pass
    return timm.create_model(name, **extra)


def _from_hub(name: str, config: ModelConfig) -> nn.Module:
    settings = timm.get_pretrained_cfg(name)
    if settings is None or not settings.has_weights:
        raise WeightsError(f"timm knows no pretrained weights for {name!r}: set weights to random or to a file")
    repository = settings.hf_hub_id or ""
    if repository:
        require_hub(name, repository, settings.hf_hub_filename or "model.safetensors")
    try:
        return _create(name, config, {"pretrained": True})
    # huggingface_hub, its HTTP client and torch.hub raise many kinds of error when a download fails, all of them
    # OSError or RuntimeError by descent.
    except (OSError, RuntimeError) as error:
        raise hub_error(name, " ".join(str(error).split())[:200]) from error


def _preprocessing_of(network: nn.Module) -> Preprocessing:
    settings = resolve_model_data_config(network)
    return Preprocessing(
        Geometry(
            size_px=int(settings["input_size"][-1]),
            fit="squash" if settings["crop_mode"] == "squash" else "crop",
            interpolation=settings["interpolation"] if settings["interpolation"] != "random" else "bicubic",
            crop_fraction=float(settings["crop_pct"]),
        ),
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
    )


def _load(network: nn.Module, state: StateDict, *, origin: str) -> None:
    """Load weights into a stripped network; what they hold beyond it, such as a classifier, is not used."""
    wanted = network.state_dict()
    usable = {key: value for key, value in state.items() if key in wanted and wanted[key].shape == value.shape}
    lacking = [key for key in wanted if key not in usable]
    if lacking:
        raise WeightsError(
            f"weights = {origin!r} do not fit the architecture: {len(lacking)} of {len(wanted)} tensors are missing or "
            f"of another shape, such as {lacking[0]!r}"
        )
    network.load_state_dict(usable)


def _strip(network: nn.Module) -> nn.Module:
    """Take off the classifier, and VGG's dense layers with it."""
    if hasattr(network, "pre_logits") and type(network).__name__ == "VGG":
        network.pre_logits = nn.Identity()
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def _override(geometry: Geometry, pixels: PixelsConfig) -> Geometry:
    wanted = {key: value for key, value in pixels.model_dump().items() if value not in ("auto", "weights")}
    # Weights state their crop for their own size; another size or fit starts from the whole image.
    if "size_px" in wanted or "fit" in wanted:
        wanted.setdefault("crop_fraction", 1.0 if wanted.get("fit", geometry.fit) != "crop" else geometry.crop_fraction)
    return replace(geometry, **wanted)
