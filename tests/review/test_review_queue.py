"""The queue: kinds of findings, what counts as decided, and what the page is sent."""

import json
from typing import Literal

import pandas as pd
import pytest

from bestiary.audit.findings import Finding, findings_table, read_findings
from bestiary.data.corrections.csv_rows import Correction
from bestiary.review.queue import ReviewQueue
from tests.review.made_review import CLASSES

Action = Literal["keep", "drop", "relabel"]


def made_index(count: int = 4, *, unread: tuple[str, ...] = ()) -> pd.DataFrame:
    ids = [f"i{number}" for number in range(count)]
    return pd.DataFrame(
        {
            "image_id": ids,
            "path": [f"a/{image_id}.jpg" for image_id in ids],
            "label": ["a", "b"] * (count // 2),
            "width_px": 8,
            "height_px": 9,
            "bytes": 100,
            "split_given": "",
            "error": ["cut" if image_id in unread else "" for image_id in ids],
        }
    )


def made_queue(*findings: Finding, index: pd.DataFrame | None = None) -> ReviewQueue:
    return ReviewQueue(findings_table(findings), made_index() if index is None else index)


def about(image_id: str, issue: str = "outlier", related: tuple[str, ...] = ()) -> Finding:
    return Finding(
        issue=issue,  # type: ignore[arg-type]
        severity="low",
        score=0.5,
        action="check",
        reason="made",
        image_id=image_id,
        path="p",
        label="a",
        related=related,
    )


def decided(**actions: Action) -> dict[str, Correction]:
    return {
        image_id: Correction(image_id, "", action, "b" * (action == "relabel")) for image_id, action in actions.items()
    }


def test_a_finding_about_an_image_is_decided_with_it_and_neighbours_do_not_count() -> None:
    queue = made_queue(about("i0", related=("i1", "i2")))
    (item,) = queue.items
    assert (item.kind, item.members, item.nearby) == ("image", ("i0",), ("i1", "i2"))
    assert not queue.is_decided(item, decided(i1="drop", i2="keep"))
    assert queue.is_decided(item, decided(i0="keep"))
    assert queue.is_decided(item, decided(i0="drop"))


@pytest.mark.parametrize(
    ("actions", "done"),
    [
        ({}, False),
        ({"i0": "keep"}, False),
        ({"i0": "drop"}, False),  # i1 and i2 are copies of one another still
        ({"i1": "drop", "i2": "drop"}, True),  # one is left
        ({"i0": "drop", "i1": "drop"}, True),
        ({"i0": "keep", "i1": "drop"}, False),
        ({"i0": "keep", "i1": "keep"}, False),
        ({"i0": "keep", "i1": "keep", "i2": "keep"}, True),
        ({"i0": "keep", "i1": "relabel", "i2": "drop"}, False),  # a new label says nothing of copies
        ({"i0": "relabel", "i1": "relabel"}, False),
        ({"i0": "drop", "i1": "drop", "i2": "drop"}, True),
    ],
)
def test_copies_are_decided_when_each_is_or_one_is_left(actions: dict[str, Action], done: bool) -> None:
    queue = made_queue(about("i0", "near_duplicate", ("i1", "i2")))
    assert queue.items[0].kind == "cluster"
    assert queue.is_decided(queue.items[0], decided(**actions)) is done


def test_notes_ask_for_nothing_and_do_not_count() -> None:
    whole_class = Finding(issue="small_class", severity="low", score=0.1, action="collect", reason="few", label="b")
    queue = made_queue(
        whole_class, about("i3", "unreadable"), about("gone"), about("i0"), index=made_index(unread=("i3",))
    )
    assert sorted(item.kind for item in queue.items) == ["image", "note", "note", "note"]
    progress = queue.progress(decided(i0="keep", i3="keep", gone="drop"))
    assert (progress.decided, progress.total) == (1, 1)
    assert progress.by_issue == {"outlier": (1, 1)}


def test_images_that_are_gone_or_unread_leave_their_cluster() -> None:
    queue = made_queue(about("gone", "exact_duplicate", ("i0", "i1", "i2")), index=made_index(unread=("i2",)))
    assert queue.items[0].members == ("i0", "i1")
    lost = made_queue(about("gone", "exact_duplicate", ("lost",)))
    assert lost.items[0].kind == "note"


def test_a_decision_names_every_finding_that_it_touches() -> None:
    queue = made_queue(about("i0"), about("i0", "blurry"), about("i1", "near_duplicate", ("i0",)), about("i2"))
    by_issue = {item.finding["issue"]: item.finding_id for item in queue.items if item.members != ("i2",)}
    told = queue.decided_among(["i0"], decided(i0="keep"))
    assert told == {by_issue["outlier"]: True, by_issue["blurry"]: True, by_issue["near_duplicate"]: False}
    blurred = {"i0": Correction("i0", "", "keep", issues=("blurry",))}
    told = queue.decided_among(["i0"], blurred)
    assert told == {by_issue["outlier"]: False, by_issue["blurry"]: True, by_issue["near_duplicate"]: False}
    assert queue.issues_of("i0") == ("near_duplicate", "outlier", "blurry")
    assert queue.decision("i0", blurred) == {
        "action": "keep", "label": "", "reviewed_by": "", "reviewed_at": "",
        "issues": ["blurry"], "answered": ["blurry"],
    }  # fmt: skip


def test_the_page_is_sent_every_image_once_and_can_read_it(review) -> None:
    queue = ReviewQueue(read_findings(review.folder), review.index)
    keep = Correction(review.ids["cat/001.png"], "cat/001.png", "keep")
    data = json.loads(json.dumps(queue.page_data({keep.image_id: keep}), allow_nan=False))
    ids = [image["id"] for image in data["images"]]
    assert len(ids) == len(set(ids))
    first = data["findings"][1]
    assert ids[first["image"]] == review.ids["cat/000.png"]
    assert [ids[place] for place in first["nearby"]] == [review.ids["dog/003.png"], review.ids["dog/004.png"]]
    assert (first["p_label"], first["p_suggestion"], first["suggestion"]) == (0.03, 0.95, "dog")
    assert [finding["p_label"] for finding in data["findings"]].count(None) == 5
    assert [finding["issue"] for finding in data["findings"] if finding["decided"]] == ["outlier"]
    assert list(data["decisions"]) == [keep.image_id]
    assert data["class_names"] == sorted(CLASSES)


def test_ten_thousand_findings_are_one_list_of_moderate_size() -> None:
    index = made_index(10_000)
    near = [tuple(f"i{(number + step) % 10_000}" for step in range(1, 9)) for number in range(10_000)]
    queue = made_queue(*(about(f"i{number}", related=near[number]) for number in range(10_000)), index=index)
    assert len(json.dumps(queue.page_data({})).encode()) < 5_000_000
