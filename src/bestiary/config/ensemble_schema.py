"""The section of a config about ensembles, and the config of a model that is put together of fitted ones.

In: plain mappings. Out: a frozen `EnsembleConfig`, part of `schema.StudyConfig`; `ComposedModel`, which no study file
holds: a study makes it of its own models. Owns no file.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from bestiary.config.data_schema import Section
from bestiary.config.kinds import backbones_of
from bestiary.config.model_schema import ModelConfig
from bestiary.config.values import Positive, Several


class EnsembleConfig(Section):
    """Several fitted models as one: their probabilities, weighted and added."""

    choose: Literal["auto", "off"] = Field(
        "auto",
        description="auto: where two or more models with a network were fitted, and the ensemble of them wins on val, "
        "it becomes a model of the study; not with split.folds",
    )
    rounds: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="of greedy selection: each adds the model, again perhaps, that lowers the log loss most"
    )


class EnsembleMember(Section):
    """One fitted model in an ensemble.

    Attributes:
        model: its name in the study.
        share: of its probabilities in the sum, in (0, 1]; the shares of all members add up to 1.
        temperature: what its logits are divided by first.
        config: as it was fitted.
    """

    model: str
    share: Annotated[float, Field(gt=0.0, le=1.0)]
    temperature: Positive
    config: ModelConfig


class ComposedModel(ModelConfig):
    """A model that is put together of fitted ones; nothing of its own is trained."""

    ensemble: Annotated[tuple[EnsembleMember, ...], Field(min_length=1), Several]

    @property
    def members(self) -> tuple[ModelConfig, ...]:
        """The model of each backbone alone, of all members."""
        return tuple(single for member in self.ensemble for single in member.config.members)

    @property
    def trunks(self) -> tuple[ModelConfig, ...]:
        """The distinct networks of all members, in the order of their first use: frozen ones serve several members."""
        return tuple(self._numbered()[0])

    @property
    def places(self) -> tuple[tuple[int, ...], ...]:
        """For each member, which of `trunks` its networks are."""
        return tuple(self._numbered()[1])

    @property
    def repeated(self) -> dict[str, str]:
        """Of saved tensors: prefixes under which a network would stand again, and that under which it stands."""
        first: dict[int, str] = {}
        again = {}
        for number, own in enumerate(self.places):
            for place, trunk in enumerate(own):
                inner = f"backbones.{place}." if len(own) > 1 else ""
                prefix = f"{member_prefix(number)}backbone.{inner}"
                if first.setdefault(trunk, prefix) != prefix:
                    again[prefix] = first[trunk]
        return again

    @property
    def fits_without_epochs(self) -> bool:
        """Whether all members do."""
        return all(member.config.fits_without_epochs for member in self.ensemble)

    def _numbered(self) -> tuple[list[ModelConfig], list[tuple[int, ...]]]:
        trunks: list[ModelConfig] = []
        known: dict[str, int] = {}
        places = []
        for number, member in enumerate(self.ensemble):
            own = []
            for single in member.config.members:
                same = f"{single.backbone}|{single.weights}|{single.pixels.model_dump_json()}|{single.head.pooling}"
                key = same if single.frozen else f"{number}|{same}"
                if key not in known:
                    known[key] = len(trunks)
                    trunks.append(single)
                own.append(known[key])
            places.append(tuple(own))
        return trunks, places


def member_prefix(number: int) -> str:
    """What the names of a member's saved tensors begin with."""
    return f"members.{number}."


def common_precision(precisions: Iterable[str]) -> str:
    """Of an ensemble: that of its members, or fp32 where they differ."""
    found = set(precisions)
    return found.pop() if len(found) == 1 else "fp32"


def compose(members: tuple[EnsembleMember, ...]) -> ComposedModel:
    """The config of an ensemble."""
    names = tuple(dict.fromkeys(name for member in members for name in backbones_of(member.config.model_dump())))
    return ComposedModel(
        backbone=names[0] if len(names) == 1 else "", backbones=names if len(names) > 1 else (), ensemble=members
    )


def read_model(values: Mapping[str, Any]) -> ModelConfig:
    """The config of a fitted model, as `run.toml` and `bundle.json` hold it; a `ComposedModel` where it is one."""
    kind = ComposedModel if "ensemble" in values else ModelConfig
    return kind.model_validate(values)
