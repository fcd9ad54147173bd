"""Setting apart: what a person says is no copy leaves its cluster; the same bytes stay together."""

import pandas as pd

from bestiary.audit.copies.apart import set_apart


def clusters(**members: list[str]) -> pd.DataFrame:
    rows = [(i, name, f"p{i[0]}", 0.9, False, "same_scene", 0.83) for name, ids in members.items() for i in ids]
    return pd.DataFrame(rows, columns=["image_id", "cluster_id", "picture_id", "similarity", "exact", "kind", "least"])


def together(table: pd.DataFrame) -> list[set[str]]:
    return [set(ids) for ids in table.groupby("cluster_id", sort=True)["image_id"].apply(list)]


def test_an_image_leaves_its_cluster_and_one_that_is_left_alone_is_none() -> None:
    found = clusters(one=["a", "b", "c"], two=["d", "e"])
    assert together(set_apart(found, {"b"})) == [{"a", "c"}, {"d", "e"}]
    assert together(set_apart(found, {"d"})) == [{"a", "b", "c"}]
    assert together(set_apart(found, {"a", "b"})) == [{"d", "e"}]
    assert set_apart(found, {"elsewhere"}) is found
    assert set_apart(found, set()) is found
    assert len(found) == 5


def test_the_same_bytes_leave_together_and_stay_copies() -> None:
    found = clusters(one=["a", "a-1", "b", "c"])
    apart = set_apart(found, {"a-1"})
    assert together(apart) == [{"b", "c"}, {"a", "a-1"}]
    assert apart.set_index("image_id")["kind"].to_dict() == {
        "a": "same_picture",
        "a-1": "same_picture",
        "b": "same_scene",
        "c": "same_scene",
    }
    assert together(set_apart(clusters(one=["a", "a-1"]), {"a"})) == [{"a", "a-1"}]
