"""How many planted copies the audit finds in sets of different kinds, and how many it calls the same picture.

In: folders of class folders. Out: a table, printed: 4 % of each set copied with each of `planted.CHANGES`, one drawing.
`uv run python -m benchmarks.copies [FOLDER ...]`; without arguments, the sets beside the project that are there.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.faults import Pairs, _evidence, _our_copies, _pairs, _same
from benchmarks.photos import cache_in
from benchmarks.planted import Planted, plant
from bestiary.audit.copies.clusters import find_duplicates
from bestiary.audit.copies.kinds_of_copies import SAME_PICTURE

SEED = 101
_SETS = ("animals10-tenth", "flowers", "waste", "tiles")


def row(data: Path, folder: Path) -> str:
    """One row of the table: recall and precision of all clusters, and of those of the same picture."""
    known = _pairs(_our_copies(_evidence(data))[0].values())
    planted = plant(data, folder, seed=SEED)
    evidence = _evidence(folder)
    table = find_duplicates(
        evidence.images, evidence.statistics.grey, evidence.features, colours=evidence.statistics.colours
    )
    paths = table.merge(evidence.images[["image_id", "path"]], on="image_id")
    shares = [_shares(some, planted, known) for some in (paths, paths[paths["kind"] == SAME_PICTURE])]
    cells = " | ".join(f"{recall:.3f} | {precision:.3f}" for recall, precision in shares)
    return f"| {data.name} | {len(planted.copies)} | {cells} |"


def _shares(paths: pd.DataFrame, planted: Planted, known: Pairs) -> tuple[float, float]:
    pairs = _pairs(paths.groupby("cluster_id")["path"].apply(list))
    recall = np.mean([frozenset((copy, source)) in pairs for copy, (_, source) in planted.copies.items()])
    about = [_same(pair, planted, known) for pair in pairs if pair & set(planted.copies)]
    return float(recall), float(np.mean(about)) if about else float("nan")


def main() -> None:
    """Print the table."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    given = [Path(name) for name in sys.argv[1:]] or [beside / name for name in _SETS if (beside / name).exists()]
    print("| set | planted | recall, one cluster | precision | recall, same picture | precision |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place, cache_in(Path(place) / "cache"):
        for data in given:
            print(row(data, Path(place) / data.name), flush=True)


if __name__ == "__main__":
    main()
