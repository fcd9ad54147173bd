"""The configuration of a study as typed models.

In: plain mappings (from TOML). Out: a frozen `StudyConfig` in which every `auto` that can be resolved without
reading data or weights is resolved. Owns `study.toml` together with `recipes`, which reads and writes it.

Every field's description is also its documentation: `bestiary recipes keys` and the docs print from here.
"""

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from bestiary.config.kinds import SIMPLE_CNN, ModelKind, default_weights, kind_of, reserved_names
from bestiary.config.values import Fraction, FrozenDict, Positive, Several, frozen

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

NO_BACKBONE = "none"
AUTO_COLUMN = "auto"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Which images, and what they are called."""

    path: str = Field("", description="folder of class folders, CSV or Parquet table, or a named set")
    rename: Annotated[dict[str, Annotated[str, Field(min_length=1)]], AfterValidator(frozen)] = Field(
        default_factory=FrozenDict, description="class names as found -> as wanted"
    )
    rare: Annotated[str, Field(pattern=r"^(leave_out|refuse|merge:.*\S.*)$")] = Field(
        "leave_out",
        description="classes of fewer than 3 images: leave_out, with a finding; merge:NAME, into one class; or refuse",
    )
    top_folders: Literal["auto", "classes", "splits"] = Field(
        "auto", description="folder only: what its folders are; auto: splits where their names say so, else classes"
    )
    masks: Literal["leave_out", "keep"] = Field(
        "leave_out", description="folder only: pictures of few colours beside photos of the same name; keep: as images"
    )
    path_column: str = Field("path", description="table only: the column of image paths")
    label_column: str = Field("label", description="table only: the column of labels")
    split_column: str = Field(
        AUTO_COLUMN, description="table only: the column of train/val/test; auto: one named split, if any; empty: none"
    )
    group_column: str = Field(
        AUTO_COLUMN,
        description="table only: images with one value stay in one split; auto: one named group, if any; empty: none",
    )
    group_pattern: str = Field(
        "",
        description="regular expression on paths: images with one value of its group stay in one split, unless a "
        "column says; empty: none",
    )
    burst_s: Annotated[float, Field(ge=0.0)] = Field(
        0.0,
        description="images of one camera that follow one another within so many seconds stay in one split; 0: off",
    )
    time_column: str = Field(
        "", description="table only, for burst_s: when each image was taken; empty: what EXIF says"
    )
    camera_column: str = Field(
        "", description="table only, for burst_s: which camera took each image; empty: by EXIF and folder"
    )

    @model_validator(mode="after")
    def _times_are_for_bursts(self) -> Self:
        if not self.burst_s and (
            column := "time_column" if self.time_column else self.camera_column and "camera_column"
        ):
            raise ValueError(f"{column} is for bursts: set data.burst_s too, such as 30")
        return self


class SplitConfig(_Section):
    """How images are split. Fractions are of all images that no folder or column has put into val or test."""

    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.2, description="share scored once, at the end")
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.1, description="share on which choices are made")
    seed: int = Field(0, ge=0, description="of the random split")
    use_given: bool = Field(True, description="honour train/val/test folders or the split column")
    folds: Literal[0] | Annotated[int, Field(ge=3, le=20)] = Field(
        0,
        description="cross-validation by group: every image is validated and tested once, and each side is 1/folds; 0: "
        "one split",
    )
    group_duplicates: Literal["near", "exact"] = Field(
        "near", description="which copies stay in one split: near ones too, as the audit finds them, or exact ones only"
    )

    @model_validator(mode="after")
    def _leaves_training_images(self) -> Self:
        if self.folds:
            for name in ("test_fraction", "val_fraction"):
                object.__setattr__(self, name, 1 / self.folds)
        if self.test_fraction + self.val_fraction >= 1.0:
            raise ValueError("test_fraction + val_fraction must be below 1, or no image is left to train on")
        return self


class PixelsConfig(_Section):
    """How an image becomes a square of pixels. `auto` takes what the weights were trained with."""

    size_px: Literal["auto"] | Annotated[int, Field(ge=8, le=2048)] = Field("auto", description="side of the square")
    fit: Literal["auto", "crop", "squash", "pad"] = Field("auto", description="centre crop, ignore aspect, or pad")
    interpolation: Literal["auto", "nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "auto", description="resampling"
    )
    crop_fraction: Literal["auto"] | Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        "auto", description="fit = crop only: side of the crop over the short side"
    )


class AuditConfig(_Section):
    """What looks for faults in the data."""

    enabled: bool = Field(True, description="false: a study goes on without an audit; `bestiary audit` still runs")
    backbone: str = Field(
        "tf_efficientnet_lite2",
        description="a timm architecture whose features are compared; none: look for no label errors, and for copies "
        "by perceptual hash alone",
    )
    weights: str = Field("auto", description="packaged, hub, random, or the path of a .safetensors or .pth file")
    pixels: PixelsConfig = PixelsConfig()
    folds: int = Field(5, ge=2, le=20, description="label errors: probes, each judging the images it was not fitted on")
    seed: int = Field(0, ge=0, description="of the folds, and of the random splits that leaks are measured with")

    @model_validator(mode="before")
    @classmethod
    def _resolve_weights(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("weights", "auto") == "auto":
            return {**values, "weights": default_weights(str(values.get("backbone", "tf_efficientnet_lite2")))}
        return values

    @field_validator("backbone")
    @classmethod
    def _has_features(cls, value: str) -> str:
        if value == SIMPLE_CNN or value in reserved_names():
            raise ValueError(f"{value} has no features of its own: take a timm architecture")
        return value


class HeadConfig(_Section):
    """The classifier on top of the backbone."""

    hidden: int = Field(0, ge=0, le=65536, description="units of a dense ReLU layer; 0: a linear probe")
    dropout: Fraction = Field(0.0, description="after the hidden layer; needs hidden > 0")
    pooling: Literal["auto", "avg", "flatten"] = Field("auto", description="auto: flatten for VGG and simple_cnn")

    @model_validator(mode="after")
    def _dropout_needs_hidden(self) -> Self:
        if self.dropout and not self.hidden:
            raise ValueError("dropout needs hidden > 0: a linear probe has no hidden layer to drop from")
        return self


class OptimizerConfig(_Section):
    """How the trainable weights move."""

    name: Literal["auto", "lbfgs", "adam", "adamw", "sgd"] = Field(
        "auto", description="auto: lbfgs for a linear probe on a frozen backbone, else adam"
    )
    learning_rate: Positive = Field(1e-3, description="of adam, adamw and sgd")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="decoupled for adamw, L2 for the others")
    momentum: Fraction = Field(0.9, description="of sgd")


class ScheduleConfig(_Section):
    """How the learning rate changes."""

    name: Literal["constant", "plateau", "one_cycle"] = Field("plateau", description="plateau watches validation loss")
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(0.2, description="plateau: learning rate times this")
    patience_epochs: int = Field(2, ge=1, description="plateau: epochs without progress before that")


class EarlyStoppingConfig(_Section):
    """When to stop. The weights of the epoch with the lowest validation loss are restored in any case."""

    patience_epochs: int = Field(3, ge=0, description="epochs without a lower validation loss; 0: never stop early")


class AugmentConfig(_Section):
    """Random changes to training images."""

    flip: bool = Field(False, description="left-right")
    rotation_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = Field(0.0, description="up to this, either way")
    views: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = Field(
        "auto", description="frozen stages only: fixed views an image, drawn from in every epoch"
    )


class ActivationsConfig(_Section):
    """What the frozen stages give, where only the last ones are trained: computed once, kept on disk."""

    cache: Literal["auto", "off"] = Field(
        "auto", description="auto: keep them and train only what comes after; off: run the whole network in every step"
    )
    max_gb: Positive = Field(20.0, description="disk for one model's, in 10^9 bytes; beyond it they are not kept")


class SweepConfig(_Section):
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


class ModelConfig(_Section):
    """One model to train and compare."""

    backbone: str = Field(description="a timm architecture, simple_cnn, or majority (always the commonest class)")
    weights: str = Field("auto", description="packaged, hub, random, or the path of a .safetensors or .pth file")
    trainable: str = Field("head", description='"head", "last:N stages" or "all"')
    epochs: int = Field(10, ge=1, le=10_000, description="at most")
    batch_size: int = Field(32, ge=1, le=65536)
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: rare classes count for more")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the device has it")
    seed: int = Field(0, ge=0, description="initial weights, order of images, augmentation")
    pixels: PixelsConfig = PixelsConfig()
    head: HeadConfig = HeadConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    augment: AugmentConfig = AugmentConfig()
    activations: ActivationsConfig = ActivationsConfig()
    sweep: SweepConfig = SweepConfig()

    @property
    def kind(self) -> ModelKind:
        """How this config becomes a model."""
        return kind_of(self.model_dump())

    @property
    def caches_activations(self) -> bool:
        """Whether the frozen stages run once, and the last ones are trained on what they give."""
        return self.trainable_stages > 0 and self.activations.cache == "auto"

    @property
    def frozen(self) -> bool:
        """Whether the backbone stays as it is and only the head is trained."""
        return self.trainable == "head"

    @property
    def trainable_stages(self) -> int:
        """How many of the backbone's last stages are trained: 0 for "head", -1 for "all"."""
        if self.trainable in ("head", "all"):
            return 0 if self.frozen else -1
        return int(re.findall(r"\d+", self.trainable)[0])

    @field_validator("trainable")
    @classmethod
    def _known_trainable(cls, value: str) -> str:
        if value not in ("head", "all") and not re.fullmatch(r"last:[1-9]\d* stages?", value):
            raise ValueError(f'{value!r} is none of "head", "last:1 stage" (or 2, 3 ... stages), "all"')
        return value

    @model_validator(mode="before")
    @classmethod
    def _resolve_autos(cls, values: Any) -> Any:
        """Replace the `auto`s that follow from the other fields, so that the saved config says what was done."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        if values.get("weights", "auto") == "auto":
            values["weights"] = default_weights(str(values.get("backbone", "")))
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
        # The model is frozen for everybody else; this is its own construction.
        object.__setattr__(self, "optimizer", optimizer)
        object.__setattr__(self, "augment", augment)
        self._refuse_impossible_pairs()
        return self

    def _refuse_impossible_pairs(self) -> None:
        changes_images = self.augment.flip or self.augment.rotation_degrees > 0
        self.kind.refuse(self.model_dump())
        fixed = self.frozen or self.caches_activations
        if self.augment.views != 1 and not fixed:
            raise ValueError(
                "augment.views is for a frozen backbone or cached activations: else every epoch draws anew"
            )
        if self.augment.views != 1 and not changes_images:
            raise ValueError("augment.views > 1 needs augment.flip or augment.rotation_degrees, or all are the same")
        if fixed and self.augment.views == 1 and changes_images:
            raise ValueError("augment.views = 1 is the image as it is: raise it, or drop flip and rotation_degrees")


class ReportConfig(_Section):
    """The report."""

    title: str = Field("", description="empty: made from the data's name")
    thumbnail_px: int = Field(96, ge=32, le=320, description="long side of the thumbnails")
    max_bytes: int = Field(5_000_000, ge=500_000, description="thumbnails are thinned out beyond this")


class ExportConfig(_Section):
    """The exported model."""

    model: str = Field("winner", description="winner (the best on validation) or the name of a model")


class StudyConfig(_Section):
    """A whole study: one TOML file."""

    data: DataConfig = DataConfig()
    audit: AuditConfig = AuditConfig()
    split: SplitConfig = SplitConfig()
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: cuda, then mps, then cpu")
    models: Annotated[dict[str, ModelConfig], AfterValidator(frozen)] = Field(
        min_length=1, description="by name, in the order of the tables"
    )
    report: ReportConfig = ReportConfig()
    export: ExportConfig = ExportConfig()

    @field_validator("models")
    @classmethod
    def _plain_names(cls, models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        for name in models:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
                raise ValueError(f"model name {name!r}: use letters, digits, - and _, at most 64")
        if len({name.casefold() for name in models}) < len(models):
            raise ValueError("two model names differ only in case: they would share a folder on some systems")
        return models

    @model_validator(mode="after")
    def _audits_what_it_splits_by(self) -> Self:
        if self.split.group_duplicates == "near" and not self.audit.enabled:
            raise ValueError(
                'split.group_duplicates = "near" needs the audit: set it to "exact", or audit.enabled = true'
            )
        return self

    @model_validator(mode="after")
    def _exports_a_model_it_has(self) -> Self:
        if self.export.model != "winner" and self.export.model not in self.models:
            raise ValueError(
                f"export.model = {self.export.model!r} is no model of this study: {', '.join(self.models)}"
            )
        return self
