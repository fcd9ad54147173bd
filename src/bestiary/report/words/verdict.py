"""What the figures say, in sentences made from the figures.

In: the tables and mappings of a study (`comparison.json`, `metrics.json`, predictions). Out: small tables and plain
English. Owns no file. No sentence says more than its figures do: a difference is one only where the paired test
tells the models apart, and every share comes with the count behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bestiary.config.schema import MAJORITY
from bestiary.report.words.mistakes import confused_pairs, weakest_class, with_probabilities, worst_errors
from bestiary.report.words.wording import (
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

__all__ = ["Sentence", "confused_pairs", "sentences", "verdict", "weakest_class", "with_probabilities", "worst_errors"]

_FEW_IMAGES = 50
_WIDE_INTERVAL = 0.10


@dataclass(frozen=True)
class Sentence:
    """One or more sentences on one topic."""

    topic: str
    text: str

    def __str__(self) -> str:
        return self.text


def verdict(comparison: Mapping[str, Any], *, images: int, classes: int) -> str:
    """The report's first paragraph: the winner, its test accuracy with interval, the data, models not run."""
    models = comparison.get("models") or []
    data = f"{counted(images, 'image')} in {counted(classes, 'class', 'classes')}"
    winner = _winner(comparison)
    rivals = [m for m in models if m.get("backbone") != MAJORITY]
    if not models:
        text = f"No model has been run, so there is nothing to compare. The data are {data}."
    elif not rivals:
        text = (
            f"Only the dummy ran, which always answers the commonest class: no model was chosen. The data are {data}."
        )
    elif winner is None:
        text = f"{counted(len(models), 'model')} ran, but no winner is recorded. The data are {data}."
    else:
        dummies = " (the dummy apart)" if len(rivals) < len(models) else ""
        choice = (
            f"Of {counted(len(rivals), 'model')}{dummies}, {winner['model']} did best on validation"
            if len(rivals) > 1
            else f"{winner['model']} is the only model that ran{dummies}"
        )
        text = f"{choice}. {_test_accuracy(winner)} The data are {data}."
    not_run = [entry["model"] for entry in comparison.get("not_run") or []]
    return f"{text} Not run: {listed(not_run)}." if not_run else text


def sentences(
    comparison: Mapping[str, Any], *, metrics: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Sentence]:
    """What the figures say, each topic once and only where there is something to say.

    Args:
        comparison: as in `comparison.json`.
        metrics: each model's `metrics.json` by model name; the winner's tells of classes and confusions.

    Returns:
        Topics in reading order: choice, interval, the best two, the others, dummy, validation and test, weakest
        class, confusions, models not run.
    """
    winner = _winner(comparison)
    found: list[Sentence | None] = []
    if winner is None:
        found.append(_no_choice(comparison))
    else:
        split = ((metrics or {}).get(winner["model"]) or {}).get("test")
        names = ((metrics or {}).get(winner["model"]) or {}).get("class_names")
        found += [
            _choice(comparison, winner),
            _interval(winner),
            _best_two(comparison, winner),
            _others(comparison, winner),
            _dummy(comparison, winner),
            _agreement(comparison, winner),
            _weakest(winner, split),
            _confusion(winner, split, names),
        ]
    found.append(_not_run(comparison))
    return [sentence for sentence in found if sentence is not None]


