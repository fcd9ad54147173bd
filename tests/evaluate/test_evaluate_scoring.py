"""Figures of a split: scikit-learn's values, intervals that respect groups, and what they do not depend on."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_groups import group_sizes
from scipy.special import softmax
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from bestiary.errors import TrainingError
from bestiary.evaluate import metrics, scoring
from bestiary.evaluate.counts import dense_confusion
from bestiary.evaluate.intervals import percentile_interval, wilson
from bestiary.evaluate.metrics import METRICS, Metric
from bestiary.evaluate.resampling import group_weights
from bestiary.evaluate.scoring import as_given_figures, split_figures

NAMES = [found.name for found in METRICS]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 100)


@st.composite
def splits(draw):
    """True classes, logits and groups: few images, so that classes are often absent or never predicted."""
    classes, count = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y_true = random.integers(0, draw(st.integers(1, classes)), count)
    logits = random.normal(0, 2, (count, classes))
    logits[:, draw(st.integers(0, classes - 1))] -= draw(st.sampled_from([0, 20]))
    return y_true.astype(np.int64), logits.astype(np.float32), random.integers(0, draw(st.integers(1, 30)), count)


def names(logits: np.ndarray) -> list[str]:
    return [f"class {number}" for number in range(logits.shape[1])]


def sample(count: int, *, seed: int = 0, classes: int = 4, strength: float = 1.5):
    random = np.random.default_rng(seed)
    y_true = random.integers(0, classes, count)
    logits = random.normal(0, 1, (count, classes)).astype(np.float32)
    logits[np.arange(count), y_true] += strength
    return y_true, logits


def grouped(group_count: int, *, seed: int, kind: str = "1 to 20", classes: int = 4, strength: float = 2.5):
    """A group is of one class, and its images' logits are alike."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(group_count), group_sizes(random, (group_count,), kind))
    y_true = random.integers(0, classes, group_count)[groups]
    shared = random.normal(0, 0.9, (group_count, classes))[groups]
    logits = shared + random.normal(0, np.sqrt(1 - 0.9**2), (len(groups), classes))
    logits[np.arange(len(groups)), y_true] += strength
    return y_true, logits.astype(np.float32), groups


def width(figure: dict[str, float]) -> float:
    return figure["high"] - figure["low"]


