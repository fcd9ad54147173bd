"""What is answered: each finding by an answer of its own, and never less by a further decision."""

from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.audit.answers import answered, answers, asked_about, is_answered
from bestiary.audit.copies.copy_findings import copy_findings
from bestiary.audit.issues import ISSUES, is_about_copies
from bestiary.audit.summary import audit_fingerprint
from bestiary.config.schema import AuditConfig, SplitConfig
from bestiary.data.corrections.csv_rows import Correction
from tests.audit.test_audit_run import EACH, audited, subject

IMAGES = ("a", "b", "c")


def keep(*issues: str) -> Correction:
    return Correction("x", "", "keep", issues=issues)


def relabel(*issues: str) -> Correction:
    return Correction("x", "", "relabel", "dog", issues=issues)


DROP = Correction("x", "", "drop")
APART = Correction("x", "", "apart")


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (keep(), set(ISSUES)),
        (keep("dark"), {"dark"}),
        (keep("dark", "leak"), {"dark", "leak"}),
        (relabel(), {"label_error", "label_conflict", "outlier"}),
        (relabel("dark"), {"label_error", "label_conflict", "outlier", "dark"}),
        (DROP, set(ISSUES)),
        (APART, {issue for issue in ISSUES if is_about_copies(issue)}),
        (replace(APART, issues=("dark",)), {"dark", *(issue for issue in ISSUES if is_about_copies(issue))}),
        (
            replace(APART, label="dog"),
            {"label_error", "outlier", *(issue for issue in ISSUES if is_about_copies(issue))},
        ),
    ],
)
def test_what_a_row_answers(row: Correction, wanted: set[str]) -> None:
    assert {issue for issue in ISSUES if answers(row, issue)} == wanted


def test_a_finding_asks_about_its_image_about_copies_or_about_none() -> None:
    assert asked_about("outlier", "a", ["b", "c"]) == ("a",)  # neighbours are only shown
    assert asked_about("leak", "a", ["b", "a", "c"]) == ("a", "b", "c")
    assert asked_about("imbalance", "", []) == ()


@pytest.mark.parametrize(
    ("issue", "decisions", "wanted"),
    [
        ("dark", {"a": keep("dark")}, True),
        ("label_error", {"a": keep("dark")}, False),
        ("dark", {"b": keep()}, False),
        ("near_duplicate", {"a": keep("near_duplicate"), "b": keep("near_duplicate"), "c": keep()}, True),
        ("leak", {"a": keep("near_duplicate"), "b": keep("near_duplicate"), "c": keep()}, False),
        ("near_duplicate", {"a": keep("near_duplicate"), "b": keep()}, False),
        ("near_duplicate", {"a": DROP}, False),
        ("near_duplicate", {"a": DROP, "c": DROP}, True),
        ("near_duplicate", {"a": APART}, False),
        ("near_duplicate", {"a": APART, "c": DROP}, True),
        ("same_scene", {"a": APART, "c": APART}, True),
        ("dark", {"a": APART}, False),
        ("near_duplicate", {"a": DROP, "c": DROP, "b": keep("dark")}, True),
        ("near_duplicate", {"a": DROP, "b": keep("near_duplicate"), "c": relabel()}, False),
        ("label_conflict", {"a": DROP, "b": keep("label_conflict"), "c": relabel()}, True),
    ],
)
def test_which_findings_are_answered(issue: str, decisions: dict[str, Correction], wanted: bool) -> None:
    assert is_answered(issue, asked_about(issue, "a", ["b", "c"]), decisions) is wanted


def test_the_same_bytes_are_copies_whatever_is_said() -> None:
    same = ("a", "a-1")
    assert not is_answered("exact_duplicate", same, {"a": APART})
    assert not is_answered("exact_duplicate", same, {"a": APART, "a-1": APART})
    assert is_answered("exact_duplicate", same, {"a": APART, "a-1": DROP})
    assert is_answered("near_duplicate", ("a", "b"), {"a": APART})


def test_what_asks_about_no_image_is_never_answered() -> None:
    assert not is_answered("imbalance", (), {"a": keep()})
    assert not is_answered("leak", ("a",), {})
    assert is_answered("leak", ("a",), {"a": DROP})


issues = st.frozensets(st.sampled_from(list(ISSUES)), min_size=1)
rows = st.one_of(
    st.none(),
    issues.map(lambda some: keep(*some)),
    st.just(keep()),
    st.frozensets(st.sampled_from(list(ISSUES))).map(lambda some: relabel(*some)),
    st.just(DROP),
)


