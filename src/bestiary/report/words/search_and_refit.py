"""What a search tried, and what was fitted once more for the export, in sentences.

In: `search.json`, `refit.json`. Out: plain English. Owns no file.
"""

from collections.abc import Mapping
from typing import Any

from bestiary.report.study_view import value
from bestiary.report.words.wording import Sentence, counted, is_number, listed, percent


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
