"""What a race dropped, and what more time would likely bring, in sentences.

In: `race.json`, `search.json`. Out: plain English. Owns no file.
"""

from collections.abc import Mapping
from typing import Any

from bestiary.report.words.wording import Sentence, counted, decimal, listed, percent

# A lower log loss than this is no reason to wait.
_LITTLE, _NOTHING = 0.001, 0.00005


def sample_words(race: Mapping[str, Any]) -> str:
    """By which rule backbones are dropped, where any could be; empty where all were judged on everything at once."""
    sizes = _sizes(race)
    if len(sizes) < 2:
        return ""
    samples = listed([f"{size:,}" for size in sizes[:-1]])
    return (
        f"Samples of {samples} of these images came first. A backbone is out where its log loss there is significantly "
        "higher than the leader\u2019s and joining it to the leader does not lower that."
    )


def more_time(race: Mapping[str, Any], search: Mapping[str, Any]) -> Sentence | None:
    """What twice the time would likely bring, by what the last half of it brought."""
    said = [*_of_heads(search.get("best_after", [])), *_of_backbones(race), *_of_photos(race)]
    return Sentence("More time", " ".join(said)) if said else None


def _of_heads(best_after: list[Mapping[str, Any]]) -> list[str]:
    if len(best_after) < 2:
        return []
    half, whole = best_after[-2], best_after[-1]
    if 2 * half["trials"] > whole["trials"] and len(best_after) > 2:
        half = best_after[-3]
    gain = half["loss"] - whole["loss"]
    fell = f"fell by {decimal(gain, 4)} nats, to {decimal(whole['loss'], 4)}"
    if gain < _NOTHING:
        fell = f"stayed at {decimal(whole['loss'], 4)} nats"
    text = f"From {counted(half['trials'], 'head')} to {whole['trials']:,} the best out-of-fold log loss {fell}"
    return [f"{text}: {'more heads would bring little' if gain < _LITTLE else 'more heads would likely bring more'}."]


def _of_backbones(race: Mapping[str, Any]) -> list[str]:
    late = [row for row in race.get("backbones", []) if row["reason"] and not row["rounds"] and row["seconds"]]
    if not late:
        return []
    needed = [f"{row['name']} ({decimal(row['seconds'] / 60, 1)} minutes)" for row in late]
    return [f"There was no time for the features of {listed(needed)}."]


def _of_photos(race: Mapping[str, Any]) -> list[str]:
    """How the best backbone's accuracy grew with the images, where it was judged on several samples."""
    rounds = [row["rounds"] for row in race.get("backbones", []) if len(row["rounds"]) > 1 and not row["reason"]]
    if not rounds:
        return []
    best = min(rounds, key=lambda one: float(one[-1]["loss"]))
    first, last = best[0], best[-1]
    return [
        f"More photos: out of fold, a probe on {best[0]['backbone']} was right on {percent(first['accuracy'])} with "
        f"{counted(first['images'], 'training image')} and on {percent(last['accuracy'])} with {last['images']:,}."
    ]


def _sizes(race: Mapping[str, Any]) -> list[int]:
    return sorted({one["images"] for row in race.get("backbones", []) for one in row["rounds"]})
