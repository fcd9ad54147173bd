"""One run of one side: ours, or a peer's script in its own environment.

In: a job's command line, or a peer. Out: an `Outcome`: seconds, accuracy, seconds by model. Every figure of a side's
last run is kept in `benchmarks/results/raw/`, which this module owns.
"""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.commands import bestiary
from benchmarks.environments import Environment, EnvironmentMissingError
from benchmarks.measure import Measured, last_line, measure
from benchmarks.rows import RESULTS

SCRIPTS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Outcome:
    """One run of one side.

    Attributes:
        measured: of its process.
        seconds: of the job: the process's, or to the trained and scored models; None where it failed.
        accuracy: on test; of the notebook's job, the scratch CNN's, the one whose weights mean something.
        models_s: seconds by model.
        note: in words; the reason where it failed.
    """

    measured: Measured
    seconds: float | None
    accuracy: float | None = None
    models_s: dict[str, float] = field(default_factory=dict)
    note: str = ""


def ours(arguments: Sequence[str | Path], *, study: Path, splits: Path) -> Outcome:
    """Run `bestiary study` with empty caches, and read from its files when each model was trained and scored.

    Args:
        arguments: of the command; writes to `study`.
        study: the study's folder, removed first.
        splits: the division that the peers get, to make sure that it is ours.
    """
    cache, log = study.with_name(f"{study.name}-cache"), study.with_name(f"{study.name}.log")
    for folder in (study, cache):
        shutil.rmtree(folder, ignore_errors=True)
    measured = bestiary(arguments, cache=cache, log=log)
    print(f"ours: {measured}", flush=True)
    if measured.exit_code:
        return Outcome(measured, None, note=_failure(measured, log))
    with splits.open(encoding="utf-8", newline="") as stream:
        if sorted(tuple(row.values()) for row in csv.DictReader(stream)) != sorted(read_splits(study)):
            raise SystemExit("our study split the photos otherwise than the peers: the test splits differ")
    # A run's `run.toml` is written last, once its model is trained, saved and scored.
    written = sorted((file.stat().st_mtime, file.parent.name) for file in study.glob("runs/*/run.toml"))
    models_s, before = {}, (study / "splits.parquet").stat().st_mtime
    for moment, name in written:
        models_s[name], before = moment - before, moment
    # Figures are made after all models are fitted.
    metrics = {name: _figures(study / "runs" / name) for name in models_s}
    scored = metrics.get("baseline") or next(iter(metrics.values()))
    keep("ours-" + study.parent.name, {"models_s": models_s, "metrics": metrics})
    return Outcome(
        measured,
        before - measured.started_unix_s,
        accuracy=scored["test"]["accuracy"]["value"],
        models_s=models_s,
        note=stages(scored["seconds"]) if len(metrics) == 1 else "",
    )


def read_splits(study: Path) -> list[tuple[str, str, str]]:
    """`(path, label, split)` of every image of a study."""
    import pandas as pd

    index, splits = pd.read_parquet(study / "index.parquet"), pd.read_parquet(study / "splits.parquet")
    joined = splits.merge(index, on="image_id", validate="one_to_one")[["path", "label", "split"]]
    return [(str(path), str(label), str(split)) for path, label, split in joined.itertuples(index=False)]


def warm_up(script: str, environment: Environment, *, log: Path) -> None:
    """Have a peer import its libraries once, untimed.

    Raises:
        EnvironmentMissingError: it cannot.
    """
    command: list[str | Path] = [environment.python, "-I", SCRIPTS / script, "--versions"]
    if measure(command, environment=environment.variables, log=log).exit_code:
        raise EnvironmentMissingError(last_line(log.read_text(encoding="utf-8", errors="replace")))


def theirs(
    name: str, script: str, environment: Environment, *, options: Sequence[str], data: Path, splits: Path, place: Path
) -> Outcome:
    """Run a peer's script to its end, and read the figures it wrote."""
    out, log = place / f"{name}.json", place / f"{name}.log"
    out.unlink(missing_ok=True)
    command: list[str | Path] = [environment.python, "-I", SCRIPTS / script, data, splits, out, *options]
    measured = measure(command, environment=environment.variables, log=log)
    print(f"{name}: {measured}", flush=True)
    if measured.exit_code:
        return Outcome(measured, None, note=_failure(measured, log))
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    keep(name, found)
    return peer_outcome(measured, found)


def peer_outcome(measured: Measured, found: dict[str, Any]) -> Outcome:
    """What a peer's process and its own figures come to.

    Where the peer measured part of its epochs and worked out the rest, so many seconds are added to its process's, and
    the note says "extrapolated".
    """
    added = found["protocol_s"] - found["measured_s"] if found.get("extrapolated") else 0.0
    notes = [stages(found["stages"]), ", ".join(f"{name} {number}" for name, number in found["versions"].items())]
    if added:
        notes.insert(0, f"extrapolated: {measured.wall_s:.0f} s were measured")
    return Outcome(
        measured,
        measured.wall_s + added,
        accuracy=found["accuracy"],
        models_s={name: model["protocol_s"] for name, model in found.get("models", {}).items()},
        note="; ".join(notes),
    )


def stages(seconds: dict[str, float]) -> str:
    """Seconds by stage, in words."""
    return ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write every figure of one side's last run, for who asks where the time went."""
    folder = RESULTS / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _failure(measured: Measured, log: Path) -> str:
    return f"exit code {measured.exit_code}: {last_line(log.read_text(encoding='utf-8', errors='replace'))}"


def _figures(run: Path) -> dict[str, Any]:
    """What fitting found, and the figures of val and test."""
    parts = [json.loads((run / name).read_text("utf-8")) for name in ("fit.json", "figures.json")]
    return {key: value for part in parts for key, value in part.items()}
