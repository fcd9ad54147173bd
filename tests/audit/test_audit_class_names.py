"""Class names that are nearly the same."""

import pandas as pd

from bestiary.audit.class_names import find_similar_names
from bestiary.audit.findings import findings_table


def test_of_three_alike_names_each_pair_is_a_finding_of_its_own() -> None:
    found = find_similar_names(pd.Series(["Cat"] * 5 + ["cat"] * 3 + ["CAT"] * 2 + ["dog"] * 4))
    assert {frozenset((finding.label, finding.suggestion)) for finding in found} == {
        frozenset(pair) for pair in (("Cat", "cat"), ("Cat", "CAT"), ("cat", "CAT"))
    }
    assert findings_table(found)["finding_id"].is_unique


def test_names_that_differ_raise_no_finding() -> None:
    assert find_similar_names(pd.Series(["cat", "cats", "dog"])) == []
