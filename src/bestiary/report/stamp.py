"""What a report was made from, read back out of its head. Nothing heavy: a call with nothing to do asks only this.

In: a report. Out: its fingerprint.
"""

import re
from html import unescape
from pathlib import Path

_HEAD_BYTES = 4096
_FINGERPRINT = re.compile(r'<meta name="bestiary-fingerprint" content="([^"]*)">')


def report_fingerprint(path: Path) -> str | None:
    """The fingerprint in the head of a report, or None where there is none, or where the file is cut short."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content.rstrip().endswith(b"</html>"):
        return None
    head = content[:_HEAD_BYTES].decode("utf-8", errors="replace")
    found = _FINGERPRINT.search(head)
    return unescape(found[1]) if found else None
