"""What the figures of the models say, in sentences made from the figures.

In: `comparison.json` and each model's figures. Out: plain English. Owns no file. No sentence says more than its
figures do: one model is better than another only where the paired test is significant, and every share comes with the
count behind it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bestiary.report.study_view import (
    confusion,
    interval,
    is_baseline,
    is_significant,
    paired_test_name,
    per_class,
    value,
)
from bestiary.report.words.mistakes import confused_pairs, weakest_classes
from bestiary.report.words.search_and_refit import ensembled, refitted, searched
from bestiary.report.words.wording import (
    Sentence,
    counted,
    is_number,
    listed,
    p_value,
    percent,
    percent_interval,
    points,
    quoted,
    whole,
)

_FEW_IMAGES = 50
_WIDE_INTERVAL = 0.10

Comparison = Mapping[str, Any]
Row = Mapping[str, Any]


def verdict(comparison: Comparison, *, images: int, classes: int) -> str:
    """The report's first paragraph: the winner, its test accuracy with interval, the data, models not run."""
    models = comparison.get("models") or []
    data = f"The data: {counted(images, 'image')} in {counted(classes, 'class', 'classes')}."
    winner = _winner(comparison)
    trained = [m for m in models if not is_baseline(m)]
    if not models:
        text = "No model has been run, so there is nothing to compare."
    elif not trained:
        text = "Only the baseline was run, which predicts the most frequent class: no model was chosen."
    elif winner is None:
        text = (
            f"{counted(len(models), 'model')} {'was' if len(models) == 1 else 'were'} run, but no winner is recorded."
        )
    else:
        baseline = " and a baseline" if len(trained) < len(models) else ""
        choice = (
            f"Of {counted(len(trained), 'model')}{baseline}, {winner['model']} was best on validation."
            if len(trained) > 1
            else f"{winner['model']} is the only model that was run{_besides(baseline)}."
        )
        text = f"{choice} {_test_accuracy(winner)}"
    missing = [entry["model"] for entry in comparison.get("not_run") or []]
    return f"{text} {data} Not run: {listed(missing)}." if missing else f"{text} {data}"


def _besides(baseline: str) -> str:
    return " besides the baseline" if baseline else ""


def sentences(
    comparison: Comparison,
    *,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    refit: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    ensemble: Mapping[str, Any] | None = None,
) -> list[Sentence]:
    """What the figures say, each topic once and only where there is something to say.

    Args:
        comparison: as in `comparison.json`.
        metrics: each model's figures by model name; the winner's are for the sentences on classes and confusions.
        refit: what `refit.json` says of the exported model; empty where it was not refitted.
        search: what `search.json` holds; empty where there was no search.
        ensemble: what `ensemble.json` holds; empty where none was looked for.

    Returns:
        Topics in reading order: choice, uncertainty, the best two, the others, baseline, validation and test, weakest
        class, confusions, the search, the ensemble, the exported model, models not run.
    """
    winner = _winner(comparison)
    found: list[Sentence | None] = []
    if winner is None:
        found.append(_no_choice(comparison))
    else:
        figures = (metrics or {}).get(winner["model"]) or {}
        found += [
            _choice(comparison, winner),
            _uncertainty(winner),
            _best_two(comparison, winner),
            _others(comparison, winner),
            _baseline(comparison, winner),
            _agreement(comparison, winner),
            _weakest(winner, figures.get("test")),
            _confusions(winner, figures.get("test"), figures.get("class_names") or []),
        ]
        if winner.get("over_folds"):
            # Classes and confusions are those of the model that is exported.
            found[-2:] = [one and Sentence(f"{one.topic}, first fold", one.text) for one in found[-2:]]
    found += [searched(search or {}, winner), ensembled(ensemble or {}), refitted(refit or {}), _not_run(comparison)]
    return [sentence for sentence in found if sentence is not None]


