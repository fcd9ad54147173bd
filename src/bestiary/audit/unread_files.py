"""Files that no model sees: those that cannot be read, and those that are no images.

In: the index. Out: findings. Owns no file.
"""

from collections import Counter
from pathlib import PurePosixPath

import pandas as pd

from bestiary.audit.findings import Finding
from bestiary.data.index import is_dropped
from bestiary.data.listing import SIDECAR_FILE, SYSTEM_FILE
from bestiary.data.splits.rare_classes import is_rare

_MOST_ENDINGS = 5


def find_unread(index: pd.DataFrame) -> list[Finding]:
    """One finding for each file that should have been an image, and one for all other files.

    Files that systems put everywhere are none; one in no class folder is no image lost.

    Args:
        index: all files, with `image_id`, `path`, `label` and `error`.
    """
    unread = index[~index["error"].isin(["", SYSTEM_FILE]) & ~is_dropped(index) & ~is_rare(index)]
    others = unread["error"] == SIDECAR_FILE
    endings = unread["path"].map(lambda path: PurePosixPath(path).suffix.casefold())
    return [
        *(
            Finding(
                issue="unreadable",
                severity="medium" if row.label else "low",
                score=1.0,
                action="fix",
                reason=f"left out: {row.error}",
                image_id=row.image_id,
                path=row.path,
                label=row.label,
            )
            for row in unread[~others].itertuples()
        ),
        *_other_files(endings[others].tolist()),
    ]


def _other_files(endings: list[str]) -> list[Finding]:
    if not endings:
        return []
    counts = [ending for ending, _ in Counter(sorted(endings)).most_common()]
    named = ", ".join(counts[:_MOST_ENDINGS]) + (", ..." if len(counts) > _MOST_ENDINGS else "")
    what = "1 file that is no image" if len(endings) == 1 else f"{len(endings):,} files that are no images"
    return [Finding("other_files", "low", 0.0, "check", f"{what} ({named})")]
