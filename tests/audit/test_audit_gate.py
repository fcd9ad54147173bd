"""Gates: labels are judged by probes that can, and what is stated does not contradict what was measured."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from bestiary.audit.labels.gate import LEAST_SKILL, probe_skill, why_noise_is_not_stated, why_not_judged
from bestiary.audit.run import run_audit
from bestiary.config.schema import AuditConfig, SplitConfig
from bestiary.evaluate.intervals import Interval
from tests.audit.test_audit_run import subject


@given(
    labels=st.lists(st.integers(0, 3), min_size=8, max_size=60).filter(lambda found: len(set(found)) > 1),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_the_skill_is_scikit_learns_adjusted_balanced_accuracy(labels: list[int], seed: int) -> None:
    y = np.array(labels, dtype=np.int64)
    chances = np.random.default_rng(seed).dirichlet(np.ones(4), size=len(y)).astype(np.float32)
    skill = probe_skill(y, chances, np.arange(len(y)), seed=0)
    predicted = chances.argmax(axis=1)
    recalls = [(predicted[y == label] == label).mean() for label in np.unique(y)]
    chance = 1 / len(recalls)
    assert skill.value == pytest.approx((np.mean(recalls) - chance) / (1 - chance))
    if set(predicted) <= set(y):
        assert skill.value == pytest.approx(balanced_accuracy_score(y, predicted, adjusted=True))
    assert skill.low <= skill.value <= skill.high


def test_one_class_is_not_judged() -> None:
    skill = probe_skill(np.zeros(5, dtype=np.int64), np.ones((5, 1), np.float32), np.arange(5), seed=0)
    assert "fewer than two classes" in why_not_judged(skill, 1)


def test_a_weak_probe_is_named_with_its_figures_and_a_good_one_is_not() -> None:
    reason = why_not_judged(Interval(0.2, 0.1, LEAST_SKILL), 6)
    assert "a balanced accuracy of 33\u00a0% (25\u00a0% to 58\u00a0%; chance is 17\u00a0%)" in reason
    assert why_not_judged(Interval(0.9, 0.51, 0.95), 6) == ""


@pytest.mark.parametrize(
    ("noise", "accuracy", "stated"),
    [(0.003, 0.97, True), (0.05, 0.7, True), (0.19, 0.78, True), (0.13, 0.716, False), (0.5, 0.5, True)],
)
def test_noise_is_stated_where_it_is_small_or_most_of_what_the_probe_doubts(
    noise: float, accuracy: float, *, stated: bool
) -> None:
    assert (why_noise_is_not_stated(Interval(noise, 0.0, 1.0), accuracy) == "") is stated


def labels_of(about: object) -> dict:
    audit = run_audit(about, AuditConfig(), SplitConfig())  # type: ignore[arg-type]
    labels = audit.summary["labels"]
    assert labels["flagged"] == (audit.findings["issue"] == "label_error").sum()
    return labels


def test_shuffled_labels_accuse_nobody() -> None:
    about = subject()
    images = about.images.assign(label=np.random.default_rng(1).permutation(about.images["label"]))
    labels = labels_of(type(about)(**{**vars(about), "images": images}))
    assert labels["flagged"] == 0
    assert labels["noise_rate"] is None
    assert labels["ceiling"] is None
    assert labels["reason"].startswith("Labels were not checked: the probe")


@pytest.mark.parametrize("wrong", [pytest.param(0, marks=pytest.mark.slow), 4, pytest.param(8, marks=pytest.mark.slow)])
def test_no_more_labels_are_flagged_than_the_noise_rate_supports(wrong: int) -> None:
    labels = labels_of(subject(wrong=wrong))
    assert labels["flagged"] <= np.ceil(labels["noise_rate"]["high"] * labels["judged"])
    assert labels["flagged"] >= wrong - 1
    # A probe that is right so often is not above what the labels allow.
    assert labels["probe_accuracy"] <= labels["ceiling"]["high"] + 1e-9
