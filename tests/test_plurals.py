"""Counts with their nouns."""

import pytest

from bestiary.plurals import counted


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0, "file"), "0 files"),
        ((1, "file"), "1 file"),
        ((2, "file"), "2 files"),
        ((2618, "image"), "2,618 images"),
        ((1, "class", "classes"), "1 class"),
        ((3, "class", "classes"), "3 classes"),
        ((1, "file left out", "files left out"), "1 file left out"),
    ],
)
def test_a_count_takes_the_form_of_its_noun(given: tuple[int, str] | tuple[int, str, str], text: str) -> None:
    assert counted(*given) == text
