"""Hashes: content → the key under which it is known.

In: bytes, files or plain values. Out: hexadecimal strings. Owns no file.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of `data`, 64 hexadecimal characters."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, read in chunks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """A short content hash (16 hexadecimal characters) of a JSON-serialisable value.

    Keys are sorted, so two equal mappings have one fingerprint whatever their order.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
    return sha256_bytes(text.encode())[:16]
