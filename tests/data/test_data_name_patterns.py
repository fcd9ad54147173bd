"""Patterns that file names suggest: what is tried for names of the usual makes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.data.folders.name_patterns import candidate_patterns
from bestiary.data.folders.path_groups import path_groups


@pytest.mark.parametrize(
    ("paths", "groups"),
    [
        (
            ["ill/patient012_1.png", "well/patient012_2.png", "ill/patient013_1.png"],
            ["patient012"] * 2 + ["patient013"],
        ),
        (["a/exp1_num_240048.jpg", "b/exp2_num_240063.jpg", "a/exp1_num_9.jpg"], ["240"] * 2 + [""]),
        (["a/Imgs-001-e1.png", "a/Imgs-001-e2.png", "a/Imgs-002-e1.png"], ["001"] * 2 + ["002"]),
        (["a/shoe (12) left.png", "a/shoe (12) right.png", "a/shoe (13) left.png"], ["12"] * 2 + ["13"]),
        (["a/x1_1.png", "b/x1_2.png", "b/x1_3.png"], ["a/x1", "b/x1", "b/x1"]),
        (["a/site 1/7.png", "a/site 1/8.png", "b/site 2/7.png"], ["a/site 1"] * 2 + ["b/site 2"]),
        (["a/B17-left-001.png", "a/B17-right-2.png", "a/c_3.png"], ["B17", "B17", "c"]),
    ],
)
def test_a_candidate_makes_the_groups_that_are_meant(paths: list[str], groups: list[str]) -> None:
    found = [path_groups(paths, pattern) for pattern in candidate_patterns(paths) if matches(pattern, paths)]
    assert groups in found


def matches(pattern: str, paths: list[str]) -> bool:
    return any((match := re.search(pattern, path)) and match[1] for path in paths)


names = st.text(st.sampled_from("ab1.-_( )[é'/\\"), min_size=1, max_size=14).map(lambda name: f"{name}.png")


@settings(max_examples=100, deadline=None)
@given(st.lists(names, min_size=1, max_size=12, unique=True), st.randoms(use_true_random=False))
def test_candidates_are_expressions_with_one_group_whatever_the_order(paths: list[str], random) -> None:
    found = candidate_patterns(paths)
    assert all(re.compile(pattern).groups == 1 for pattern in found)
    assert candidate_patterns(random.sample(paths, len(paths))) == found


def test_codes_and_rare_forms_suggest_nothing_of_their_own() -> None:
    codes = [f"a/ea36b0{number}082f6033ed1584d05fb1d4e9.jpg" for number in range(9)]
    plain = candidate_patterns(["a/x.jpg"])
    assert set(candidate_patterns(codes)) <= set(plain)
    assert not any("_u_" in pattern for pattern in candidate_patterns(["a/u_1.png", *["a/v1.png"] * 30]))
