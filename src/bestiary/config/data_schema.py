"""The sections of a config about data: which images, how they are split, how they become pixels, what is looked for.

In: plain mappings. Out: frozen models, parts of `schema.StudyConfig`. Owns no file.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from bestiary.config.kinds import SIMPLE_CNN, default_weights, reserved_names
from bestiary.config.values import FrozenDict, frozen

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

NO_BACKBONE = "none"
AUTO_COLUMN = "auto"


class Section(BaseModel):
    """A table of the file: frozen, no other keys, no other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataConfig(Section):
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


class SplitConfig(Section):
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


class PixelsConfig(Section):
    """How an image becomes a square of pixels. `auto` takes what the weights were trained with."""

    size_px: Literal["auto"] | Annotated[int, Field(ge=8, le=2048)] = Field("auto", description="side of the square")
    fit: Literal["auto", "crop", "squash", "pad"] = Field("auto", description="centre crop, ignore aspect, or pad")
    interpolation: Literal["auto", "nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "auto", description="resampling"
    )
    crop_fraction: Literal["auto", "weights"] | Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        "auto",
        description="fit = crop only: side of the crop over the short side; weights: what they were tested with; auto: "
        "1 for frozen backbones, else weights",
    )

    def seeing_all(self) -> "PixelsConfig":
        """With the whole short side in view, where nothing else is asked for."""
        return self.model_copy(update={"crop_fraction": 1.0}) if self.crop_fraction == "auto" else self


class AuditConfig(Section):
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

    @model_validator(mode="after")
    def _see_all(self) -> Self:
        object.__setattr__(self, "pixels", self.pixels.seeing_all())
        return self

    @field_validator("backbone")
    @classmethod
    def _has_features(cls, value: str) -> str:
        if value == SIMPLE_CNN or value in reserved_names():
            raise ValueError(f"{value} has no features of its own: take a timm architecture")
        return value