@settings(max_examples=120, deadline=None)
@given(splits())
def test_every_figure_is_scikit_learns(split):
    y_true, logits, groups = split
    table = softmax(logits.astype(np.float64), axis=1)
    y_pred, classes, present = logits.argmax(axis=1), np.arange(logits.shape[1]), np.unique(y_true)
    found = split_figures(y_true, logits, class_names=names(logits), groups=groups)
    # All that sets this apart from scikit-learn's defaults: a class without images is in no average.
    average = {"average": "macro", "zero_division": 0, "labels": present}
    expected = {
        "accuracy": sk.accuracy_score(y_true, y_pred),
        "balanced_accuracy": np.mean([np.mean(y_pred[y_true == c] == c) for c in present]),
        "macro_precision": sk.precision_score(y_true, y_pred, **average),
        "macro_recall": sk.recall_score(y_true, y_pred, **average),
        "macro_f1": sk.f1_score(y_true, y_pred, **average),
        "log_loss": sk.log_loss(y_true, table, labels=classes),
        "top3_accuracy": np.mean(
            [true in np.argsort(-row, kind="stable")[:3] for true, row in zip(y_true, logits, strict=True)]
        ),
    }
    if len(classes) < 4:
        del expected["top3_accuracy"]
    assert [name for name in found if name in NAMES] == list(expected)
    for figure, value in expected.items():
        assert found[figure]["value"] == pytest.approx(value, abs=1e-9), figure
        assert found[figure]["low"] <= found[figure]["value"] <= found[figure]["high"]
    if set(y_pred) <= set(y_true) and len(present) > 1:
        assert expected["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y_true, y_pred))
    assert (found["n"], found["groups"]) == (len(y_true), len(np.unique(groups)))
    assert np.array_equal(
        dense_confusion(found["confusion"], len(classes)), sk.confusion_matrix(y_true, y_pred, labels=classes)
    )
    precision, recall, f1, support = sk.precision_recall_fscore_support(y_true, y_pred, labels=classes, zero_division=0)
    for number, row in enumerate(found["per_class"]):
        assert (row["class_name"], row["support"]) == (f"class {number}", support[number])
        if support[number]:
            figures = [row[name]["value"] for name in ("precision", "recall", "f1")]
            assert figures == pytest.approx([precision[number], recall[number], f1[number]])
        else:
            assert row["recall"] is None
            assert row["f1"] is None
        for name in ("precision", "recall", "f1"):
            assert row[name] is None or row[name]["low"] <= row[name]["value"] <= row[name]["high"]
    json.dumps(found, allow_nan=False)


@settings(max_examples=40, deadline=None)
@given(splits())
def test_of_single_images_shares_carry_wilsons_interval(split):
    y_true, logits, _ = split
    found = split_figures(y_true, logits, class_names=names(logits))
    y_pred = logits.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(wilson(int((y_pred == y_true).sum()), len(y_true)).as_dict(), abs=1e-12)
    for number, row in enumerate(found["per_class"]):
        right = int(((y_true == number) & (y_pred == number)).sum())
        for name, whole in (("precision", int((y_pred == number).sum())), ("recall", row["support"])):
            if row[name] and whole:
                assert row[name] == pytest.approx(wilson(right, whole).as_dict(), abs=1e-12)
        if row["f1"]:
            either = wilson(right, int(((y_true == number) | (y_pred == number)).sum()))
            assert row["f1"]["low"] == pytest.approx(2 * either.low / (1 + either.low), abs=1e-12)
            assert row["f1"]["high"] == pytest.approx(2 * either.high / (1 + either.high), abs=1e-12)


def test_log_loss_carries_the_percentile_interval_of_a_bootstrap_over_groups(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 2000)
    y_true, logits, groups = grouped(60, seed=0)
    found = split_figures(y_true, logits, class_names=list("abcd"), groups=groups)["log_loss"]
    scores = metrics.losses(y_true, logits)
    # Other draws of the same distribution.
    resampled = np.array([np.average(scores, weights=w) for w in group_weights(groups, resamples=2000, seed=9)])
    expected = percentile_interval(scores.mean(), resampled)
    assert found["value"] == pytest.approx(expected.value)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), rel=0.03)


@settings(max_examples=40, deadline=None)
@given(splits(), st.randoms(use_true_random=False))
def test_no_figure_depends_on_the_order_of_images_or_the_names_of_groups(split, shuffle):
    y_true, logits, groups = split
    moved = np.array(shuffle.sample(range(len(y_true)), len(y_true)))
    renamed = np.array(shuffle.sample(range(-99, 99), 31))[groups]
    first = split_figures(y_true, logits, class_names=names(logits), groups=groups)
    again = split_figures(y_true[moved], logits[moved], class_names=names(logits), groups=renamed[moved])
    assert first == again


@settings(max_examples=20, deadline=None)
@given(splits())
def test_no_groups_are_groups_of_one_image(split):
    y_true, logits, _ = split
    none, single = (
        split_figures(y_true, logits, class_names=names(logits), groups=groups)
        for groups in (None, np.arange(len(y_true)))
    )
    assert none == single


