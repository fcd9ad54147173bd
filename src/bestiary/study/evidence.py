"""What the audit measures of all readable images: statistics, features, neighbours; each when it is first asked for.

In: a snapshot. Out: `Evidence`. Owns no file.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bestiary.audit.copies.closer import SIDE
from bestiary.audit.neighbours import Features, Neighbours, nearest
from bestiary.audit.quality.image_statistics import ImageStatistics, measure_images
from bestiary.audit.quality.measures import squashed
from bestiary.config.schema import NO_BACKBONE, ModelConfig
from bestiary.data.pixels import content_key, load_as_indexed
from bestiary.errors import BestiaryError, WeightsError
from bestiary.models.extract.noted_features import circumstances, noted_features
from bestiary.progress import Progress
from bestiary.snapshot import Snapshot

if TYPE_CHECKING:
    from bestiary.models.extract.features import FeatureTable


class Evidence:
    """What the audit measures of all readable images, computed when it is first asked for.

    Args:
        snapshot: of the study.
        progress: told of what is computed.
        models: will be fitted on the same images: their features are made with the audit's, if those are.
    """

    def __init__(self, snapshot: Snapshot, progress: Progress, *, models: Sequence[ModelConfig] = ()) -> None:
        self.images = snapshot.readable
        # Where the features lie, for the next audit; empty where torch has to be asked.
        self.note: dict[str, str] = {}
        self._snapshot = snapshot
        self._progress = progress
        self._models = models

    @cached_property
    def statistics(self) -> ImageStatistics:
        """Image statistics."""
        return measure_images(self.images, self._snapshot.data_root, progress=self._progress)

    def pictures(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Larger grey pictures of some images, read again: `(k, 192, 192) uint8`.

        Raises:
            DataError: a file changed since it was indexed; names it.
        """
        rows = self.images.iloc[places]
        read = (
            load_as_indexed(self._snapshot.data_root, *row) for row in zip(rows["path"], rows["sha256"], strict=True)
        )
        return np.stack([squashed(image, SIDE) for image in read])

    @property
    def sides_px(self) -> npt.NDArray[np.int64]:
        """Short sides of the images, `(n,)`."""
        return self.images[["width_px", "height_px"]].min(axis=1).to_numpy(dtype=np.int64)

    @cached_property
    def features(self) -> Features | None:
        """`(n, d) float32`; None where the config asks for no backbone."""
        wanted = self._snapshot.config.audit
        if wanted.backbone == NO_BACKBONE:
            return None
        model = ModelConfig(backbone=wanted.backbone, weights=wanted.weights, pixels=wanted.pixels)
        under = circumstances(model, self._snapshot.config.device)
        noted = self._read_noted(under)
        if noted is not None:
            return noted
        table = self._computed(model)
        self.note = {"store": table.store, "under": under} if under else {}
        return table.plain

    def _read_noted(self, under: str) -> Features | None:
        """The features that an earlier audit noted, where all is as it was then."""
        if not under or not self._snapshot.paths.audit_summary.is_file():
            return None
        try:
            note = self._snapshot.summary.get("features")
        except BestiaryError:  # a damaged summary has no notes
            return None
        if not isinstance(note, dict) or note.get("under") != under:
            return None
        self.note = {"store": str(note.get("store", "")), "under": under}
        return noted_features(self.note["store"], [content_key(digest) for digest in self.images["sha256"]])

    def _computed(self, model: ModelConfig) -> "FeatureTable":
        # torch takes seconds to import; a study with nothing to compute is spared them.
        from bestiary.data.pixels import DecodedOnce
        from bestiary.models.backbones import build_backbone
        from bestiary.models.devices import pick_device
        from bestiary.models.extract.features import FeatureRequest, feature_tables
        from bestiary.study.features_ahead import features_ahead

        try:
            backbone = build_backbone(model)
        except WeightsError as error:
            raise WeightsError(
                f"for the audit: {error}. An audit without features, of copies with close hashes and of quality alone, "
                f'is made with audit.backbone = "{NO_BACKBONE}"'
            ) from error
        (table,) = feature_tables(
            [FeatureRequest(backbone)],
            DecodedOnce(self.images, self._snapshot.data_root),
            ahead=features_ahead(self._models),
            device=pick_device(self._snapshot.config.device),
            progress=self._progress,
        )
        return table

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """Of the features."""
        return None if self.features is None else nearest(self.features)
