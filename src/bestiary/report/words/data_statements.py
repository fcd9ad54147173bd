"""What the audit says of the data as a whole: labels, copies, leaks, shortcuts, in sentences and one table.

In: a `StudyRecord` with `audit.json`. Out: parts of the section "What to fix first". Owns no file. What `audit.json`
does not have is left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bestiary.audit.copies.threshold import LEAST_SIMILARITY
from bestiary.report.parts import Statements, Table
from bestiary.report.study_record import StudyRecord
from bestiary.report.study_view import interval, straddling
from bestiary.report.words.wording import (
    DASH,
    Sentence,
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
    "format": "Format, colour mode, bytes per pixel",
    "brightness": "Brightness and colour",
    "borders": "Borders",
    "all": "All of these",
}


def data_statements(study: StudyRecord) -> Statements:
    """All that is known of the data as a whole; what was reviewed also where there is no audit."""
    summary = study.audit.summary if study.audit else {}
    found = [*statements_of(summary, comparison=study.comparison, here=_copies_here(study)), _reviewed(study)]
    return Statements([one for one in found if one is not None])


def statements_of(summary: Mapping[str, Any], *, comparison: Mapping[str, Any], here: str) -> list[Sentence]:
    """What an audit's summary says.

    Args:
        summary: `audit.json`.
        comparison: `comparison.json`; empty where models are not compared yet.
        here: how the study's own splits treat copies.
    """
    duplicates = summary.get("duplicates") or {}
    found = [
        _labels(summary.get("labels") or {}, comparison) if summary.get("labels") else _not_judged(summary),
        _copies(duplicates, images=summary.get("images")),
        _leakage(summary.get("leakage") or {}, here=here, scenes=bool(duplicates.get("scenes"))),
        _not_checked(summary.get("not_checked") or []),
    ]
    return [one for one in found if one is not None]


def _labels(labels: Mapping[str, Any], comparison: Mapping[str, Any]) -> Sentence | None:
    rate, ceiling = labels.get("noise_rate") or {}, labels.get("ceiling") or {}
    if not is_number(rate.get("value")):
        return Sentence("Wrong labels", str(labels["reason"])) if labels.get("reason") else None
    if beaten := _beaten(ceiling, comparison):
        return Sentence("Wrong labels", beaten)
    text = (
        f"An estimated {percent(rate['value'])} of the labels are wrong (95\u00a0% interval {percent_interval(rate)}). "
        "This counts images that show another of the classes, not images that show something else. It may include "
        "images that are only difficult."
    )
    if labels.get("confirmed"):
        verb = "counts" if labels["confirmed"] == 1 else "count"
        text += f" {counted(labels['confirmed'], 'label')} that a person confirmed or changed {verb} as correct."
    if is_number(ceiling.get("value")):
        text += (
            f" On these labels, a model that is always right would have an accuracy of about "
            f"{percent(ceiling['value'])} ({percent_interval(ceiling)}); more cannot be measured."
        )
        text += _against_ceiling(ceiling, comparison) if labels.get("flagged") and rate["low"] > 0 else ""
    return Sentence("Wrong labels", text + _worst_class(labels.get("classes") or []))


def _not_judged(summary: Mapping[str, Any]) -> Sentence | None:
    if "labels" not in summary:
        return None
    return Sentence(
        "Wrong labels", "Labels were not checked: that requires a backbone, and two classes with enough images."
    )


def _against_ceiling(ceiling: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    models = comparison.get("models") or []
    winner: Mapping[str, Any] = next((m for m in models if m["model"] == comparison.get("winner")), {})
    accuracy = interval(winner.get("test"), "accuracy").get("value")
    if not (is_number(accuracy) and is_number(ceiling.get("low"))):
        return ""
    if accuracy > ceiling["high"]:
        return (
            f" {winner['model']}, with {percent(accuracy)} on test, is above this limit, by no more than the interval "
            f"of its accuracy allows ({percent_interval(interval(winner['test'], 'accuracy'))})."
        )
    if accuracy >= ceiling["low"]:
        return (
            f" {winner['model']}, with {percent(accuracy)} on test, has reached this limit: fixing labels now helps "
            "more than another model."
        )
    return ""


def _beaten(ceiling: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """What is said instead where a model is right more often than the audit's noise rate allows; "" where none is."""
    for model in comparison.get("models") or []:
        for side in ("test", "val"):
            accuracy = interval(model.get(side), "accuracy")
            if is_number(accuracy.get("low")) and is_number(ceiling.get("high")) and accuracy["low"] > ceiling["high"]:
                where = "test" if side == "test" else "validation"
                return (
                    f"How many labels are wrong cannot be said: the audit's own probe took "
                    f"{percent(1 - ceiling['value'])} of them for wrong, and {model['model']} agrees with "
                    f"{percent(accuracy['value'])} of them on {where}."
                )
    return ""


