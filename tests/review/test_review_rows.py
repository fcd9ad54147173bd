"""Keys → rows: a key answers the finding at hand, and leaves standing what was answered before."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.audit.settled import LABEL_ISSUES, answers
from bestiary.core.issues import ISSUES
from bestiary.data.corrections import Correction
from bestiary.review.rows import Key, pressed

FOUND = ("label_error", "dark")


def row(action: str, *issues: str) -> Correction:
    return Correction("", "", action, "dog" if action == "relabel" else "", issues=issues)  # type: ignore[arg-type]


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
        (row("keep"), "relabel", "label_error", row("relabel", "dark")),  # what was well besides stays so
        (row("drop"), "relabel", "outlier", row("relabel")),
        (row("keep", "dark"), "drop", "dark", row("drop")),
        (None, "undo", "dark", None),
        (row("keep", "dark"), "undo", "dark", None),
        (row("keep", "label_error", "dark"), "undo", "dark", row("keep", "label_error")),
        (row("keep"), "undo", "dark", row("keep", "label_error")),
        (row("drop"), "undo", "dark", None),
        (row("relabel"), "undo", "label_error", None),
        (row("relabel", "dark"), "undo", "label_error", row("keep", "dark")),
    ],
)
def test_what_a_key_makes_of_a_row(before: Correction | None, key: Key, issue: str, after: Correction | None) -> None:
    label = "dog" if key == "relabel" else ""
    assert pressed(key, issue, label=label, before=before, found=FOUND) == after  # type: ignore[arg-type]


names = st.lists(st.sampled_from(ISSUES), max_size=3, unique=True)


@given(
    st.one_of(
        st.none(), st.builds(lambda action, some: row(action, *some), st.sampled_from(["keep", "relabel"]), names)
    ),
    st.sampled_from(get_args(Key)),
    st.sampled_from(ISSUES),
    names,
)
def test_a_key_answers_its_finding_and_what_was_let_stand_stays(
    before: Correction | None, key: Key, issue: str, others: list[str]
) -> None:
    found = (issue, *others)
    after = pressed(key, issue, label="dog" if key == "relabel" else "", before=before, found=found)  # type: ignore[arg-type]
    assert (after is not None and answers(after, issue)) == (key != "undo")
    for other in set(found) - {issue}:
        if before is not None and answers(before, other) and (before.action == "keep" or other not in LABEL_ISSUES):
            assert after is not None
            assert answers(after, other)
