"""Logits and labels → figures: matched by content and by name, with groups, and nothing trained."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from bestiary.errors import StudyError
from bestiary.runs.evaluation import evaluate, evaluate_run, lacking, predictions_table, right_by_image
from bestiary.runs.record import Logits, read_figures
from tests.made_runs import KEY, NAMES


def softmax(values):
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_the_figures_are_scikit_learns(bench):
    logits = bench.logits({"val": 0.8, "test": 0.7})
    found = evaluate(logits, bench.images)
    test = bench.images[bench.images["split"] == "test"]
    rows = [logits.image_ids.index(image_id) for image_id in test["image_id"]]
    predicted = np.array(NAMES)[logits.values[rows].argmax(axis=1)]
    assert found["class_names"] == NAMES
    assert found["test"]["n"] == 90
    assert found["test"]["accuracy"]["value"] == pytest.approx(accuracy_score(test["label"], predicted))
    assert found["test"]["macro_f1"]["value"] == pytest.approx(f1_score(test["label"], predicted, average="macro"))
    expected = log_loss(test["label"], softmax(logits.values[rows].astype(float)), labels=NAMES)
    assert found["test"]["log_loss"]["value"] == pytest.approx(expected, rel=1e-5)
    assert found["test_as_given"] is None


def test_neither_the_order_of_images_nor_that_of_classes_counts(bench):
    logits = bench.logits({"val": 0.8, "test": 0.7})
    order = np.random.default_rng(1).permutation(len(logits.image_ids))
    turned = Logits(
        tuple(logits.image_ids[number] for number in order), tuple(NAMES[::-1]), logits.values[order][:, ::-1]
    )
    shuffled = bench.images.sample(frac=1, random_state=3)
    first, second = evaluate(logits, bench.images), evaluate(turned, shuffled)
    for split in ("val", "test"):
        for name in ("accuracy", "macro_f1", "log_loss"):
            assert first[split][name]["value"] == pytest.approx(second[split][name]["value"])


def test_a_copy_that_got_another_number_is_still_found(bench):
    logits = bench.logits({"val": 0.8, "test": 0.7})
    images = bench.images.assign(image_id=bench.images["image_id"] + "-1")
    assert evaluate(logits, images)["test"] == evaluate(logits, bench.images)["test"]
    assert lacking(logits.image_ids, images).empty


def test_a_new_test_image_is_lacking_and_named(bench):
    logits = bench.logits({"val": 0.8, "test": 0.7})
    new = bench.images.iloc[[-1]].assign(image_id="new", group_id="new")
    images = pd.concat([bench.images, new], ignore_index=True)
    assert lacking(logits.image_ids, images)["image_id"].tolist() == ["new"]
    with pytest.raises(StudyError, match=r"lack image new.*bestiary train"):
        evaluate(logits, images)


def test_relabelled_and_dropped_test_images_change_figures_and_leave_those_as_given(bench):
    logits = bench.logits({"val": 0.8, "test": 0.7})
    before = evaluate(logits, bench.images)
    images = bench.images.copy()
    test = images.index[images["split"] == "test"]
    images.loc[test[:5], "label"] = [NAMES[(NAMES.index(label) + 1) % 3] for label in images.loc[test[:5], "label"]]
    images.loc[test[5:9], "split"] = ""
    after = evaluate(logits, images)
    assert after["val"] == before["val"]
    assert after["test"]["n"] == before["test"]["n"] - 4
    given = after["test_as_given"]
    assert (given["n"], given["n_relabelled"], given["n_dropped"]) == (90, 5, 4)
    assert given["accuracy"] == before["test"]["accuracy"]
    assert given["macro_f1"]["value"] == before["test"]["macro_f1"]["value"]


def test_corrections_elsewhere_leave_nothing_as_given(bench):
    images = bench.images.copy()
    images.loc[images.index[0], "label"] = NAMES[0] if images["label"].iloc[0] != NAMES[0] else NAMES[1]
    assert evaluate(bench.logits({"val": 0.8, "test": 0.7}), images)["test_as_given"] is None


def test_test_images_with_a_copy_elsewhere_are_scored_apart(bench):
    logits = bench.logits({"val": 0.8, "test": 0.7})
    assert evaluate(logits, bench.images)["test_leak_free"] is None
    images = bench.images.copy()
    train, val, test = (images.index[images["split"] == side] for side in ("train", "val", "test"))
    images.loc[[train[0], *test[:7]], "group_id"] = "patient"
    images.loc[[val[0], test[20]], "group_id"] = "copy"
    images.loc[test[30:33], "group_id"] = "within test"
    images.loc[[train[1], test[40]], "group_id"] = "dropped"
    images.loc[train[1], "split"] = ""
    found = evaluate(logits, images)["test_leak_free"]
    is_right = right_by_image(logits, images)
    leaked = images.loc[[*test[:7], test[20]], "image_id"]
    assert (found["n"], found["n_leaked"]) == (82, 8)
    assert found["accuracy_leaked"]["value"] == pytest.approx(is_right[leaked].mean())
    assert found["accuracy"]["value"] == pytest.approx(is_right.drop(leaked).mean())
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]


def test_where_every_test_image_leaks_nothing_is_said_of_new_images(bench):
    images = bench.images.copy()
    images["group_id"] = "one"
    found = evaluate(bench.logits({"val": 0.8, "test": 0.7}), images)["test_leak_free"]
    assert (found["n"], found["n_leaked"], found["accuracy"]) == (0, 90, None)
    assert found["accuracy_leaked"]["value"] == pytest.approx(0.7, abs=0.1)


def test_images_that_belong_together_make_intervals_wider(bench):
    logits = bench.logits({"val": 0.8, "test": 0.7})
    grouped = bench.images.copy()
    right = right_by_image(logits, grouped)
    # Groups of nine that are right or wrong together.
    test = grouped.index[grouped["split"] == "test"]
    order = sorted(test, key=lambda row: bool(right[grouped.loc[row, "image_id"]]))
    for place, row in enumerate(order):
        grouped.loc[row, "group_id"] = f"g{place // 9}"
    alone, together = (evaluate(logits, images)["test"] for images in (bench.images, grouped))
    assert together["groups"] == 10
    assert together["accuracy"]["value"] == alone["accuracy"]["value"]
    width = [figures["accuracy"]["high"] - figures["accuracy"]["low"] for figures in (alone, together)]
    assert width[1] > 1.5 * width[0]


def test_the_time_of_the_first_scoring_stays_as_long_as_the_weights_do(bench, monkeypatch):
    times = iter(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"])
    monkeypatch.setattr("bestiary.runs.evaluation.now_utc", lambda: next(times))
    bench.add("m", val=0.8, test=0.7)
    folder = bench.snapshot.paths.run("m")
    assert read_figures(folder)["test_scored_at"] == "2026-01-01T00:00:00Z"
    evaluate_run(folder, bench.images, key="other labels", fit_key=KEY)
    assert read_figures(folder)["test_scored_at"] == "2026-01-01T00:00:00Z"
    evaluate_run(folder, bench.images, key="other labels", fit_key="other weights")
    assert read_figures(folder)["test_scored_at"] == "2026-01-02T00:00:00Z"


def test_predictions_carry_names_and_one_column_a_class():
    images = pd.DataFrame(
        {"image_id": ["a", "b", "c"], "split": ["val", "test", "train"], "label": ["cat", "split", "cat"]}
    )
    logits = Logits(("b", "a"), ("cat", "split"), np.log(np.array([[0.3, 0.7], [0.9, 0.1]], dtype=np.float32)))
    table = predictions_table(logits, images)
    assert table.columns.tolist() == ["image_id", "split", "y_true", "y_pred", "p:cat", "p:split"]
    assert table["y_pred"].tolist() == ["cat", "split"]
    np.testing.assert_allclose(table[["p:cat", "p:split"]], [[0.9, 0.1], [0.3, 0.7]], rtol=1e-6)
