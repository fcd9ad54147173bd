"""The configuration of a study as typed models.

In: plain mappings (from TOML). Out: a frozen `StudyConfig` in which every `auto` that can be resolved without
reading data or weights is resolved. Owns `study.toml` together with `recipes`, which reads and writes it.

Every field's description is also its documentation: `bestiary recipes keys` and the docs print from here.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from bestiary.config.data_schema import (
    AUTO_COLUMN,
    NO_BACKBONE,
    SPLITS,
    AuditConfig,
    DataConfig,
    PixelsConfig,
    Section,
    SplitConfig,
    SplitName,
)
from bestiary.config.ensemble_schema import EnsembleConfig
from bestiary.config.model_schema import (
    ActivationsConfig,
    AugmentConfig,
    AverageConfig,
    ModelConfig,
    ScheduleConfig,
    SweepConfig,
    TrainConfig,
)
from bestiary.config.search_schema import SearchConfig
from bestiary.config.values import frozen

__all__ = [
    "AUTO_COLUMN",
    "NO_BACKBONE",
    "SPLITS",
    "ActivationsConfig",
    "AuditConfig",
    "AugmentConfig",
    "AverageConfig",
    "DataConfig",
    "EnsembleConfig",
    "ExportConfig",
    "ModelConfig",
    "PixelsConfig",
    "ReportConfig",
    "ScheduleConfig",
    "SearchConfig",
    "SplitConfig",
    "SplitName",
    "StudyConfig",
    "SweepConfig",
    "TrainConfig",
]


class ReportConfig(Section):
    """The report."""

    title: str = Field("", description="empty: made from the data's name")
    thumbnail_px: int = Field(96, ge=32, le=320, description="long side of the thumbnails")
    max_bytes: int = Field(5_000_000, ge=500_000, description="thumbnails are thinned out beyond this")


class ExportConfig(Section):
    """The exported model."""

    model: str = Field("winner", description="winner (the best on validation) or the name of a model")
    refit: Literal["auto", "all", "train+val", "none"] = Field(
        "auto",
        description="fit the exported model once more, with what was chosen, on all labelled images or train and val; "
        "auto: all for linear probes, none for models trained in epochs",
    )


class StudyConfig(Section):
    """A whole study: one TOML file."""

    data: DataConfig = DataConfig()
    audit: AuditConfig = AuditConfig()
    split: SplitConfig = SplitConfig()
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: cuda, then mps, then cpu")
    models: Annotated[dict[str, ModelConfig], AfterValidator(frozen)] = Field(
        min_length=1, description="by name, in the order of the tables"
    )
    train: TrainConfig = TrainConfig()
    search: SearchConfig = SearchConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
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
    def _audits_what_it_doubts(self) -> Self:
        if self.train.doubted_labels == "leave_out" and (not self.audit.enabled or self.audit.backbone == NO_BACKBONE):
            raise ValueError(
                'train.doubted_labels = "leave_out" needs an audit that looks for wrong labels: audit.enabled = true, '
                "and an audit.backbone"
            )
        return self

    @model_validator(mode="after")
    def _exports_a_model_it_has(self) -> Self:
        if self.export.model != "winner" and self.export.model not in self.models:
            raise ValueError(
                f"export.model = {self.export.model!r} is no model of this study: {', '.join(self.models)}"
            )
        return self
