"""What the report says that more time would bring, and by which rule backbones were dropped."""

from typing import Any

from bestiary.report.words.more_time import more_time, sample_words


def entrant(name: str, *rounds: tuple[int, float, float], reason: str = "", seconds: float = 0.0) -> dict[str, Any]:
    judged = [{"images": images, "accuracy": accuracy, "loss": loss} for images, accuracy, loss in rounds]
    return {"name": name, "rounds": [{"backbone": name, **one} for one in judged], "reason": reason, "seconds": seconds}


def said(race: dict[str, Any], search: dict[str, Any]) -> str:
    found = more_time(race, search)
    return found.text.replace("\u00a0", " ") if found else ""


def test_the_last_doubling_of_heads_says_what_another_would_bring() -> None:
    after = [{"trials": 1, "loss": 0.2}, {"trials": 2, "loss": 0.15}, {"trials": 4, "loss": 0.12}]
    assert said({}, {"best_after": after}) == (
        "From 2 heads to 4 the best out-of-fold log loss fell by 0.0300 nats, to 0.1200: more heads would likely bring "
        "more."
    )
    assert (
        "From 4 heads to 8 the best out-of-fold log loss stayed at 0.1200 nats: more heads would bring little."
        in said({}, {"best_after": [*after, {"trials": 8, "loss": 0.12}]})
    )
    after.append({"trials": 8, "loss": 0.1196})
    assert "From 4 heads to 8" in said({}, {"best_after": after})
    assert said({}, {"best_after": after}).endswith("0.0004 nats, to 0.1196: more heads would bring little.")


def test_half_of_a_number_that_is_no_power_of_two_is_the_one_below_it() -> None:
    after = [{"trials": 4, "loss": 0.2}, {"trials": 8, "loss": 0.15}, {"trials": 9, "loss": 0.15}]
    assert said({}, {"best_after": after}).startswith("From 4 heads to 9 ")


def test_backbones_that_were_left_out_for_time_say_how_long_they_need() -> None:
    race = {"backbones": [entrant("a", (300, 0.9, 0.3)), entrant("b", reason="its features take ...", seconds=720.0)]}
    assert said(race, {}) == "There was no time for the features of b (12.0 minutes)."


def test_weights_that_could_not_be_had_are_no_matter_of_time() -> None:
    assert said({"backbones": [entrant("b", reason="no network")]}, {}) == ""


def test_the_best_backbone_on_samples_says_what_more_photos_bring() -> None:
    race = {
        "backbones": [
            entrant("a", (256, 0.93, 0.25), (1832, 0.957, 0.15)),
            entrant("b", (256, 0.91, 0.30), (1832, 0.94, 0.20)),
            entrant("c", (256, 0.60, 1.20), reason="on 256 training images ..."),
        ]
    }
    assert said(race, {}) == (
        "More photos: out of fold, a probe on a was right on 93.0 % with 256 training images and on 95.7 % with 1,832."
    )
    assert sample_words(race).startswith("Samples of 256 of these images came first.")


def test_where_all_were_judged_on_everything_at_once_no_rule_is_stated() -> None:
    assert sample_words({"backbones": [entrant("a", (300, 0.9, 0.3))]}) == ""
    assert more_time({}, {}) is None
