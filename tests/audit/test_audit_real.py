"""The audit on real photos with planted faults: the bars that it has to clear. Skips where there are no photos."""

from pathlib import Path

import pytest

from benchmarks import faults


@pytest.mark.slow
def test_planted_faults_are_found_in_real_photos(
    animals10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "SEEDS", (7,))
    rows = {row.name: row for row in faults.measure(animals10, tmp_path, 1)}
    unreadable, copies = rows["unreadable index"], rows["all changes ours"]
    assert (unreadable.recall, unreadable.precision) == (1, 1)
    assert (copies.recall or 0) >= 0.95
    assert (copies.precision or 0) >= 0.95
    assert (rows["labels, random ours"].average_precision or 0) >= 0.80
    assert (rows["labels, look-alikes ours"].average_precision or 0) >= 0.60
    # Looking for one kind alone, with the defaults of the tools for it, does less.
    assert (rows["all changes cleanvision"].recall or 0) < (copies.recall or 0)
    for kind in ("random", "look-alikes"):
        ours, naive = rows[f"labels, {kind} ours"], rows[f"labels, {kind} in-sample"]
        assert (naive.average_precision or 0) < (ours.average_precision or 0)
