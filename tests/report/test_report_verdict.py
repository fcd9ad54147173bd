"""Sentences say what the figures say, and no more."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bestiary.report.study_view import confusion, is_significant, per_class
from bestiary.report.words.mistakes import confused_pairs, most_confident_errors, weakest_classes
from bestiary.report.words.verdict import sentences, verdict

N = "\u00a0"
MINUS = "\u2212"


def model(
    name: str, val: float, test: float, *, backbone: str = "resnet50", n: int = 400, **versus: Any
) -> dict[str, Any]:
    def split(value: float) -> dict[str, Any]:
        return {"n": n, "accuracy": {"value": value, "low": max(value - 0.02, 0.0), "high": min(value + 0.02, 1.0)}}

    return {
        "model": name,
        "backbone": backbone,
        "val": split(val),
        "test": split(test),
        "versus_winner": versus or None,
    }


def versus(
    value: float, *, half: float = 0.02, p: float = 0.29, holm: float = 0.58, significant: bool = False
) -> dict[str, Any]:
    difference = {"value": value, "low": value - half, "high": value + half}
    return {"difference": difference, "p_value": p, "p_value_holm": holm, "significant": significant}


def compared(*models: dict[str, Any], not_run: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    return {
        "winner": models[0]["model"] if models else None,
        "models": list(models),
        "not_run": [{"model": name, "reason": reason} for name, reason in not_run],
    }


def figures(confusion: list[list[int]], names: list[str], f1: list[float]) -> dict[str, Any]:
    per_class = [
        {"class_name": name, "precision": 0.9, "recall": 0.8, "f1": value, "support": sum(row)}
        for name, value, row in zip(names, f1, confusion, strict=True)
    ]
    cells = [[i, j, count] for i, row in enumerate(confusion) for j, count in enumerate(row) if count]
    return {"class_names": names, "test": {"per_class": per_class, "confusion": cells}}


def said(comparison: dict[str, Any], metrics: dict[str, Any] | None = None) -> dict[str, str]:
    return {sentence.topic: str(sentence) for sentence in sentences(comparison, metrics=metrics)}


def test_nothing_run():
    found = said(compared(not_run=(("a", "out of memory"), ("b", ""))))
    assert found == {
        "Choice": "No model was run, so there is nothing to compare.",
        "Not run": "a (out of memory) and b (no reason recorded). These sentences leave them out.",
    }


def test_models_but_no_winner():
    comparison = compared(model("a", 0.9, 0.9)) | {"winner": None}
    assert said(comparison) == {"Choice": "No winner is recorded."}


def test_one_model_has_no_rival():
    found = said(compared(model("a", 0.9, 0.95)))
    assert found["Choice"] == (
        "a is the only model that was run, so there was nothing to choose between. "
        f"Its test accuracy is 95.0{N}% on 400{N}test images (95{N}% interval 93.0{N}% to 97.0{N}%)."
    )
    assert set(found) == {"Choice", "Uncertainty"}


def test_winner_ahead_and_the_difference_is_significant():
    found = said(
        compared(model("a", 0.97, 0.96), model("b", 0.9, 0.9, **versus(-0.06, p=1e-5, holm=1e-5, significant=True)))
    )
    assert found["Choice"].startswith(f"a was chosen because it has the highest validation accuracy, 97.0{N}%. ")
    assert found["Best two models"] == (
        f"b, second on validation, has a test accuracy 6.0 percentage points lower than a (95{N}% interval of the "
        f"difference {MINUS}8.0 to {MINUS}4.0). The difference is significant (McNemar\u2019s test on the same images: "
        f"p{N}<{N}0.001): on images like these, a is better."
    )
    assert found["Validation and test"] == "a, chosen on validation, also has the highest test accuracy."


def test_a_difference_that_is_not_significant_and_holm():
    found = said(compared(model("a", 0.97, 0.96), model("b", 0.96, 0.952, **versus(-0.008))))
    assert found["Best two models"] == (
        f"b, second on validation, has a test accuracy 0.8 percentage points lower than a (95{N}% interval of the "
        f"difference {MINUS}2.8 to +1.2). The difference is not significant (McNemar\u2019s test on the same images: "
        f"p{N}={N}0.29, p{N}={N}0.58 after Holm\u2019s correction for several tests): either model may be the better "
        "one."
    )


def test_tie_on_validation_and_on_test():
    found = said(compared(model("a", 0.95, 0.9), model("b", 0.95, 0.9, **versus(0.0, p=1.0, holm=1.0))))
    assert found["Choice"].startswith(
        f"a and b have the same validation accuracy, 95.0{N}%. Which of them comes first says nothing. "
    )
    assert "has the same test accuracy as a to within 0.1 percentage points" in found["Best two models"]
    assert found["Validation and test"] == "a, chosen on validation, shares first place on test with b."


def test_test_ranking_disagrees():
    found = said(compared(model("a", 0.97, 0.94), model("b", 0.96, 0.95, **versus(0.01))))
    assert (
        "b, second on validation, has a test accuracy 1.0 percentage points higher than a" in found["Best two models"]
    )
    assert found["Validation and test"] == (
        f"On test b is first with 95.0{N}%; a has 94.0{N}%. The choice stays with validation, because a model that was "
        "chosen on the test images would look better than it is."
    )


def test_second_is_significantly_better():
    found = said(compared(model("a", 0.97, 0.90), model("b", 0.96, 0.95, **versus(0.05, significant=True))))
    assert found["Best two models"].endswith(": on images like these, b is better.")


def test_no_paired_test_recorded():
    found = said(compared(model("a", 0.97, 0.90), model("b", 0.96, 0.85)))
    assert found["Best two models"] == "b is second on validation; no paired test is recorded."


def test_against_the_baseline():
    baseline = model("majority", 0.2, 0.186, backbone="majority", **versus(-0.783, half=0.03, significant=True))
    found = said(compared(model("a", 0.97, 0.969), baseline))
    assert found["Against the baseline"] == (
        f"Always predicting the most frequent class is right on 18.6{N}% of the test images. a is 78.3 percentage "
        f"points above that (95{N}% interval +75.3 to +81.3)."
    )
    assert "Best two models" not in found


def test_winner_no_better_than_the_baseline():
    baseline = model("majority", 0.5, 0.5, backbone="majority", **versus(-0.01))
    found = said(compared(model("a", 0.51, 0.51), baseline))
    assert found["Against the baseline"].endswith(
        f". a is 1.0 percentage points above that (95{N}% interval \u22121.0 to +3.0). The difference is not "
        f"significant (McNemar\u2019s test on the same images: p{N}={N}0.29, p{N}={N}0.58 after Holm\u2019s correction "
        "for several tests): the test does not show that the model has learned anything."
    )


def test_only_the_baseline_was_run():
    only = compared(model("majority", 0.5, 0.5, backbone="majority")) | {"winner": None}
    assert said(only) == {
        "Choice": "Only the baseline was run, which predicts the most frequent class. "
        f"Its test accuracy is 50.0{N}% on 400{N}test images (95{N}% interval 48.0{N}% to 52.0{N}%)."
    }
    assert verdict(only, images=3, classes=2) == (
        "Only the baseline was run, which predicts the most frequent class: no model was chosen. "
        f"The data: 3{N}images in 2{N}classes."
    )


def test_the_baseline_is_ahead_of_the_winner():
    baseline = model("majority", 0.5, 0.5, backbone="majority", **versus(0.1, significant=True))
    found = said(compared(baseline, model("a", 0.4, 0.4)) | {"winner": "a"})
    assert found["Choice"].startswith(
        "a is the only model that was run besides the baseline, so there was nothing to choose between. "
    )
    assert found["Against the baseline"] == (
        f"Always predicting the most frequent class is right on 50.0{N}% of the test images. a is 10.0 percentage "
        "points below that. On validation, too, a is no better than the baseline."
    )


def test_log_loss_breaks_a_tie():
    first, second = model("a", 0.95, 0.9), model("b", 0.95, 0.9, **versus(0.0))
    first["val"]["log_loss"], second["val"]["log_loss"] = {"value": 0.1}, {"value": 0.2}
    found = said(compared(first, second))
    assert found["Choice"].startswith(
        f"a and b have the same validation accuracy, 95.0{N}%. a comes first because its validation log loss is the "
        "lowest. "
    )


def test_discordant_images_are_counted():
    counts = {"only_this_right": 5, "only_winner_right": 9}
    found = said(compared(model("a", 0.97, 0.96), model("b", 0.96, 0.95, **versus(-0.01), **counts)))
    assert found["Best two models"].endswith(" b alone is right on 5\u00a0images, a alone on 9.")


def test_other_models():
    found = said(
        compared(
            model("a", 0.97, 0.96),
            model("b", 0.96, 0.95, **versus(-0.01)),
            model("c", 0.95, 0.95, **versus(-0.01)),
            model("d", 0.6, 0.6, **versus(-0.36, significant=True)),
        )
    )
    assert found["Other models"] == ("The difference to a on test is significant for d; it is not significant for c.")


def test_wide_interval_is_called_wide():
    wide = model("a", 0.9, 0.8, n=30)
    wide["test"]["accuracy"] |= {"low": 0.62, "high": 0.92}
    found = said(compared(wide))
    assert found["Uncertainty"] == (
        f"The 95{N}% interval of this test accuracy is 30.0 percentage points wide. It reflects which 30{N}images "
        "happened to be in test. It does not reflect another training run, or images from another source. It is wide: "
        "four times as many test images would about halve it."
    )


def test_no_errors_at_all():
    perfect = figures([[20, 0], [0, 30]], ["cat", "dog"], [1.0, 1.0])
    found = said(compared(model("a", 1.0, 1.0)), {"a": perfect})
    assert found["Weakest class"] == (
        f"None: a makes no error on the test images, so every class has an F1 of 100{N}%."
    )
    assert found["Confusions"] == "a confuses no two classes on the test images."


def test_weakest_class_with_few_images():
    made = figures([[60, 2], [7, 30]], ["dog", "cow"], [0.93, 0.87])
    found = said(compared(model("a", 0.9, 0.9)), {"a": made})
    assert found["Weakest class"] == (
        f"\u201ccow\u201d has the lowest F1 of a on test, 87.0{N}% (precision 90.0{N}%, recall 80.0{N}%), on "
        f"37{N}images. With so few images, each of them moves its recall by 2.7 percentage points."
    )
    assert found["Confusions"] == (
        f"a most often takes \u201ccow\u201d for \u201cdog\u201d: 7 of 37{N}images (18.9{N}%). "
        "The reverse happens twice."
    )


def test_weakest_classes_tie_and_one_is_unseen():
    made = figures([[60, 2, 0], [2, 60, 0], [0, 0, 0]], ["cat", "dog", "yak"], [0.9, 0.9, 0.0])
    found = said(compared(model("a", 0.9, 0.9)), {"a": made})
    assert found["Weakest class"] == (
        f"\u201ccat\u201d and \u201cdog\u201d share the lowest F1 of a on test, 90.0{N}%. \u201cyak\u201d has no test "
        "images, so nothing is known of it."
    )
    assert found["Confusions"] == (
        "The most frequent confusions of a on test, 2 images each: \u201ccat\u201d for \u201cdog\u201d and "
        "\u201cdog\u201d for \u201ccat\u201d."
    )


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        (
            [[9, 1, 0], [0, 9, 0], [0, 0, 9]],
            "a makes one error on test: it takes \u201ccat\u201d for \u201cdog\u201d.",
        ),
        (
            [[9, 1, 0], [0, 9, 1], [0, 0, 9]],
            "a makes 2 errors on test, and confuses no two classes more than once.",
        ),
    ],
)
def test_single_confusions(confusion, expected):
    made = figures(confusion, ["cat", "dog", "yak"], [0.9, 0.95, 1.0])
    assert said(compared(model("a", 0.9, 0.9)), {"a": made})["Confusions"] == expected


def test_the_verdict():
    comparison = compared(model("a", 0.97, 0.96), model("b", 0.9, 0.9), not_run=(("c", "no network"),))
    assert verdict(comparison, images=2618, classes=10) == (
        f"Of 2{N}models, a was best on validation. Its test accuracy is 96.0{N}% on 400{N}test images "
        f"(95{N}% interval 94.0{N}% to 98.0{N}%). The data: 2,618{N}images in 10{N}classes. Not run: c."
    )
    assert verdict(compared(), images=1, classes=1) == (
        f"No model has been run, so there is nothing to compare. The data: 1{N}image in 1{N}class."
    )


def test_confused_pairs_count_both_ways():
    pairs = confused_pairs(np.array([[8, 2, 0], [5, 5, 0], [0, 2, 0]]), ["cat", "dog", "yak"])
    assert pairs[["y_true", "y_pred", "count", "support", "reverse"]].to_numpy().tolist() == [
        ["dog", "cat", 5, 10, 2],
        ["yak", "dog", 2, 2, 0],
        ["cat", "dog", 2, 10, 5],
    ]
    assert confused_pairs(np.array([[1]]), ["cat"]).empty


def test_weakest_class_ignores_classes_without_images():
    rows = [{"class_name": "a", "f1": 0.0, "support": 0}, {"class_name": "b", "f1": 0.7, "support": 3}]
    assert [row.class_name for row in weakest_classes(per_class({"per_class": rows}))] == ["b"]
    assert weakest_classes(per_class({})) == []


def test_a_class_is_read_with_intervals_and_without():
    ends = {"value": 0.7, "low": 0.6, "high": 0.8}
    plain, whole = per_class(
        {
            "per_class": [
                {"class_name": "a", "precision": 0.5, "recall": 0.4, "f1": 0.7, "support": 9},
                {"class_name": "b", "precision": ends, "recall": ends, "f1": ends, "support": 9},
            ]
        }
    )
    assert plain.f1 == {"value": 0.7}
    assert whole.f1 == whole.recall == whole.precision == ends


def test_the_matrix_has_every_cell():
    assert confusion({"confusion": [[0, 0, 1], [1, 1, 2]]}, ["a", "b"]).tolist() == [[1, 0], [0, 2]]
    assert confusion({"confusion": []}, ["a"]).tolist() == [[0]]
    assert confusion({}, []) is None


def test_significance_is_what_the_test_says_and_not_what_the_interval_looks_like():
    assert is_significant({"significant": True})
    assert not is_significant({"significant": False, "p_value": 0.001})
    assert not is_significant({})


def test_worst_errors_are_on_test_and_the_most_confident_first():
    predictions = pd.DataFrame(
        {
            "image_id": ["i1", "i2", "i3", "i4", "i5"],
            "split": ["test", "test", "val", "test", "test"],
            "y_true": ["cat", "cat", "cat", "split", "cat"],
            "y_pred": ["split", "cat", "split", "cat", "split"],
            "p:cat": [0.3, 0.9, 0.0, 0.95, 0.4],
            "p:split": [0.7, 0.1, 1.0, 0.05, 0.6],
        }
    )
    errors = most_confident_errors(predictions, 2)
    assert errors.to_dict("list") == {
        "image_id": ["i4", "i1"],
        "y_true": ["split", "cat"],
        "y_pred": ["cat", "split"],
        "p_pred": [0.95, 0.7],
        "p_true": [0.05, 0.3],
    }
    assert most_confident_errors(predictions.iloc[:0]).empty
