"""Keys → rows: a key answers the finding at hand, and keeps what was answered before."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bestiary.audit.answers import answers
from bestiary.audit.issues import ISSUES, is_about_copies
from bestiary.data.corrections.csv_rows import Correction
from bestiary.review.edits import Key, image_issues, pressed

IMAGE_ISSUES = image_issues()
LABEL_ISSUES = tuple(key for key, issue in ISSUES.items() if issue.answered_by_label)


def apart(*issues: str, label: str = "") -> Correction:
    return Correction("", "", "apart", label, issues=issues)


def row(action: str, *issues: str) -> Correction:
    return Correction("", "", action, "dog" if action == "relabel" else "", issues=issues)  # type: ignore[arg-type]


def in_any_order(correction: Correction | None) -> Correction | None:
    return correction and replace(correction, issues=tuple(sorted(correction.issues)))


@pytest.mark.parametrize(
    ("before", "key", "issue", "after"),
    [
        (None, "keep", "dark", row("keep", "dark")),
        (row("keep", "dark"), "keep", "label_error", row("keep", "label_error", "dark")),
        (row("keep", "dark"), "keep", "dark", row("keep", "dark")),
        (row("keep"), "keep", "dark", row("keep")),  # all is well already
        (row("drop"), "keep", "dark", row("keep", "dark")),
        (row("relabel"), "keep", "dark", row("relabel", "dark")),
        (row("relabel", "dark"), "keep", "label_error", row("keep", "label_error", "dark")),  # the label is right
        (None, "relabel", "label_error", row("relabel")),
        (None, "relabel", "dark", row("relabel", "dark")),
        (row("keep", "label_error", "dark"), "relabel", "label_error", row("relabel", "dark")),
        # A keep that names nothing accepted everything, found so far or not.
        (
            row("keep"),
            "relabel",
            "label_error",
            row("relabel", *(one for one in IMAGE_ISSUES if one not in LABEL_ISSUES)),
        ),
        (row("drop"), "relabel", "outlier", row("relabel")),
        (None, "apart", "near_duplicate", apart()),
        (row("keep", "dark", "leak"), "apart", "near_duplicate", apart("dark")),
        (row("relabel", "dark"), "apart", "same_scene", apart("dark", label="dog")),
        (apart("dark"), "relabel", "label_error", apart("dark", label="dog")),
        (apart(), "keep", "dark", apart("dark")),
        (apart("dark", label="dog"), "keep", "label_error", apart("dark", "label_error")),
        (apart("dark", label="dog"), "keep", "leak", row("relabel", "dark", "leak")),
        (apart("dark"), "keep", "near_duplicate", row("keep", "dark", "near_duplicate")),
        (apart("dark", label="dog"), "undo", "near_duplicate", row("relabel", "dark")),
        (apart(), "undo", "near_duplicate", None),
        (apart("dark"), "undo", "dark", apart()),
        (apart("dark"), "drop", "outlier", row("drop", "dark")),
        (row("keep", "dark"), "drop", "dark", row("drop")),
        (row("keep", "dark"), "drop", "outlier", row("drop", "dark")),
        (row("relabel", "dark"), "drop", "outlier", row("drop", "dark")),
        (row("drop", "dark"), "drop", "leak", row("drop", "dark")),
        (row("drop", "dark"), "undo", "outlier", row("keep", "dark")),
        (row("drop", "dark"), "keep", "outlier", row("keep", "outlier", "dark")),
        (row("drop", "dark"), "relabel", "outlier", row("relabel", "dark")),
        (None, "undo", "dark", None),
        (row("keep", "dark"), "undo", "dark", None),
        (row("keep", "label_error", "dark"), "undo", "dark", row("keep", "label_error")),
        (row("keep"), "undo", "dark", row("keep", *(one for one in IMAGE_ISSUES if one != "dark"))),
        (row("keep"), "drop", "dark", row("drop", *(one for one in IMAGE_ISSUES if one != "dark"))),
        (row("drop"), "undo", "dark", None),
        (row("relabel"), "undo", "label_error", None),
        (row("relabel", "dark"), "undo", "label_error", row("keep", "dark")),
    ],
)
def test_what_a_key_makes_of_a_row(before: Correction | None, key: Key, issue: str, after: Correction | None) -> None:
    label = "dog" if key == "relabel" else ""
    made = pressed(key, issue, label=label, before=before)
    assert in_any_order(made) == in_any_order(after)
    assert made is None or len(set(made.issues)) == len(made.issues)


names = st.lists(st.sampled_from(IMAGE_ISSUES), max_size=3, unique=True)


@given(
    st.one_of(
        st.none(), st.builds(lambda action, some: row(action, *some), st.sampled_from(["keep", "relabel"]), names)
    ),
    st.sampled_from(get_args(Key)),
    st.sampled_from(IMAGE_ISSUES),
)
def test_a_key_answers_its_finding_and_what_was_accepted_stays(before: Correction | None, key: Key, issue: str) -> None:
    assume(key != "apart" or is_about_copies(issue))  # the page offers it there only
    after = pressed(key, issue, label="dog" if key == "relabel" else "", before=before)
    assert (after is not None and answers(after, issue)) == (key != "undo")
    for other in set(IMAGE_ISSUES) - {issue}:
        if before is not None and answers(before, other) and (before.action == "keep" or other not in LABEL_ISSUES):
            assert after is not None
            assert answers(after, other)


@given(
    st.one_of(
        st.none(), st.builds(lambda action, some: row(action, *some), st.sampled_from(["keep", "relabel"]), names)
    ),
    st.sampled_from(IMAGE_ISSUES),
)
def test_a_drop_taken_back_leaves_what_was_accepted_before_it(before: Correction | None, issue: str) -> None:
    dropped = pressed("drop", issue, before=before)
    assert dropped is not None
    after = pressed("undo", issue, before=dropped)
    accepted = set() if before is None else {one for one in IMAGE_ISSUES if one in before.issues}
    if before is not None and before.action == "keep" and not before.issues:
        accepted = set(IMAGE_ISSUES)
    assert {one for one in IMAGE_ISSUES if after is not None and answers(after, one)} == accepted - {issue}


def test_issues_of_an_image_are_those_that_are_asked_about_one() -> None:
    assert set(ISSUES) - set(IMAGE_ISSUES) == {
        *("unreadable", "misplaced", "mask", "other_files"),
        *("shortcut", "similar_classes", "rare_class", "small_class", "imbalance"),
    }
