"""Features that the models of a study will need: made in the audit's pass, while its images are decoded anyway.

In: the models of a config. Out: requests for features. Owns no file.
"""

from collections.abc import Iterable

from bestiary.config.schema import ModelConfig
from bestiary.errors import ConfigError, HubUnreachableError, WeightsError
from bestiary.models.augment import View, views_of
from bestiary.models.backbones import Backbone, build_backbone
from bestiary.models.extract.features import FeatureRequest

# Of the weights of all backbones that share a pass, which are all in memory. The others have passes of their own.
_MOST_BYTES = 1 << 30


def features_ahead(models: Iterable[ModelConfig]) -> list[FeatureRequest]:
    """What the frozen models among these will ask for, once each.

    A backbone that cannot be had is left out: its model says why when it is fitted, and is "not run".

    Args:
        models: of the config.
    """
    wanted: dict[str, tuple[ModelConfig, list[View]]] = {}
    for model in models:
        if not model.frozen or model.kind.is_baseline:
            continue
        for member in model.members:
            _, views = wanted.setdefault(_what_counts(member), (member, []))
            views += [view for view in views_of(member.augment) if view not in views]
    requests, left, hub_answers = [], _MOST_BYTES, True
    for member, views in wanted.values():
        if member.weights == "hub" and not hub_answers:
            continue
        try:
            backbone = build_backbone(member)
        except HubUnreachableError:
            hub_answers = False  # each try waits for seconds
        except (WeightsError, ConfigError):
            continue
        else:
            left -= _weight_bytes(backbone)
            if left < 0:
                break
            requests.append(FeatureRequest(backbone, views, member.precision))
    return requests


def _what_counts(member: ModelConfig) -> str:
    """The same for models whose features are the same."""
    fields = {"backbone", "weights", "pixels", "precision", "seed"}
    return f"{member.model_dump_json(include=fields)} {member.head.pooling}"


def _weight_bytes(backbone: Backbone) -> int:
    return sum(parameter.nbytes for parameter in backbone.parameters())
