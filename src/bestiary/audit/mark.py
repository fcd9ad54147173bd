"""Mark: which files an audit was of, so that nobody is asked about one and decides on another.

In: an index, as found or with corrections. Out: a mark that the fingerprint of `audit.parquet` ends with. Owns no file.

Findings name images by their ids. The ids of copies are numbered in the order of paths, and shift when a copy comes,
goes or moves: then a finding names another file than it was about. So the mark is of the files: id, path, class and
given split of each. Corrections do not change it: reviewing goes on after a decision.
"""

from pathlib import Path

import pandas as pd

from bestiary.audit.findings import TABLE_NAME
from bestiary.store.hashing import fingerprint as hash_of
from bestiary.store.tables import table_fingerprint

_SIGN = "."


def marked(fingerprint: str, index: pd.DataFrame) -> str:
    """A fingerprint that ends with the mark of an index."""
    return f"{fingerprint}{_SIGN}{_mark(index)}"


def is_of(study_dir: Path, index: pd.DataFrame) -> bool:
    """Whether the study's `audit.parquet` is of these very files."""
    found = table_fingerprint(study_dir / TABLE_NAME) or ""
    return found.rpartition(_SIGN)[2] == _mark(index)


def _mark(index: pd.DataFrame) -> str:
    label = "label_given" if "label_given" in index else "label"
    return hash_of(index[["image_id", "path", label, "split_given"]].to_numpy().tolist())
