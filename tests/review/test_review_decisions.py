"""Decisions of the review page: what one says of an image's other findings, undoing it, and how many go at once."""

import json
from typing import Any

import pandas as pd
import pytest

from bestiary.audit.findings import Finding, findings_table, read_findings, write_findings
from bestiary.audit.mark import marked
from bestiary.data.index import write_index
from bestiary.review import decisions as module
from bestiary.review.decisions import MOST_CHANGES, Decisions
from bestiary.review.queue import ReviewQueue
from bestiary.review.server import MOST_BODY_BYTES, ReviewServer
from tests.review.test_review_server import CAT, ask, change, decide, shown


def test_a_kept_finding_leaves_the_image_s_others_open(server, review) -> None:
    cat = review.ids[CAT]
    status, told = decide(server, change(cat, "keep", issue="blurry"))
    assert status == 200
    assert review.rows() == {CAT: ("keep", "", "blurry")}
    assert told["decisions"][cat]["answered"] == ["blurry"]
    open_now = {one["issue"]: one["decided"] for one in json.loads(ask(server, "queue")[1])["findings"]}
    assert (open_now["blurry"], open_now["outlier"]) == (True, False)
    assert sorted(told["decided"].values()) == [False, True]
    # The next one joins it, and what the page did not show is not overwritten.
    assert decide(server, change(cat, "keep", was=shown("keep")))[0] == 409
    assert decide(server, change(cat, "keep", was=shown("keep", "", "blurry")))[0] == 200
    assert review.rows() == {CAT: ("keep", "", "blurry label_error")}
    was = shown("keep", "", "blurry", "label_error")
    assert decide(server, change(cat, "drop", was=was))[0] == 200
    assert review.rows() == {CAT: ("drop", "", "blurry")}  # stands again when the drop is taken back
    assert decide(server, change(cat, "undo", was=shown("drop", "", "blurry")))[0] == 200
    assert review.rows() == {CAT: ("keep", "", "blurry")}


def test_what_was_there_is_restored_with_who_and_when(server, review) -> None:
    cat = review.ids[CAT]
    before = f"path,action,issues,reviewed_by,reviewed_at,note\n{CAT},keep,blurry,eva,2026-01-31T12:00:00Z,mine\n"
    (review.folder / "corrections.csv").write_text(before)
    there = json.loads(ask(server, "queue")[1])["decisions"][cat]
    assert decide(server, change(cat, "relabel", "dog", was=shown("keep", "", "blurry")))[0] == 200
    assert review.rows() == {CAT: ("relabel", "dog", "blurry")}
    former = {name: value for name, value in there.items() if name != "answered"}
    restore = change(cat, "restore", was=shown("relabel", "dog", "blurry"), former=former)
    status, told = decide(server, restore)
    assert (status, told["decisions"][cat]) == (200, there)
    (row,) = pd.read_csv(review.folder / "corrections.csv").to_dict("records")
    assert (row["path"], row["action"], row["issues"], row["note"]) == (CAT, "keep", "blurry", "mine")
    assert (row["reviewed_by"], row["reviewed_at"]) == ("eva", "2026-01-31T12:00:00Z")
    assert decide(server, change(cat, "restore", was=shown("keep", "", "blurry")))[0] == 200
    assert review.rows() == {}


@pytest.mark.slow
def test_three_thousand_copies_are_decided_at_once(review) -> None:
    index = pd.concat(
        [
            review.index,
            *(
                review.index.iloc[[1]].assign(image_id=f"{number:020x}", path=f"cat/{'x' * 200}{number}.png")
                for number in range(3000)
            ),
        ],
        ignore_index=True,
    )
    write_index(review.folder, index)
    ids = index["image_id"].tolist()[-3000:]
    copies = Finding("near_duplicate", "low", 0.9, "keep one", "r", ids[0], "p", "cat", tuple(ids[1:]))
    write_findings(review.folder, findings_table([copies]), fingerprint=marked("made", index))
    server = ReviewServer(review.folder, reviewer="ann")
    server.start()
    try:
        keep = [change(image_id, "keep", issue="near_duplicate") for image_id in ids]
        status, told = decide(server, *keep)
        assert status == 200
        assert (list(told["decided"].values()), len(told["decisions"])) == ([True], 3000)
        assert set(review.rows().values()) == {("keep", "", "near_duplicate")}
        was = shown("keep", "", "near_duplicate")
        assert decide(server, *(change(one, "undo", issue="near_duplicate", was=was) for one in ids))[0] == 200
        assert review.rows() == {}
    finally:
        server.stop()


def test_the_most_changes_fit_into_the_longest_body(shared_server) -> None:
    issues = ["near_duplicate", "odd_aspect_ratio", "low_information"]
    decision = {"action": "relabel", "label": "a class of forty characters, if not more", "issues": issues}
    former = {**decision, "reviewed_by": "a person with a name", "reviewed_at": "2026-01-31T12:00:00Z"}
    one = change("0" * 20 + "-10000", "restore", issue="near_duplicate", was=decision, former=former)
    assert len(json.dumps({"changes": [one] * MOST_CHANGES}).encode()) < MOST_BODY_BYTES
    status, told = decide(shared_server, *[one] * (MOST_CHANGES + 1))
    assert status == 400
    assert "20000" in told["error"]


def test_a_reader_never_gets_older_rows_than_the_file_has(review, monkeypatch) -> None:
    """A slow reader of the first file must not hand its rows to one who asks when the second is known."""
    file, queue = review.folder / "corrections.csv", ReviewQueue(read_findings(review.folder), review.index)
    decisions = Decisions(review.folder, review.index, queue, reviewer="ann")
    file.write_text(f"path,action\n{CAT},keep\n")
    read_off, digest = module.resolve, Decisions._digest
    others: list[str] = []

    def another_reads() -> None:
        others.append(decisions.read()[review.ids[CAT]].action)

    def slow(*given: Any) -> Any:
        rows = read_off(*given)
        if not others:
            file.write_text(f"path,action\n{CAT},drop\n")
            others.append("written")
            another_reads()
        return rows

    def slow_digest(self: Decisions) -> str | None:
        found = digest(self)
        if others == ["written", "drop"]:  # the first reader is about to remember, or not
            others.append("asked")
            another_reads()
        return found

    monkeypatch.setattr(module, "resolve", slow)
    monkeypatch.setattr(Decisions, "_digest", slow_digest)
    decisions.read()
    assert others == ["written", "drop", "asked", "drop"]
    another_reads()
    assert others[-1] == "drop"
