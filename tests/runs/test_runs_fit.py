"""One config → one run: it learns, it reads no label of test, and it can be done again."""

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
from bestiary.data.splits.split_table import split_images
from bestiary.errors import BestiaryError, StudyError
from bestiary.models.frozen import FrozenLearner
from bestiary.models.gradients import GradientLearner
from bestiary.models.learner import build_learner
from bestiary.models.majority import MajorityLearner
from bestiary.runs.evaluation import evaluate_run, predictions_table
from bestiary.runs.fit import add_logits, fit_model
from bestiary.runs.keys import fit_keys
from bestiary.runs.record import (
    CHECKPOINT,
    ENVIRONMENT,
    FIGURES,
    FIT,
    HISTORY,
    LOGITS,
    MODEL,
    RUN,
    RunRecord,
    is_whole,
    read_logits,
    read_run,
)
from bestiary.snapshot import Snapshot
from bestiary.store.tables import read_table

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
    """A data set, indexed and split, and models to run on it."""

    def __init__(self, data: Path, folder: Path, models=MODELS) -> None:
        self.folder = folder
        split = {"test_fraction": 0.3, "val_fraction": 0.2, "group_duplicates": "exact"}
        audit = {"enabled": False}
        values = {"data": {"path": str(data)}, "split": split, "audit": audit, "device": "cpu", "models": models}
        self.config = StudyConfig.model_validate(values)
        self.snapshot = Snapshot(folder, self.config)
        index = build_index(self.config.data)
        self.snapshot.put(index=index, corrections=[])
        self.snapshot.put(splits_table=split_images(index, self.config.split))

    @property
    def images(self) -> pd.DataFrame:
        return self.snapshot.images

    def correct(self, relabelled: int = 0, dropped: int = 0, *, split: str = "test") -> list[str]:
        """Relabel some images of a split to the next class, then drop some; returns their ids."""
        names = class_names(self.snapshot.index)
        table = self.images[self.images["split"] == split]
        rows = [
            Correction(row["image_id"], row["path"], "relabel", names[(names.index(row["label"]) + 1) % len(names)])
            if number < relabelled
            else Correction(row["image_id"], row["path"], "drop")
            for number, (_, row) in enumerate(table.head(relabelled + dropped).iterrows())
        ]
        self.snapshot.put(corrections=[*self.snapshot.corrections, *rows])
        return [row.image_id for row in rows]

    def relabel(self, change) -> None:
        """Give the images other labels, as if they had come so."""
        self.snapshot.put(images=self.images.assign(label=change(self.images), label_given=change(self.images)))

    def run_dir(self, name: str) -> Path:
        return self.snapshot.paths.run(name)

    def key(self, name: str) -> str:
        return fit_keys(self.config, self.images, digests=dict.fromkeys(self.config.models, ""))[name]

    def fit(self, name: str) -> RunRecord:
        folder = self.run_dir(name)
        fit_model(folder, self.config, self.images, root=self.snapshot.data_root, key=self.key(name))
        return read_run(folder)

    def run(self, name: str) -> RunRecord:
        if self.fit(name).done:
            evaluate_run(self.run_dir(name), self.images, key="figures", fit_key=self.key(name))
        return read_run(self.run_dir(name))

    def logits(self, name: str) -> pd.DataFrame:
        found = read_logits(self.run_dir(name))
        return pd.DataFrame(found.values, index=list(found.image_ids), columns=list(found.class_names)).sort_index()

    def predictions(self, name: str) -> pd.DataFrame:
        return predictions_table(read_logits(self.run_dir(name)), self.images)

    def labels(self, split: str) -> pd.Series:
        return self.images[self.images["split"] == split].set_index("image_id")["label"]


@pytest.fixture
def lab(coloured, tmp_path) -> Lab:
    return Lab(coloured, tmp_path / "study")


def history(record):
    return record.history.drop(columns="seconds")


def choices(record):
    found = {key: record.fit[key] for key in ("choices", "best_epoch", "epochs", "parameters")}
    return found | {"val": record.figures["val"]}


def weights(lab, name):
    return load_file(lab.run_dir(name) / MODEL)


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert all(first[key].equal(second[key]) for key in first)


def test_a_probe_learns_shapes(lab):
    record = lab.run("probe")
    assert record.figures["test"]["accuracy"]["value"] > 0.9
    assert record.figures["val"]["accuracy"]["value"] > 0.9


