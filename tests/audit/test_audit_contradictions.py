"""What an audit states of made sets, drawn at random: no statement contradicts another, or a count."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bestiary.audit.gates import why_no_gain, why_no_outliers, why_no_shortcuts
from bestiary.audit.issues import ISSUES
from bestiary.audit.outliers import FEWEST_IMAGES
from bestiary.audit.quality.image_statistics import ImageStatistics
from bestiary.audit.quality.measures import COLUMNS
from bestiary.audit.run import Audit, Subject, run_audit
from bestiary.config.schema import AuditConfig, SplitConfig
from bestiary.evaluate.intervals import Interval
from bestiary.report.words.data_statements import statements_of

SIDES = ("train", "val", "test")
NAMES = ("ant", "bee", "cow", "dog")


def made(
    seed: int, sizes: list[int], *, spread: float, wrong: float, copied: float, scenes: bool, given: bool
) -> Subject:
    """Clouds of features, some labels wrong, some images copied once or twice, perhaps over given splits."""
    random = np.random.default_rng(seed)
    true = np.repeat(np.arange(len(sizes)), sizes)
    features = random.normal(size=(len(sizes), 12))[true] * 2 + random.normal(size=(len(true), 12)) * spread
    labels = np.where(random.random(len(true)) < wrong, random.integers(0, len(sizes), len(true)), true)
    copied_from = np.flatnonzero(random.random(len(true)) < copied)
    copied_from = np.concatenate([copied_from, copied_from[::3]])
    own = np.concatenate([np.arange(len(true)), copied_from])
    count = len(own)
    images = pd.DataFrame(
        {
            "image_id": [f"{number:020x}" for number in range(count)],
            "path": [f"{number}.jpg" for number in range(count)],
            "label": [NAMES[label] for label in labels[own]],
            "split_given": random.choice(SIDES, count) if given else "",
            "group_given": "",
            "width_px": 300,
            "height_px": 200,
            "mode": "RGB",
            "format": "JPEG",
            "bytes": 20_000 + random.integers(0, 2000, count),
            "sha256": [f"{number:064x}" for number in range(count)],
            "phash": "0" * 16,
            "error": "",
        }
    )
    together = pd.Series(own).duplicated(keep=False).to_numpy()
    clusters = pd.DataFrame(
        {
            "image_id": images["image_id"][together].to_numpy(),
            "cluster_id": [f"d{number}" for number in own[together]],
            "picture_id": [f"d{number}" for number in own[together]],
            "similarity": np.float32(0.97),
            "exact": False,
            "kind": np.where(scenes & (own[together] % 2 == 0), "same_scene", "same_picture"),
            "least": np.float32(0.83),
        }
    )
    values = pd.DataFrame(random.uniform(0.4, 0.6, (count, len(COLUMNS))), columns=list(COLUMNS))
    return Subject(
        index=images,
        images=images,
        features=(features[own] + random.normal(size=(count, 12)) * 0.01).astype(np.float32),
        neighbours=None,
        statistics=ImageStatistics(
            values.assign(aspect_ratio=2 / 3, size=245.0), np.zeros((count, 64, 64), np.uint8), 0, 0.0
        ),
        clusters=clusters,
    )


studies = st.builds(
    made,
    st.integers(0, 10_000),
    st.lists(st.integers(2, 60), min_size=2, max_size=4),
    spread=st.sampled_from([0.3, 1.0, 3.0]),
    wrong=st.sampled_from([0.0, 0.05, 0.3]),
    copied=st.sampled_from([0.0, 0.1, 0.6]),
    scenes=st.booleans(),
    given=st.booleans(),
)


def said(audit: Audit, accuracy: Interval) -> dict[str, str]:
    comparison = {"winner": "m", "models": [{"model": "m", "test": {"accuracy": accuracy.as_dict()}}]}
    sentences = statements_of(audit.summary, comparison=comparison, here="")
    return {sentence.topic: sentence.text.replace("\u00a0", " ") for sentence in sentences}


def number_before(words: str, text: str) -> int:
    found = re.search(rf"([\d,]+) {words}", text)
    return int(found.group(1).replace(",", "")) if found else 0


# An audit takes a second: a failure is reported as it is drawn.
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
@given(studies, st.floats(0.2, 1))
@pytest.mark.slow
def test_no_statement_contradicts_another_or_a_count(about: Subject, share: float) -> None:
    audit = run_audit(about, AuditConfig(), SplitConfig())
    accuracy = Interval(share, share - 0.05, min(share + 0.05, 1.0))
    table, summary, words = audit.findings, audit.summary, said(audit, accuracy)
    issues = table["issue"].value_counts()
    assert {issue: count["findings"] for issue, count in summary["counts"].items()} == issues.to_dict()

    # Labels: nothing is stated by a weak probe; what is stated agrees with the flags.
    labels = summary["labels"]
    if labels is not None:
        assert labels["flagged"] == issues.get("label_error", 0)
        if labels["noise_rate"] is None:
            assert labels["ceiling"] is None
            assert labels["reason"].replace("\u00a0", " ") in words["Wrong labels"]
            assert "An estimated" not in words["Wrong labels"]
        else:
            noise = labels["noise_rate"]
            assert sum(row["flagged"] for row in labels["classes"]) == labels["flagged"]
            assert labels["flagged"] <= math.ceil(noise["high"] * labels["judged"])
            assert labels["ceiling"]["value"] == 1 - noise["value"]
            assert labels["probe_skill"]["low"] > 0.5
            assert noise["low"] <= noise["value"] <= noise["high"]
            # No limit is stated that a model is above, nor one that it is near but does not reach.
            limit, text = labels["ceiling"], words["Wrong labels"]
            assert ("always right" in text) is (accuracy.low <= limit["high"])
            assert ("has reached this limit" in text) <= (limit["low"] <= share <= limit["high"])
            assert ("fixing labels" in text) <= (labels["flagged"] > 0)

    # Copies: the sentence, the counts, the findings and the clusters are one.
    sizes = about.clusters.groupby("kind")["cluster_id"].nunique()
    pictures, scenes = int(sizes.get("same_picture", 0)), int(sizes.get("same_scene", 0))
    duplicates = summary["duplicates"]
    assert (duplicates["clusters"], duplicates["scenes"]) == (pictures, scenes)
    assert issues.get("near_duplicate", 0) + issues.get("label_conflict", 0) == pictures
    assert issues.get("same_scene", 0) == scenes
    assert issues.get("leak", 0) == duplicates["across_given_splits"] + duplicates["scenes_across_given_splits"]
    assert duplicates["across_given_splits"] <= pictures
    assert duplicates["scenes_across_given_splits"] <= scenes
    assert ("No image is a copy" in words["Copies"]) is (pictures == 0)
    assert number_before("image", words["Copies"].partition(" copies of one another")[0]) == (
        duplicates["images"] if pictures else 0
    )

    # A plain split leaks where there are copies, and only there.
    leakage = summary["leakage"]
    assert leakage["leaked_images"] <= leakage["test_images"]
    assert (leakage["leaked_images"] == 0) or pictures + scenes > 0
    assert ("a linear probe has" in words["Random split"]) <= (not leakage["reason"])

    # Silence has its reason, and a reason silence.
    clusters = dict(zip(about.clusters["image_id"], about.clusters["cluster_id"], strict=True))
    groups = len({clusters.get(image_id, image_id) for image_id in about.images["image_id"]})
    silent = "outliers (" in words.get("Not checked", "")
    assert silent is (groups < FEWEST_IMAGES)
    assert not (silent and issues.get("outlier", 0))
    assert ("shortcuts (" in words.get("Not checked", "")) is (not summary["shortcuts"])
    assert set(issues.index) <= set(ISSUES)


def test_gates_open_where_there_is_enough() -> None:
    assert why_no_outliers(np.arange(30)) == ""
    assert why_no_outliers(np.arange(29)).startswith("outliers (29 images")
    assert why_no_outliers(np.zeros(100, np.int64)) != ""
    labels = pd.Series(["ant"] * 20 + ["bee"] * 20 + ["cow"] * 3)
    assert why_no_shortcuts(labels, np.arange(43)) == ""
    assert why_no_shortcuts(labels, np.minimum(np.arange(43), 38)) != ""
    good, weak = Interval(0.3, 0.1, 0.5), Interval(0.05, -0.1, 0.2)
    assert why_no_gain(good, 12.0) == ""
    assert why_no_gain(good, 0.0) == ""
    assert "too few" in why_no_gain(good, 2.4)
    assert "better than chance" in why_no_gain(weak, 12.0)
    assert "better than chance" in why_no_gain(None, 12.0)
