"""Tables on disk: pandas frames as Parquet files that carry a fingerprint of what they were made from.

In: a DataFrame. Out: a Parquet file, whole or absent. Owns no file itself.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bestiary.errors import BestiaryError
from bestiary.store.files import write_atomically

_PREFIX = "bestiary."
_KEY = b"bestiary.fingerprint"


def write_table(
    path: Path, table: pd.DataFrame, *, fingerprint: str = "", metadata: Mapping[str, str] | None = None
) -> None:
    """Write a frame as Parquet, atomically, with the fingerprint of its inputs in the file's metadata.

    Args:
        path: of the file.
        table: what to write; its row labels are not kept.
        fingerprint: of what it was made from; see `table_fingerprint`.
        metadata: further short texts that the file carries; see `table_metadata`.
    """
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    texts = {(_PREFIX + name).encode(): text.encode() for name, text in (metadata or {}).items()}
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **texts, _KEY: fingerprint.encode()})
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
    metadata = table_metadata(path)
    return None if metadata is None else metadata.get("fingerprint", "")


def table_metadata(path: Path) -> dict[str, str] | None:
    """The texts stored with a table, its fingerprint among them, or None where there is no readable table."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    prefix = _PREFIX.encode()
    return {
        key.removeprefix(prefix).decode(): text.decode() for key, text in metadata.items() if key.startswith(prefix)
    }
