"""What a stage needs of those before it: the files, or an error that names the command which makes them.

In: a study folder, its config, and the index as found and with corrections. Out: tables, where they are of these
inputs. Owns no file; only reads.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bestiary.audit.copies.clusters import duplicate_groups, read_duplicates
from bestiary.config.schema import StudyConfig
from bestiary.data import index as indexing
from bestiary.data import splits as splitting
from bestiary.data.listing import list_files
from bestiary.errors import StudyError
from bestiary.runs import record as runs
from bestiary.store.tables import table_fingerprint
from bestiary.study import audit_stage as auditing

Clusters = npt.NDArray[np.int64] | None


def need_index(study_dir: Path) -> pd.DataFrame:
    """The index as found.

    Raises:
        StudyError: there is none yet.
    """
    if not (study_dir / indexing.FILE_NAME).exists():
        raise StudyError(f"{study_dir} has no index yet: run `bestiary index {study_dir}`")
    return indexing.read_index(study_dir)


def need_whole_index(study_dir: Path, config: StudyConfig) -> pd.DataFrame:
    """The index as found, of all files that the data have now.

    Raises:
        StudyError: there is none yet, or files came after it.
    """
    found = need_index(study_dir)
    known = set(found["path"])
    if new := [file.path for file in list_files(config.data) if file.path not in known]:
        files = "1 file" if len(new) == 1 else f"{len(new):,} files"
        raise StudyError(f"{files} came after the index, {new[0]!r} first: run `bestiary index {study_dir}`")
    return found


def need_clusters(study_dir: Path, config: StudyConfig, found: pd.DataFrame) -> Clusters:
    """A cluster number for each readable image, `(n,) int64`; None where the config lets near duplicates part.

    Raises:
        StudyError: copies among these images have not been looked for.
    """
    if config.split.group_duplicates == "exact":
        return None
    images = indexing.readable(found)
    if table_fingerprint(study_dir / auditing.CLUSTERS) != auditing.clusters_fingerprint(config, images):
        raise StudyError(
            f"near duplicates of these images have not been looked for: run `bestiary audit {study_dir}`, or set "
            'split.group_duplicates = "exact"'
        )
    return duplicate_groups(read_duplicates(study_dir), images["image_id"])


def need_splits(study_dir: Path, config: StudyConfig, found: pd.DataFrame, current: pd.DataFrame) -> pd.DataFrame:
    """The splits, without what corrections drop.

    Raises:
        StudyError: there are none yet, or they are of another index, other corrections or settings.
    """
    file = study_dir / splitting.FILE_NAME
    if not file.exists():
        raise StudyError(f"{study_dir} has no splits yet: run `bestiary split {study_dir}`")
    clusters = need_clusters(study_dir, config, found)
    if table_fingerprint(file) != splitting.splits_fingerprint(
        found, config.split, duplicates=clusters, corrected=current
    ):
        raise StudyError(
            f"the index, the corrections or the split settings have changed: run `bestiary split {study_dir}`"
        )
    return splitting.present(splitting.without(splitting.read_splits(study_dir), current))


def need_runs(study_dir: Path, config: StudyConfig, index: pd.DataFrame, splits: pd.DataFrame) -> None:
    """See that every model has been trained on these images.

    Args:
        study_dir: the study's folder.
        config: the study's.
        index: with corrections.
        splits: of it.

    Raises:
        StudyError: one has not, or on other data or with other settings.
    """
    for name, key in runs.run_fingerprints(config, index=index, splits=splits).items():
        status = runs.read_status(study_dir, name)
        if status is None:
            raise StudyError(f"model {name!r} has not been trained: run `bestiary train {study_dir}`")
        if status.fingerprint != key:
            raise StudyError(f"model {name!r} is of other data or settings: run `bestiary train {study_dir}`")
