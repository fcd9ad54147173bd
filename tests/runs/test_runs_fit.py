"""One config → one run: it learns, it is honest about test, and it can be done again."""

import inspect
import json
import socket
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from scipy.stats import binom

from bestiary.config.schema import StudyConfig
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.overlay import corrected
from bestiary.data.index import build_index, class_names
from bestiary.data.splits import split_images, without
from bestiary.errors import BestiaryError
from bestiary.models import gradients, learners
from bestiary.runs import record as runs
from bestiary.runs.fit import run_model
from bestiary.store.tables import read_table
from bestiary.study.comparison import compare_runs, comparison_table, read_runs

SMALL = {"size_px": 24, "interpolation": "bilinear"}
MODELS = {
    "majority": {"backbone": "majority"},
    "probe": {"backbone": "tf_efficientnet_lite0", "pixels": {"size_px": 64}},
    "head": {"backbone": "simple_cnn", "pixels": SMALL, "head": {"hidden": 16}, "epochs": 6},
    "cnn": {
        "backbone": "simple_cnn", "trainable": "all", "epochs": 4, "pixels": SMALL, "augment": {"flip": True},
        "head": {"hidden": 16, "dropout": 0.2}, "precision": "fp32",
    },
}  # fmt: skip


class Lab:
    """A data set, indexed and divided, and models to run on it."""

    def __init__(self, data: Path, folder: Path, models=MODELS) -> None:
        self.folder = folder
        split = {"test_fraction": 0.3, "val_fraction": 0.2}
        values = {"data": {"path": str(data)}, "split": split, "device": "cpu", "models": models}
        self.config = StudyConfig.model_validate(values)
        self.index = build_index(self.config.data)
        self.splits = split_images(self.index, self.config.split)

    def correct(self, relabelled: int = 0, dropped: int = 0, *, split: str = "test") -> list[str]:
        """Relabel some images of a split to the next class, then drop some; returns their ids."""
        names = class_names(self.index)
        table = self.splits[self.splits["split"] == split].merge(self.index, on="image_id")
        rows = [
            Correction(row["image_id"], row["path"], "relabel", names[(names.index(row["label"]) + 1) % len(names)])
            if number < relabelled
            else Correction(row["image_id"], row["path"], "drop")
            for number, row in table.head(relabelled + dropped).iterrows()
        ]
        self.index = corrected(self.index.drop(columns="label_given", errors="ignore"), rows)
        self.splits = without(self.splits, self.index)
        return [row.image_id for row in rows]

    def run(self, name: str) -> runs.RunRecord:
        key = runs.run_fingerprints(self.config, index=self.index, splits=self.splits)[name]
        run_model(self.folder, name, key=key, config=self.config, index=self.index, splits=self.splits)
        return runs.read_run(self.folder, name)

    def labels(self, split: str) -> pd.Series:
        table = self.splits.merge(self.index, on="image_id")
        return table[table["split"] == split].set_index("image_id")["label"]


@pytest.fixture
def lab(coloured, tmp_path) -> Lab:
    return Lab(coloured, tmp_path / "study")


def history(record):
    return record.history.drop(columns="seconds")


def choices(record):
    figures = record.metrics
    return {key: figures[key] for key in ("val", "choices", "best_epoch", "epochs", "parameters")}


def test_a_probe_learns_shapes(lab):
    record = lab.run("probe")
    assert record.metrics["test"]["accuracy"]["value"] > 0.9
    assert record.metrics["val"]["accuracy"]["value"] > 0.9


@pytest.mark.slow
def test_a_cnn_from_scratch_learns_shapes(coloured, tmp_path):
    models = {"cnn": MODELS["cnn"] | {"epochs": 30}}
    assert Lab(coloured, tmp_path, models).run("cnn").metrics["test"]["accuracy"]["value"] > 0.9


@pytest.mark.parametrize("name", ["probe", "head"])
def test_labels_without_meaning_give_chance(lab, name):
    readable = lab.index["error"] == ""
    shuffled = lab.index.loc[readable, "label"].sample(frac=1, random_state=5).to_numpy()
    lab.index.loc[readable, "label"] = shuffled
    test = lab.run(name).metrics["test"]
    share = lab.labels("test").value_counts(normalize=True).max()
    low, high = binom.ppf([1e-4, 1 - 1e-4], test["n"], [1 / 3, max(share, 1 / 3)]) / test["n"]
    assert low <= test["accuracy"]["value"] <= high