@pytest.mark.slow
def test_a_cnn_from_scratch_learns_shapes(coloured, tmp_path):
    models = {"cnn": MODELS["cnn"] | {"epochs": 30}}
    assert Lab(coloured, tmp_path, models).run("cnn").figures["test"]["accuracy"]["value"] > 0.9


@pytest.mark.parametrize("name", ["probe", "head"])
def test_labels_without_meaning_give_chance(lab, name):
    lab.relabel(lambda images: images["label"].sample(frac=1, random_state=5).to_numpy())
    test = lab.run(name).figures["test"]
    share = lab.labels("test").value_counts(normalize=True).max()
    low, high = binom.ppf([1e-4, 1 - 1e-4], test["n"], [1 / 3, max(share, 1 / 3)]) / test["n"]
    assert low <= test["accuracy"]["value"] <= high


@pytest.mark.parametrize("name", ["probe", "cnn"])
def test_poisoned_test_labels_change_nothing_but_the_test_figures(lab, coloured, tmp_path, name):
    clean = lab.run(name)
    poisoned_lab = Lab(coloured, tmp_path / "poisoned")
    names = class_names(poisoned_lab.snapshot.index)
    turn = dict(zip(names, names[1:] + names[:1], strict=True))
    poisoned_lab.relabel(lambda images: images["label"].where(images["split"] != "test", images["label"].map(turn)))
    assert poisoned_lab.key(name) == lab.key(name)
    poisoned = poisoned_lab.run(name)

    assert_same_weights(weights(lab, name), weights(poisoned_lab, name))
    pd.testing.assert_frame_equal(history(clean), history(poisoned))
    assert choices(clean) == choices(poisoned)
    pd.testing.assert_frame_equal(lab.logits(name), poisoned_lab.logits(name), check_exact=True)
    assert clean.figures["test"] != poisoned.figures["test"]


def test_weights_are_on_disk_before_a_val_or_test_image_is_looked_at(lab, monkeypatch):
    real, seen = GradientLearner.logits, []

    def spy(self, positions):
        seen.append((len(positions), (lab.run_dir("cnn") / MODEL).exists()))
        return real(self, positions)

    monkeypatch.setattr(GradientLearner, "logits", spy)
    lab.fit("cnn")
    sizes = lab.images["split"].value_counts()
    assert seen == [(sizes["val"] + sizes["test"], True)]


def test_fitting_reads_no_test_label(lab):
    """Not even one that is no class."""
    lab.relabel(lambda images: images["label"].where(images["split"] != "test", "no class at all"))
    assert lab.fit("probe").done
    assert not (lab.run_dir("probe") / FIGURES).exists()


def test_a_learner_is_not_handed_test_labels():
    for kind in (MajorityLearner, FrozenLearner, GradientLearner):
        names = list(inspect.signature(kind.fit).parameters)
        assert names[:3] == ["self", "train", "val"]
        assert not [name for name in names if "test" in name]


@pytest.mark.parametrize("name", ["probe", "head", "cnn"])
@pytest.mark.slow
def test_the_same_config_gives_the_same_logits_with_cold_caches(lab, coloured, tmp_path, monkeypatch, name):
    first, again = lab.run(name), Lab(coloured, tmp_path / "again")
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "another-cache"))
    second = again.run(name)
    pd.testing.assert_frame_equal(lab.logits(name), again.logits(name), check_exact=True)
    pd.testing.assert_frame_equal(history(first), history(second), check_exact=True)
    assert choices(first) == choices(second)


@pytest.mark.parametrize("name", ["probe", "cnn"])
def test_renamed_and_reordered_files_train_the_very_same_model(lab, coloured, tmp_path, name):
    lab.fit(name)
    other = Lab(coloured, tmp_path / "renamed")
    # The same files under other names, in another order.
    shuffled = other.images.sample(frac=1, random_state=2).reset_index(drop=True)
    other.snapshot.put(images=shuffled)
    other.fit(name)
    assert other.key(name) == lab.key(name)
    assert_same_weights(weights(lab, name), weights(other, name))
    pd.testing.assert_frame_equal(lab.logits(name), other.logits(name), check_exact=True)


