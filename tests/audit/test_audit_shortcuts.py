"""Shortcuts: planted ones are found and named, and labels that mean nothing give chance."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bestiary.audit import shortcuts as shortcuts_module
from bestiary.audit.findings import Finding, findings_table
from bestiary.audit.quality.image_statistics import ImageStatistics, measure_images
from bestiary.audit.quality.measures import COLUMNS
from bestiary.audit.shortcuts import FAMILIES, FEWEST, find_shortcuts
from bestiary.data.index import class_names
from tests.audit.made_photos import framed, photo, saved, scaled

NAMES = ["ape", "bee", "cod", "doe"]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """As good for what is planted here, in a quarter of the time."""
    monkeypatch.setattr(shortcuts_module, "_TREES", 15)


def made(count: int = 400, seed: int = 0) -> tuple[pd.DataFrame, ImageStatistics]:
    """Index rows and statistics whose numbers have nothing to do with the classes."""
    random = np.random.default_rng(seed)
    width = random.choice([300, 300, 300, 225, 640], count)
    height = random.integers(150, 320, count)
    images = pd.DataFrame(
        {
            "image_id": [f"{number:020x}" for number in range(count)],
            "path": [f"{number}.jpg" for number in range(count)],
            "label": np.resize(NAMES, count),
            "width_px": width,
            "height_px": height,
            "mode": random.choice(["RGB", "RGB", "RGB", "L"], count),
            "format": random.choice(["JPEG", "JPEG", "PNG"], count),
            "bytes": width * height * random.uniform(0.1, 0.4, count),
        }
    )
    values = pd.DataFrame(random.uniform(0.2, 0.8, (count, len(COLUMNS))), columns=list(COLUMNS))
    values["size"] = np.sqrt(width * height)
    return images, ImageStatistics(values, np.zeros((count, 64, 64), np.uint8), 0, 0.0)


def found_in(
    images: pd.DataFrame, statistics: ImageStatistics, groups: np.ndarray | None = None
) -> tuple[list[Finding], list[dict]]:
    groups = np.arange(len(images)) if groups is None else groups
    return find_shortcuts(images, statistics, groups, class_names=class_names_of(images), seed=0)


def class_names_of(images: pd.DataFrame) -> list[str]:
    return sorted(images["label"].unique())


def test_labels_that_mean_nothing_give_chance_and_no_finding() -> None:
    findings, summary = found_in(*made(1200))
    assert findings == []
    assert tuple(row["family"] for row in summary) == FAMILIES
    for row in summary:
        assert (row["chance"], row["images"]) == (0.25, 1200)
        assert row["low"] <= row["balanced_accuracy"] <= row["high"]
        assert abs(row["balanced_accuracy"] - 0.25) < 0.06
        assert sorted(row["per_class"]) == NAMES
        assert all(abs(area - 0.5) < 0.09 for area in row["per_class"].values())


@pytest.mark.parametrize("family", ["size", "format", "brightness", "borders"])
def test_planted_shortcut_is_found_in_its_family_and_class_alone(family: str) -> None:
    images, statistics = made()
    own = images["label"] == "cod"
    if family == "size":
        images["bytes"] *= np.where(own, 500 / images["width_px"], 1)
        images.loc[own, "width_px"] = 500
    elif family == "format":
        images["format"], images.loc[own, "format"] = "JPEG", "PNG"
    elif family == "brightness":
        statistics.values.loc[own, "brightness"] *= 0.1
    else:
        statistics.values.loc[own, "border_top"] = 0.05
    findings, summary = found_in(images, statistics)
    (finding,) = findings
    assert (finding.issue, finding.label, finding.severity, finding.action) == ("shortcut", "cod", "high", "check")
    assert (finding.image_id, finding.path) == ("", "")
    assert f"by {family} alone" in finding.reason
    areas = {row["family"]: row["per_class"]["cod"] for row in summary}
    assert areas[family] > 0.99
    assert areas["all"] > 0.95
    assert all(area < 0.7 for name, area in areas.items() if name not in (family, "all"))
    assert findings_table(findings)["finding_id"].is_unique


def test_shortcut_of_two_families_together_is_reported_as_such() -> None:
    """`ape` has an odd product of two coins, one in the format and one in the borders: neither alone tells it."""
    images, statistics = made(1600)
    random = np.random.default_rng(5)
    ape, coin = (images["label"] == "ape").to_numpy(), random.random(len(images)) < 0.5
    images["format"] = np.where(coin, "PNG", "JPEG")
    statistics.values["border_top"] = np.where(ape ^ coin, 0.9, 0.0)
    findings, _ = found_in(images, statistics)
    assert [finding.label for finding in findings] == ["ape"]
    assert "together" in findings[0].reason


def test_copies_do_not_pass_for_a_shortcut() -> None:
    """Forty images four times each: by heart their class is known, without their copies it is not."""
    images, statistics = made(100)
    four = np.tile(np.arange(100), 4)
    images, statistics = (
        images.iloc[four].reset_index(drop=True),
        ImageStatistics(statistics.values.iloc[four].reset_index(drop=True), statistics.grey[four], 0, 0.0),
    )
    learned, _ = found_in(images, statistics)
    assert {finding.label for finding in learned} == set(NAMES)
    assert found_in(images, statistics, four)[0] == []


def test_same_seed_same_result() -> None:
    images, statistics = made()
    assert found_in(images, statistics) == found_in(images, statistics)


def test_classes_with_too_few_images_are_left_out() -> None:
    images, statistics = made()
    few = np.flatnonzero(images["label"] == "doe")[: FEWEST - 1]
    images.loc[(images["label"] == "doe") & ~images.index.isin(few), "label"] = "bee"
    _, summary = found_in(images, statistics)
    assert sorted(summary[0]["per_class"]) == ["ape", "bee", "cod"]
    assert summary[0]["images"] == 400 - len(few)
    one_group = np.where(images["label"] == "ape", 0, np.arange(400))
    assert sorted(found_in(images, statistics, one_group)[1][0]["per_class"]) == ["bee", "cod"]


def test_fewer_than_two_classes_give_nothing() -> None:
    images, statistics = made()
    assert found_in(images.assign(label="ape"), statistics) == ([], [])
    assert found_in(images.iloc[:0], ImageStatistics(statistics.values.iloc[:0], statistics.grey[:0], 0, 0.0)) == (
        [],
        [],
    )


def test_of_very_many_images_a_sample_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts_module, "MOST_IMAGES", 200)
    images, statistics = made()
    images.loc[images["label"] == "bee", "width_px"] = 500
    findings, summary = found_in(images, statistics)
    assert [finding.label for finding in findings] == ["bee"]
    assert {row["images"] for row in summary} == {200}


def test_area_and_its_interval_cover_the_truth() -> None:
    """Of two normal distributions 1 apart the area is Phi(1 / sqrt 2) = 0.760."""
    random, hits = np.random.default_rng(0), 0
    for _ in range(200):
        scores = np.concatenate([random.normal(1, 1, 40), random.normal(0, 1, 120)])
        found = shortcuts_module._area("size", scores, np.arange(160) < 40, 40, 160)
        assert found.low <= found.area <= found.high
        hits += found.low <= 0.7602 <= found.high
    assert 0.90 <= hits / 200 <= 0.99


@pytest.mark.parametrize(
    ("family", "spoil"),
    [
        ("borders", lambda picture: framed(picture, 4)),
        ("brightness", lambda picture: scaled(picture, 0.5)),
        ("size", lambda picture: picture.resize((128, 96))),
    ],
)
@pytest.mark.slow
def test_shortcut_in_files_is_found(tmp_path: Path, family: str, spoil: object) -> None:
    pictures = {
        f"{'cat' if number % 3 else 'dog'}/{number}.jpg": photo(number, (110 + number % 7, 90)) for number in range(90)
    }
    assert callable(spoil)
    pictures |= {path: spoil(picture) for path, picture in pictures.items() if path.startswith("dog")}
    images = saved(tmp_path, pictures)
    statistics = measure_images(images, tmp_path)
    findings, summary = find_shortcuts(images, statistics, np.arange(90), class_names=class_names(images), seed=0)
    assert {finding.label for finding in findings} == {"cat", "dog"}
    assert next(row for row in summary if row["family"] == family)["per_class"]["dog"] > 0.95
