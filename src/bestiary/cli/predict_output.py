"""The predict command: predictions → CSV, Parquet or JSON lines, in a file or on stdout.

In: a model folder and inputs. Out: one row a file, streamed; a file is put in place whole.
"""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from bestiary.cli.streams import readable, to_json, utf8_stdout
from bestiary.deploy.bundle import read_bundle
from bestiary.deploy.inputs import expand_inputs
from bestiary.deploy.predictor import iterate_predictions
from bestiary.errors import UsageError
from bestiary.plurals import counted
from bestiary.progress import Progress
from bestiary.store.files import write_atomically

ENDINGS = (".csv", ".parquet", ".jsonl")


def predict_to(
    model: Path, inputs: list[str], *, out: Path | None, top_k: int, as_json: bool, progress: Progress
) -> int:
    """Classify and write; returns the exit code: 1 where not a single file could be read.

    Raises:
        UsageError: an output ending that is none of .csv, .parquet, .jsonl, or a pattern that matches nothing.
        BundleError: the model folder is incomplete or altered.
    """
    if out is not None and out.suffix.casefold() not in ENDINGS:
        raise UsageError(f"--out {out}: choose an ending of {', '.join(ENDINGS)}")
    if out is not None and out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file in it")
    if out is None and sys.stdout is None:
        raise UsageError("standard output is closed: give --out a file")
    bundle = read_bundle(model)
    files = expand_inputs(_with_stdin(inputs), progress=progress)
    top_k = min(top_k, len(bundle.class_names))
    tally = {"read": 0, "failed": 0}

    def rows() -> Iterator[dict[str, Any]]:
        for prediction in iterate_predictions(bundle, files, top_k=top_k, progress=progress):
            tally["failed" if prediction.error else "read"] += 1
            row = prediction.as_row(top_k)
            yield {name: readable(value) if isinstance(value, str) else value for name, value in row.items()}

    if out is None and as_json:
        for row in rows():
            print(to_json(row))
    elif out is None:
        _write_csv(utf8_stdout(), rows())
    else:
        write_atomically(out, lambda temporary: _write_file(temporary, rows(), ending=out.suffix.casefold()))
    if tally["failed"]:
        progress.say(f"  {tally['failed']:,} of {counted(len(files), 'file')} could not be read: see the column error")
    return 0 if tally["read"] else 1


def _with_stdin(inputs: Iterable[str]) -> Iterator[str]:
    for given in inputs:
        if given == "-":
            yield from (line.rstrip("\r\n") for line in _stdin_lines() if line.strip())
        else:
            yield given


def _stdin_lines() -> Iterator[str]:
    """Lines of stdin; where names of files are bytes, they are read as such and not in the encoding of stdin."""
    if sys.stdin is None:
        raise UsageError("standard input is closed: there is no list to read for -")
    binary = getattr(sys.stdin, "buffer", None) if os.name == "posix" else None
    yield from sys.stdin if binary is None else map(os.fsdecode, binary)


def _write_file(path: Path, rows: Iterator[dict[str, Any]], *, ending: str) -> None:
    if ending == ".parquet":
        import pandas as pd

        pd.DataFrame(list(rows)).to_parquet(path, index=False)
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        if ending == ".csv":
            _write_csv(stream, rows)
        else:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_csv(stream: TextIO, rows: Iterator[dict[str, Any]]) -> None:
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(stream, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
