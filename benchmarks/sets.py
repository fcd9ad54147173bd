"""What the audit finds in sets of different kinds: planted copies, wrong labels and pictures of something else.

In: folders of images. Out: rows, for each set one drawing of what is planted.

- **copies**: as in `faults`: "one cluster" counts all clusters, "same picture" those that are called the same picture.
  A pair is right where its originals stand in one cluster of the set as it is, too; the note has the precision of pairs
  of one original alone. Sets that are alike throughout are drawn three times: thresholds were chosen on the first.
- **labels**: 5 % of the images are moved to another class. Recall and precision are of what the audit flags, behind its
  gates; the note has its precision at the number planted, and what it said where it was silent.
- **outliers**: 32 photos of other animals, in classes drawn at random, in two drawings. What else is flagged counts as
  a false alarm.
- **as it is**: what the audit finds in the set itself, in the note.
"""

import csv
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.planted import Planted, pairs_of, plant, same_photo
from benchmarks.rows import Row
from bestiary.audit.copies.clusters import find_duplicates
from bestiary.audit.copies.kinds_of_copies import SAME_PICTURE
from bestiary.audit.run import Audit, Subject, run_audit
from bestiary.config.schema import AuditConfig, DataConfig, ModelConfig, SplitConfig, StudyConfig
from bestiary.data.index import build_index
from bestiary.progress import SILENT
from bestiary.snapshot import Snapshot
from bestiary.study.evidence import Evidence

SEED = 101
OTHERS = ("flowers", "waste", "tiles", "camera-trap")
# Of the sets that are alike throughout.
_FURTHER_SEEDS, _ALIKE = (207, 311), ("tiles", "camera-trap")
_SWAPPED, _STRANGERS = 0.05, 32


def evidence_of(folder: Path) -> Evidence:
    """What the audit measures of a folder of class folders."""
    config = StudyConfig(data=DataConfig(path=str(folder)), models={"majority": ModelConfig(backbone="majority")})
    snapshot = Snapshot(folder, config)
    snapshot.put(index=build_index(config.data))
    return Evidence(snapshot, SILENT)


def clusters_of(evidence: Evidence) -> pd.DataFrame:
    """The clusters of copies, as a study finds them, with `path`."""
    statistics = evidence.statistics
    table = find_duplicates(
        evidence.images,
        statistics.grey,
        evidence.features,
        colours=statistics.colours,
        load=evidence.pictures,
        sides_px=evidence.sides_px,
    )
    return table.merge(evidence.images[["image_id", "path"]], on="image_id")


def rows_of(data: Path, place: Path) -> Iterator[Row]:
    """The rows of one set.

    Args:
        data: a folder of class folders, or one with a `labels.csv` of `path` and `label`.
        place: an empty folder to work in.
    """
    name = data.name
    if (data / "labels.csv").exists():
        data = _in_class_folders(data, place / name)
    yield _as_it_is(name, audited(data)[0])
    for seed in (SEED, *(_FURTHER_SEEDS if name in _ALIKE else ())):
        folder = place / f"copies-{seed}"
        drawing = "" if seed == SEED else f", drawing {seed}"
        yield from _copies(f"{name} copies{drawing}", data, folder, plant(data, folder, seed=seed))
    yield _labels(name, place / "swaps", plant(data, place / "swaps", seed=SEED, copy_share=0, swap_share=_SWAPPED))
    strangers = data.parent / "unknown-animals"
    if "animals" in name and strangers.exists():
        for seed in (SEED, SEED + 1):
            yield _outliers(name, data, place / f"strangers-{seed}", strangers, seed)


def audited(folder: Path) -> tuple[Audit, Evidence]:
    """The audit of a folder of class folders."""
    evidence = evidence_of(folder)
    clusters = clusters_of(evidence).drop(columns="path")
    images = evidence.images.reset_index(drop=True)
    subject = Subject(images, images, evidence.features, None, evidence.statistics, clusters)
    return run_audit(subject, AuditConfig(), SplitConfig()), evidence


def _in_class_folders(data: Path, folder: Path) -> Path:
    with (data / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            target = folder / row["label"] / row["path"].replace("/", "_")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / row["path"], target)
    return folder


def _as_it_is(name: str, audit: Audit) -> Row:
    counts = ", ".join(f"{issue} {count['findings']}" for issue, count in audit.summary["counts"].items())
    labels = audit.summary["labels"] or {}
    rate = labels.get("noise_rate")
    said = f"noise {rate['low']:.3f} to {rate['high']:.3f}" if rate else "noise not stated"
    return Row(f"{name} as it is", "the audit of the set itself", note=f"{counts or 'no findings'}; {said}")


def _copies(name: str, data: Path, folder: Path, planted: Planted) -> Iterator[Row]:
    known = pairs_of(clusters_of(evidence_of(data)).groupby("cluster_id")["path"].apply(list))
    clusters = clusters_of(evidence_of(folder))
    pictures = clusters[clusters["kind"] == SAME_PICTURE]
    for kind, some, name_of in (("one cluster", clusters, "cluster_id"), ("same picture", pictures, "picture_id")):
        pairs = pairs_of(some.groupby(name_of)["path"].apply(list))
        recall = np.mean([frozenset((copy, source)) in pairs for copy, (_, source) in planted.copies.items()])
        due = [pair for pair in pairs if pair & set(planted.copies)]
        right = [same_photo(pair, planted, known) for pair in due]
        strictly = [same_photo(pair, planted, set()) for pair in due]
        yield Row(
            f"{name}, {kind}",
            "planted copies",
            repeats=1,
            recall=float(recall),
            precision=float(np.mean(right)) if right else None,
            note=f"{len(planted.copies)} planted"
            + (f"; precision {np.mean(strictly):.3f} by one original alone" if due else ""),
        )


def _labels(name: str, folder: Path, planted: Planted) -> Row:
    audit, _ = audited(folder)
    errors = audit.findings[audit.findings["issue"] == "label_error"]
    hits = errors["path"].isin(planted.labels)
    wanted = len(planted.labels)
    note = f"{wanted} planted; precision at the number planted {hits.head(wanted).sum() / wanted:.2f}"
    reason = (audit.summary["labels"] or {}).get("reason")
    return Row(
        f"{name} labels",
        "5 % of the labels swapped",
        repeats=1,
        recall=float(hits.sum() / wanted),
        precision=float(hits.mean()) if len(errors) else None,
        note=note + (f". {reason}" if reason else ""),
    )


def _outliers(name: str, data: Path, folder: Path, strangers: Path, seed: int) -> Row:
    draw = random.Random(seed)  # noqa: S311 - nothing secret
    shutil.copytree(data, folder, copy_function=shutil.copyfile)
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in classes:
        path.chmod(0o755)
    files = sorted(path for path in strangers.rglob("*") if path.is_file())
    for number, file in enumerate(draw.sample(files, _STRANGERS)):
        shutil.copyfile(file, draw.choice(classes) / f"planted-{number}{file.suffix}")
    audit, _ = audited(folder)
    found = audit.findings[audit.findings["issue"] == "outlier"]["path"].str.contains("planted-")
    return Row(
        f"{name} outliers, drawing {seed}",
        f"{_STRANGERS} photos of other animals",
        repeats=1,
        recall=float(found.sum() / _STRANGERS),
        precision=float(found.mean()) if len(found) else None,
        note=f"{int((~found).sum())} others flagged",
    )
