"""Class names that are one class written in two ways."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.data.confusable import ConfusablePair, confusable_classes

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("Cat", "cat", "upper and lower case"),
        ("STRASSE", "straße", "upper and lower case"),
        ("cat", "cat ", "spaces"),
        (" cat", "cat", "spaces"),
        ("polar  bear", "polar bear", "spaces"),
        ("polar bear", "polar\u00a0bear", "spaces"),
        ("cat", "cat\u200b", "spaces"),
        (DECOMPOSED, COMPOSED, "how their letters are composed in Unicode"),
        ("\ufb01sh", "fish", "how their letters are composed in Unicode"),
        ("Cat ", "cat", "spaces and upper and lower case"),
        (DECOMPOSED.upper(), COMPOSED, "how their letters are composed in Unicode and upper and lower case"),
    ],
)
def test_twins_are_a_pair_with_what_they_differ_in(first: str, second: str, reason: str) -> None:
    first, second = sorted((first, second))
    assert confusable_classes([second, "dog", first]) == [ConfusablePair(first, second, reason)]


def test_names_that_differ_are_no_pair() -> None:
    assert confusable_classes(["cat", "cats", "polar_bear", "polar bear", "dog", "café", "cafe", "1", "2"]) == []
    assert confusable_classes(["cat", "cat"]) == confusable_classes([]) == []


def test_three_alike_are_three_pairs() -> None:
    pairs = [(pair.first, pair.second) for pair in confusable_classes(["cat", "Cat", "CAT", "owl"])]
    assert pairs == [("CAT", "Cat"), ("CAT", "cat"), ("Cat", "cat")]


@given(st.text(min_size=1, max_size=8))
def test_every_form_of_a_name_is_a_pair_with_it(name: str) -> None:
    forms = {name.upper(), name.casefold(), f"{name} ", *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))}
    for form in forms - {name}:
        if form.casefold() == name.casefold() or form.strip() == name.strip() or form in forms:
            (pair,) = confusable_classes([name, form])
            assert pair.reason
            assert {pair.first, pair.second} == {name, form}