def _winner(comparison: Comparison) -> Row | None:
    return next((m for m in comparison.get("models") or [] if m["model"] == comparison.get("winner")), None)


def _accuracy(model: Row, split: str) -> Any:
    return value(model.get(split), "accuracy")


def _test_accuracy(model: Row) -> str:
    test = model.get("test") or {}
    if not is_number(_accuracy(model, "test")):
        return "Its test accuracy is not recorded."
    count = f" on {counted(test['n'], 'test image')}" if test.get("n") else ""
    ends = percent_interval(interval(test, "accuracy"))
    return f"Its test accuracy is {percent(_accuracy(model, 'test'))}{count} (95\u00a0% interval {ends})."


def _no_choice(comparison: Comparison) -> Sentence:
    models = comparison.get("models") or []
    if not models:
        text = "No model was run, so there is nothing to compare."
    elif all(map(is_baseline, models)):
        text = f"Only the baseline was run, which predicts the most frequent class. {_test_accuracy(models[0])}"
    else:
        text = "No winner is recorded."
    return Sentence("Choice", text)


def _rivals(comparison: Comparison, winner: Row) -> list[Row]:
    """The other models in the order of the ranking, without baselines."""
    return [m for m in comparison["models"] if m is not winner and not is_baseline(m)]


def _choice(comparison: Comparison, winner: Row) -> Sentence:
    name, own = winner["model"], _accuracy(winner, "val")
    rivals = _rivals(comparison, winner)
    tied = [m["model"] for m in rivals if is_number(own) and _accuracy(m, "val") == own]
    losses = [value(m.get("val"), "log_loss") for m in (winner, *rivals)]
    if not rivals:
        besides = " besides the baseline" if len(comparison["models"]) > 1 else ""
        text = f"{name} is the only model that was run{besides}, so there was nothing to choose between."
    elif tied:
        text = f"{listed([name, *tied])} have the same validation accuracy, {percent(own)}. "
        text += (
            f"{name} comes first because its validation log loss is the lowest."
            if all(map(is_number, losses))
            else "Which of them comes first says nothing."
        )
    elif is_number(own) and all(_accuracy(m, "val") < own for m in rivals if is_number(_accuracy(m, "val"))):
        text = f"{name} was chosen because it has the highest validation accuracy, {percent(own)}."
    else:
        text = f"{name} is the recorded choice."
    return Sentence("Choice", f"{text} {_test_accuracy(winner)}")


def _uncertainty(winner: Row) -> Sentence | None:
    accuracy = interval(winner.get("test"), "accuracy")
    if not (is_number(accuracy.get("low")) and is_number(accuracy.get("high"))):
        return None
    width = accuracy["high"] - accuracy["low"]
    text = (
        f"The 95\u00a0% interval of this test accuracy is {points(width)} percentage points wide. It reflects which "
        f"{counted(winner['test']['n'], 'image')} happened to be in test. It does not reflect another training run, or "
        "images from another source."
    )
    if width > _WIDE_INTERVAL:
        text += " It is wide: four times as many test images would about halve it."
    return Sentence("Uncertainty", text)


def _best_two(comparison: Comparison, winner: Row) -> Sentence | None:
    rivals = _rivals(comparison, winner)
    if not rivals:
        return None
    second, name = rivals[0], winner["model"]
    versus = second.get("versus_winner") or {}
    difference = versus.get("difference") or {}
    if not is_number(difference.get("value")):
        return Sentence("Best two models", f"{second['model']} is second on validation; no paired test is recorded.")
    ends = f"{points(difference.get('low'), signed=True)} to {points(difference.get('high'), signed=True)}"
    text = (
        f"{second['model']}, second on validation, has {_apart(difference['value'], name)} (95\u00a0% interval of the "
        f"difference {ends}). "
    )
    if is_significant(versus):
        better = second["model"] if difference["value"] > 0 else name
        text += f"The difference is significant{_test_result(versus)}: on images like these, {better} is better."
    else:
        text += f"The difference is not significant{_test_result(versus)}: either model may be the better one."
    alone, other = versus.get("only_this_right"), versus.get("only_winner_right")
    if is_number(alone) and is_number(other):
        text += f" {second['model']} alone is right on {counted(alone, 'image')}, {name} alone on {whole(other)}."
    needed = versus.get("images_needed")
    if is_number(needed) and not is_significant(versus):
        text += f" If it is as large as it seems, about {_rounded(needed)} test images would show it."
    return Sentence("Best two models", text)


