"""Doubted labels leave the training side, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bestiary.config.parsing import parse_config
from bestiary.errors import ConfigError
from bestiary.runs.doubted import without_doubted
from bestiary.runs.keys import fit_keys

FINDINGS = ["issue", "severity", "image_id"]


def images(count: int = 12) -> pd.DataFrame:
    sides = ["train", "train", "val", "test"]
    return pd.DataFrame(
        {
            "image_id": [f"id{number}" for number in range(count)],
            "label": ["cat", "dog"] * (count // 2),
            "split": [sides[number // 2 % 4] for number in range(count)],
            "group_id": range(count),
        }
    )


def findings(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=FINDINGS)


def test_only_urgent_label_errors_of_train_are_left_out():
    rows = images()
    train = rows.loc[rows["split"] == "train", "image_id"].tolist()
    other = rows.loc[rows["split"] == "test", "image_id"].tolist()
    found = findings(
        ("label_error", "high", train[0]), ("label_error", "medium", train[1]), ("outlier", "high", train[2]),
        ("label_error", "high", other[0]),
    )  # fmt: skip
    after = without_doubted(rows, found)
    assert after["image_id"].tolist() == rows["image_id"].tolist()
    changed = rows["image_id"][after["split"] != rows["split"]].tolist()
    assert changed == [train[0]]
    assert after.loc[after["image_id"] == train[0], "split"].item() == ""


def test_a_class_that_would_lose_half_of_its_images_keeps_them_all():
    rows = images()
    cats = rows.loc[(rows["split"] == "train") & (rows["label"] == "cat"), "image_id"].tolist()
    dogs = rows.loc[(rows["split"] == "train") & (rows["label"] == "dog"), "image_id"].tolist()
    doubted = [("label_error", "high", name) for name in (*cats[: len(cats) // 2 + 1], dogs[0])]
    after = without_doubted(rows, findings(*doubted))
    assert rows["image_id"][after["split"] != rows["split"]].tolist() == [dogs[0]]


def test_weights_depend_on_what_is_left_out_and_on_no_other_finding():
    config = parse_config({"models": {"a": {"backbone": "tf_efficientnet_lite0"}}}, origin="test")
    rows = images()
    train = rows.loc[rows["split"] == "train", "image_id"].tolist()

    def key(*found: tuple[str, str, str]) -> str:
        return fit_keys(config, without_doubted(rows, findings(*found)), digests={"a": ""})["a"]

    plain = key()
    assert key(("outlier", "high", train[0])) == plain
    assert key(("label_error", "high", rows.loc[rows["split"] == "val", "image_id"].iloc[0])) == plain
    assert key(("label_error", "high", train[0])) != plain


@pytest.mark.parametrize("audit", [{"enabled": False}, {"backbone": "none"}])
def test_without_an_audit_of_labels_nothing_can_be_left_out(audit):
    values = {
        "audit": audit, "split": {"group_duplicates": "exact"}, "train": {"doubted_labels": "leave_out"},
        "models": {"a": {"backbone": "majority"}},
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"needs an audit that looks for wrong labels"):
        parse_config(values, origin="test")


def test_a_study_leaves_out_what_its_audit_doubts(tmp_path: Path, make_shapes: Callable[..., Path]) -> None:
    from bestiary import Study

    photos = make_shapes(tmp_path / "photos", each=24)
    for number in (3, 9):
        (photos / "bar" / f"{number:03d}.png").rename(photos / "disc" / f"x{number}.png")
    config = {
        "audit": {"backbone": "tf_efficientnet_lite0", "pixels": {"size_px": 96}},
        "train": {"doubted_labels": "leave_out"},
        "models": {"probe": {"backbone": "tf_efficientnet_lite0", "pixels": {"size_px": 96}}},
    }
    study = Study.create(photos, tmp_path / "study", config=config)
    study.run()
    found = study.findings
    doubted = set(found.loc[(found["issue"] == "label_error") & (found["severity"] == "high"), "image_id"])
    rows = study.images
    train = rows[rows["split"] == "train"]
    left_out = len(train[train["image_id"].isin(doubted)])
    assert left_out, "something to leave out"
    on = study.read_run("probe").fit["choices"]["chosen_on"]
    assert on["images"] == len(train) - left_out
