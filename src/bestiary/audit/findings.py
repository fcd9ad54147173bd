"""Findings: what is wrong with the data, one row a finding.

In: `Finding`s of the parts of the audit. Out: a table, most urgent first, `audit.parquet` and, for a spreadsheet,
`audit.csv`, which this module owns.

Columns: `finding_id` (the same as long as issue and images are the same), `issue`, `severity`, `score` (in [0, 1], 1 is
surest or worst), `image_id`, `path` and `label` (empty where a finding is about a whole class, which `label` then
names), `related` (image ids: the others of a cluster, or the nearest neighbours), `action` (proposed), `suggestion` (a
class, where the action is to relabel), `p_label` and `p_suggestion` (out-of-fold probabilities, or NaN), `cluster_id`
(of duplicates, else empty), `reason`, `images` (how many images or files it is about: all copies, all of a class).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from bestiary.audit.issues import ISSUES, is_about_copies
from bestiary.store.files import write_text
from bestiary.store.hashing import fingerprint as hash_of
from bestiary.store.tables import read_table, write_table

TABLE_NAME, CSV_NAME = "audit.parquet", "audit.csv"

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Action = Literal["relabel", "drop", "keep one", "check", "collect", "rename", "split again", "keep together", "fix"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. See the module's head for what each field holds; `images` 0: as the others say."""

    issue: str
    severity: Severity
    score: float
    action: Action
    reason: str
    image_id: str = ""
    path: str = ""
    label: str = ""
    related: tuple[str, ...] = ()
    suggestion: str = ""
    p_label: float = float("nan")
    p_suggestion: float = float("nan")
    cluster_id: str = ""
    images: int = 0


COLUMNS = ("finding_id", *(field.name for field in fields(Finding)))


def findings_table(findings: Iterable[Finding], *, class_sizes: Mapping[str, int] | None = None) -> pd.DataFrame:
    """One row a finding, in the order of what they would change.

    That is by severity; within one, the issue first that is about most images, and in the order of `ISSUES` where these
    are as many; of an issue the highest score first.

    Args:
        findings: in any order.
        class_sizes: images of each class: how many a finding about a whole class is about.
    """
    sizes = class_sizes or {}
    rows = [
        {"finding_id": _finding_id(finding), **asdict(finding), "images": _images_of(finding, sizes)}
        for finding in findings
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"images": "int64"})
    table["related"] = [list(related) for related in table["related"]]
    kinds = list(zip(table["severity"], table["issue"], strict=True))
    totals: Counter[tuple[str, str]] = Counter()
    for kind, count in zip(kinds, table["images"], strict=True):
        totals[kind] += count
    keys = pd.DataFrame(
        {
            "severity": table["severity"].map(SEVERITIES.index),
            "images": [-totals[kind] for kind in kinds],
            "issue": table["issue"].map(list(ISSUES).index),
            "score": -table["score"].astype(float),
            "place": table["path"] + table["label"],
        }
    )
    return table.loc[keys.sort_values(list(keys), kind="stable").index].reset_index(drop=True)


def _images_of(finding: Finding, class_sizes: Mapping[str, int]) -> int:
    if finding.images:
        return finding.images
    if not finding.image_id:
        return class_sizes.get(finding.label, 0)
    return 1 + (len(finding.related) if is_about_copies(finding.issue) else 0)


def _finding_id(finding: Finding) -> str:
    subject = finding.image_id or finding.label
    members = sorted(finding.related) if is_about_copies(finding.issue) else []
    # Of three classes of nearly one name, two findings stand at one of them.
    other = [finding.suggestion] if finding.issue == "similar_classes" else []
    return hash_of([finding.issue, subject, members + other])[:12]


def write_findings(study_dir: Path, table: pd.DataFrame, *, fingerprint: str) -> None:
    """Write `audit.csv` and `audit.parquet`."""
    write_text(study_dir / CSV_NAME, as_csv(table))
    write_table(study_dir / TABLE_NAME, table, fingerprint=fingerprint)


def as_csv(table: pd.DataFrame) -> str:
    """The text of `audit.csv`."""
    rows = table.assign(related=[" ".join(related) for related in table["related"]])
    return str(rows.to_csv(index=False, lineterminator="\n", float_format="%.4f"))


def read_findings(study_dir: Path) -> pd.DataFrame:
    """Read `audit.parquet`.

    Raises:
        FileNotFoundError: the study has not been audited.
        BestiaryError: the file is damaged; names it.
    """
    return read_table(study_dir / TABLE_NAME)
