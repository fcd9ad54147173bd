"""The audit's figures about the set, and the key of what they follow from. No part of the audit is imported here: a
call with nothing to do reads them alone.

In: a study's folder. Out: the summary; `audit.json`, which this module owns (ARCHITECTURE.md has its keys).
"""

from pathlib import Path
from typing import Any

import pandas as pd

from bestiary.audit.answers import Decisions, answers_key
from bestiary.config.schema import AuditConfig, SplitConfig
from bestiary.data.index import index_fingerprint
from bestiary.errors import BestiaryError
from bestiary.store.files import read_json, write_json
from bestiary.store.hashing import fingerprint as hash_of
from bestiary.store.json_values import plain

SUMMARY_NAME = "audit.json"


def audit_fingerprint(index: pd.DataFrame, config: AuditConfig, split: SplitConfig, *, decisions: Decisions) -> str:
    """Changes with any image, label, correction or setting of the audit; not with who decided, or when."""
    settings = [config.model_dump(mode="json", exclude={"enabled"}), split.test_fraction, split.use_given]
    return hash_of([index_fingerprint(index), settings, answers_key(decisions), "rules 14"])


def write_summary(study_dir: Path, summary: dict[str, Any], *, fingerprint: str) -> None:
    """Write `audit.json`."""
    write_json(study_dir / SUMMARY_NAME, {"fingerprint": fingerprint, **plain(summary)})


def read_summary(study_dir: Path) -> dict[str, Any]:
    """Read `audit.json`.

    Raises:
        FileNotFoundError: the study has not been audited.
        BestiaryError: the file is damaged; names it.
    """
    content = read_json(study_dir / SUMMARY_NAME)
    if not isinstance(content, dict):
        raise BestiaryError(f"{study_dir / SUMMARY_NAME} is damaged. Delete it and run the command again.")
    return content