def _winner(comparison: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((m for m in comparison.get("models") or [] if m["model"] == comparison.get("winner")), None)


def _accuracy(model: Mapping[str, Any], split: str) -> Any:
    return ((model.get(split) or {}).get("accuracy") or {}).get("value")


def _test_accuracy(model: Mapping[str, Any]) -> str:
    test = model.get("test") or {}
    if not is_number(_accuracy(model, "test")):
        return "Its test accuracy is not recorded."
    count = f"{counted(test['n'], 'test image')} " if test.get("n") else "test images "
    interval = percent_interval(test["accuracy"])
    return f"It is right on {percent(_accuracy(model, 'test'))} of the {count}(95\u00a0% interval {interval})."


def _no_choice(comparison: Mapping[str, Any]) -> Sentence:
    models = comparison.get("models") or []
    if not models:
        text = "No model was run: there is nothing to compare."
    elif all(m.get("backbone") == MAJORITY for m in models):
        text = f"Only the dummy ran, which always answers the commonest class. {_test_accuracy(models[0])}"
    else:
        text = "No winner is recorded."
    return Sentence("Choice", text)


def _choice(comparison: Mapping[str, Any], winner: Mapping[str, Any]) -> Sentence:
    name, value = winner["model"], _accuracy(winner, "val")
    rivals = [m for m in comparison["models"] if m is not winner and m.get("backbone") != MAJORITY]
    tied = [m["model"] for m in rivals if is_number(value) and _accuracy(m, "val") == value]
    losses = [((m.get("val") or {}).get("log_loss") or {}).get("value") for m in (winner, *rivals)]
    if not rivals:
        apart = ", the dummy apart" if len(comparison["models"]) > 1 else ""
        text = f"{name} is the only model that ran{apart}: there was nothing to choose."
    elif tied:
        text = f"{listed([name, *tied])} have the same validation accuracy, {percent(value)}; "
        decided = all(map(is_number, losses))
        text += f"{name} comes first by its log loss." if decided else "their order says nothing of which is better."
    elif is_number(value) and all(_accuracy(m, "val") < value for m in rivals if is_number(_accuracy(m, "val"))):
        text = f"{name} has the highest validation accuracy, {percent(value)}, and was chosen for it."
    else:
        text = f"{name} is the recorded choice."
    text = f"{text} {_test_accuracy(winner)}"
    return Sentence("Choice", text)


def _interval(winner: Mapping[str, Any]) -> Sentence | None:
    accuracy = (winner.get("test") or {}).get("accuracy") or {}
    if not (is_number(accuracy.get("low")) and is_number(accuracy.get("high"))):
        return None
    width = accuracy["high"] - accuracy["low"]
    text = (
        f"The interval of {winner['model']} is {points(width)} points wide. It tells how much the accuracy may be off "
        f"because only {counted(winner['test']['n'], 'image')} were tested; it covers neither another training run nor "
        "images from another source."
    )
    if width > _WIDE_INTERVAL:
        text += " That is wide: four times as many test images would about halve it."
    return Sentence("How sure", text)


def _best_two(comparison: Mapping[str, Any], winner: Mapping[str, Any]) -> Sentence | None:
    rivals = [m for m in comparison["models"] if m is not winner and m.get("backbone") != MAJORITY]
    if not rivals:
        return None
    second = rivals[0]
    versus = second.get("versus_winner") or {}
    difference = versus.get("difference") or {}
    if not is_number(difference.get("value")):
        return Sentence("The best two", f"{second['model']} is second on validation; no paired test is recorded.")
    if round(difference["value"] * 1000) == 0:
        apart = f"{second['model']}, second on validation, has the same test accuracy to within 0.1 points"
    else:
        way = "higher" if difference["value"] > 0 else "lower"
        apart = f"{second['model']}, second on validation, is {points(abs(difference['value']))} points {way} on test"
    ends = f"{points(difference.get('low'), signed=True)} to {points(difference.get('high'), signed=True)}"
    text = f"{apart} (95\u00a0% interval of the difference {ends} points). {_test_result(versus)}"
    alone, other = versus.get("only_this_right"), versus.get("only_winner_right")
    if is_number(alone) and is_number(other):
        text += (
            f" (only {second['model']} is right on {counted(alone, 'image')}, only {winner['model']} on {whole(other)})"
        )
    if versus.get("told_apart"):
        better = second["model"] if difference["value"] > 0 else winner["model"]
        text += f": the two are told apart, and {better} is the better one on images like these."
    else:
        text += ": the two are not told apart. Either may be the better one."
    return Sentence("The best two", text)


def _test_result(versus: Mapping[str, Any]) -> str:
    if not is_number(versus.get("p_value")):
        return "McNemar\u2019s test on the same images"
    text = f"McNemar\u2019s test on the same images gives p\u00a0{p_value(versus['p_value'])}"
    holm = versus.get("p_value_holm")
    if is_number(holm) and p_value(holm) != p_value(versus["p_value"]):
        text += f" ({p_value(holm).removeprefix('=').strip()} after Holm\u2019s correction for several comparisons)"
    return text


def _others(comparison: Mapping[str, Any], winner: Mapping[str, Any]) -> Sentence | None:
    rivals = [m for m in comparison["models"] if m is not winner and m.get("backbone") != MAJORITY][1:]
    tested = [m for m in rivals if m.get("versus_winner")]
    if not tested:
        return None
    apart = [m["model"] for m in tested if m["versus_winner"].get("told_apart")]
    same = [m["model"] for m in tested if not m["versus_winner"].get("told_apart")]
    parts = []
    if same:
        parts.append(f"Not told apart from {winner['model']} on test: {listed(same)}.")
    if apart:
        parts.append(f"Told apart from {winner['model']} on test: {listed(apart)}.")
    return Sentence("The other models", " ".join(parts))


def _dummy(comparison: Mapping[str, Any], winner: Mapping[str, Any]) -> Sentence | None:
    dummy = next((m for m in comparison["models"] if m.get("backbone") == MAJORITY), None)
    if dummy is winner:
        text = f"{winner['model']} always answers the commonest class: no model that looks at images was chosen."
        return Sentence("Against the dummy", text)
    if dummy is None or not is_number(_accuracy(dummy, "test")):
        return None
    name = winner["model"]
    text = f"Always answering the commonest class is right on {percent(_accuracy(dummy, 'test'))} of the test images"
    versus = dummy.get("versus_winner") or {}
    difference = versus.get("difference") or {}
    if not is_number(difference.get("value")):
        return Sentence("Against the dummy", f"{text}; {name} on {percent(_accuracy(winner, 'test'))}.")
    gain = -difference["value"]
    low, high = (points(_negative(difference.get(end)), signed=True) for end in ("high", "low"))
    if not versus.get("told_apart"):
        text += (
            f". {name} is {points(gain, signed=True)} points from that ({low} to {high}) and not told apart from it: "
            "the test does not show that it learned anything."
        )
    elif gain > 0:
        text += f"; {name} is {points(gain)} points above that (95\u00a0% interval {low} to {high})."
    else:
        text += f"; {name} is {points(-gain)} points below that."
    validation = _accuracy(winner, "val"), _accuracy(dummy, "val")
    if all(map(is_number, validation)) and validation[0] <= validation[1]:
        text += f" On validation, too, {name} does no better than the dummy."
    return Sentence("Against the dummy", text)


def _negative(value: Any) -> Any:
    return -value if is_number(value) else None


def _agreement(comparison: Mapping[str, Any], winner: Mapping[str, Any]) -> Sentence | None:
    scored = [m for m in comparison["models"] if is_number(_accuracy(m, "test"))]
    own = _accuracy(winner, "test")
    if len(scored) < 2 or not is_number(own):
        return None
    best = max(_accuracy(m, "test") for m in scored)
    first = [m["model"] for m in scored if _accuracy(m, "test") == best]
    name = winner["model"]
    if own < best:
        text = (
            f"They do not name the same model: {listed(first)} {'is' if len(first) == 1 else 'are'} first on test with "
            f"{percent(best)}, {name} has {percent(own)}. The choice stays with validation: a model chosen on the test "
            "images would look better than it is."
        )
    elif len(first) > 1:
        others = listed([model for model in first if model != name])
        text = f"{name}, the choice on validation, shares the first place on test with {others}."
    else:
        text = f"They agree on the first place: {name}, the choice on validation, also has the highest test accuracy."
    return Sentence("Validation and test", text)


def _weakest(winner: Mapping[str, Any], split: Mapping[str, Any] | None) -> Sentence | None:
    per_class = (split or {}).get("per_class") or []
    weakest = weakest_class(per_class)
    if not weakest:
        return None
    unseen = [row["class_name"] for row in per_class if not row.get("support")]
    note = f" Nothing can be said of {listed([quoted(n) for n in unseen], most=5)}: no test images." if unseen else ""
    if weakest[0]["f1"] >= 1.0:
        text = f"None: {winner['model']} makes no error on the test images, and every class has an F1 of 100\u00a0%."
        return Sentence("Weakest class", text + note)
    score = percent(weakest[0]["f1"])
    if len(weakest) > 1:
        names = listed([quoted(row["class_name"]) for row in weakest], most=5)
        return Sentence("Weakest class", f"{names} share the lowest F1 of {winner['model']} on test, {score}.{note}")
    row = weakest[0]
    text = (
        f"{quoted(row['class_name'])} has the lowest F1 of {winner['model']} on test, {score} (precision "
        f"{percent(row.get('precision'))}, recall {percent(row.get('recall'))}), on {counted(row['support'], 'image')}."
    )
    if row["support"] < _FEW_IMAGES:
        text += f" With so few, one image more or less moves its recall by {points(1 / row['support'])} points."
    return Sentence("Weakest class", text + note)


def _confusion(
    winner: Mapping[str, Any], split: Mapping[str, Any] | None, class_names: Sequence[str] | None
) -> Sentence | None:
    if not split or not split.get("confusion") or not class_names:
        return None
    pairs = confused_pairs(split["confusion"], class_names)
    name = winner["model"]
    if pairs.empty:
        return Sentence("Confusions", f"{name} confuses no pair of classes on the test images.")
    total, top = int(pairs["count"].sum()), int(pairs["count"].iloc[0])
    if top == 1:
        spread = "the only error" if total == 1 else f"the {total} errors are of {total} different kinds"
        first = pairs.iloc[0]
        only = f": {quoted(first['y_true'])} taken for {quoted(first['y_pred'])}" if total == 1 else ""
        return Sentence("Confusions", f"No confusion of {name} occurs more than once on test; {spread}{only}.")
    tied = pairs[pairs["count"] == top]
    if len(tied) > 1:
        kinds = [f"{quoted(t)} for {quoted(p)}" for t, p in zip(tied["y_true"], tied["y_pred"], strict=True)]
        text = f"The most frequent confusions of {name} on test, {top} images each: {listed(kinds, most=5)}."
        return Sentence("Confusions", text)
    row = pairs.iloc[0]
    back = {0: "never", 1: "once", 2: "twice"}.get(int(row["reverse"]), f"{row['reverse']} times")
    text = (
        f"{name} most often takes {quoted(row['y_true'])} for {quoted(row['y_pred'])}: {top} of "
        f"{counted(int(row['support']), 'image')} ({percent(row['share'])}). The other way round it happens {back}."
    )
    return Sentence("Confusions", text)


def _not_run(comparison: Mapping[str, Any]) -> Sentence | None:
    entries = comparison.get("not_run") or []
    if not entries:
        return None
    reasons = [f"{entry['model']} ({entry.get('reason') or 'no reason recorded'})" for entry in entries]
    return Sentence(
        "Not run", f"{listed(reasons)}. Nothing is said here about {'it' if len(reasons) == 1 else 'them'}."
    )
