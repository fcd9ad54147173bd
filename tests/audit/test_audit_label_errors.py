import numpy as np
import pandas as pd
import pytest
from cleanlab.count import compute_confident_joint, estimate_joint
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.audit.findings import Finding, findings_table
from bestiary.audit.labels.label_errors import ceiling, class_quality, find_label_errors, noise_rate
from bestiary.audit.labels.out_of_fold import OutOfFold, out_of_fold_probabilities
from bestiary.audit.neighbours import nearest
from bestiary.evaluate.intervals import Interval
from bestiary.evaluate.resampling import group_weights
from tests.audit.made_features import NAMES, Made, clouds, images_of, swap


def nobody(images: np.ndarray) -> np.ndarray:
    """No label is confirmed."""
    return np.zeros(len(images), dtype=bool)


def quality(labels: np.ndarray, found: OutOfFold, *, confirmed: np.ndarray | None = None) -> pd.DataFrame:
    confirmed = nobody(labels) if confirmed is None else confirmed
    return class_quality(labels, found.probabilities, found.judged, confirmed=confirmed, class_names=NAMES)


def judge(made: Made, labels: np.ndarray) -> OutOfFold:
    return out_of_fold_probabilities(made.features, labels, made.groups, class_count=4, folds=5, seed=0)


def find(made: Made, labels: np.ndarray, *, kept: frozenset[str] = frozenset()) -> list[Finding]:
    found = judge(made, labels)
    return find_label_errors(
        images_of(labels),
        found.probabilities,
        nearest(made.features, count=12),
        class_names=NAMES,
        judged=found.judged,
        kept=kept,
    )


@pytest.fixture(scope="module")
def made() -> Made:
    return clouds(120, 100, 90, 60)


@pytest.fixture(scope="module")
def swapped(made: Made) -> np.ndarray:
    return swap(made.labels, 0.06, class_count=4)


@pytest.fixture(scope="module")
def findings(made: Made, swapped: np.ndarray) -> list[Finding]:
    return find(made, swapped)


def test_swapped_labels_are_found_with_the_class_they_had(
    made: Made, swapped: np.ndarray, findings: list[Finding]
) -> None:
    wrong = {f"id{number:04d}" for number in np.flatnonzero(swapped != made.labels)}
    assert {finding.image_id for finding in findings} == wrong
    for finding in findings:
        assert finding.suggestion == NAMES[made.labels[int(finding.image_id[2:])]]
        assert finding.label == NAMES[swapped[int(finding.image_id[2:])]]
        assert (finding.issue, finding.action) == ("label_error", "relabel")
        assert finding.suggestion in finding.reason
        assert f"{finding.p_suggestion:.2f}" in finding.reason
    assert {finding.severity for finding in findings} <= {"high", "medium"}


def test_scores_are_one_less_cleanlabs_label_quality(made: Made, swapped: np.ndarray, findings: list[Finding]) -> None:
    quality = get_label_quality_scores(swapped, judge(made, swapped).probabilities, method="normalized_margin")
    for finding in findings:
        assert finding.score == pytest.approx(1 - quality[int(finding.image_id[2:])], abs=1e-5)
        assert finding.score == pytest.approx((1 - finding.p_label + finding.p_suggestion) / 2)
    scores = [finding.score for finding in findings]
    assert scores == sorted(scores, reverse=True)


def test_related_are_the_eight_nearest_images(made: Made, findings: list[Finding]) -> None:
    unit = made.features / np.linalg.norm(made.features, axis=1, keepdims=True)
    for finding in findings[:5]:
        position = int(finding.image_id[2:])
        cosines = unit @ unit[position]
        cosines[position] = -2
        assert list(finding.related) == [f"id{other:04d}" for other in np.argsort(-cosines)[:8]]


def test_right_labels_raise_no_alarm(made: Made) -> None:
    assert find(made, made.labels) == []


def test_what_a_person_kept_is_not_flagged_again(made: Made, swapped: np.ndarray, findings: list[Finding]) -> None:
    kept = frozenset(finding.image_id for finding in findings[::2])
    again = {finding.image_id for finding in find(made, swapped, kept=kept)}
    assert again == {finding.image_id for finding in findings} - kept


