"""The findings table, and what clusters of copies become."""

import math

import pandas as pd
import pytest

from bestiary.audit.copies.copy_findings import copy_findings, count_copies
from bestiary.audit.findings import (
    COLUMNS,
    CSV_NAME,
    SEVERITIES,
    Finding,
    findings_table,
    read_findings,
    write_findings,
)
from bestiary.audit.issues import ISSUES


def images(*rows):
    """`id, label, given split, sha, side`; the path is made of id and label."""
    columns = ["image_id", "label", "split_given", "sha256", "width_px"]
    table = pd.DataFrame(rows, columns=columns)
    paths = table["label"] + "/" + table["image_id"] + ".jpg"
    return table.assign(path=paths, height_px=100, bytes=table["width_px"] * 10)


def clusters(**members):
    rows = [
        (
            i,
            name,
            name,
            0.97,
            name.startswith("same"),
            "same_scene" if name.startswith("scene") else "same_picture",
            0.83,
        )
        for name, ids in members.items()
        for i in ids
    ]
    return pd.DataFrame(rows, columns=["image_id", "cluster_id", "picture_id", "similarity", "exact", "kind", "least"])


def test_copies_of_one_class_are_one_finding_at_the_largest():
    table = images(("a", "cat", "", "1", 100), ("b", "cat", "", "2", 300), ("c", "cat", "", "3", 200))
    (found,) = copy_findings(table, clusters(near=["a", "b", "c"]))
    assert (found.issue, found.severity, found.action) == ("near_duplicate", "low", "keep one")
    assert (found.image_id, found.related, found.score) == ("b", ("c", "a"), 0.97)
    assert found.reason == "3 files show the same photo; the least alike of them correlate by 0.97"


def test_pictures_of_one_scene_are_kept_and_their_labels_accuse_less():
    table = images(("a", "cat", "train", "1", 300), ("b", "dog", "test", "2", 200), ("c", "dog", "", "3", 200))
    leak, scene = copy_findings(table, clusters(scene=["a", "b", "c"]))
    assert (leak.issue, leak.severity) == ("leak", "medium")
    assert (scene.issue, scene.severity, scene.action, scene.suggestion) == (
        "same_scene",
        "medium",
        "keep together",
        "",
    )
    assert "labelled differently: dog (2), cat (1)" in scene.reason
    (one,) = copy_findings(table.iloc[1:], clusters(scene=["b", "c"]))
    assert (one.issue, one.severity) == ("same_scene", "low")
    assert leak.reason.endswith("what is scored may be much like what is trained on")
    expected = {"clusters": 0, "images": 0, "exact_images": 0, "scenes": 1, "scene_images": 3}
    expected |= {"across_given_splits": 0, "scenes_across_given_splits": 1, "least_similarity": 0.83}
    assert count_copies(table, clusters(scene=["a", "b", "c"])) == expected
    kept = count_copies(table, clusters(scene=["a", "b", "c"]), use_given=False)
    assert kept == expected | {"scenes_across_given_splits": 0}
    assert count_copies(table, clusters(same=["a", "b"]))["across_given_splits"] == 1


def test_the_same_bytes_are_exact():
    table = images(("a", "cat", "", "1", 100), ("a-1", "cat", "", "1", 100))
    (found,) = copy_findings(table, clusters(same=["a", "a-1"]))
    assert (found.issue, found.score, found.reason) == ("exact_duplicate", 1.0, "2 files have the same bytes")


def test_copies_with_different_labels_are_a_conflict_and_the_majority_is_suggested():
    table = images(("a", "cat", "", "1", 300), ("b", "dog", "", "2", 200), ("c", "dog", "", "3", 200))
    (found,) = copy_findings(table, clusters(near=["a", "b", "c"]))
    assert (found.issue, found.severity, found.suggestion) == ("label_conflict", "high", "dog")
    assert "dog (2), cat (1)" in found.reason
    (even,) = copy_findings(table.iloc[:2], clusters(near=["a", "b"]))
    assert even.suggestion == ""


def test_copies_over_given_splits_are_a_leak_and_still_copies():
    table = images(("a", "cat", "train", "1", 300), ("b", "cat", "test", "2", 200), ("c", "cat", "", "3", 100))
    leak, copy = copy_findings(table, clusters(near=["a", "b", "c"]))
    assert (leak.issue, leak.severity) == ("leak", "high")
    assert leak.reason == "3 files show the same photo and lie in train and test: what is scored was trained on"
    assert copy.issue == "near_duplicate"
    (copy,) = copy_findings(table, clusters(near=["a", "b", "c"]), use_given=False)
    assert copy.issue == "near_duplicate"


@pytest.mark.parametrize(
    ("splits", "harm"),
    [
        (("val", "train"), "lie in train and val: what chooses among models was trained on"),
        (("test", "val"), "lie in val and test: what is scored chose among models"),
        (("test", "val", "train"), "lie in train and val and test: what is scored was trained on"),
    ],
)
def test_what_a_leak_harms_depends_on_where_the_copies_lie(splits, harm):
    table = images(*((name, "cat", split, name, 100) for name, split in zip("abc", splits, strict=False)))
    leak, _ = copy_findings(table, clusters(near=list("abc")))
    assert harm in leak.reason