@pytest.mark.parametrize("name", ["probe", "cnn"])
def test_poisoned_test_labels_change_nothing_but_the_test_figures(lab, coloured, tmp_path, name):
    clean = lab.run(name)
    poisoned_lab = Lab(coloured, tmp_path / "poisoned")
    names = class_names(poisoned_lab.index)
    test_ids = poisoned_lab.splits.query("split == 'test'")["image_id"]
    rows = poisoned_lab.index["image_id"].isin(test_ids)
    turn = dict(zip(names, names[1:] + names[:1], strict=True))
    poisoned_lab.index.loc[rows, "label"] = poisoned_lab.index.loc[rows, "label"].map(turn)
    poisoned = poisoned_lab.run(name)

    weights = [load_file(runs.run_dir(place.folder, name) / runs.MODEL) for place in (lab, poisoned_lab)]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][key].equal(weights[1][key]) for key in weights[0])
    pd.testing.assert_frame_equal(history(clean), history(poisoned))
    assert choices(clean) == choices(poisoned)
    given = [column for column in clean.predictions if column != "y_true"]
    pd.testing.assert_frame_equal(clean.predictions[given], poisoned.predictions[given])
    assert clean.metrics["test"] != poisoned.metrics["test"]


def test_weights_are_on_disk_before_a_test_image_is_scored(lab, monkeypatch):
    real, seen = gradients.GradientLearner.probabilities, []

    def spy(self, positions):
        seen.append((len(positions), (runs.run_dir(lab.folder, "cnn") / runs.MODEL).exists()))
        return real(self, positions)

    monkeypatch.setattr(gradients.GradientLearner, "probabilities", spy)
    lab.run("cnn")
    sizes = lab.splits["split"].value_counts()
    assert seen == [(sizes["val"], True), (sizes["test"], True)], "val once, then test once"


def test_a_learner_is_not_handed_test_labels():
    for kind in (learners.MajorityLearner, learners.FrozenLearner, gradients.GradientLearner):
        names = list(inspect.signature(kind.fit).parameters)
        assert names[:3] == ["self", "train", "val"]
        assert not [name for name in names if "test" in name]


@pytest.mark.parametrize("name", ["probe", "head", "cnn"])
def test_the_same_config_gives_the_same_predictions_with_cold_caches(lab, coloured, tmp_path, monkeypatch, name):
    first = lab.run(name)
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "another-cache"))
    second = Lab(coloured, tmp_path / "again").run(name)
    pd.testing.assert_frame_equal(first.predictions, second.predictions, check_exact=True)
    pd.testing.assert_frame_equal(history(first), history(second), check_exact=True)
    assert choices(first) == choices(second)


@pytest.mark.parametrize("name", MODELS)
def test_a_record_is_complete_and_agrees_with_itself(lab, name):
    record = lab.run(name)
    folder, names = runs.run_dir(lab.folder, name), class_names(lab.index)
    files = {runs.RUN, runs.ENVIRONMENT, runs.HISTORY, runs.METRICS, runs.PREDICTIONS}
    assert {file.name for file in folder.iterdir()} == files | ({runs.MODEL} if name != "majority" else set())
    key = runs.run_fingerprints(lab.config, index=lab.index, splits=lab.splits)[name]
    assert runs.is_complete(lab.folder, name, key=key)
    assert record.config == lab.config.models[name].model_dump(mode="json")

    figures = record.metrics
    assert record.status.started_at <= figures["test_scored_at"] == record.status.test_scored_at
    assert record.status.test_scored_at <= record.status.finished_at
    assert figures["class_names"] == names
    assert figures["epochs"] == len(record.history)
    assert 0 <= figures["parameters"]["trainable"] <= figures["parameters"]["total"]
    assert {"fit", "score"} <= figures["seconds"].keys() <= {"pixels", "features", "fit", "score"}
    assert all(seconds >= 0 for seconds in figures["seconds"].values())
    if len(record.history):
        losses = record.history["val_loss"]
        assert record.history["epoch"].tolist() == list(range(1, len(losses) + 1))
        assert figures["best_epoch"] == losses.argmin() + 1
    assert record.environment["device"] in ("cpu", "none")
    assert record.environment["packages"]["torch"]

    table = record.predictions.set_index("image_id")
    assert table.index.is_unique
    assert set(table["split"]) == {"val", "test"}
    columns = [f"p:{label}" for label in names]
    for split in ("val", "test"):
        rows = table[table["split"] == split]
        pd.testing.assert_series_equal(rows["y_true"].sort_index(), lab.labels(split).sort_index(), check_names=False)
        found = rows[columns].to_numpy()
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        assert rows["y_pred"].tolist() == [names[number] for number in found.argmax(axis=1)]
        assert figures[split]["n"] == len(rows)
        assert figures[split]["accuracy"]["value"] == pytest.approx(np.mean(rows["y_true"] == rows["y_pred"]))


