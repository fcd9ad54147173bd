"""Streams: text on stdout and stderr, whatever the text holds and whatever the stream can encode.

In: names, text, plain values. Out: stdout and stderr, on which writing never breaks off in the middle. Output for
people has an escape where the stream cannot encode a character; output for programs is UTF-8, or JSON in ASCII.
"""

import codecs
import io
import json
import os
import re
import sys
from typing import Any, TextIO

from bestiary.store.json_values import plain

# Characters that would move the cursor, end the line or turn the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# Halves of UTF-16 pairs that stand for no byte: Windows has file names of these.
_LONE_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def prepare_streams() -> None:
    """Make stdout and stderr of this process take every character: what they cannot encode becomes an escape.

    Where stderr is closed, nothing is to be written there, nor on stdout in its place, as `print` would.
    """
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  open as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def utf8_stdout() -> TextIO:
    """Stdout for programs to read (CSV, TOML): UTF-8 from here on where its own encoding lacks characters."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not _takes_everything(sys.stdout):
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


def print_json(value: Any) -> None:
    """One JSON document on stdout; NaN becomes null."""
    print(to_json(value, indent=2))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that stdout can take: characters that it cannot encode are escaped, as JSON allows."""
    ascii_only = sys.stdout is not None and not _takes_everything(sys.stdout)
    return json.dumps(_readable(plain(value)), indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def readable(text: str) -> str:
    r"""A name as valid Unicode: bytes of a file name that are no text are spelt out, such as `\xff`."""
    text = _LONE_HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def for_a_cell(text: str) -> str:
    """A name for a column of a table on stdout: on one line, and as wide as it will be once stdout has encoded it."""
    text = on_one_line(text)
    if sys.stdout is None or _takes_everything(sys.stdout):
        return text
    return text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)


def on_one_line(text: str) -> str:
    r"""A name for a person: readable, with control characters spelt out (`\n`), so that it stays on its line."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), readable(text))


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {readable(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return readable(value) if isinstance(value, str) else value


def _takes_everything(stream: TextIO) -> bool:
    """Whether a stream can encode all of Unicode; one in memory has no encoding and can."""
    return stream.encoding is None or codecs.lookup(stream.encoding).name.startswith("utf-")
