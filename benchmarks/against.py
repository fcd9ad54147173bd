"""Ours against the peers: the same job, the same photos, the same split, the same run.

In: a folder of photos. Out: tables of rows.

Two jobs:
- **probe**: from JPEG files to a probe on frozen EfficientNet-Lite2 at 260 px, trained and scored on test.
- **notebook**: the notebook's six models, 10 epochs each, with random weights where it had pretrained ones.

Ours is `bestiary study` in one process with empty caches. It is timed twice: to the moment when the last model's record
is on disk, trained and scored on test, which is where the peers end ("ours"), and to the end of the command, with
comparison, report and exported model ("ours-whole"). A peer is timed from the start of its process to its end. Photos
and libraries have been read once before, so that nobody pays for a cold disk.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.commands import bestiary, shown
from benchmarks.environments import EnvironmentMissingError, prepare
from benchmarks.measure import is_short, last_line, median, rounds
from benchmarks.rows import OURS, WHOLE, Row, not_run, ratio, with_ratios
from benchmarks.sides import Outcome, ours, read_splits, theirs, warm_up

# No peer audits its data: neither do we where we are compared with them.
ALONE = """
[audit]
enabled = false

[split]
group_duplicates = "exact"
"""
PROBE = f"""{ALONE}
[models.lite2-probe]
backbone = "tf_efficientnet_lite2"
"""
RANDOM = ("vgg16", "resnet50", "resnet50-last-adam", "resnet50-sgd", "resnet50-last-sgd")


@dataclass(frozen=True)
class Peer:
    """A peer: its job, its script, its environment, its options, and what it does in words."""

    job: str
    script: str
    environment: str
    options: tuple[str, ...]
    what: str


PEERS: Mapping[str, Peer] = {
    "careful": Peer("probe", "careful_probe.py", "careful", (), "eager torch fp32, DataLoader, scikit-learn"),
    "careful-bf16": Peer("probe", "careful_probe.py", "careful", ("--bf16",), "the same, the backbone in bf16"),
    "fastai": Peer("probe", "fastai_probe.py", "fastai", (), "fastai's vision_learner, one frozen epoch"),
    "keras": Peer("notebook", "keras_notebook.py", "keras", (), "Keras 3 on TensorFlow, the notebook's six models"),
}
JOBS = ("probe", "notebook")


def run(job: str, data: Path, place: Path, wanted: Sequence[str], *, repeats: int, epochs: int) -> dict[str, list[Row]]:
    """One job: ours and the wanted peers, in turn.

    Args:
        job: of `JOBS`.
        data: a folder of class folders.
        place: an empty folder to work in, named as the job.
        wanted: of the job's peers.
        repeats: how often to run a side, where it is short.
        epochs: how many of the notebook's ten to measure of a Keras model with random weights.

    Returns:
        Tables by name: the job's, and where it has several models one with a row a model and side.
    """
    place.mkdir(parents=True, exist_ok=True)
    study = place / OURS
    arguments = _our_arguments(job, data=data, study=study)
    splits = _make_splits(job, data=data, place=place)
    sides: dict[str, Callable[[], Outcome]] = {OURS: partial(ours, arguments, study=study, splits=splits)}
    missing: list[Row] = []
    for name in wanted:
        peer = PEERS[name]
        try:
            environment = prepare(peer.environment)
            warm_up(peer.script, environment, log=place / f"{name}-versions.log")
        except EnvironmentMissingError as error:
            missing.append(not_run(name, peer.what, str(error)))
            print(f"{name}: not run: {error}", flush=True)
            continue
        options = ("--epochs", str(epochs)) if job == "notebook" else peer.options
        sides[name] = partial(
            theirs, name, peer.script, environment, options=options, data=data, splits=splits, place=place
        )
    found = rounds(sides, repeats, again=lambda outcome: is_short(outcome.measured))
    tables = {job: with_ratios([*side_rows(found, command=shown(arguments)), *missing])}
    if models := model_rows(found):
        tables[f"{job}-models"] = models
    return tables


def _our_arguments(job: str, *, data: Path, study: Path, command: str = "study") -> list[str | Path]:
    if job == "probe":
        config = study.with_name("lite2-probe.toml")
        config.write_text(PROBE, encoding="utf-8")
        return [command, data, "--out", study, "--config", config]
    overrides: list[str | Path] = ["--set", "audit.enabled=false", "--set", "split.group_duplicates=exact"]
    for name in RANDOM:
        overrides += ["--set", f"models.{name}.weights=random"]
        overrides += ["--set", f"models.{name}.early_stopping.patience_epochs=0"]
    return [command, data, "--out", study, "--recipe", "notebook", *overrides]


def _make_splits(job: str, *, data: Path, place: Path) -> Path:
    """Write the division that our command will make as `path,label,split`, for the peers. Not timed.

    It also has every photo and our own libraries read once, so that nobody's first run pays for the disk.
    """
    study, log, cache = place / "split", place / "split.log", place / "split-cache"
    begin = _our_arguments(job, data=data, study=study, command="init")
    steps: list[list[str | Path]] = [begin, ["index", study], ["split", study], ["doctor"]]
    for arguments in steps:
        if bestiary(arguments, cache=cache, log=log).exit_code:
            reason = last_line(log.read_text(encoding="utf-8", errors="replace"))
            raise SystemExit(f"bestiary {arguments[0]} on {data} failed: {reason}")
    file = place / "splits.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "split"))
        writer.writerows(read_splits(study))
    return file


def side_rows(found: Mapping[str, Sequence[Outcome]], *, command: str) -> list[Row]:
    """One row a side, two for ours; without ratios.

    Args:
        found: outcomes by side, ours first.
        command: ours.
    """
    rows: list[Row] = []
    for name, outcomes in found.items():
        what = command if name == OURS else PEERS[name].what
        rows.append(_row(name, what, outcomes, [outcome.seconds for outcome in outcomes], note=outcomes[-1].note))
        if name == OURS and rows[0].status == "done":
            walls = [outcome.measured.wall_s for outcome in outcomes]
            rows.append(_row(WHOLE, "the same to its end: report and exported model", outcomes, walls))
    return rows


def _row(name: str, what: str, outcomes: Sequence[Outcome], seconds: Sequence[float | None], *, note: str = "") -> Row:
    if failed := [outcome for outcome in outcomes if outcome.measured.exit_code]:
        return Row(name, what, status="failed", repeats=len(outcomes), note=failed[0].note)
    return Row(
        name,
        what,
        seconds=median(seconds),
        repeats=len(outcomes),
        peak_mb=median([outcome.measured.peak_mb for outcome in outcomes]),
        accuracy=median([outcome.accuracy for outcome in outcomes]),
        note=note,
    )


def model_rows(found: Mapping[str, Sequence[Outcome]]) -> list[Row]:
    """Seconds by model and side, where a job has several models; `times_ours` is over ours of the same model."""
    seconds = {
        side: {name: median([outcome.models_s.get(name) for outcome in outcomes]) for name in outcomes[0].models_s}
        for side, outcomes in found.items()
    }
    mine = seconds.get(OURS, {})
    if len(mine) < 2:
        return []
    return [
        Row(
            f"{side} {name}",
            "trained and scored on test",
            seconds=models[name],
            repeats=len(found[side]),
            times_ours=ratio(models[name], mine[name]),
        )
        for name in mine
        for side, models in seconds.items()
        if name in models
    ]
