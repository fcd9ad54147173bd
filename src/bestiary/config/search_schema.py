"""The section of a config about the search: what is tried, and for how long.

In: plain mappings. Out: a frozen `SearchConfig`, part of `schema.StudyConfig`. Owns no file.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bestiary.config.data_schema import Section
from bestiary.config.kinds import PACKAGED_BACKBONES, SIMPLE_CNN, reserved_names
from bestiary.config.values import Fraction, Positive, Several

Crop = Literal["weights"] | Annotated[float, Field(gt=0.0, le=1.0)]


class SearchConfig(Section):
    """Heads on frozen backbones, proposed by Optuna and compared out of fold on the training images."""

    budget_s: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="seconds for the whole study, from index to exported model; 0: no limit"
    )
    trials: Annotated[int, Field(ge=0, le=100_000)] = Field(
        0, description="how many heads are tried; 0: as many as the budget allows; neither: no search"
    )
    backbones: Annotated[tuple[str, ...], Field(min_length=1), Several] = Field(
        PACKAGED_BACKBONES, description="frozen timm architectures, tried alone and joined"
    )
    race: bool = Field(
        True, description="of backbones that lose on a sample of the training images no further features are made"
    )
    joins: Annotated[int, Field(ge=1, le=8)] = Field(3, description="at most so many backbones joined")
    crops: Annotated[tuple[Crop, ...], Field(min_length=1), Several] = Field(
        (1.0,), description="of pixels.crop_fraction"
    )
    views: Annotated[tuple[Literal["plain", "flip"], ...], Field(min_length=1), Several] = Field(
        ("plain",), description="flip: fitted on mirrored images too, at twice the passes"
    )
    hidden: Annotated[tuple[Annotated[int, Field(ge=0, le=65536)], ...], Field(min_length=1), Several] = Field(
        (0, 128, 256, 512), description="hidden units; 0: a linear probe"
    )
    dropout: Annotated[tuple[Fraction, ...], Field(min_length=1), Several] = Field(
        (0.0, 0.25, 0.5), description="where there is a hidden layer"
    )
    optimizers: Annotated[tuple[Literal["adam", "adamw", "sgd"], ...], Field(min_length=1), Several] = Field(
        ("adam", "adamw", "sgd"), description="where there is a hidden layer"
    )
    learning_rate: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=2), Several] = Field(
        (1e-4, 1e-2), description="lowest and highest; ten times this for sgd"
    )
    weight_decay: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=2), Several] = Field(
        (1e-6, 1e-1), description="lowest and highest"
    )
    label_smoothing: Annotated[tuple[Fraction, ...], Field(min_length=1), Several] = Field(
        (0.0, 0.1), description="where there is a hidden layer"
    )
    class_weights: Annotated[tuple[Literal["none", "balanced"], ...], Field(min_length=1), Several] = Field(
        ("none",), description="balanced: rare classes count for more"
    )
    folds: Annotated[int, Field(ge=2, le=20)] = Field(
        5, description="of the training images, in which heads are judged"
    )
    finalists: Annotated[int, Field(ge=1, le=20)] = Field(
        3, description="the best become models of the study: search-1 and so on"
    )
    storage: str = Field(
        "", description="an Optuna storage URL, which several processes may share; empty: a journal in the study"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the proposals and the folds")

    @property
    def asked(self) -> bool:
        """Whether there is a search at all."""
        return bool(self.budget_s or self.trials)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        for name in self.backbones:
            if name == SIMPLE_CNN or name in reserved_names():
                raise ValueError(f"search.backbones: {name} has no features of its own: take timm architectures")
        if len(set(self.backbones)) < len(self.backbones):
            raise ValueError("search.backbones names one twice")
        for name in ("learning_rate", "weight_decay"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"search.{name}: the lowest comes first: [{high:g}, {low:g}]")
        return self
