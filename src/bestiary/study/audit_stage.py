"""The audit as stages of a study: clusters of copies, then findings, each made only where something changed.

In: a study at work. Out: `duplicates.parquet`, then `audit.parquet`, `audit.csv` and `audit.json` through the modules
that own them.
"""

import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bestiary.audit.answers import apart_ids
from bestiary.audit.copies.clusters import duplicates_fingerprint, find_duplicates, write_duplicates
from bestiary.audit.findings import as_csv, write_findings
from bestiary.audit.issues import ISSUES
from bestiary.audit.mark import marked
from bestiary.audit.summary import audit_fingerprint, write_summary
from bestiary.data.index import readable
from bestiary.errors import BestiaryError
from bestiary.runs.keys import is_local, weights_digest
from bestiary.store.hashing import fingerprint
from bestiary.store.tables import table_fingerprint
from bestiary.study.work import Work

if TYPE_CHECKING:
    from bestiary.study.evidence import Evidence


def _evidence(work: Work) -> "Evidence":
    # What measures images and reads features is of no use to a call with nothing to do.
    from bestiary.study.evidence import Evidence

    models = tuple(work.config_as_given.models.values()) if work.is_whole else ()
    evidence: Evidence = work.remember("evidence", lambda: Evidence(work.snapshot, work.progress, models=models))
    return evidence


def clusters_key(work: Work) -> str:
    """Changes with the images' contents, and with the features that are compared."""
    return duplicates_fingerprint(work.snapshot.readable, _feature_settings(work))


def _feature_settings(work: Work) -> dict[str, object]:
    wanted = work.snapshot.config.audit
    settings = wanted.model_dump(mode="json", include={"backbone", "weights", "pixels"})
    if not is_local(wanted.weights):
        return settings
    # The content of a weights file counts, not where it lies; of one that is gone, what the audit says it was.
    digest = weights_digest(wanted.weights)
    if not digest and work.paths.audit_summary.is_file():
        digest = (work.snapshot.summary.get("features") or {}).get("weights", "")
    return {**settings, "weights": digest}


def has_clusters(work: Work, key: str) -> bool:
    """Whether the clusters of these images lie there."""
    return table_fingerprint(work.paths.clusters) == key


def make_clusters(work: Work, key: str) -> None:
    """Look for copies."""
    evidence = _evidence(work)
    clusters = find_duplicates(
        work.snapshot.readable,
        evidence.statistics.grey,
        evidence.features,
        neighbours=evidence.neighbours,
        colours=evidence.statistics.colours,
        load=evidence.pictures,
        sides_px=evidence.sides_px,
        progress=work.progress,
    )
    write_duplicates(work.paths.folder, clusters, fingerprint=key)
    work.snapshot.put(clusters_found=clusters)
    count = clusters["cluster_id"].nunique()
    found = f"{len(clusters):,} images in {count:,} clusters" if count else "none"
    work.progress.say(f"  copies and scenes: {found}")


def findings_key(work: Work) -> str:
    """Changes with any image, label, correction or setting that the findings follow from."""
    snapshot = work.snapshot
    config = snapshot.config
    key = audit_fingerprint(snapshot.corrected, config.audit, config.split, decisions=snapshot.decisions)
    return marked(fingerprint([key, work.key("clusters"), sorted(apart_ids(snapshot.decisions))]), snapshot.corrected)


def has_findings(work: Work, key: str) -> bool:
    """Whether the findings of these inputs lie there whole, with their spreadsheet and summary."""
    snapshot, paths = work.snapshot, work.paths
    if table_fingerprint(paths.findings) != key:
        return False
    try:
        sheet = paths.findings_csv.read_text(encoding="utf-8")
        return sheet == as_csv(snapshot.findings) and snapshot.summary.get("fingerprint") == key
    except (BestiaryError, OSError, UnicodeDecodeError):
        return False


def make_findings(work: Work, key: str) -> None:
    """Look for what is wrong with the data."""
    from bestiary.audit.run import Subject, run_audit

    start = time.perf_counter()
    snapshot, evidence = work.snapshot, _evidence(work)
    images, every = readable(snapshot.corrected), snapshot.readable
    rows = np.asarray(pd.Index(every["image_id"]).get_indexer(images["image_id"]), dtype=np.int64)
    features, whole = evidence.features, len(rows) == len(every)
    subject = Subject(
        index=snapshot.corrected,
        images=images,
        features=None if features is None else features[rows],
        neighbours=evidence.neighbours if whole else None,
        statistics=evidence.statistics.subset(rows),
        clusters=snapshot.clusters,
        decisions=snapshot.decisions,
    )
    audit = run_audit(subject, snapshot.config.audit, snapshot.config.split, progress=work.progress)
    write_findings(work.paths.folder, audit.findings, fingerprint=key)
    summary = {**audit.summary, "features": {**_feature_settings(work), **evidence.note}}
    write_summary(work.paths.folder, summary, fingerprint=key)
    snapshot.put(findings=audit.findings)
    seconds = time.perf_counter() - start
    work.progress.say(f"  audit in {seconds:.1f} s: {_counts(audit.findings)}")


def _counts(table: pd.DataFrame) -> str:
    counts = table["issue"].value_counts()
    if counts.empty:
        return "no finding"
    return ", ".join(f"{counts[issue]:,} {issue.replace('_', ' ')}" for issue in ISSUES if issue in counts)
