"""Numbers and lists as the report writes them."""

import numpy as np
import pytest

from bestiary.report.words.wording import (
    cached_words,
    counted,
    is_number,
    p_value,
    percent,
    percent_ends,
    seconds,
    when,
    whole,
)

N = "\u00a0"


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3.0)])
def test_numbers_of_numpy_are_numbers(value):
    assert is_number(value)
    assert whole(value) == "3"


@pytest.mark.parametrize("value", [None, "3", True, np.bool_(True), float("nan"), float("inf"), np.float64("nan")])
def test_what_is_no_number_is_a_dash(value):
    assert not is_number(value)
    assert whole(value) == percent(value) == seconds(value) == p_value(value) == "\u2013"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.0, "0.0"), (0.0004, f"<{N}0.1"), (0.9996, f">{N}99.9"), (1.0, "100.0"), (-0.0, "0.0"), (-0.05, "\u22125.0")],
)
def test_a_percentage_does_not_round_to_none_or_all(fraction, text):
    assert percent(fraction) == f"{text}{N}%"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, f"<{N}0.001"), (0.049, f"={N}0.049"), (0.0504, f"={N}0.050"), (0.29, f"={N}0.29")]
)
def test_a_p_value_just_below_the_limit_stays_below(p, text):
    assert p_value(p) == text


def test_counts_have_the_right_plural():
    assert counted(1, "image") == f"1{N}image"
    assert counted(2618, "class", "classes") == f"2,618{N}classes"


def test_what_was_cached():
    assert cached_words("features") == "features cached"
    assert cached_words("features", 2000) == f"features of 2,000{N}images cached"


def test_times_are_in_utc_and_do_not_break():
    assert when("2026-01-31T12:34:56Z") == f"2026-01-31{N}12:34{N}UTC"
    assert when("") == when(None) == "\u2013"
    assert when("yesterday") == "yesterday"


def test_the_ends_of_an_interval_in_small_print():
    assert percent_ends({"value": 0.9, "low": 0.95, "high": 0.99996}) == "95.0 to >99.9"
    assert percent_ends({"value": 0.9}) == percent_ends(None) == ""