def _worst_class(classes: list[Mapping[str, Any]]) -> str:
    """The class of which the largest share is flagged; not what the estimate has for it, which may name another."""
    known = [row for row in classes if row.get("flagged") and row.get("judged")]
    if len(classes) < 3 or not known:
        return ""
    worst = max(known, key=lambda row: float(row["flagged"] / row["judged"]))
    name = str(worst.get("class_name") or worst.get("label") or "")
    return (
        f" The largest share is doubted in {quoted(name)}: {whole(worst['flagged'])} of "
        f"{counted(worst['judged'], 'image')}."
    )


def _copies(duplicates: Mapping[str, Any], *, images: Any) -> Sentence | None:
    if not is_number(duplicates.get("images")):
        return None
    scenes = _scenes(duplicates, images=images) + _alike_throughout(duplicates)
    if not duplicates["images"]:
        return Sentence("Copies", "No image is a copy of another, exact or near." + scenes)
    exact = duplicates.get("exact_images")
    text = (
        f"{counted(duplicates['images'], 'image')}{_share(duplicates['images'], images)} are copies of one another, in "
        f"{counted(duplicates.get('clusters', 0), 'cluster')}; "
    )
    text += f"{whole(exact)} of them {'is' if exact == 1 else 'are'} exact." if exact else "none of them are exact."
    for key, where in (("across_classes", "more than one class"), ("across_given_splits", "more than one given split")):
        if count := duplicates.get(key):
            text += f" {counted(count, 'cluster')} {'is' if count == 1 else 'are'} in {where}."
    return Sentence("Copies", text + scenes)


def _scenes(duplicates: Mapping[str, Any], *, images: Any) -> str:
    count = duplicates.get("scene_images")
    if not count:
        return ""
    text = (
        f" {counted(count, 'image')}{_share(count, images)} in {counted(duplicates.get('scenes', 0), 'cluster')} show "
        "the same scene as another, or are so much alike that it cannot be said whether they are copies. None "
        "of them has to be dropped."
    )
    if across := duplicates.get("scenes_across_given_splits"):
        text += f" {counted(across, 'cluster')} of these {'is' if across == 1 else 'are'} in more than one given split."
    return text


def _alike_throughout(duplicates: Mapping[str, Any]) -> str:
    least = duplicates.get("least_similarity")
    if not is_number(least) or least <= LEAST_SIMILARITY + 0.005:
        return ""
    return (
        " The pictures of this set are alike throughout: here two count as copies from a correlation of "
        f"{decimal(least)} on, where {decimal(LEAST_SIMILARITY)} is enough elsewhere. Copies that were cropped, "
        "resized or saved again may be missed, and be in two splits."
    )


def _share(part: Any, of: Any) -> str:
    return f" ({percent(part / of)})" if is_number(part) and is_number(of) and of else ""


def _copies_here(study: StudyRecord) -> str:
    """How this study's own splits treat copies."""
    if len(study.splits) and (crossing := straddling(study.splits)).groups:
        return (
            "In this study the splits came with the data, and images that belong together are in more than one: the "
            f"{crossing.spoiled} figures may be too high."
        )
    if study.config.split.group_duplicates == "near":
        return "In this study all copies that were found are in one split."
    return (
        'In this study only exact copies are kept in one split; split.group_duplicates = "near" does the same for '
        "near copies."
    )