def _rounded(count: float) -> str:
    """To two digits: more would claim more than is known."""
    return whole(int(float(f"{count:.2g}")))


def _apart(difference: float, name: str) -> str:
    if round(difference * 1000) == 0:
        return f"the same test accuracy as {name} to within 0.1 percentage points"
    way = "higher" if difference > 0 else "lower"
    return f"a test accuracy {points(abs(difference))} percentage points {way} than {name}"


def _test_result(versus: Mapping[str, Any]) -> str:
    """The paired test behind a difference, in parentheses."""
    if not is_number(versus.get("p_value")):
        return ""
    text = f"{paired_test_name(versus)} on the same images: p\u00a0{p_value(versus['p_value'])}"
    holm = versus.get("p_value_holm")
    if is_number(holm) and p_value(holm) != p_value(versus["p_value"]):
        text += f", p\u00a0{p_value(holm)} after Holm\u2019s correction for several tests"
    return f" ({text})"


def _others(comparison: Comparison, winner: Row) -> Sentence | None:
    tested = [m for m in _rivals(comparison, winner)[1:] if m.get("versus_winner")]
    if not tested:
        return None
    groups = {
        "is significant": [m["model"] for m in tested if is_significant(m["versus_winner"])],
        "is not significant": [m["model"] for m in tested if not is_significant(m["versus_winner"])],
    }
    parts = [f"{verb} for {listed(names)}" for verb, names in groups.items() if names]
    return Sentence("Other models", f"The difference to {winner['model']} on test {'; it '.join(parts)}.")


def _baseline(comparison: Comparison, winner: Row) -> Sentence | None:
    topic, name = "Against the baseline", winner["model"]
    baseline = next((m for m in comparison["models"] if is_baseline(m)), None)
    if baseline is winner:
        return Sentence(topic, f"{name} predicts the most frequent class: no model that sees the images was chosen.")
    if baseline is None or not is_number(_accuracy(baseline, "test")):
        return None
    text = (
        f"Always predicting the most frequent class is right on {percent(_accuracy(baseline, 'test'))} of the test "
        f"images. {name} is "
    )
    versus = baseline.get("versus_winner") or {}
    difference = versus.get("difference") or {}
    if not is_number(difference.get("value")):
        return Sentence(topic, f"{text}right on {percent(_accuracy(winner, 'test'))}.")
    gain = -difference["value"]
    low, high = (points(_negative(difference.get(end)), signed=True) for end in ("high", "low"))
    text += f"{points(abs(gain))} percentage points {'above' if gain >= 0 else 'below'} that"
    if not is_significant(versus):
        text += (
            f" (95\u00a0% interval {low} to {high}). The difference is not significant{_test_result(versus)}: the test "
            "does not show that the model has learned anything."
        )
    else:
        text += f" (95\u00a0% interval {low} to {high})." if gain > 0 else "."
    validation = _accuracy(winner, "val"), _accuracy(baseline, "val")
    if all(map(is_number, validation)) and validation[0] <= validation[1]:
        text += f" On validation, too, {name} is no better than the baseline."
    return Sentence(topic, text)


def _negative(number: Any) -> Any:
    return -number if is_number(number) else None


