"""Balance: small and rare classes are reported, others are not."""

import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from bestiary.audit.balance import SMALL, _half_width, find_imbalance

ANIMALS10 = {"dog": 486, "spider": 482, "chicken": 310, "horse": 262, "butterfly": 211, "cow": 187, "cat": 145}


def found_in(counts: dict[str, int]) -> list[tuple[str, str, str]]:
    labels = [name for name, count in counts.items() for _ in range(count)]
    findings = find_imbalance(pd.DataFrame({"label": labels}, dtype=object), sorted(counts))
    for finding in findings:
        assert 0 <= finding.score <= 1
        assert finding.action == "collect"
        assert f"{counts[finding.label]:,} images" in finding.reason
    return [(finding.issue, finding.label, finding.severity) for finding in findings]


def test_common_differences_are_no_finding() -> None:
    assert found_in(ANIMALS10) == []
    assert found_in({"cat": 5000, "dog": 5000, "cow": SMALL * 20}) == []


@pytest.mark.parametrize(("count", "severity"), [(SMALL - 1, "low"), (24, "medium"), (9, "high"), (0, "high")])
def test_small_class_is_reported(count: int, severity: str) -> None:
    assert found_in({"cat": 60, "dog": 60, "cow": count})[0] == ("small_class", "cow", severity)


def test_class_at_the_bar_is_not_small() -> None:
    assert found_in({"cat": SMALL, "dog": SMALL}) == []


def test_rare_class_is_reported_beside_the_median_and_beside_the_largest() -> None:
    assert found_in({"cat": 1000, "dog": 1000, "cow": 199}) == [("imbalance", "cow", "low")]
    assert found_in({"cat": 200, "dog": 220, "cow": 240, "owl": 2300}) == [
        ("imbalance", "cat", "low"),
        ("imbalance", "dog", "low"),
    ]
    assert found_in({"cat": 5000, "dog": 5000, "cow": 60}) == [("imbalance", "cow", "medium")]


def test_the_interval_reported_is_wilsons() -> None:
    for count in (2, 4, 10, 40):
        low, high = proportion_confint(count // 2, count, method="wilson")
        assert 2 * _half_width(count) == pytest.approx(high - low)


def test_no_classes_no_findings() -> None:
    assert find_imbalance(pd.DataFrame({"label": []}), []) == []