def test_a_second_copy_of_every_image_changes_no_figure(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 2000)
    y_true, logits = sample(150)
    twice = (np.repeat(y_true, 2), np.repeat(logits, 2, axis=0))
    once = split_figures(y_true, logits, class_names=list("abcd"))
    tied = split_figures(*twice, class_names=list("abcd"), groups=np.arange(300) // 2)
    loose = split_figures(*twice, class_names=list("abcd"))
    for name in NAMES:
        assert tied[name]["value"] == pytest.approx(once[name]["value"])
        assert width(tied[name]) == pytest.approx(width(once[name]), rel=0.05), name
        assert width(loose[name]) == pytest.approx(width(once[name]) / np.sqrt(2), rel=0.06), name
    for row, expected in zip(tied["per_class"], once["per_class"], strict=True):
        for name in ("precision", "recall", "f1"):
            assert row[name] == pytest.approx(expected[name])
    assert (tied["n"], tied["groups"], loose["groups"]) == (300, 150, 300)


def test_where_all_are_right_no_interval_is_a_point():
    y_true, logits = np.arange(40) % 4, np.eye(4, dtype=np.float32)[np.arange(40) % 4] * 9
    found = split_figures(y_true, logits, class_names=list("abcd"))
    for name in NAMES:
        if name != "log_loss":
            assert found[name] == pytest.approx(wilson(40, 40).as_dict()), name
    # Each class has ten images, of two groups: as if it had two.
    tied = split_figures(y_true, logits, class_names=list("abcd"), groups=np.arange(40) % 8)
    assert tied["macro_f1"] == pytest.approx(wilson(8, 8).as_dict())
    assert tied["per_class"][0]["recall"] == pytest.approx(wilson(2, 2).as_dict())


def test_where_all_are_right_the_small_classes_set_the_width_of_macro_averages():
    # 32 images of one class and 4 of another: as if there were 1 / (0.5 ** 2 / 32 + 0.5 ** 2 / 4) = 14.2 images.
    y_true = np.repeat([0, 1], [32, 4])
    found = split_figures(y_true, np.eye(2, dtype=np.float32)[y_true], class_names=["a", "b"])
    low, high = proportion_confint(1 / (1 / 128 + 1 / 16), 1 / (1 / 128 + 1 / 16), method="wilson")
    for name in ("balanced_accuracy", "macro_precision", "macro_f1"):
        assert found[name] == pytest.approx({"value": 1, "low": low, "high": high}), name


def test_a_class_without_test_images_is_in_no_average():
    # 20 images of two classes, one of which is taken for a third that has none; a fourth is never predicted.
    y_true, y_pred = np.arange(20) % 2, np.arange(20) % 2
    y_pred[0] = 2
    logits = np.eye(4, dtype=np.float32)[y_pred]
    found = split_figures(y_true, logits, class_names=list("abcd"))
    assert found["balanced_accuracy"]["value"] == pytest.approx((0.9 + 1) / 2)
    assert found["macro_precision"]["value"] == 1
    assert found["macro_f1"]["value"] == pytest.approx((2 * 0.9 / 1.9 + 1) / 2)
    third, fourth = found["per_class"][2:]
    assert third == {
        "class_name": "c", "support": 0, "precision": wilson(0, 1).as_dict(), "recall": None, "f1": None,
    }  # fmt: skip
    assert fourth == {"class_name": "d", "support": 0, "precision": None, "recall": None, "f1": None}


def test_of_a_class_that_was_never_predicted_the_precision_is_0_and_not_known():
    found = split_figures(np.array([0, 1]), np.eye(2, dtype=np.float32)[[0, 0]], class_names=["a", "b"])
    assert found["per_class"][1]["precision"] == {"value": 0.0, "low": 0.0, "high": 1.0}
    assert found["macro_precision"]["value"] == 0.25


def test_no_image_has_no_figure():
    found = split_figures(np.zeros(0, dtype=np.int64), np.zeros((0, 4), dtype=np.float32), class_names=list("abcd"))
    assert (found["n"], found["groups"], found["confusion"]) == (0, 0, [])
    assert all(found[name] is None for name in NAMES)
    assert all(row["precision"] is row["recall"] is row["f1"] is None for row in found["per_class"])


def test_one_image_and_one_group_are_scored():
    y_true, logits = sample(5)
    for part, groups in ((slice(1), None), (slice(5), np.zeros(5, dtype=np.int64))):
        found = split_figures(y_true[part], logits[part], class_names=list("abcd"), groups=groups)
        assert found["groups"] == 1
        assert width(found["accuracy"]) > 0.7
        json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_refused(bad):
    y_true, logits = sample(10)
    logits[3, 1] = bad
    with pytest.raises(TrainingError, match=r"1 of 10 images .* row 3"):
        split_figures(y_true, logits, class_names=list("abcd"))
    with pytest.raises(TrainingError, match="row 3"):
        as_given_figures(y_true, logits, relabelled=0, dropped=0)


def test_a_probability_of_zero_is_a_number():
    logits = np.array([[0, -np.inf], [0, -np.inf]], dtype=np.float32)
    found = split_figures(np.array([0, 1]), logits, class_names=["a", "b"])
    assert found["log_loss"]["value"] == pytest.approx(-np.log(1e-15) / 2)


def test_arrays_that_do_not_fit_are_refused():
    y_true, logits = sample(10)
    for arguments, message in (
        ((y_true[:9], logits, None), "10 rows"),
        ((y_true, logits, np.arange(9)), "10 rows"),
        ((y_true - 1, logits, None), "class -1"),
        ((y_true + 1, logits, None), "class 4"),
        ((y_true, logits[:, :3], None), "4 class names"),
    ):
        with pytest.raises(ValueError, match=message):
            split_figures(*arguments[:2], class_names=list("abcd"), groups=arguments[2])


def test_a_metric_that_is_registered_is_scored_with_an_interval(monkeypatch):
    def confidence(y_true, logits):
        return softmax(logits, axis=1).max(axis=1)

    def surprise(counts):
        return -np.log(np.maximum(counts.predicted, 1) / counts.predicted.sum(axis=-1, keepdims=True)).sum(axis=-1)

    def toy(name, unit="fraction", **how):
        return Metric(name, name, unit, higher_is_better=True, meaning="A toy.", **how)

    toys = [
        toy("first_class", per_image=lambda y_true, logits: logits.argmax(axis=1) == 0),
        toy("confidence", per_image=confidence),
        toy("worst_recall", of_counts=lambda counts: counts.recall.min(axis=-1)),
        toy("surprise", "nats", of_counts=surprise),
        toy("of_many", per_image=confidence, least_classes=5),
    ]
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, *toys))
    y_true, logits = sample(120)
    found = split_figures(y_true, logits, class_names=list("abcd"))
    assert "of_many" not in found
    y_pred = logits.argmax(axis=1)
    assert found["first_class"] == pytest.approx(wilson(int((y_pred == 0).sum()), 120).as_dict())
    assert found["confidence"]["value"] == pytest.approx(confidence(y_true, logits).mean())
    assert found["worst_recall"]["value"] == sk.recall_score(y_true, y_pred, average=None).min()
    assert found["surprise"]["value"] == pytest.approx(-np.log(np.bincount(y_pred, minlength=4) / 120).sum())
    for name in ("confidence", "worst_recall", "surprise"):
        assert 0 < width(found[name]) < 1, name
    # A further metric changes no other figure.
    monkeypatch.setattr(metrics, "METRICS", METRICS)
    again = split_figures(y_true, logits, class_names=list("abcd"))
    assert {name: found[name] for name in again} == again


