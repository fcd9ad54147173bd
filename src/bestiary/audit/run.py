"""The audit: all parts in order → the findings of a data set, and their summary.

In: the index as found and with corrections, features, image statistics, clusters of copies. Out: a table of findings
and a summary (`summary` keeps it).

Copies are looked for among all readable images, dropped ones included, since the split is drawn over them. Everything
else is asked of the images that are left, with their corrected labels.
"""

import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from bestiary.audit.answers import Decisions, answered, asked_about, is_answered
from bestiary.audit.balance import find_imbalance, find_rare
from bestiary.audit.class_names import find_similar_names
from bestiary.audit.copies.clusters import duplicate_groups
from bestiary.audit.copies.copy_findings import copy_findings, count_copies
from bestiary.audit.findings import Finding, findings_table
from bestiary.audit.gates import why_no_gain, why_no_outliers, why_no_shortcuts
from bestiary.audit.issues import ISSUES, is_about_copies
from bestiary.audit.labels.gate import SMALL_NOISE, probe_skill, why_noise_is_not_stated, why_not_judged
from bestiary.audit.labels.label_errors import ceiling, class_quality, find_label_errors, noise_rate
from bestiary.audit.labels.out_of_fold import FOLDS_C, FREER_C, OutOfFold, out_of_fold_probabilities
from bestiary.audit.leakage import measure_leakage
from bestiary.audit.neighbours import Features, Neighbours, nearest
from bestiary.audit.outliers import find_outliers
from bestiary.audit.quality.image_statistics import ImageStatistics
from bestiary.audit.quality.quality_issues import find_quality_issues
from bestiary.audit.shortcuts import find_shortcuts
from bestiary.audit.unread_files import find_unread
from bestiary.config.schema import AuditConfig, SplitConfig
from bestiary.data.groups import group_ids
from bestiary.evaluate.intervals import Interval
from bestiary.progress import SILENT, Progress


