"""Keys hold what matters, no more."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.config.schema import StudyConfig
from bestiary.runs.keys import content_id, figures_key, fit_keys, weights_digest

SPLITS = ["train", "train", "val", "test", "test", ""]


def made_images() -> pd.DataFrame:
    ids = [f"{number:020x}" for number in range(5)] + [f"{0:020x}-1"]
    drawn = [*SPLITS[:5], "test"]
    return pd.DataFrame(
        {
            "image_id": ids, "path": [f"a/{i}.png" for i in ids],
            "label": list("aabbaa"), "label_given": list("aabbaa"),
            "split": SPLITS, "drawn": drawn, "group_id": ["g0", "g1", "g2", "g3", "g4", "g0"],
        }
    )  # fmt: skip


def keys(images: pd.DataFrame | None = None, *, device: str = "cpu", digest: str = "", **changes) -> dict[str, str]:
    models = {"one": {"backbone": "simple_cnn"} | changes, "two": {"backbone": "majority"}}
    config = StudyConfig.model_validate({"models": models, "device": device})
    return fit_keys(config, made_images() if images is None else images, digests={"one": digest, "two": ""})


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, "label", "b"), (2, "label", "a"), (1, "split", "val"), (2, "split", "")]
)
def test_labels_and_sides_of_train_and_val_change_every_run(row, column, value):
    images = made_images()
    images.loc[row, column] = value
    assert not set(keys().values()) & set(keys(images).values())


def test_another_device_changes_every_run():
    assert not set(keys().values()) & set(keys(device="auto").values())


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [(3, "label", "a"), (4, "split", ""), (0, "path", "b/renamed.png"), (0, "group_id", "other"), (3, "path", "x")],
)
def test_test_labels_drops_names_and_groups_change_no_run(row, column, value):
    images = made_images()
    images.loc[row, column] = value
    assert keys(images) == keys()


def test_another_test_image_changes_no_run():
    images = made_images()
    more = images.iloc[[3]].assign(image_id="f" * 20, path="new.png", group_id="g9")
    assert keys(pd.concat([images, more], ignore_index=True)) == keys()


@given(order=st.permutations(range(6)))
def test_the_order_of_the_files_changes_nothing(order):
    images = made_images().iloc[order]
    assert keys(images) == keys()
    assert figures_key("f", "l", images) == figures_key("f", "l", made_images())


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"epochs": 11}, {"augment": {"flip": True}}, {"class_weights": "balanced"}]
)
def test_a_models_own_config_changes_its_own_run_alone(change):
    change = change if "augment" not in change else change | {"trainable": "all"}
    before, after = keys(), keys(**change)
    assert before["one"] != after["one"]
    assert before["two"] == after["two"]


def test_a_local_weights_file_counts_by_its_content_and_not_by_its_place(tmp_path):
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")

    def key(path) -> str:
        return keys(backbone="resnet18", weights=str(path), digest=weights_digest(str(path)))["one"]

    before = key(first)
    assert key(second) == before
    first.write_bytes(b"other weights")
    assert key(first) != before


def test_copies_are_one_content():
    assert content_id("0123-1") == content_id("0123") == "0123"


@pytest.mark.parametrize(
    ("row", "column", "value", "changes"),
    [
        (3, "label", "a", True), (4, "split", "", True), (3, "label_given", "a", True), (4, "group_id", "g3", True),
        (0, "label", "b", False), (3, "path", "other", False), (3, "group_id", "another name", False),
    ],
)  # fmt: skip
def test_figures_follow_labels_drops_and_groups_of_what_is_scored(row, column, value, changes):
    images = made_images()
    images.loc[row, column] = value
    assert (figures_key("f", "l", images) != figures_key("f", "l", made_images())) == changes