def test_a_registered_fraction_of_0_is_no_surer_than_its_groups(monkeypatch):
    worst = Metric(
        "worst", "Worst", "fraction", higher_is_better=True, meaning="A toy.",
        of_counts=lambda counts: counts.recall.min(axis=-1),
    )  # fmt: skip
    monkeypatch.setattr(metrics, "METRICS", (worst,))
    y_true, groups = np.arange(80) % 2, np.arange(80) // 4
    found = split_figures(y_true, np.eye(2, dtype=np.float32)[[0] * 80], class_names=["a", "b"], groups=groups)
    assert found["worst"] == pytest.approx(wilson(0, 20).as_dict())


def test_the_bootstrap_is_seeded_and_its_width_does_not_depend_on_the_seed(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 2000)
    y_true, logits = sample(120)
    first, again, other = (split_figures(y_true, logits, class_names=list("abcd"), seed=s) for s in (0, 0, 1))
    assert first == again
    for name in ("macro_f1", "log_loss"):
        assert other[name] != first[name]
        assert other[name]["value"] == first[name]["value"]
        assert width(other[name]) == pytest.approx(width(first[name]), rel=0.06)


def test_intervals_shrink_with_the_square_root_of_the_number_of_images(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 600)
    few, many = (split_figures(*sample(count), class_names=list("abcd")) for count in (100, 1600))
    for name in NAMES:
        assert 2.5 < width(few[name]) / width(many[name]) < 6.5, name