@pytest.mark.filterwarnings("ignore:May not flag all label issues")
@pytest.mark.filterwarnings("ignore:The least populated class")
def test_images_that_are_not_judged_are_not_flagged() -> None:
    made = clouds(60, 60, 3)
    features = made.features.copy()
    features[made.labels == 2] = made.features[:3] + 0.01
    few = Made(features, made.labels, made.groups)
    found = judge(few, few.labels)
    known = images_of(few.labels), found.probabilities, nearest(few.features, count=12)
    everybody = np.ones(len(few.labels), dtype=bool)
    doubted = [finding.label for finding in find_label_errors(*known, class_names=NAMES, judged=everybody)]
    assert doubted.count("cow") == 3
    doubted = [finding.label for finding in find_label_errors(*known, class_names=NAMES, judged=found.judged)]
    assert "cow" not in doubted


@pytest.mark.filterwarnings("ignore:May not flag all label issues")
def test_classes_without_images_and_a_single_class_do_no_harm() -> None:
    made = clouds(40, 0, 0, 40)
    assert find(made, made.labels) == []
    alone = clouds(30)
    assert find(alone, alone.labels) == []
    found = judge(alone, alone.labels)
    rate = noise_rate(
        alone.labels, found.probabilities, alone.groups, found.judged, confirmed=nobody(found.judged), seed=0
    )
    assert np.isnan([rate.value, rate.low, rate.high]).all()