@dataclass(frozen=True)
class Audit:
    """What the audit came to: `findings` (see `findings`) and `summary` (see ARCHITECTURE.md, "audit.json")."""

    findings: pd.DataFrame
    summary: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What is audited.

    Attributes:
        index: all files, with corrections.
        images: the readable ones that were not dropped; RangeIndex.
        features: `(n, d) float32`, in the order of `images`; without them no labels, outliers and leaks are judged.
        neighbours: of the features; found here where they are not given.
        statistics: in the order of `images`.
        clusters: of copies, see `copies.clusters`; they may name dropped images too.
        decisions: corrections by image id; what they answer is not reported again (see `answers`).
    """

    index: pd.DataFrame
    images: pd.DataFrame
    features: Features | None
    neighbours: Neighbours | None
    statistics: ImageStatistics
    clusters: pd.DataFrame
    decisions: Decisions = field(default_factory=dict)


def run_audit(subject: Subject, config: AuditConfig, split: SplitConfig, *, progress: Progress = SILENT) -> Audit:
    """Look for everything that may be wrong.

    The same subject and config give the same findings.

    Args:
        subject: what is audited.
        config: folds and seed.
        split: the share of test images that leaks are measured with, and whether splits that came with the data hold.
        progress: shows the slow parts.
    """
    clock = _Clock()
    images = subject.images
    class_names = sorted(set(images["label"]))
    groups = image_groups(images, subject.clusters)
    found = [*find_unread(subject.index), *find_rare(subject.index), *find_similar_names(images["label"])]
    with clock.part("copies"):
        found += copy_findings(images, subject.clusters, use_given=split.use_given)
    seen = None if subject.features is None else _Seen(subject, subject.features, groups, class_names)
    summary: dict[str, Any] = {"labels": None, "leakage": None}
    # Parts run on one thread; half of the work runs beside the other half. One limit around all: each part's own would
    # put back what it found, which may be another's.
    with _expected_warnings_hidden(), ThreadPoolExecutor(1) as beside, threadpool_limits(1):
        shortcuts = beside.submit(
            find_shortcuts,
            images,
            subject.statistics,
            groups,
            class_names=class_names,
            seed=config.seed,
        )
        kept_outliers, odd = answered(subject.decisions, "outlier"), list[Finding]()
        outliers = None if seen is None else beside.submit(_find_outliers, seen, kept_outliers)
        with clock.part("quality"):
            found += find_quality_issues(images, subject.statistics)
            found += find_imbalance(images, class_names)
        if seen is not None:
            with clock.part("labels"):
                kept = answered(subject.decisions, "label_error")
                errors, summary["labels"] = _judge_labels(seen, config, kept=kept, progress=progress)
                found += errors
            with clock.part("leakage"):
                summary["leakage"] = measure_leakage(
                    seen.features,
                    seen.labels,
                    duplicate_groups(subject.clusters, images["image_id"]),
                    class_count=len(class_names),
                    test_fraction=split.test_fraction,
                    seed=config.seed,
                    progress=progress,
                ).as_dict()
                summary["leakage"]["reason"] = _why_no_gain(summary)
        with clock.part("outliers"):
            # What has not begun beside is done here.
            if seen is not None and outliers is not None:
                odd = _find_outliers(seen, kept_outliers) if outliers.cancel() else outliers.result()
        with clock.part("shortcuts"):
            given_away, summary["shortcuts"] = shortcuts.result()
            found += given_away
        found += odd
    reasons = [why_no_shortcuts(images["label"], groups), "" if seen is None else why_no_outliers(groups)]
    summary["not_checked"] = [reason for reason in reasons if reason]
    table = findings_table(
        (finding for finding in found if not _is_answered(finding, subject.decisions)),
        class_sizes=images["label"].value_counts().to_dict(),
    )
    summary |= {
        "images": len(images),
        "classes": len(class_names),
        "counts": _counts(table),
        "duplicates": {
            **count_copies(images, subject.clusters, use_given=split.use_given),
            "across_classes": sum(finding.issue == "label_conflict" for finding in found),
        },
        "seconds": clock.seconds,
    }
    return Audit(table, summary)


def _why_no_gain(summary: dict[str, Any]) -> str:
    labels, leaked_images = summary["labels"], summary["leakage"]["leaked_images"]
    return why_no_gain(Interval(**labels["probe_skill"]) if labels else None, leaked_images)


class _Seen:
    """Images as a frozen backbone sees them, with class numbers and nearest neighbours."""

    def __init__(
        self,
        subject: Subject,
        features: Features,
        groups: npt.NDArray[np.int64],
        class_names: list[str],
    ) -> None:
        self.images, self.features, self.groups, self.class_names = subject.images, features, groups, class_names
        self.labels = pd.Categorical(self.images["label"], categories=class_names).codes.astype(np.int64)
        self.neighbours = subject.neighbours or nearest(features)


def _find_outliers(seen: _Seen, kept: frozenset[str]) -> list[Finding]:
    return find_outliers(
        seen.images, seen.features, seen.neighbours, seen.groups, class_names=seen.class_names, kept=kept
    )


def _judge_labels(
    seen: _Seen, config: AuditConfig, *, kept: frozenset[str], progress: Progress
) -> tuple[list[Finding], dict[str, Any] | None]:
    """Likely label errors, and what is to be said of the labels as a whole; None where none could be judged."""
    judged, rate = _probes(seen, config, kept=kept, progress=progress)
    if not judged.judged.any():
        return [], None
    at = judged.judged
    skill = probe_skill(seen.labels[at], judged.probabilities[at], seen.groups[at], seed=config.seed)
    confirmed = _confirmed(seen, judged, kept)
    summary: dict[str, Any] = {
        "judged": int(at.sum()),
        "confirmed": int(confirmed.sum()),
        "probe_accuracy": judged.accuracy,
        "probe_skill": skill.as_dict(),
        "flagged": 0,
        "noise_rate": None,
        "ceiling": None,
        "classes": [],
    }
    if reason := why_not_judged(skill, len(np.unique(seen.labels[at]))):
        return [], summary | {"reason": reason}
    errors = find_label_errors(
        seen.images, judged.probabilities, seen.neighbours, class_names=seen.class_names, judged=at, kept=kept
    )
    # No more than the estimate of wrong labels supports.
    errors = errors[: math.ceil(rate.high * int(at.sum()))]
    summary["flagged"] = len(errors)
    if reason := why_noise_is_not_stated(rate, judged.accuracy):
        # Much of what such a probe doubts is its own error: nothing of it is urgent.
        errors = [replace(error, severity="medium") if error.severity == "high" else error for error in errors]
        return errors, summary | {"reason": reason}
    classes = class_quality(seen.labels, judged.probabilities, at, confirmed=confirmed, class_names=seen.class_names)
    flagged = Counter(error.label for error in errors)
    return errors, summary | {
        "reason": "",
        "noise_rate": rate.as_dict(),
        "ceiling": ceiling(rate).as_dict(),
        "classes": [{**row, "flagged": flagged[row["label"]]} for row in classes.to_dict("records")],
    }


def _probes(
    seen: _Seen, config: AuditConfig, *, kept: frozenset[str], progress: Progress
) -> tuple[OutOfFold, Interval]:
    """Out-of-fold probes, and the noise rate by them.

    Where many labels seem wrong, probes that are held back less are tried too, and those that are right more often
    judge: of many classes with few images each, strong penalties make probes miss what is easy to see.
    """
    judged, rate = _probed(seen, config, FOLDS_C, kept=kept, progress=progress)
    if rate.value > SMALL_NOISE:
        freer, its_rate = _probed(seen, config, FREER_C, kept=kept, progress=progress)
        if freer.accuracy > judged.accuracy and its_rate.value < rate.value:
            return freer, its_rate
    return judged, rate


def _probed(
    seen: _Seen, config: AuditConfig, c: float, *, kept: frozenset[str], progress: Progress
) -> tuple[OutOfFold, Interval]:
    judged = out_of_fold_probabilities(
        seen.features,
        seen.labels,
        seen.groups,
        class_count=len(seen.class_names),
        folds=config.folds,
        seed=config.seed,
        c=c,
        progress=progress,
    )
    confirmed = _confirmed(seen, judged, kept)
    rate = noise_rate(
        seen.labels, judged.probabilities, seen.groups, judged.judged, confirmed=confirmed, seed=config.seed
    )
    return judged, rate


def _confirmed(seen: _Seen, judged: OutOfFold, kept: frozenset[str]) -> npt.NDArray[np.bool_]:
    return np.asarray(seen.images["image_id"].isin(kept).to_numpy() & judged.judged)


def image_groups(images: pd.DataFrame, clusters: pd.DataFrame) -> npt.NDArray[np.int64]:
    """What must not part: copies, and images of one value of the group column: `(n,) int64`."""
    return group_ids(images, duplicates=duplicate_groups(clusters, images["image_id"]))


def _is_answered(finding: Finding, decisions: Decisions) -> bool:
    return is_answered(finding.issue, asked_about(finding.issue, finding.image_id, finding.related), decisions)


@contextmanager
def _expected_warnings_hidden() -> Iterator[None]:
    """Hides what libraries say of small classes.

    Filters belong to the whole process: they are changed here, before threads start and after they end, and nowhere
    inside a part.
    """
    with warnings.catch_warnings():
        # scikit-learn and cleanlab, of classes that `OutOfFold.judged` speaks of.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        warnings.filterwarnings("ignore", message="May not flag all label issues", category=UserWarning)
        yield


def _counts(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = {}
    for issue, rows in table.groupby("issue", sort=False):
        images = set(rows["image_id"]) - {""}
        if is_about_copies(str(issue)):
            images = images.union(*rows["related"])
        # Of files that one finding names, the table has the number alone.
        about = int(rows["images"].sum()) if ISSUES[str(issue)].about == "file" else len(images)
        counts[str(issue)] = {"findings": len(rows), "images": about}
    return counts


class _Clock:
    """Seconds by part; of one that ran beside others, what it was waited for."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