def coverage(*, groups: int, kind: str, classes: int, strength: float, rounds: int) -> dict[str, float]:
    """How often each figure's interval holds the truth."""
    # Sizes of groups know nothing of classes and logits, so the truth is that of single images.
    y_true, logits, _ = grouped(200_000, seed=10**6, kind="single", classes=classes, strength=strength)
    truth = split_figures(y_true, logits, class_names=names(logits))
    hits = dict.fromkeys([name for name in NAMES if name in truth], 0)
    for seed in range(rounds):
        y_true, logits, place = grouped(groups, seed=seed, kind=kind, classes=classes, strength=strength)
        found = split_figures(y_true, logits, class_names=names(logits), groups=place)
        for name in hits:
            hits[name] += found[name]["low"] <= truth[name]["value"] <= found[name]["high"]
    return {name: count / rounds for name, count in hits.items()}


def test_intervals_cover_the_truth_with_groups_of_1_to_20():
    found = coverage(groups=60, kind="1 to 20", classes=4, strength=2.5, rounds=200)
    # Three standard errors of a share of 200 are 0.046. The bootstrap of a mean covers too seldom with few groups.
    assert found.pop("log_loss") > 0.85
    assert min(found.values()) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1.5, 2.5, 4])
@pytest.mark.parametrize("kind", ["single", "1 to 20"])
def test_intervals_cover_the_truth_at_length(kind, strength):
    found = coverage(groups=150, kind=kind, classes=8, strength=strength, rounds=600)
    assert found.pop("log_loss") > 0.88
    assert min(found.values()) > 0.915


def test_memory_does_not_grow_with_the_square_of_the_classes(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 2000)
    y_true, logits = sample(3000, classes=600)
    split_figures(*sample(20), class_names=list("abcd"))  # what is imported does not count
    tracemalloc.start()
    try:
        found = split_figures(y_true, logits, class_names=names(logits))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # One matrix of classes by classes an resample would be 2,000 x 600 x 600 x 8 bytes: 5.8 GB.
    assert peak_bytes < 150e6
    assert len(found["confusion"]) < 3000


@settings(max_examples=40, deadline=None)
@given(splits())
def test_figures_on_labels_as_given_are_those_of_the_same_labels(split):
    y_true, logits, groups = split
    found = as_given_figures(y_true, logits, relabelled=2, dropped=1, groups=groups)
    whole = split_figures(y_true, logits, class_names=names(logits), groups=groups)
    assert found == {
        "n": len(y_true), "accuracy": whole["accuracy"], "macro_f1": whole["macro_f1"],
        "n_relabelled": 2, "n_dropped": 1,
    }  # fmt: skip


def test_a_label_as_given_that_no_model_knows_is_wrong():
    logits = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    found = as_given_figures(np.array([0, 1, 0, 3]), logits, relabelled=1, dropped=0)
    assert found["accuracy"]["value"] == 0.75
    assert found["macro_f1"]["value"] == pytest.approx((1 + 2 / 3 + 0) / 3)