def _leakage(leakage: Mapping[str, Any], *, here: str, scenes: bool) -> Sentence | None:
    leaked, tested = leakage.get("leaked_images"), leakage.get("test_images")
    if not (is_number(leaked) and is_number(tested) and tested):
        return None
    topic = "Random split"
    if not leaked:
        copies = leakage.get("images_with_copies")
        none = (
            f"In none of {counted(leakage.get('draws', 0), 'random split')} was one of the {counted(copies, 'image')} "
            f"with copies in test while its copy was in training. {here}"
            if copies
            else "A random split would leak nothing, since no image has a copy."
        )
        return Sentence(topic, none)
    like = "a copy, or a picture of the same scene," if scenes else "a copy"
    text = (
        f"In a random split that ignores copies, {decimal(leaked, 0 if leaked >= 10 else 1)} of "
        f"{counted(tested, 'test image')}{_share(leaked, tested)} would have {like} in training (mean of "
        f"{counted(leakage.get('draws', 0), 'split')})."
    )
    difference = leakage.get("difference") or {}
    if leakage.get("reason"):
        text += f" {leakage['reason']}"
    elif is_number(difference.get("value")):
        text += f" {_gain(leakage, difference)}"
    return Sentence(topic, f"{text} {here}")


def _gain(leakage: Mapping[str, Any], difference: Mapping[str, Any]) -> str:
    """What the copies do to the accuracy of a probe."""
    ends = f"{points(difference.get('low'), signed=True)} to {points(difference.get('high'), signed=True)}"
    leaky, honest = percent(leakage.get("leaky_accuracy")), percent(leakage.get("honest_accuracy"))
    trained = (
        f"Trained with these copies, a linear probe has a test accuracy of {leaky}; with as many other images in their "
        "place, "
    )
    if difference["value"] == difference.get("low") == difference.get("high") == 0:
        # Resampled, nothing stays nothing: an interval would say more than is known.
        return f"{trained}it has the same, and no test image was right more often because of its copy."
    if round(difference["value"] * 1000) == 0:
        return (
            f"{trained}it has the same to within 0.1 percentage points (95\u00a0% interval of the difference {ends})."
        )
    return (
        f"{trained}it has {honest}: a difference of {points(difference['value'], signed=True)} percentage "
        f"points (95\u00a0% interval {ends}). On the leaked images alone the two are "
        f"{percent(leakage.get('leaky_on_leaked'))} and {percent(leakage.get('honest_on_leaked'))}."
    )


def _not_checked(reasons: Sequence[str]) -> Sentence | None:
    return Sentence("Not checked", f"Not looked for: {listed(reasons)}.") if reasons else None


def _reviewed(study: StudyRecord) -> Sentence | None:
    counts = Counter(str(correction.action) for correction in study.corrections.values())
    if not counts and not study.skipped_corrections:
        return None
    words = {"keep": "kept as they are", "relabel": "relabelled", "drop": "dropped", "apart": "set apart"}
    parts = [f"{whole(counts[action])} {word}" for action, word in words.items() if counts[action]]
    total = sum(counts.values())
    text = f"{counted(total, 'image')} {'was' if total == 1 else 'were'} reviewed so far"
    text += f": {listed(parts)}." if parts else "."
    if skipped := study.skipped_corrections:
        verb = "was skipped, because its image is" if skipped == 1 else "were skipped, because their images are"
        text += f" {counted(skipped, 'further decision')} {verb} gone."
    return Sentence("Reviewed", text)


def shortcuts_table(study: StudyRecord) -> Table:
    """How far a model gets that sees only properties of the files, and not what the pictures show."""
    families = (study.audit.summary.get("shortcuts") if study.audit else None) or []
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
    return Table(
        ["What the model sees", "Balanced accuracy", "95\u00a0% interval", "Chance", "Best recognised (ROC AUC)"],
        rows,
        words=frozenset({0, 4}),
        label="Models of metadata alone",
        title="Classes recognised without seeing the picture",
        note="Balanced accuracy of a model that sees only these properties of an image, on images it was not trained "
        "on. Where it is far above chance, a classifier may have learned the same shortcut.",
    )