def _agreement(comparison: Comparison, winner: Row) -> Sentence | None:
    scored = [m for m in comparison["models"] if is_number(_accuracy(m, "test"))]
    own, name = _accuracy(winner, "test"), winner["model"]
    if len(scored) < 2 or not is_number(own):
        return None
    best = max(_accuracy(m, "test") for m in scored)
    first = [m["model"] for m in scored if _accuracy(m, "test") == best]
    if own < best:
        text = (
            f"On test {listed(first)} {'is' if len(first) == 1 else 'are'} first with {percent(best)}; {name} has "
            f"{percent(own)}. The choice stays with validation, because a model that was chosen on the test images "
            "would look better than it is."
        )
    elif len(first) > 1:
        text = (
            f"{name}, chosen on validation, shares first place on test with {listed([m for m in first if m != name])}."
        )
    else:
        text = f"{name}, chosen on validation, also has the highest test accuracy."
    return Sentence("Validation and test", text)


def _weakest(winner: Row, split: Mapping[str, Any] | None) -> Sentence | None:
    topic, name, classes = "Weakest class", winner["model"], per_class(split)
    weakest = weakest_classes(classes)
    if not weakest:
        return None
    unseen = [quoted(row.class_name) for row in classes if not row.support]
    verb = "has" if len(unseen) == 1 else "have"
    note = f" {listed(unseen, most=5)} {verb} no test images, so nothing is known of {_them(unseen)}." if unseen else ""
    first = weakest[0]
    if first.f1["value"] >= 1.0:
        text = f"None: {name} makes no error on the test images, so every class has an F1 of 100\u00a0%."
        return Sentence(topic, text + note)
    score = percent(first.f1["value"])
    if len(weakest) > 1:
        names = listed([quoted(row.class_name) for row in weakest], most=5)
        return Sentence(topic, f"{names} share the lowest F1 of {name} on test, {score}.{note}")
    text = (
        f"{quoted(first.class_name)} has the lowest F1 of {name} on test, {score} (precision "
        f"{percent(first.precision.get('value'))}, recall {percent(first.recall.get('value'))}), on "
        f"{counted(first.support, 'image')}."
    )
    if first.support < _FEW_IMAGES:
        text += f" With so few images, each of them moves its recall by {points(1 / first.support)} percentage points."
    return Sentence(topic, text + note)


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _confusions(winner: Row, split: Mapping[str, Any] | None, class_names: Sequence[str]) -> Sentence | None:
    topic, name = "Confusions", winner["model"]
    counts = confusion(split, class_names)
    if counts is None:
        return None
    pairs = confused_pairs(counts, class_names)
    if pairs.empty:
        return Sentence(topic, f"{name} confuses no two classes on the test images.")
    total, top = int(pairs["count"].sum()), int(pairs["count"].iloc[0])
    row = pairs.iloc[0]
    if total == 1:
        return Sentence(topic, f"{name} makes one error on test: it takes {_pair(row)}.")
    if top == 1:
        return Sentence(topic, f"{name} makes {total} errors on test, and confuses no two classes more than once.")
    tied = pairs[pairs["count"] == top]
    if len(tied) > 1:
        kinds = [_pair(one) for _, one in tied.iterrows()]
        text = f"The most frequent confusions of {name} on test, {top} images each: {listed(kinds, most=5)}."
        return Sentence(topic, text)
    back = {0: "never", 1: "once", 2: "twice"}.get(int(row["reverse"]), f"{row['reverse']} times")
    text = (
        f"{name} most often takes {_pair(row)}: {top} of {counted(int(row['support']), 'image')} "
        f"({percent(row['share'])}). The reverse happens {back}."
    )
    return Sentence(topic, text)


def _pair(row: Mapping[str, Any]) -> str:
    return f"{quoted(row['y_true'])} for {quoted(row['y_pred'])}"


def _not_run(comparison: Comparison) -> Sentence | None:
    entries = comparison.get("not_run") or []
    if not entries:
        return None
    reasons = [f"{entry['model']} ({entry.get('reason') or 'no reason recorded'})" for entry in entries]
    return Sentence("Not run", f"{listed(reasons)}. These sentences leave {_them(entries)} out.")