def more(row: Correction | None, further: frozenset[str], kind: str) -> Correction:
    """A row that answers all that one does, and more."""
    if kind == "drop" or (row is not None and row.action == "drop"):
        return DROP
    if row is None:
        return keep(*further) if kind == "keep" else relabel(*further)
    if row.action == "keep" and (kind == "all" or not row.issues):
        return keep()
    return replace(row, issues=(*row.issues, *further))


@given(
    st.sampled_from(list(ISSUES)),
    st.dictionaries(st.sampled_from(IMAGES), rows),
    st.sampled_from(IMAGES),
    issues,
    st.sampled_from(["drop", "all", "keep", "relabel"]),
)
def test_a_decision_that_answers_more_never_unsettles(
    issue: str, drawn: dict[str, Correction | None], image: str, further: frozenset[str], kind: str
) -> None:
    before = {image_id: row for image_id, row in drawn.items() if row is not None}
    after = {**before, image: more(before.get(image), further, kind)}
    members = asked_about(issue, "a", ["b", "c"])
    assert is_answered(issue, members, before) <= is_answered(issue, members, after)
    assert answered(before, issue) <= answered(after, issue)


@given(st.sampled_from(list(ISSUES)), st.dictionaries(st.sampled_from(IMAGES), rows.filter(bool), min_size=3))
def test_where_every_image_is_answered_the_finding_is_answered_and_mostly_only_there(
    issue: str, decisions: dict[str, Correction]
) -> None:
    members = asked_about(issue, "a", ["b", "c"])
    each = all(issue in {one for one in ISSUES if answers(decisions[image_id], one)} for image_id in members)
    one_left = is_about_copies(issue) and sum(decisions[image_id].action == "drop" for image_id in members) == 2
    assert is_answered(issue, members, decisions) == (each or one_left)


# --- the audit


def test_the_audit_tells_again_what_was_kept_for_another_reason_and_not_what_was_relabelled() -> None:
    wrong = [f"{number:020x}" for number in range(EACH, EACH + 4)]
    about = subject(decisions={wrong[0]: keep("dark"), wrong[1]: keep("label_error"), wrong[2]: relabel()})
    # To a class that the probe does not believe in either, and would flag: the person has looked.
    about.images.loc[about.images["image_id"] == wrong[2], "label"] = "wasp"
    table, _ = audited(about)
    assert set(table.loc[table["issue"] == "label_error", "image_id"]) == {wrong[0], wrong[3]}


def test_a_leak_stays_where_its_copies_were_kept_as_copies() -> None:
    images = subject(features=False).images.iloc[:2].assign(split_given=["train", "test"])
    copies = pd.DataFrame(
        {"image_id": images["image_id"], "cluster_id": "c", "picture_id": "c", "similarity": 0.98, "exact": False}
    )
    copies["kind"] = "same_picture"
    findings = [(one.issue, asked_about(one.issue, one.image_id, one.related)) for one in copy_findings(images, copies)]
    assert [issue for issue, _ in findings] == ["leak", "near_duplicate"]

    def left(*named: str) -> list[str]:
        decisions = dict.fromkeys(images["image_id"], keep(*named))
        return [issue for issue, members in findings if not is_answered(issue, members, decisions)]

    assert left("dark") == ["leak", "near_duplicate"]
    assert left("near_duplicate") == ["leak"]
    assert left("leak") == ["near_duplicate"]
    assert left("leak", "near_duplicate") == left() == []


def test_the_audit_is_made_anew_for_what_settles_and_not_for_who_or_when() -> None:
    index = subject(features=False).index

    def key(*decided: Correction) -> str:
        return audit_fingerprint(index, AuditConfig(), SplitConfig(), decisions={row.image_id: row for row in decided})

    first = Correction("a", "1.jpg", "keep", issues=("dark",))
    others = [replace(first, issues=("blurry",)), replace(first, issues=()), replace(first, image_id="b"), relabel()]
    assert len({key(), key(first), *map(key, others)}) == 6
    again = replace(
        first, reviewed_by="Eva", reviewed_at="2026-01-31", path="moved.jpg", extra=(("note", "x"),), line=7
    )
    assert key(again) == key(first)
    second = Correction("b", "", "drop")
    assert key(first, second) == key(second, first) != key(first)


def test_a_new_label_answers_what_is_about_the_label() -> None:
    assert {key for key, issue in ISSUES.items() if issue.answered_by_label} == {
        "label_error",
        "label_conflict",
        "outlier",
    }
