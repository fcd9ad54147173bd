"""The audit as a whole: the same subject gives the same findings, whatever runs beside it; the summary speaks JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from bestiary.audit.quality.image_statistics import ImageStatistics
from bestiary.audit.quality.measures import COLUMNS
from bestiary.audit.run import Subject, run_audit
from bestiary.audit.summary import read_summary, write_summary
from bestiary.config.schema import AuditConfig, SplitConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.errors import BestiaryError

CLASSES, EACH = ("ant", "bee", "wasp"), 30


def subject(
    *, decisions: Mapping[str, Correction] = MappingProxyType({}), features: bool = True, wrong: int = 4
) -> Subject:
    """Three clouds of features; the first images of "ant" are bees; one file cannot be read."""
    random = np.random.default_rng(0)
    count = len(CLASSES) * EACH
    seen = np.repeat(np.arange(3), EACH)
    labels = seen.copy()
    labels[EACH : EACH + wrong] = 0
    centres = random.normal(size=(3, 24)) * 3
    images = pd.DataFrame(
        {
            "image_id": [f"{number:020x}" for number in range(count)],
            "path": [f"{CLASSES[label]}/{number}.jpg" for number, label in enumerate(labels)],
            "label": [CLASSES[label] for label in labels],
            "split_given": "",
            "group_given": "",
            "width_px": 300,
            "height_px": 200,
            "mode": "RGB",
            "format": "JPEG",
            "bytes": 20_000 + random.integers(0, 2000, count),
            "sha256": [f"{number:064x}" for number in range(count)],
            "phash": [f"{value:016x}" for value in random.integers(0, 2**63, count)],
            "error": "",
        }
    )
    unread = images.iloc[[0]].assign(image_id="x", path="ant/cut.jpg", error="truncated image")
    values = pd.DataFrame(random.uniform(0.4, 0.6, (count, len(COLUMNS))), columns=list(COLUMNS))
    values = values.assign(aspect_ratio=200 / 300, size=np.sqrt(300 * 200))
    grey = random.integers(0, 255, (count, 64, 64)).astype(np.uint8)
    return Subject(
        index=pd.concat([images, unread], ignore_index=True),
        images=images,
        features=(centres[seen] + random.normal(size=(count, 24))).astype(np.float32) if features else None,
        neighbours=None,
        statistics=ImageStatistics(values, grey, 0, 0.0),
        clusters=pd.DataFrame(columns=["image_id", "cluster_id", "picture_id", "similarity", "exact", "kind", "least"]),
        decisions=decisions,
    )


def audited(about: Subject) -> tuple[pd.DataFrame, dict[str, object]]:
    audit = run_audit(about, AuditConfig(), SplitConfig())
    return audit.findings, {key: value for key, value in audit.summary.items() if key != "seconds"}


@pytest.mark.slow
def test_the_same_subject_gives_the_same_findings() -> None:
    (first, summary), (second, again) = audited(subject()), audited(subject())
    pd.testing.assert_frame_equal(first, second)
    assert json.dumps(summary, default=str) == json.dumps(again, default=str)


def test_wrong_labels_and_unreadable_files_are_found_and_counted() -> None:
    table, summary = audited(subject())
    errors = table[table["issue"] == "label_error"]
    assert set(errors["path"]) == {f"ant/{number}.jpg" for number in range(EACH, EACH + 4)}
    assert set(errors["suggestion"]) == {"bee"}
    assert table[table["issue"] == "unreadable"]["path"].tolist() == ["ant/cut.jpg"]
    counts = {issue: count["findings"] for issue, count in summary["counts"].items()}
    assert counts == table["issue"].value_counts().to_dict()
    assert summary["labels"]["flagged"] == 4
    noise = summary["labels"]["noise_rate"]
    assert noise["low"] <= 4 / 90 <= noise["high"]
    assert summary["labels"]["ceiling"]["value"] == pytest.approx(1 - noise["value"])


@pytest.mark.slow
def test_what_was_kept_is_gone_and_nothing_else() -> None:
    table, _ = audited(subject())
    kept = table[table["issue"] == "label_error"]["image_id"].iloc[0]
    later, _ = audited(subject(decisions={kept: Correction(kept, "", "keep")}))
    assert kept not in set(later["image_id"])
    assert set(table["image_id"]) - set(later["image_id"]) == {kept}


def test_without_features_labels_are_not_judged() -> None:
    table, summary = audited(subject(features=False))
    assert not set(table["issue"]) & {"label_error", "outlier"}
    assert summary["labels"] is None
    assert summary["leakage"] is None
    assert table["issue"].tolist().count("unreadable") == 1


def test_a_summary_comes_back_and_figures_that_are_none_are_null(tmp_path: Path) -> None:
    audit = run_audit(subject(), AuditConfig(), SplitConfig())
    write_summary(tmp_path, {**audit.summary, "odd": [float("nan"), np.float32(0.5)]}, fingerprint="k")
    back = read_summary(tmp_path)
    assert back["odd"] == [None, 0.5]
    assert back["labels"]["flagged"] == 4
    assert back["fingerprint"] == "k"
    (tmp_path / "audit.json").write_text("[1", encoding="utf-8")
    with pytest.raises(BestiaryError, match=r"audit\.json"):
        read_summary(tmp_path)
