"""What the audit says of the data as a whole: labels, copies, leaks, shortcuts, in sentences and one table.

In: a `StudyRecord` with `audit.json`. Out: `Told`. Owns no file. What `audit.json` does not have is passed over.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bestiary.data.splits import straddling_groups
from bestiary.report.record import StudyRecord
from bestiary.report.tables import Table
from bestiary.report.words.verdict import Sentence
from bestiary.report.words.wording import (
    DASH,
    counted,
    decimal,
    is_number,
    listed,
    percent,
    percent_interval,
    points,
    quoted,
    whole,
)

_FAMILIES = {
    "size": "Size: width, height and shape",
    "format": "Format, colour mode, bytes a pixel",
    "brightness": "Brightness and colour",
    "borders": "Borders",
    "all": "All of these",
}


@dataclass(frozen=True)
class Told:
    """Sentences by topic, and how far a model that sees only metadata gets."""

    sentences: list[Sentence]
    shortcuts: Table


def build_told(study: StudyRecord) -> Told:
    """All that is known of the data as a whole; sentences on what was reviewed also where no audit is there."""
    summary = study.audit.summary if study.audit else {}
    found = [
        _labels(summary.get("labels") or {}, study.comparison) if summary.get("labels") else _not_judged(summary),
        _copies(summary.get("duplicates") or {}, images=summary.get("images")),
        _leakage(summary.get("leakage") or {}, here=_copies_here(study)),
        _reviewed(study),
    ]
    return Told([one for one in found if one is not None], _shortcuts(summary.get("shortcuts") or []))


def _labels(labels: Mapping[str, Any], comparison: Mapping[str, Any]) -> Sentence | None:
    rate, ceiling = labels.get("noise_rate") or {}, labels.get("ceiling") or {}
    if not is_number(rate.get("value")):
        return None
    text = (
        f"By estimate {percent(rate['value'])} of the labels are wrong (95\u00a0% interval {percent_interval(rate)}). "
        "This counts labels that should be another of the classes, not pictures of something else, and it may count "
        "images that are only difficult."
    )
    if labels.get("confirmed"):
        verb = "counts" if labels["confirmed"] == 1 else "count"
        text += f" {counted(labels['confirmed'], 'label')} that a person confirmed or changed {verb} as right."
    if is_number(ceiling.get("value")):
        text += (
            f" A model that is always right would be scored at about {percent(ceiling['value'])} "
            f"({percent_interval(ceiling)}) on these labels: no model can be seen to be better than that."
        )
        text += _against_ceiling(ceiling, comparison)
    return Sentence("Wrong labels", text + _worst_class(labels.get("classes") or []))


def _not_judged(summary: Mapping[str, Any]) -> Sentence | None:
    if "labels" not in summary:
        return None
    return Sentence("Wrong labels", "Labels were not judged: that takes a backbone, and two classes of enough images.")


def _against_ceiling(ceiling: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    models = comparison.get("models") or []
    winner: Mapping[str, Any] = next((m for m in models if m["model"] == comparison.get("winner")), {})
    accuracy = (winner.get("test") or {}).get("accuracy") or {}
    if not (is_number(accuracy.get("value")) and is_number(ceiling.get("low"))):
        return ""
    if accuracy["value"] >= ceiling["low"]:
        return (
            f" {winner['model']}, with {percent(accuracy['value'])} on test, is there already: mending labels now says "
            "more than another model."
        )
    return ""


def _worst_class(classes: list[Mapping[str, Any]]) -> str:
    known = [row for row in classes if is_number(row.get("looks_wrong")) and row.get("wrong_images")]
    if len(classes) < 3 or not known:
        return ""
    worst = max(known, key=lambda row: float(row["looks_wrong"]))
    name = str(worst.get("class_name") or worst.get("label") or "")
    return (
        f" Most of all in {quoted(name)}: {whole(worst['wrong_images'])} of {whole(worst.get('judged'))} look to be of "
        "another class."
    )


def _copies(duplicates: Mapping[str, Any], *, images: Any) -> Sentence | None:
    if not is_number(duplicates.get("images")):
        return None
    if not duplicates["images"]:
        return Sentence("Copies", "No image is a copy of another, exact or near.")
    exact = duplicates.get("exact_images")
    text = (
        f"{counted(duplicates['images'], 'image')}{_share(duplicates['images'], images)} are copies of one another, in "
        f"{counted(duplicates.get('clusters', 0), 'cluster')}; "
    )
    text += f"{whole(exact)} of them share every byte with another." if exact else "no two of them share every byte."
    for key, where in (("across_classes", "more than one class"), ("across_given_splits", "more than one given split")):
        if duplicates.get(key):
            lie = "lies" if duplicates[key] == 1 else "lie"
            text += f" {counted(duplicates[key], 'cluster')} {lie} in {where}."
    return Sentence("Copies", text)


def _share(part: Any, of: Any) -> str:
    return f" ({percent(part / of)})" if is_number(part) and is_number(of) and of else ""


def _copies_here(study: StudyRecord) -> str:
    """How this study's own splits deal with copies."""
    if len(study.splits) and straddling_groups(study.splits):
        return (
            "Here the division came with the data, and copies lie on more than one side: the test figures are too good."
        )
    if study.config.split.group_duplicates == "near":
        return "Here copies stay on one side."
    return 'Here only exact copies stay on one side; split.group_duplicates = "near" keeps the others together too.'


