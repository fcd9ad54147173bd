"""What the review tests know of the study that `conftest` makes."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

HOSTILE = "<img src=x onerror=window.pwned=1>"
CLASSES = ("cat", "dog", HOSTILE)


@dataclass
class MadeReview:
    """A study folder, and the image ids by path."""

    folder: Path
    data: Path
    index: pd.DataFrame
    ids: dict[str, str]

    def corrections(self) -> dict[str, tuple[str, str]]:
        """Path → action and label, by the file on disk."""
        return {path: row[:2] for path, row in self.rows().items()}

    def rows(self) -> dict[str, tuple[str, str, str]]:
        """Path → action, label and issues, by the file on disk."""
        file = self.folder / "corrections.csv"
        if not file.exists():
            return {}
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        return {row.path: (row.action, row.label, row.issues) for row in table.itertuples()}