def test_findings_make_a_table(findings: list[Finding]) -> None:
    table = findings_table(findings)
    assert len(table) == len(findings)
    assert table["finding_id"].is_unique


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(8, 80))
def test_the_noise_rate_is_cleanlabs(seed: int, classes: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count).astype(np.int64)
    labels[:2] = [0, 1]
    logits = random.normal(size=(count, classes)) + 2 * np.eye(classes)[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    found = noise_rate(labels, probabilities, np.arange(count), np.ones(count, bool), confirmed=nobody(labels), seed=0)
    counts = np.bincount(labels, minlength=classes)
    joint = compute_confident_joint(labels, probabilities.astype(float), calibrate=False)
    right = (joint.diagonal() / joint.sum(axis=1) * counts).sum() / count
    assert found.value == pytest.approx(1 - right, abs=1e-9)
    # cleanlab's joint is rounded to whole images.
    assert abs(found.value - (1 - np.trace(estimate_joint(labels, probabilities.astype(float))))) <= classes / count
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("share", [0.0, 0.05, 0.15])
def test_the_noise_rate_is_near_the_truth(share: float) -> None:
    made = clouds(200, 200, 150, 150, spread=0.5)
    labels = swap(made.labels, share, class_count=4)
    found = judge(made, labels)
    rate = noise_rate(labels, found.probabilities, made.groups, found.judged, confirmed=nobody(labels), seed=0)
    assert rate.value == pytest.approx(share, abs=0.012)
    assert rate.low <= share <= rate.high + 0.005


def test_none_wrong_of_few_is_not_none_wrong() -> None:
    made = clouds(60, 60, 60, 60, spread=0.1)
    found = judge(made, made.labels)

    def rate(confirmed: np.ndarray) -> Interval:
        return noise_rate(made.labels, found.probabilities, made.groups, found.judged, confirmed=confirmed, seed=0)

    # Wilson of 0 of 240.
    assert rate(nobody(made.labels)) == Interval(0.0, 0.0, pytest.approx(0.01575, abs=1e-4))
    half = np.arange(240) % 2 == 0
    assert rate(half) == Interval(0.0, 0.0, pytest.approx(0.5 * 0.03102, abs=1e-4))
    assert rate(~nobody(made.labels)) == Interval(0.0, 0.0, 0.0)


def test_copies_widen_the_interval() -> None:
    made = clouds(100, 100, spread=0.5)
    labels = swap(made.labels, 0.1, class_count=2)
    found = judge(made, labels)
    several = np.tile(labels, 4), np.tile(found.probabilities, (4, 1)), np.tile(found.judged, 4)
    alone = noise_rate(several[0], several[1], np.arange(800), several[2], confirmed=nobody(several[0]), seed=0)
    copies = noise_rate(
        several[0], several[1], np.tile(made.groups, 4), several[2], confirmed=nobody(several[0]), seed=0
    )
    assert copies.value == pytest.approx(alone.value)
    assert copies.high - copies.low > 1.5 * (alone.high - alone.low)


def test_labels_that_a_person_confirmed_are_right() -> None:
    made = clouds(100, 100, 100, 60, spread=0.5)
    labels = swap(made.labels, 0.1, class_count=4)
    found, wrong = judge(made, labels), labels != made.labels

    def rate(confirmed: np.ndarray) -> Interval:
        return noise_rate(labels, found.probabilities, made.groups, found.judged, confirmed=confirmed, seed=0)

    assert rate(nobody(labels)).value == pytest.approx(0.1, abs=0.02)
    # Half of the wrong ones are said to be right: half of the rate is left, of all images.
    half = wrong & (np.cumsum(wrong) % 2 == 0)
    assert rate(half).value == pytest.approx(0.05, abs=0.015)
    assert rate(half).low <= rate(half).value <= rate(half).high
    assert (rate(wrong).value, rate(~nobody(labels)).value) == (pytest.approx(0, abs=0.005), 0)
    ants = labels == 0
    before, after = (quality(labels, found, confirmed=flags).set_index("label") for flags in (nobody(labels), ants))
    assert before.loc["ant", "wrong_images"] > 3
    assert (after.loc["ant", "wrong_images"], after.loc["ant", "quality"]) == (0, 1)
    assert after.loc["bee", "wrong_images"] == pytest.approx(before.loc["bee", "wrong_images"], abs=2)
    everything = quality(labels, found, confirmed=~nobody(labels))
    assert everything[["wrong_images", "missing_images"]].to_numpy().sum() == 0
    assert (everything["judged"] == before["judged"].to_numpy()).all()


def test_the_ceiling_is_the_noise_turned_over() -> None:
    top = ceiling(Interval(0.05, 0.02, 0.09))
    assert (top.value, top.low, top.high) == pytest.approx((0.95, 0.91, 0.98))


def test_class_quality_tells_which_class_is_bad() -> None:
    made = clouds(100, 100, 100, 5)
    labels = made.labels.copy()
    labels[:20] = 1  # a fifth of the ants are called bees
    found = judge(made, labels)
    table = quality(labels, found).set_index("label")
    assert list(table.index) == NAMES
    given = labels[found.judged]
    joint = compute_confident_joint(given, found.probabilities[found.judged], calibrate=False)
    # cleanlab's own `estimate_joint` rounds to whole images.
    joint = joint / joint.sum(axis=1, keepdims=True) * np.bincount(given, minlength=4)[:, None]
    assert table.loc["bee", "wrong_share"] == pytest.approx(1 - joint[1, 1] / joint[1].sum())
    assert table.loc["ant", "missing_share"] == pytest.approx(1 - joint[0, 0] / joint[:, 0].sum())
    assert table["wrong_share"].idxmax() == "bee"
    assert table["missing_share"].idxmax() == "ant"
    assert table.loc["bee", "wrong_images"] == table.loc["ant", "missing_images"] > 5
    assert table.loc["bee", "quality"] == 1 - table.loc["bee", "wrong_share"]
    assert table.loc["cow", "wrong_share"] == pytest.approx(0, abs=0.02)
    assert table.loc["dog", "judged"] == 0
    assert np.isnan(table.loc["dog", "quality"])
    assert table["images"].sum() == 305


def test_class_quality_of_a_single_class_is_unknown() -> None:
    made = clouds(30)
    found = judge(made, made.labels)
    table = quality(made.labels, found)
    assert isinstance(table, pd.DataFrame)
    assert table["quality"].isna().all()
    assert table["wrong_images"].sum() == 0


def test_groups_are_drawn_whole_and_as_many_as_there_are() -> None:
    groups = np.array([7, 7, 3, 9, 3, 1])
    for drawn in group_weights(groups, resamples=20, seed=0):
        assert drawn[0] == drawn[1]
        assert drawn[2] == drawn[4]
        assert drawn[0] + drawn[2] + drawn[3] + drawn[5] == 4