def test_dropped_members_do_not_count():
    table = images(("a", "cat", "", "1", 300), ("b", "cat", "", "2", 200))
    assert copy_findings(table.iloc[:1], clusters(near=["a", "b"])) == []
    (found,) = copy_findings(table, clusters(near=["a", "b", "gone"]))
    assert found.related == ("b",)
    # Of two files of the same bytes one was dropped: nothing that is left is an exact copy.
    table = images(("a", "cat", "", "1", 300), ("b", "cat", "", "2", 200), ("a-1", "cat", "", "1", 300))
    (found,) = copy_findings(table.iloc[:2], clusters(same=["a", "b", "a-1"]))
    assert (found.issue, found.reason) == (
        "near_duplicate",
        "2 files show the same photo; the least alike of them correlate by 0.97",
    )
    counts = [count_copies(table.iloc[:left], clusters(same=["a", "b", "a-1"])) for left in (1, 2, 3)]
    assert [list(count.values())[:3] for count in counts] == [[0, 0, 0], [1, 2, 0], [1, 3, 2]]


def finding(issue="label_error", severity="high", score=0.5, image_id="a", **rest):
    return Finding(
        issue=issue, severity=severity, score=score, action="check", reason="because", image_id=image_id, **rest
    )


def test_the_table_is_in_order_of_what_findings_would_change():
    given = [
        finding("grayscale", "low", 1.0),
        finding("label_error", "high", 0.7, "b"),
        finding("label_error", "high", 0.9, "c"),
        finding("leak", "high", 0.1, "d"),
        finding("blurry", "medium", 0.2, "e"),
    ]
    table = findings_table(given)
    # Two images of one issue come before one of another, and a severity before the next.
    assert table["image_id"].tolist() == ["c", "b", "d", "e", "a"]
    assert table["images"].tolist() == [1] * 5
    copies = findings_table([*given, finding("leak", "high", 0.2, "f", related=("g", "h"))])
    assert copies["image_id"].tolist() == ["f", "d", "c", "b", "e", "a"]
    assert copies["images"].tolist() == [3, *[1] * 5]
    even = findings_table([finding("label_error", "high", 0.1, "a"), finding("leak", "high", 0.1, "b")])
    assert even["issue"].tolist() == ["leak", "label_error"]
    classes = [finding("shortcut", "high", 0.9, "", label="cat"), *given]
    assert findings_table(classes, class_sizes={"cat": 9})["images"].tolist() == [9, *[1] * 5]
    assert findings_table(classes)["issue"].tolist()[:4] == ["label_error", "label_error", "leak", "shortcut"]
    assert list(table.columns) == list(COLUMNS)
    assert findings_table(reversed(given))["finding_id"].tolist() == table["finding_id"].tolist()
    assert table["finding_id"].is_unique


def test_a_finding_keeps_its_id_while_score_and_words_change():
    first = findings_table([finding(score=0.5), finding("leak", related=("x", "y"))])
    later = findings_table([finding(score=0.9, related=("n",)), finding("leak", related=("y", "x"), score=0.2)])
    assert set(first["finding_id"]) == set(later["finding_id"])
    other = findings_table([finding(image_id="z"), finding("leak", related=("x",))])
    assert not set(first["finding_id"]) & set(other["finding_id"])


@pytest.mark.parametrize("rows", [[], [finding(related=("x", "y"), suggestion='a "b", c\nd')]])
def test_the_table_comes_back_as_written(tmp_path, rows):
    table = findings_table(rows)
    write_findings(tmp_path, table, fingerprint="k")
    back = read_findings(tmp_path)
    assert list(back.columns) == list(COLUMNS)
    assert [list(related) for related in back["related"]] == table["related"].tolist()
    assert back.drop(columns="related").astype(str).equals(table.drop(columns="related").astype(str))
    sheet = pd.read_csv(tmp_path / CSV_NAME)
    assert len(sheet) == len(rows)
    if rows:
        assert sheet["related"][0] == "x y"
        assert sheet["suggestion"][0] == rows[0].suggestion
        assert math.isnan(sheet["p_label"][0])


def test_the_vocabulary_is_what_documents_name():
    assert all(key == issue.key for key, issue in ISSUES.items())
    assert SEVERITIES == ("high", "medium", "low")


def test_a_picture_that_stands_twice_in_a_scene_has_a_finding_of_its_own():
    table = images(*((name, "cat" if name != "b" else "dog", "", name, 100) for name in "abcd"))
    mixed = clusters(scene=["a", "b", "c", "d"])
    mixed["picture_id"] = ["p", "p", "q", "r"]
    mixed["kind"] = ["same_picture", "same_picture", "same_scene", "same_scene"]
    found = {one.issue: {one.image_id, *one.related} for one in copy_findings(table, mixed)}
    assert found == {"same_scene": set("abcd"), "label_conflict": {"a", "b"}}
    counts = count_copies(table, mixed)
    assert (counts["clusters"], counts["images"], counts["scenes"], counts["scene_images"]) == (1, 2, 1, 4)
    # Its copy has left, and what is left is one of several pictures.
    found = {one.issue: {one.image_id, *one.related} for one in copy_findings(table.iloc[1:], mixed)}
    assert found == {"same_scene": set("bcd")}
