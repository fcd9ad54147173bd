"""Tables on disk: pandas frames as Parquet files that carry a fingerprint of what they were made from.

In: a DataFrame. Out: a Parquet file, whole or absent. Owns no file itself.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bestiary.errors import BestiaryError
from bestiary.store.files import write_atomically

_KEY = b"bestiary.fingerprint"


def write_table(path: Path, table: pd.DataFrame, *, fingerprint: str = "") -> None:
    """Write a frame as Parquet, atomically, with the fingerprint of its inputs in the file's metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _KEY: fingerprint.encode()})
    write_atomically(path, lambda temporary: pq.write_table(arrow, temporary))


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet file written by `write_table`.

    Raises:
        FileNotFoundError: there is none.
        BestiaryError: the file is damaged; names it and says to delete it.
    """
    try:
        return pq.read_table(path).to_pandas()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise BestiaryError(f"{path} is damaged ({error}). Delete it and run the command again.") from error


def table_fingerprint(path: Path) -> str | None:
    """The fingerprint stored with a table, or None where there is no readable table."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    return metadata.get(_KEY, b"").decode()