@pytest.mark.parametrize("name", MODELS)
def test_a_record_is_complete_and_agrees_with_itself(lab, name):
    record = lab.run(name)
    folder, names = lab.run_dir(name), class_names(lab.snapshot.index)
    assert {file.name for file in folder.iterdir()} == {RUN, ENVIRONMENT, HISTORY, FIT, LOGITS, MODEL, FIGURES}
    assert is_whole(folder)
    assert record.config == lab.config.models[name].model_dump(mode="json")
    assert record.status.kind == lab.config.models[name].kind.name

    fit, figures = record.fit, record.figures
    assert record.status.started_at <= record.status.finished_at <= figures["test_scored_at"]
    assert fit["class_names"] == figures["class_names"] == names
    assert fit["epochs"] == len(record.history)
    assert 0 <= fit["parameters"]["trainable"] <= fit["parameters"]["total"]
    assert {"fit", "score"} <= fit["seconds"].keys() <= {"pixels", "features", "fit", "score"}
    assert all(seconds >= 0 for seconds in fit["seconds"].values())
    if len(record.history):
        losses = record.history["val_loss"]
        assert record.history["epoch"].tolist() == list(range(1, len(losses) + 1))
        assert fit["best_epoch"] == losses.argmin() + 1
    assert record.environment["device"] in ("cpu", "none")
    assert record.environment["packages"]["torch"]

    table = lab.predictions(name).set_index("image_id")
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


def test_seconds_say_for_how_many_images_a_cache_had_the_work(lab, coloured, tmp_path, monkeypatch):
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    first, second = lab.run("probe").fit, Lab(coloured, tmp_path / "again").run("probe").fit
    assert "features" in first["images_per_s"]
    assert first["cached"] == {}
    assert "features" not in second["images_per_s"]
    assert second["cached"] == {"features": len(lab.images)}


def test_the_baseline_gives_the_class_frequencies_of_train(lab):
    record, names = lab.run("majority"), class_names(lab.snapshot.index)
    expected = lab.labels("train").value_counts(normalize=True)[names]
    found = lab.predictions("majority")[[f"p:{name}" for name in names]].to_numpy()
    np.testing.assert_allclose(found, np.tile(expected, (len(found), 1)), atol=1e-6)
    assert record.fit["parameters"] == {"total": 0, "trainable": 0}


@pytest.mark.parametrize("name", MODELS)
def test_the_saved_weights_alone_give_the_same_logits(lab, name):
    """And so newly drawn test images can be scored without training."""
    lab.fit(name)
    before, folder = lab.logits(name), lab.run_dir(name)
    images, gone = lab.images, lab.images.index[lab.images["split"] == "test"][:7]
    lab.snapshot.put(images=images.drop(index=gone))
    fewer = Lab(Path(lab.config.data.path), lab.folder.with_name("fewer"))
    fewer.snapshot.put(images=lab.images)
    fewer.fit(name)
    assert len(fewer.logits(name)) == len(before) - 7
    state = (fewer.run_dir(name) / MODEL).read_bytes()
    add_logits(fewer.run_dir(name), fewer.config, images, root=fewer.snapshot.data_root)
    assert is_whole(fewer.run_dir(name))
    assert (fewer.run_dir(name) / MODEL).read_bytes() == state
    np.testing.assert_allclose(fewer.logits(name), before, rtol=1e-5, atol=1e-5)
    assert folder.exists()


def test_saved_weights_that_do_not_fit_say_what_to_do(lab):
    lab.fit("head")
    learner = build_learner(lab.config.models["cnn"], 5, device=_cpu(), label="x")
    from bestiary.runs.fit import write_weights

    write_weights(lab.run_dir("head") / MODEL, learner.state())
    new = lab.images.iloc[[0]].assign(image_id="f" * 20, split="test", drawn="test")
    with pytest.raises(StudyError, match=r"(?s)does not fit its config.*train again"):
        add_logits(lab.run_dir("head"), lab.config, pd.concat([lab.images, new]), root=lab.snapshot.data_root)


def _cpu():
    import torch

    return torch.device("cpu")


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
        assert not is_whole(lab.run_dir(name)), "it is tried again"
    assert lab.run("majority").done


