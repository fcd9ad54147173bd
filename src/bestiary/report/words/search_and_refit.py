"""What a search tried, what became of the ensemble, and what was fitted once more for the export, in sentences.

In: `search.json`, `ensemble.json`, `refit.json`. Out: plain English. Owns no file.
"""

from collections.abc import Mapping
from typing import Any

from bestiary.report.study_view import value
from bestiary.report.words.wording import Sentence, counted, decimal, is_number, listed, percent


def searched(search: Mapping[str, Any], winner: Mapping[str, Any] | None) -> Sentence | None:
    """How many heads were tried, and what choosing the best of them is worth.

    Args:
        search: what `search.json` holds; empty: there was no search.
        winner: its row in `comparison.json`; None where there is none.
    """
    if not search:
        return None
    if not search["heads"]:
        return Sentence("Search", f"It found nothing: {search['reason']}.")
    on, kept = search["judged_on"], {row["model"]: row for row in search["finalists"]}
    tried = f"{counted(search['trials'], 'head')} {'was' if search['trials'] == 1 else 'were'} tried"
    best = f"{listed(list(kept))} {'is' if len(kept) == 1 else 'are'} the best of them by out-of-fold log loss"
    text = f"{tried} in {on['folds']} folds of {counted(on['images'], 'training image')}; {best}."
    found = kept.get(winner["model"]) if winner else None
    measured = value((winner or {}).get("test"), "accuracy")
    if found is not None and is_number(measured):
        text += (
            f" {found['model']} was right on {percent(found['accuracy'])} out of fold, as the best of so many, and on "
            f"{percent(measured)} of test, which chose nothing."
        )
    return Sentence("Search", text)


def ensembled(ensemble: Mapping[str, Any]) -> Sentence | None:
    """What the ensemble is and gains, or why there is none; `ensemble` is what `ensemble.json` holds, or empty."""
    if not ensemble or "gain" not in ensemble:
        return None
    tried, images = counted(len(ensemble["tried"]), "model"), counted(ensemble["images"], "validation image")
    if not ensemble["kept"]:
        return Sentence("Ensemble", f"One of {tried} was tried on {images} and left out: {ensemble['reason']}.")
    members = [f"{percent(one['share'])} {one['model']}" for one in ensemble["config"]["ensemble"]]
    gain, low, high = (decimal(ensemble["gain"][name], 4) for name in ("value", "low", "high"))
    return Sentence(
        "Ensemble",
        f"The probabilities of {listed(members)} are weighted and added, as greedy selection from {tried} chose on "
        f"{images}. Its log loss on validation images that had no part in choosing the shares is {gain} lower than "
        f"that of the best single model (95\u00a0% interval {low} to {high}). Its "
        "validation figures are cross-fitted in the same way.",
    )


def refitted(refit: Mapping[str, Any]) -> Sentence | None:
    """That the exported weights are not those that were measured; `refit` is what `refit.json` holds, or empty."""
    if not refit:
        return None
    share = refit["test_agreed"] / max(refit["test_images"], 1)
    return Sentence(
        "Exported model",
        f"It was fitted once more on {counted(refit['images'], 'image')}, with what had been chosen. All figures here "
        f"are of the model before that, fitted on {counted(refit['images_before'], 'image')}: no image is left to "
        f"measure the exported one on. The two agree on {percent(share)} of the test images.",
    )
