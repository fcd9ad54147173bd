"""The learner with several frozen backbones: one pass an image through each, decoded once, then one head over all
features.

In: images. Out: the fitted head on the join. Caches features, a backbone each, as if it stood alone; see `features`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bestiary.config.schema import ModelConfig
from bestiary.models.backbones import Preprocessing, build_backbone, rebuild_backbone
from bestiary.models.extract.features import FeatureTable
from bestiary.models.frozen import FrozenLearner
from bestiary.models.join import Join
from bestiary.models.learner import Labelled, Outcome, State
from bestiary.progress import SILENT, Progress
from bestiary.timing import Clock


class JoinedLearner(FrozenLearner):
    """A head over the joined features of several frozen backbones."""

    _standardised: FeatureTable | None = None

    @classmethod
    def _network(cls, config: ModelConfig, preprocessings: Sequence[Preprocessing]) -> Join:
        if not preprocessings:
            return Join([build_backbone(member) for member in config.members])
        pairs = zip(config.members, preprocessings, strict=True)
        return Join([rebuild_backbone(member, preprocessing) for member, preprocessing in pairs]).eval()

    @property
    def _join(self) -> Join:
        assert isinstance(self.classifier.backbone, Join)
        return self.classifier.backbone

    def prepare(self, images: pd.DataFrame, root: Path, *, clock: Clock, progress: Progress = SILENT) -> None:
        tables = self._tables(self._join.members, images, root, progress)
        views = tuple(np.concatenate(parts, axis=1) for parts in zip(*(table.views for table in tables), strict=True))
        passes, seconds = sum(table.passes for table in tables), tables[0].seconds
        clock.add("features", seconds, images=passes, cached=len(images) * len(views) * len(tables) - passes)
        self._features = FeatureTable(views, tables[0].engine, tables[0].precision, passes, seconds)
        self._standardised = None

    def fit(
        self, train: Labelled, val: Labelled, *, checkpoint: Path, key: str, progress: Progress = SILENT
    ) -> Outcome:
        self._standardise(train)
        return super().fit(train, val, checkpoint=checkpoint, key=key, progress=progress)

    def refit(self, images: Labelled, found: Outcome, *, progress: Progress = SILENT) -> None:
        self._standardise(images)
        super().refit(images, found, progress=progress)

    def _standardise(self, images: Labelled) -> None:
        self._join.standardise(super()._known_features().plain[images.positions])
        self._standardised = None

    def load(self, state: State) -> None:
        super().load(state)
        self._standardised = None

    def _known_features(self) -> FeatureTable:
        """Standardised, as the head takes them."""
        if self._standardised is None:
            found = super()._known_features()
            views = tuple(self._join.finish(view) for view in found.views)
            self._standardised = FeatureTable(views, found.engine, found.precision, found.passes, found.seconds)
        return self._standardised