def test_a_killed_run_is_not_complete_and_goes_on_from_its_checkpoint(lab, coloured, tmp_path, monkeypatch):
    whole_lab = Lab(coloured, tmp_path / "whole")
    whole = whole_lab.run("cnn")
    real = GradientLearner.logits

    def kill(self, positions):
        raise KeyboardInterrupt

    monkeypatch.setattr(GradientLearner, "logits", kill)
    with pytest.raises(KeyboardInterrupt):
        lab.run("cnn")
    folder = lab.run_dir("cnn")
    assert (folder / CHECKPOINT).exists()
    assert not (folder / RUN).exists()
    monkeypatch.setattr(GradientLearner, "logits", real)
    record = lab.run("cnn")
    pd.testing.assert_frame_equal(lab.logits("cnn"), whole_lab.logits("cnn"), check_exact=True)
    pd.testing.assert_frame_equal(history(record), history(whole))
    assert not (folder / CHECKPOINT).exists()


def test_a_file_that_changed_since_the_index_is_an_error_that_names_it(tmp_path, make_shapes, monkeypatch):
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "cache"))
    data = make_shapes(tmp_path / "photos", each=8)
    lab = Lab(data, tmp_path / "study", {"cnn": MODELS["cnn"]})
    (data / "disc" / "003.png").write_bytes((data / "bar" / "000.png").read_bytes())
    with pytest.raises(BestiaryError, match=r"003\.png.*changed.*bestiary index"):
        lab.run("cnn")
    assert not (lab.run_dir("cnn") / RUN).exists()


def test_figures_are_plain_json(lab):
    lab.run("head")
    for name in (FIGURES, FIT):
        text = (lab.run_dir("head") / name).read_text()
        json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in the record"))
    assert read_table(lab.run_dir("head") / HISTORY).notna().all(axis=None)


# --- corrections


@pytest.mark.parametrize("name", ["probe", "cnn"])
def test_corrected_test_labels_change_no_key_no_weight_and_no_logit(lab, coloured, tmp_path, name):
    plain, fixed = lab.run(name), Lab(coloured, tmp_path / "fixed")
    touched = fixed.correct(relabelled=5, dropped=4)
    record = fixed.run(name)

    assert fixed.key(name) == lab.key(name)
    assert_same_weights(weights(lab, name), weights(fixed, name))
    pd.testing.assert_frame_equal(history(plain), history(record))
    assert choices(plain) == choices(record)
    # Dropped images are in the logits, and in no prediction.
    pd.testing.assert_frame_equal(lab.logits(name), fixed.logits(name), check_exact=True)
    mine, theirs = (place.predictions(name).set_index("image_id") for place in (fixed, lab))
    assert set(theirs.index) - set(mine.index) == set(touched[5:])
    pd.testing.assert_series_equal(mine["y_pred"], theirs["y_pred"].reindex(mine.index))

    # The figures on labels as given are those of the study that knows of no corrections.
    as_given, before = record.figures["test_as_given"], plain.figures["test"]
    assert (as_given["n_relabelled"], as_given["n_dropped"]) == (5, 4)
    assert as_given["n"] == before["n"] == record.figures["test"]["n"] + 4
    assert as_given["accuracy"] == before["accuracy"]
    assert as_given["macro_f1"]["value"] == before["macro_f1"]["value"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_corrections_elsewhere_are_learnt_from_and_leave_test_alone(lab, split):
    before, sizes, key = lab.labels("test"), lab.images["split"].value_counts(), lab.key("majority")
    lab.correct(relabelled=2, dropped=3, split=split)
    assert lab.key("majority") != key
    record = lab.run("majority")
    assert record.figures["test_as_given"] is None
    pd.testing.assert_series_equal(lab.labels("test"), before)
    assert record.figures["val"]["n"] == sizes["val"] - (3 if split == "val" else 0)
    names = class_names(lab.snapshot.index)
    frequencies = lab.labels("train").value_counts(normalize=True)[names]
    assert len(lab.labels("train")) == sizes["train"] - (3 if split == "train" else 0)
    found = lab.predictions("majority")[[f"p:{name}" for name in names]].to_numpy()
    np.testing.assert_allclose(found, np.tile(frequencies, (len(found), 1)), atol=1e-6)


def test_the_corrected_index_is_what_is_fitted_on(lab):
    lab.correct(relabelled=1, split="train")
    table = corrected(lab.snapshot.index, lab.snapshot.corrections)
    assert (table["label"] != table["label_given"]).sum() == 1
    assert (lab.images["label"] != lab.images["label_given"]).sum() == 1
