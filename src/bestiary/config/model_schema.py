"""The sections of a config about one model: backbone, head, and how it is trained.

In: plain mappings. Out: a frozen `ModelConfig` in which every `auto` that can be resolved without weights is resolved.
Owns no file.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from bestiary.config.data_schema import PixelsConfig, Section
from bestiary.config.kinds import ModelKind, backbones_of, default_weights, kind_of
from bestiary.config.values import Fraction, Positive, Several

# What `trainable` begins with where it names modules.
MODULES = "modules:"


class HeadConfig(Section):
    """The classifier on top of the backbone."""

    hidden: int = Field(0, ge=0, le=65536, description="units of a dense ReLU layer; 0: a linear probe")
    dropout: Fraction = Field(0.0, description="after the hidden layer; needs hidden > 0")
    pooling: Literal["auto", "avg", "flatten"] = Field("auto", description="auto: flatten for VGG and simple_cnn")
    begin: Literal["random", "probe"] = Field(
        "random",
        description="trained stages only: the head's first weights; probe: those of a linear probe on the frozen "
        "features, so that training leaves the features as they are where they serve (LP-FT)",
    )

    @model_validator(mode="after")
    def _dropout_needs_hidden(self) -> Self:
        if self.dropout and not self.hidden:
            raise ValueError("dropout needs hidden > 0: a linear probe has no hidden layer to drop from")
        if self.begin == "probe" and self.hidden:
            raise ValueError('begin = "probe" is a linear head: hidden = 0, or begin = "random"')
        return self


class OptimizerConfig(Section):
    """How the trainable weights move."""

    name: Literal["auto", "lbfgs", "adam", "adamw", "sgd"] = Field(
        "auto", description="auto: lbfgs for a linear probe on a frozen backbone, else adam"
    )
    learning_rate: Positive = Field(1e-3, description="of adam, adamw and sgd")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="decoupled for adamw, L2 for the others")
    momentum: Fraction = Field(0.9, description="of sgd")
    stage_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0,
        description="trained stages only: the last stage learns at this share of the head's rate, the one before at "
        "its square, and so on down; 1: all alike",
    )


class ScheduleConfig(Section):
    """How the learning rate changes."""

    name: Literal["constant", "plateau", "one_cycle"] = Field("plateau", description="plateau watches validation loss")
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.2, description="plateau: learning rate times this")
    patience_epochs: int = Field(2, ge=1, description="plateau: epochs without progress before that")


class AverageConfig(Section):
    """A moving average of the weights, which is what is validated and kept."""

    decay: Fraction = Field(
        0.0,
        description="trained in epochs only: share of the average that each step keeps (exponential moving average), "
        "less in the first steps; 0: the weights as they are",
    )


class EarlyStoppingConfig(Section):
    """When to stop. The weights of the epoch with the lowest validation loss are restored in any case."""

    patience_epochs: int = Field(3, ge=0, description="epochs without a lower validation loss; 0: never stop early")


class AugmentConfig(Section):
    """Random changes to training images."""

    flip: bool = Field(False, description="left-right")
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = Field(0.0, description="up to this, either way")
    views: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        "auto", description="frozen stages only: fixed views an image, drawn from in every epoch"
    )
    crop_scale: Annotated[
        tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...], Field(min_length=2, max_length=2), Several
    ] = Field(
        (1.0, 1.0),
        description="trained on pixels only: least and largest share of the picture that a random crop takes "
        "(RandomResizedCrop); [1, 1]: none",
    )
    mixup: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        0.0, description="trained on pixels only: alpha of MixUp, which blends pairs of images and their labels; 0: off"
    )

    @field_validator("crop_scale")
    @classmethod
    def _least_first(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] > value[1]:
            raise ValueError(f"the least comes first: [{value[1]:g}, {value[0]:g}]")
        return value

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""
        return self.crop_scale != (1.0, 1.0)


class ActivationsConfig(Section):
    """What the frozen stages give, where only the last ones are trained: computed once, kept on disk."""

    cache: Literal["auto", "off"] = Field(
        "auto", description="auto: keep them and train only what comes after; off: run the whole network in every step"
    )
    max_gb: Positive = Field(20.0, description="disk for one model's, in 10^9 bytes; beyond it they are not kept")


class SweepConfig(Section):
    """Many heads over the features of a frozen backbone; validation loss chooses one."""

    configurations: int = Field(
        0,
        ge=0,
        le=1000,
        description="frozen backbone only: heads tried, the model's own and the lbfgs probe first; 0: off",
    )
    hidden: Annotated[tuple[Annotated[int, Field(ge=0, le=65536)], ...], Field(min_length=1), Several] = Field(
        (0, 64, 128, 256, 512), description="hidden units to draw from"
    )
    dropout: Annotated[tuple[Fraction, ...], Field(min_length=1), Several] = Field(
        (0.0, 0.25, 0.5), description="dropouts to draw from, where there is a hidden layer"
    )
    optimizers: Annotated[tuple[Literal["adam", "adamw", "sgd"], ...], Field(min_length=1), Several] = Field(
        ("adam", "adamw", "sgd"), description="optimizers to draw from"
    )
    learning_rate: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=2), Several] = Field(
        (1e-4, 1e-2), description="lowest and highest, drawn evenly in the logarithm; ten times this for sgd"
    )
    weight_decay: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=2), Several] = Field(
        (1e-6, 1e-2), description="lowest and highest, drawn evenly in the logarithm"
    )

    @field_validator("learning_rate", "weight_decay")
    @classmethod
    def _lowest_first(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] > value[1]:
            raise ValueError(f"the lowest comes first: [{value[1]:g}, {value[0]:g}]")
        return value


class TrainConfig(Section):
    """What all models are fitted on."""

    doubted_labels: Literal["keep", "leave_out"] = Field(
        "keep",
        description="leave_out: training images whose labels the audit doubts (label_error of high severity) are not "
        "fitted on; val and test stay as they are",
    )
    seeds: int = Field(
        1,
        ge=1,
        le=20,
        description="frozen backbones are fitted with so many seeds, and mean and range of their accuracy are "
        "reported; 1: off",
    )


class ModelConfig(Section):
    """One model to train and compare."""

    backbone: str = Field("", description="a timm architecture, simple_cnn, or majority (always the commonest class)")
    backbones: Annotated[tuple[str, ...], Several] = Field(
        (), description="instead of backbone: frozen timm architectures whose features are joined"
    )
    weights: str = Field("auto", description="packaged, hub, random, or the path of a .safetensors or .pth file")
    trainable: str = Field(
        "head",
        description='"head", "last:N stages", "all" or "modules:REGEX": modules of the backbone whose full name the '
        "expression matches",
    )
    batch_norm: Literal["train", "frozen"] = Field(
        "train",
        description="trained stages only: train normalises by each batch; frozen keeps the statistics of the first "
        "weights, as a probe on them sees them",
    )
    epochs: int = Field(10, ge=1, le=10_000, description="at most")
    batch_size: int = Field(32, ge=1, le=65536)
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: rare classes count for more")
    label_smoothing: Fraction = Field(0.0, description="share of each target spread over all classes; not for lbfgs")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the device has it")
    seed: int = Field(0, ge=0, description="initial weights, order of images, augmentation")
    pixels: PixelsConfig = PixelsConfig()
    head: HeadConfig = HeadConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    average: AverageConfig = AverageConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    augment: AugmentConfig = AugmentConfig()
    activations: ActivationsConfig = ActivationsConfig()
    sweep: SweepConfig = SweepConfig()

    @property
    def kind(self) -> ModelKind:
        """How this config becomes a model."""
        return kind_of(self.model_dump())

    @property
    def members(self) -> tuple["ModelConfig", ...]:
        """The model of each backbone alone: itself, or one for each that it joins."""
        if not self.backbones:
            return (self,)
        values = self.model_dump() | {"backbones": ()}
        return tuple(ModelConfig.model_validate({**values, "backbone": name}) for name in self.backbones)

    @property
    def caches_activations(self) -> bool:
        """Whether the frozen stages run once, and the last ones are trained on what they give."""
        return (self.trainable_stages > 0 or bool(self.trainable_modules)) and self.activations.cache == "auto"

    @property
    def frozen(self) -> bool:
        """Whether the backbone stays as it is and only the head is trained."""
        return self.trainable == "head"

    @property
    def fits_without_epochs(self) -> bool:
        """Whether it is a linear probe fitted by L-BFGS."""
        return self.optimizer.name == "lbfgs"

    @property
    def chooses_in_folds(self) -> bool:
        """Whether something of it is chosen by cross-validation within train: a probe's strength."""
        return self.fits_without_epochs or self.sweep.configurations > 1 or self.head.begin == "probe"

    @property
    def trainable_stages(self) -> int:
        """How many of the backbone's last stages are trained: 0 for "head" and for modules by name, -1 for "all"."""
        if self.frozen or self.trainable_modules:
            return 0
        return -1 if self.trainable == "all" else int(re.findall(r"\d+", self.trainable)[0])

    @property
    def trainable_modules(self) -> str:
        """The regular expression that names the modules to train; empty where none is given."""
        return self.trainable.removeprefix(MODULES) if self.trainable.startswith(MODULES) else ""

    @field_validator("trainable")
    @classmethod
    def _known_trainable(cls, value: str) -> str:
        if value.startswith(MODULES):
            try:
                re.compile(value.removeprefix(MODULES))
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"{value!r} holds no regular expression: {error}") from error
            if value != MODULES:
                return value
        if value not in ("head", "all") and not re.fullmatch(r"last:[1-9]\d* stages?", value):
            raise ValueError(
                f'{value!r} is none of "head", "last:1 stage" (or 2, 3 ... stages), "all", "modules:REGEX" such as '
                '"modules:layer4"'
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _resolve_autos(cls, values: Any) -> Any:
        """Replace the `auto`s that follow from the other fields, so that the saved config says what was done."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if values.get("weights", "auto") == "auto":
            values["weights"] = default_weights(*map(str, backbones_of(values)))
        return values

    @model_validator(mode="after")
    def _resolve_training(self) -> Self:
        optimizer = self.optimizer
        if optimizer.name == "auto":
            linear_probe = self.frozen and not self.head.hidden
            optimizer = optimizer.model_copy(update={"name": "lbfgs" if linear_probe else "adam"})
        augment = self.augment
        if augment.views == "auto":
            fixed = self.frozen or self.caches_activations
            views = (4 if augment.rotation_degrees else 2 if augment.flip else 1) if fixed else 1
            augment = augment.model_copy(update={"views": views})
        if bool(self.backbone) == bool(self.backbones):
            raise ValueError("give backbone, or two or more backbones to join")
        # The model is frozen for everybody else; this is its own construction.
        if self.frozen and not self.kind.is_baseline:
            object.__setattr__(self, "pixels", self.pixels.seeing_all())
        object.__setattr__(self, "optimizer", optimizer)
        object.__setattr__(self, "augment", augment)
        self._refuse_impossible_pairs()
        return self

    def _refuse_impossible_pairs(self) -> None:
        changes_images = self.augment.flip or self.augment.rotation_degrees > 0
        self.kind.refuse(self.model_dump())
        fixed = self.frozen or self.caches_activations
        if fixed and (self.augment.crops or self.augment.mixup):
            fix = (
                'trainable = "all" or "last:N stages"' if self.frozen else 'activations.cache = "off", which is slower'
            )
            raise ValueError(
                "augment.crop_scale and augment.mixup change pixels anew in every step, and frozen stages see fixed "
                f"views that are kept: {fix}; or leave both off"
            )
        if self.augment.views != 1 and not fixed:
            raise ValueError(
                "augment.views is for a frozen backbone or cached activations: else every epoch draws anew"
            )
        if self.augment.views != 1 and not changes_images:
            raise ValueError("augment.views > 1 needs augment.flip or augment.rotation_degrees, or all are the same")
        if fixed and self.augment.views == 1 and changes_images:
            raise ValueError("augment.views = 1 is the image as it is: raise it, or drop flip and rotation_degrees")