def test_the_dummy_gives_the_class_frequencies_of_train(lab):
    record, names = lab.run("majority"), class_names(lab.index)
    expected = lab.labels("train").value_counts(normalize=True)[names]
    found = record.predictions[[f"p:{name}" for name in names]].to_numpy()
    np.testing.assert_allclose(found, np.tile(expected, (len(found), 1)), atol=1e-6)
    assert record.metrics["parameters"] == {"total": 0, "trainable": 0}


def test_the_saved_weights_are_the_classifiers_and_hold_no_pickle(lab):
    lab.run("cnn")
    state = load_file(runs.run_dir(lab.folder, "cnn") / runs.MODEL)
    learner = learners.build_learner(lab.config.models["cnn"], 3, device=learners.torch.device("cpu"), label="x")
    learner.classifier.load_state_dict(state)


def test_a_model_whose_weights_cannot_be_had_is_not_run_and_the_others_are(coloured, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    missing = {"backbone": "resnet18", "weights": str(tmp_path / "none.pth")}
    models = {"hub": {"backbone": "resnet18", "weights": "hub"}, "file": missing, "majority": MODELS["majority"]}
    lab = Lab(coloured, tmp_path / "study", models)
    for name, reason in (("hub", "network is unreachable"), ("file", "none.pth")):
        record = lab.run(name)
        assert record.status.status == "not run"
        assert reason in record.status.reason
        assert record.status.test_scored_at == ""
        key = runs.run_fingerprints(lab.config, index=lab.index, splits=lab.splits)[name]
        assert not runs.is_complete(lab.folder, name, key=key), "it is tried again"
    assert lab.run("majority").status.status == "done"
    comparison = compare_runs(read_runs(lab.folder, lab.config), lab.splits)
    assert [row["model"] for row in comparison["not_run"]] == ["hub", "file"]


def test_a_killed_run_is_not_complete_and_goes_on_from_its_checkpoint(lab, coloured, tmp_path, monkeypatch):
    whole = Lab(coloured, tmp_path / "whole").run("cnn")
    real = gradients.GradientLearner.probabilities

    def kill(self, positions):
        raise KeyboardInterrupt

    monkeypatch.setattr(gradients.GradientLearner, "probabilities", kill)
    with pytest.raises(KeyboardInterrupt):
        lab.run("cnn")
    folder = runs.run_dir(lab.folder, "cnn")
    assert (folder / runs.CHECKPOINT).exists()
    assert not (folder / runs.RUN).exists()
    monkeypatch.setattr(gradients.GradientLearner, "probabilities", real)
    record = lab.run("cnn")
    pd.testing.assert_frame_equal(record.predictions, whole.predictions)
    pd.testing.assert_frame_equal(history(record), history(whole))
    assert not (folder / runs.CHECKPOINT).exists()


def test_a_file_that_changed_since_the_index_is_an_error_that_names_it(tmp_path, make_shapes, monkeypatch):
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    data = make_shapes(tmp_path / "photos", each=8)
    lab = Lab(data, tmp_path / "study", {"cnn": MODELS["cnn"]})
    (data / "disc" / "003.png").write_bytes((data / "bar" / "000.png").read_bytes())
    with pytest.raises(BestiaryError, match=r"003\.png.*changed.*bestiary index"):
        lab.run("cnn")
    assert not (runs.run_dir(lab.folder, "cnn") / runs.RUN).exists()


def test_metrics_are_plain_json(lab):
    lab.run("head")
    text = (runs.run_dir(lab.folder, "head") / runs.METRICS).read_text()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in metrics.json"))
    assert read_table(runs.run_dir(lab.folder, "head") / runs.HISTORY).notna().all(axis=None)


# --- corrections


def weights(lab, name):
    return load_file(runs.run_dir(lab.folder, name) / runs.MODEL)


def test_without_corrections_there_are_no_figures_on_labels_as_given(lab, coloured, tmp_path):
    plain = lab.run("majority")
    kept = Lab(coloured, tmp_path / "kept")
    kept.correct()
    assert kept.run("majority").metrics["test"] == plain.metrics["test"]
    assert plain.metrics["test_as_given"] is None
    assert kept.run("majority").metrics["test_as_given"] is None


@pytest.mark.parametrize("name", ["probe", "cnn"])
def test_corrected_test_labels_change_nothing_before_test_is_scored(lab, coloured, tmp_path, name):
    plain, mended = lab.run(name), Lab(coloured, tmp_path / "mended")
    touched = mended.correct(relabelled=5, dropped=4)
    record = mended.run(name)

    clean, now = weights(lab, name), weights(mended, name)
    assert clean.keys() == now.keys()
    assert all(clean[key].equal(now[key]) for key in clean)
    pd.testing.assert_frame_equal(history(plain), history(record))
    assert choices(plain) == choices(record)

    # The figures on labels as given are those of the study that knows of no corrections.
    as_given, before = record.metrics["test_as_given"], plain.metrics["test"]
    assert (as_given["n_relabelled"], as_given["n_dropped"]) == (5, 4)
    assert as_given["n"] == before["n"] == record.metrics["test"]["n"] + 4
    assert as_given["accuracy"] == before["accuracy"]
    assert as_given["macro_f1"]["value"] == before["macro_f1"]["value"]
    assert as_given["macro_f1"]["low"] <= as_given["macro_f1"]["value"] <= as_given["macro_f1"]["high"]

    # Dropped images have no prediction; relabelled ones are scored on the corrected class.
    mine, theirs = (r.predictions.set_index("image_id") for r in (record, plain))
    assert set(theirs.index) - set(mine.index) == set(touched[5:])
    pd.testing.assert_series_equal(mine["y_pred"], theirs["y_pred"].reindex(mine.index))
    changed = mine.index[mine["y_true"] != theirs["y_true"].reindex(mine.index)]
    assert sorted(changed) == sorted(touched[:5])
    right = mine[mine["split"] == "test"]
    assert record.metrics["test"]["accuracy"]["value"] == pytest.approx(np.mean(right["y_true"] == right["y_pred"]))


def test_test_is_scored_once_with_corrections_too(lab, monkeypatch):
    real, seen = gradients.GradientLearner.probabilities, []

    def spy(self, positions):
        seen.append((len(positions), (runs.run_dir(lab.folder, "cnn") / runs.MODEL).exists()))
        return real(self, positions)

    drawn = lab.splits["split"].value_counts()
    lab.correct(relabelled=1, dropped=3)
    monkeypatch.setattr(gradients.GradientLearner, "probabilities", spy)
    lab.run("cnn")
    assert seen == [(drawn["val"], True), (drawn["test"], True)]


@pytest.mark.parametrize("split", ["train", "val"])
def test_corrections_elsewhere_are_learnt_from_and_leave_test_alone(lab, split):
    before = lab.labels("test")
    sizes = lab.splits["split"].value_counts()
    lab.correct(relabelled=2, dropped=3, split=split)
    record = lab.run("majority")
    assert record.metrics["test_as_given"] is None
    pd.testing.assert_series_equal(lab.labels("test"), before)
    assert record.metrics["val"]["n"] == sizes["val"] - (3 if split == "val" else 0)
    frequencies = lab.labels("train").value_counts(normalize=True)[class_names(lab.index)]
    assert len(lab.labels("train")) == sizes["train"] - (3 if split == "train" else 0)
    found = record.predictions[[f"p:{name}" for name in class_names(lab.index)]].to_numpy()
    np.testing.assert_allclose(found, np.tile(frequencies, (len(found), 1)), atol=1e-6)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("change", [{"relabelled": 1}, {"dropped": 1}])
def test_a_run_s_fingerprint_follows_corrections_of_every_split(lab, split, change):
    lab.correct()
    before = runs.run_fingerprints(lab.config, index=lab.index, splits=lab.splits)
    lab.correct(**change, split=split)
    after = runs.run_fingerprints(lab.config, index=lab.index, splits=lab.splits)
    assert not set(before.values()) & set(after.values())


def test_the_comparison_carries_the_figures_on_labels_as_given(coloured, tmp_path):
    lab = Lab(coloured, tmp_path / "study", {name: MODELS[name] for name in ("majority", "head")})
    lab.correct(relabelled=2, dropped=1)
    for name in lab.config.models:
        lab.run(name)
    comparison = compare_runs(read_runs(lab.folder, lab.config), lab.splits)
    assert comparison["split_sizes"]["test"] == len(lab.labels("test"))
    for row in comparison["models"]:
        assert row["test_as_given"] == runs.read_run(lab.folder, row["model"]).metrics["test_as_given"]
    sheet = comparison_table(comparison)
    wanted = [row["test_as_given"]["accuracy"] for row in comparison["models"]]
    for bound, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
        assert sheet[f"test_accuracy_as_given{suffix}"].tolist() == [figures[bound] for figures in wanted]
