"""A mixture of classifiers as one torch module: their probabilities, weighted and added.

In: uint8 pixels `(n, height, width, 3)`, once for each distinct backbone. Out: log probabilities `(n, class_count)`,
whose softmax are the probabilities of the mixture.
"""

from collections.abc import Sequence

import torch
from torch import nn

from bestiary.models.backbones import Backbone, Preprocessing
from bestiary.models.classifier import Classifier
from bestiary.models.join import Join


class Mixture(nn.Module):
    """Several classifiers at their temperatures, each with its share. A backbone that several have runs once.

    Args:
        members: the classifiers.
        places: for each member, the numbers of its backbones among the distinct ones, which are numbered in the order
            of their first use.
        shares: of each member; they add up to 1.
        temperatures: what the logits of each are divided by.

    Attributes:
        backbones: the distinct ones.
    """

    def __init__(
        self,
        members: Sequence[Classifier],
        *,
        places: Sequence[Sequence[int]],
        shares: Sequence[float],
        temperatures: Sequence[float],
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._typed = tuple(members)
        self._places = tuple(tuple(own) for own in places)
        self._shares, self._temperatures = tuple(shares), tuple(temperatures)
        distinct: dict[int, Backbone] = {}
        for member, own in zip(members, places, strict=True):
            for number, backbone in zip(own, backbones_of(member), strict=True):
                distinct.setdefault(number, backbone)
        self.backbones = tuple(distinct[number] for number in range(len(distinct)))

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """What belongs to the weights of each distinct backbone."""
        return tuple(backbone.preprocessing for backbone in self.backbones)

    def forward(self, *pixels: torch.Tensor) -> torch.Tensor:
        features = [backbone(images) for backbone, images in zip(self.backbones, pixels, strict=True)]
        mixed = torch.zeros(())
        for member, own, share, temperature in zip(
            self._typed, self._places, self._shares, self._temperatures, strict=True
        ):
            seen = [features[number] for number in own]
            joined = member.backbone.combine(seen) if isinstance(member.backbone, Join) else seen[0]
            mixed = mixed + share * torch.softmax(member.head(joined) / temperature, dim=1)
        return torch.log(mixed)


def backbones_of(classifier: Classifier) -> tuple[Backbone, ...]:
    """The backbones of a classifier: one, or those that it joins."""
    backbone = classifier.backbone
    return backbone.members if isinstance(backbone, Join) else (backbone,)


Network = Classifier | Mixture
