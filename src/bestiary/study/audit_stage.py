"""The audit as a stage of a study: what it looks at, and its files, each written only where something changed.

In: the index of a study, as found and with corrections. Out: `duplicates.parquet`, then `audit.parquet`, `audit.csv`
and `audit.json` through the modules that own them.
"""

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from bestiary.audit import findings
from bestiary.audit import run as auditing
from bestiary.audit.copies import clusters as duplicates
from bestiary.audit.image_statistics import Looks, look_at
from bestiary.audit.mark import marked
from bestiary.audit.neighbours import Features, Neighbours, nearest
from bestiary.config.schema import NO_BACKBONE, ModelConfig, StudyConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.datasets import data_root
from bestiary.data.index import readable
from bestiary.errors import WeightsError
from bestiary.progress import Progress
from bestiary.store.hashing import fingerprint
from bestiary.store.tables import table_fingerprint

CLUSTERS, TABLE, SUMMARY = duplicates.FILE_NAME, findings.TABLE_NAME, auditing.SUMMARY_NAME


class Evidence:
    """What the audit looks at, computed when it is first asked for: features and looks of all readable images."""

    def __init__(self, config: StudyConfig, found: pd.DataFrame, progress: Progress) -> None:
        self.images = readable(found)
        self._config = config
        self._root = data_root(config.data.path)
        self._progress = progress

    @cached_property
    def looks(self) -> Looks:
        return look_at(self.images, self._root, progress=self._progress)

    @cached_property
    def features(self) -> Features | None:
        """`(n, d) float32`; None where the config wants no backbone."""
        if self._config.audit.backbone == NO_BACKBONE:
            return None
        # torch takes seconds to import; a study with nothing to do is spared them.
        from bestiary.data.pixels import PixelsOnDemand
        from bestiary.models.backbones import build_backbone
        from bestiary.models.devices import pick_device
        from bestiary.models.extract.features import feature_table

        wanted = self._config.audit
        model = ModelConfig(backbone=wanted.backbone, weights=wanted.weights, pixels=wanted.pixels)
        try:
            backbone = build_backbone(model)
        except WeightsError as error:
            raise WeightsError(
                f"for the audit: {error}. An audit without features, of copies with close hashes and of quality alone, "
                f'is made with audit.backbone = "{NO_BACKBONE}"'
            ) from error
        pixels = PixelsOnDemand(self.images, self._root, geometry=backbone.preprocessing.geometry)
        device = pick_device(self._config.device)
        return feature_table(backbone, pixels, device=device, progress=self._progress).plain

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """Of the features."""
        return None if self.features is None else nearest(self.features)


def find_clusters(study_dir: Path, config: StudyConfig, evidence: Evidence, progress: Progress) -> pd.DataFrame:
    """The clusters of copies, from the study's file where it is of these images."""
    key = clusters_fingerprint(config, evidence.images)
    if table_fingerprint(study_dir / CLUSTERS) == key:
        return duplicates.read_duplicates(study_dir)
    clusters = duplicates.find_duplicates(
        evidence.images,
        evidence.looks.grey,
        evidence.features,
        neighbours=evidence.neighbours,
        progress=progress,
    )
    duplicates.write_duplicates(study_dir, clusters, fingerprint=key)
    count = clusters["cluster_id"].nunique()
    progress.say(f"  copies: {len(clusters):,} images in {count:,} clusters" if count else "  copies: none")
    return clusters


def clusters_fingerprint(config: StudyConfig, images: pd.DataFrame) -> str:
    """Changes with the images' contents, and with the features that are compared."""
    settings = config.audit.model_dump(mode="json", include={"backbone", "weights", "pixels"})
    return duplicates.duplicates_fingerprint(images, settings)


def faults_fingerprint(
    config: StudyConfig, images: pd.DataFrame, *, current: pd.DataFrame, decided: Mapping[str, Correction]
) -> str:
    """Changes with any image, label, correction or setting that the findings follow from.

    Args:
        config: the study's.
        images: all readable ones, as found.
        current: the index with corrections.
        decided: corrections by image id.
    """
    key = auditing.audit_fingerprint(current, config.audit, config.split, decisions=decided)
    return marked(fingerprint([key, clusters_fingerprint(config, images)]), current)


def find_faults(
    study_dir: Path,
    config: StudyConfig,
    evidence: Evidence,
    clusters: pd.DataFrame,
    *,
    current: pd.DataFrame,
    decided: Mapping[str, Correction],
    progress: Progress,
) -> pd.DataFrame:
    """The findings, from the study's files where they are of these images, labels and settings.

    Args:
        study_dir: the study's folder.
        config: the study's.
        evidence: of all readable images.
        clusters: of copies.
        current: the index with corrections.
        decided: corrections by image id.
        progress: told what was found.
    """
    key = faults_fingerprint(config, evidence.images, current=current, decided=decided)
    if findings.is_current(study_dir, fingerprint=key) and auditing.is_summarised(study_dir, fingerprint=key):
        return findings.read_findings(study_dir)
    start = time.perf_counter()
    images = readable(current)
    places = evidence.images["image_id"].reset_index().set_index("image_id")["index"]
    rows = places[images["image_id"]].to_numpy(dtype=np.int64)
    features, whole = evidence.features, len(rows) == len(evidence.images)
    subject = auditing.Subject(
        index=current,
        images=images,
        features=None if features is None else features[rows],
        neighbours=evidence.neighbours if whole else None,
        looks=evidence.looks.subset(rows),
        clusters=clusters,
        decisions=decided,
    )
    audit = auditing.run_audit(subject, config.audit, config.split, progress=progress)
    findings.write_findings(study_dir, audit.findings, fingerprint=key)
    settings = config.audit.model_dump(mode="json", include={"backbone", "weights", "pixels"})
    auditing.write_summary(study_dir, {**audit.summary, "features": settings}, fingerprint=key)
    progress.say(f"  audit in {time.perf_counter() - start:.1f} s: {_told(audit.findings)}")
    return audit.findings


def _told(table: pd.DataFrame) -> str:
    counts = table["issue"].value_counts()
    if counts.empty:
        return "no finding"
    return ", ".join(f"{counts[issue]:,} {issue.replace('_', ' ')}" for issue in findings.ISSUES if issue in counts)