def _leakage(leakage: Mapping[str, Any], *, here: str) -> Sentence | None:
    leaked, tested = leakage.get("leaked_images"), leakage.get("test_images")
    if not (is_number(leaked) and is_number(tested) and tested):
        return None
    if not leaked:
        copies = leakage.get("images_with_copies")
        none = (
            f"In none of {counted(leakage.get('draws', 0), 'plain random split')} did one of the "
            f"{counted(copies, 'image')} with copies stand in test and its copy in training. {here}"
            if copies
            else "A plain random split would leak nothing: no image has a copy."
        )
        return Sentence("A random split", none)
    text = (
        f"A plain random split would put a copy of {decimal(leaked, 0 if leaked >= 10 else 1)} of "
        f"{counted(tested, 'test image')}{_share(leaked, tested)} into training (mean of "
        f"{counted(leakage.get('draws', 0), 'split')})."
    )
    difference = leakage.get("difference") or {}
    if is_number(difference.get("value")):
        text += f" {_gain(leakage, difference)}"
    return Sentence("A random split", f"{text} {here}")


def _gain(leakage: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    """What the copies do to the accuracy of a probe."""
    ends = f"{points(difference.get('low'), signed=True)} to {points(difference.get('high'), signed=True)} points"
    leaky, honest = percent(leakage.get("leaky_accuracy")), percent(leakage.get("honest_accuracy"))
    if difference["value"] == difference.get("low") == difference.get("high") == 0:
        # Resampled, nothing stays nothing: an interval would say more than is known.
        return (
            f"With them a linear probe scores {leaky} on test, and the same with as many other images instead: no test "
            "image was right more often with its copy in training than without."
        )
    if round(difference["value"] * 1000) == 0:
        return (
            f"With them a linear probe scores {leaky} on test, and the same to within 0.1 points with as many other "
            f"images instead (95\u00a0% interval of the difference {ends})."
        )
    return (
        f"With them a linear probe scores {leaky} on test, with as many other images instead {honest}: a difference of "
        f"{points(difference['value'], signed=True)} points (95\u00a0% interval {ends}). On the leaked images alone "
        f"it is {percent(leakage.get('leaky_on_leaked'))} against {percent(leakage.get('honest_on_leaked'))}."
    )


def _reviewed(study: StudyRecord) -> Sentence | None:
    counts = Counter(str(correction.action) for correction in study.corrections.values())
    if not counts and not study.passed_over:
        return None
    words = {"keep": "kept as they are", "relabel": "relabelled", "drop": "dropped"}
    parts = [f"{whole(counts[action])} {word}" for action, word in words.items() if counts[action]]
    total = sum(counts.values())
    text = f"{counted(total, 'image')} {'was' if total == 1 else 'were'} reviewed so far"
    text += f": {listed(parts)}." if parts else "."
    if study.passed_over:
        verb = "is about an image that is" if study.passed_over == 1 else "are about images that are"
        text += f" {counted(study.passed_over, 'further decision')} {verb} gone."
    return Sentence("Reviewed", text)


def _shortcuts(families: list[Mapping[str, Any]]) -> Table:
    rows = []
    for row in families:
        aucs = {name: auc for name, auc in (row.get("per_class") or {}).items() if is_number(auc)}
        best = max(aucs, key=lambda name: aucs[name]) if aucs else ""
        rows.append(
            [
                _FAMILIES.get(str(row.get("family")), str(row.get("family"))),
                percent(row.get("balanced_accuracy")),
                percent_interval(row),
                percent(row.get("chance")),
                f"{best} ({decimal(aucs[best])})" if best else DASH,
            ]
        )
    columns = ["What is known", "Balanced accuracy", "95\u00a0% interval", "Chance", "Best told apart (ROC area)"]
    return Table(columns=columns, rows=rows, words=frozenset({0, 4}), label="Models of metadata alone")
