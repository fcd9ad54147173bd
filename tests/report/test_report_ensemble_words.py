"""What the report says of an ensemble: its gain, or why there is none."""

from bestiary.report.words.search_and_refit import ensembled

GAIN = {"value": 0.0346, "low": -0.0115, "high": 0.0807}
JUDGED = {"gain": GAIN, "images": 100, "tried": ["a", "b", "c"]}


def test_one_that_is_kept_names_shares_and_gain() -> None:
    members = [{"model": "a", "share": 0.58}, {"model": "b", "share": 0.42}]
    said = ensembled({"kept": True, "reason": "", "config": {"ensemble": members}, **JUDGED})
    assert said is not None
    text = said.text.replace("\u00a0", " ")
    assert "58.0 % a and 42.0 % b are weighted and added, as greedy selection from 3 models chose on 100" in text
    assert "0.0346 lower than that of the best single model (95 % interval \u22120.0115 to 0.0807)" in text


def test_one_that_is_left_out_says_why() -> None:
    said = ensembled({"kept": False, "reason": "one model alone has the lowest log loss on val", **JUDGED})
    assert said is not None
    assert said.text.replace("\u00a0", " ") == (
        "One of 3 models was tried on 100 validation images and left out: one model alone has the lowest log loss on "
        "val."
    )


def test_where_there_were_no_two_models_nothing_is_said() -> None:
    assert ensembled({"kept": False, "reason": "there are no two models with a network", "models": []}) is None
    assert ensembled({}) is None
