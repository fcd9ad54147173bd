"""The cache command: what lies in the cache home, and clearing it by age, by study, or whole.

In: the cache home. Out: plain values and tables on stdout; questions and errors of single stores on stderr. Only
stores of rows are cleared: data sets and files that bestiary did not make stay.
"""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from bestiary.cli.printing import print_table
from bestiary.errors import BestiaryError, UsageError
from bestiary.plurals import counted
from bestiary.store.caches import CacheEntry, CacheKind, clear_rows, clear_store, count_rows, free_bytes, list_caches
from bestiary.store.files import cache_home

_DAY_S = 86_400
_ABOUT_LENGTH = 60
_LEFT_TO_JSON = ("versions", "pillow", "rules")


def look_at_caches() -> dict[str, Any]:
    """Place, free disk, total, and one value for each thing in the cache home."""
    home = cache_home()
    entries = list_caches(home)
    return {
        "path": str(home),
        "free_bytes": free_bytes(home),
        "bytes": sum(entry.bytes for entry in entries),
        "entries": [
            {
                "kind": entry.kind,
                "name": entry.name,
                "state": entry.state,
                "rows": entry.rows,
                "bytes": entry.bytes,
                "last_used": datetime.fromtimestamp(entry.last_used, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "about": entry.about,
            }
            for entry in entries
        ],
    }


def print_caches(found: dict[str, Any]) -> None:
    """For a person: one line a thing, then the totals."""
    rows = [
        (
            entry["kind"] or "-",
            entry["name"],
            "" if entry["rows"] is None else f"{entry['rows']:,}",
            decimal(entry["bytes"]),
            _ago(datetime.fromisoformat(entry["last_used"]).timestamp()),
            "damaged" if entry["state"] == "damaged" else _short(entry["about"]),
        )
        for entry in found["entries"]
    ]
    if rows:
        print_table(("kind", "name", "rows", "size", "last used", "made of"), rows, numbers=("rows", "size"))
        print()
    print(f"total  {decimal(found['bytes'])}; {decimal(found['free_bytes'])} free on that disk")
    print(f"place  {found['path']}")


def clear_caches(
    *,
    older_than_days: int | None,
    study: Path | None,
    everything: bool,
    kind: CacheKind | None,
    yes: bool,
) -> dict[str, Any]:
    """Clear stores, after asking on a terminal; returns what went, and which stores could not be cleared.

    Args:
        older_than_days: whole stores that were not used for so many days.
        study: the rows of the images in a study's index, in all stores; other studies lose those they share.
        everything: all stores.
        kind: only stores of one kind.
        yes: do not ask.

    Raises:
        UsageError: not exactly one of the first three; a folder without an index; no terminal to ask on.
    """
    if [older_than_days is not None, study is not None, everything].count(True) != 1:
        raise UsageError("give exactly one of --older-than DAYS, --study STUDY and --all")
    keys = None if study is None else _keys_of(study)
    stores = [entry for entry in list_caches(cache_home()) if entry.state != "files" and kind in (None, entry.kind)]
    if older_than_days is not None:
        oldest = time.time() - older_than_days * _DAY_S
        stores = [entry for entry in stores if entry.last_used < oldest]
    if keys is not None:
        for entry in stores:
            if entry.state == "damaged":
                print(f"  {entry.kind}/{entry.name} is damaged: --all or --older-than clears it", file=sys.stderr)
    plan = [(entry, (entry.rows or 0, entry.bytes) if keys is None else count_rows(entry, keys)) for entry in stores]
    plan = [(entry, amount) for entry, amount in plan if keys is None or amount[0]]
    cleared: list[dict[str, Any]] = []
    failed: list[str] = []
    if plan and (yes or _confirmed(plan, shared=keys is not None)):
        for entry, _ in plan:
            try:
                rows, size = clear_store(entry) if keys is None else clear_rows(entry, keys)
            except BestiaryError as error:  # reported as any other; the other stores can be cleared all the same
                print(f"error: {error}", file=sys.stderr)
                failed.append(f"{entry.kind}/{entry.name}")
            else:
                cleared.append({"kind": entry.kind, "name": entry.name, "rows": rows, "bytes": size})
    return {"bytes": sum(store["bytes"] for store in cleared), "cleared": cleared, "failed": failed}


def print_cleared(result: dict[str, Any]) -> None:
    """For a person: one line a store, and what was freed."""
    if result["cleared"]:
        rows = [
            (store["kind"], store["name"], f"{store['rows']:,}", decimal(store["bytes"])) for store in result["cleared"]
        ]
        print_table(("kind", "name", "rows", "freed"), rows, numbers=("rows", "freed"))
        print()
    print(f"freed  {decimal(result['bytes'])}" if result["cleared"] else "nothing was cleared")


def _keys_of(study: Path) -> Sequence[str]:
    from bestiary.data.index import FILE_NAME, read_index
    from bestiary.data.pixels import content_key

    if not (study / FILE_NAME).is_file():
        raise UsageError(f"--study {study}: it has no {FILE_NAME}; give the folder of a study that was indexed")
    return [content_key(digest) for digest in read_index(study)["sha256"] if digest]


def _confirmed(plan: list[tuple[CacheEntry, tuple[int, int]]], *, shared: bool) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("clearing asks first, and there is no terminal to ask on: give --yes")
    for entry, (rows, size) in plan:
        what = "damaged" if entry.state == "damaged" else counted(rows, "row")
        print(f"  {entry.kind}/{entry.name}: {what}, {decimal(size)}", file=sys.stderr)
    if shared:
        print(
            "  Other studies lose the rows of images that they share; computing them again takes time.",
            file=sys.stderr,
        )
    total = decimal(sum(size for _, (_, size) in plan))
    print(f"Clear {total} in {counted(len(plan), 'store')}? [y/N]", end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _ago(moment: float) -> str:
    days = int((time.time() - moment) // _DAY_S)
    return "today" if days < 1 else f"{counted(days, 'day')} ago"


def _short(about: dict[str, Any]) -> str:
    """What distinguishes a store from the others, in a line: hashes cut, versions left to --json."""
    text = ", ".join(_parts({name: value for name, value in about.items() if name not in _LEFT_TO_JSON}))
    return text if len(text) <= _ABOUT_LENGTH else text[: _ABOUT_LENGTH - 2].rstrip(", ") + " …"


def _parts(about: dict[str, Any]) -> list[str]:
    parts: list[str] = []
    for name, value in sorted(about.items(), key=lambda item: isinstance(item[1], dict)):
        if isinstance(value, dict):
            parts += _parts(value)
        elif value is not None:
            text = "/".join(map(str, value)) if isinstance(value, list) else str(value)
            parts.append(f"{name} {text[:8] if len(text) >= 32 else text}")
    return parts
