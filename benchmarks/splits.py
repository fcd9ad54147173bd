"""How often images with copies are in test: the same as all others, or the draw is biased by size.

In: data sets. Out: a table, printed: for each set the images that have copies, the largest group, and the share of
such images on each side, means over twenty seeds. `uv run python -m benchmarks.splits [FOLDER_OR_TABLE ...]`; without
arguments, the sets beside the project that are there.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from bestiary.config.schema import SPLITS, SplitConfig
from bestiary.data.index import readable
from bestiary.data.splits.split_table import split_images
from bestiary.snapshot import Snapshot
from bestiary.study.study import Study

SEEDS = 20
_SETS = ("animals10-tenth", "flowers", "waste", "tiles", "camera-trap/labels.csv")


def shares(data: Path, place: Path) -> str:
    """One row of the table: of one set."""
    study = Study.create(data, place)
    study.index()
    study.audit()
    snapshot = Snapshot(study.path, study.config)
    clusters = snapshot.cluster_numbers
    if clusters is None or len(clusters) != len(readable(snapshot.index)):
        raise ValueError(f"{data}: no clusters")
    size = np.bincount(clusters)[clusters]
    found = np.zeros((SEEDS, len(SPLITS)))
    for seed in range(SEEDS):
        table = split_images(snapshot.index, SplitConfig(seed=seed), duplicates=clusters)
        sides = table["split"].to_numpy()[size > 1]
        found[seed] = [(sides == side).mean() for side in SPLITS]
    cells = " | ".join(f"{share:.3f}" for share in found.mean(axis=0))
    return f"| {data.parent.name if data.is_file() else data.name} | {(size > 1).sum()} | {size.max()} | {cells} |"


def main() -> None:
    """Print the table."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    given = [Path(name) for name in sys.argv[1:]] or [beside / name for name in _SETS if (beside / name).exists()]
    print("| set | images with copies | largest group | " + " | ".join(SPLITS) + " |")
    print("|---|---|---|" + "---|" * len(SPLITS))
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(given):
            print(shares(data, Path(folder) / str(number)), flush=True)


if __name__ == "__main__":
    main()
