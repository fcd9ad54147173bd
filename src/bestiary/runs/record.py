"""The record of a run on disk.

In: what fitting and evaluating found. Out: `runs/<name>/`, which this module owns: `run.toml`, `environment.json`,
`history.parquet`, `fit.json`, `logits.parquet`, `model.safetensors`, `figures.json`, which is made from the logits, and
`refit.json` with `refit.safetensors`, of the model that is exported.
No torch here, so that old studies stay readable without it.

`run.toml` is written last and holds the hashes of the others but `figures.json`: a run without it, of another key, or
with a file that is missing or altered is not complete, and is fitted again. Formats carry a number: a run of an older
bestiary is not misread, it is refused with the way out.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w

from bestiary.config.schema import ModelConfig
from bestiary.errors import BestiaryError, StudyError
from bestiary.store.files import read_json, write_atomically, write_json, write_text
from bestiary.store.hashing import sha256_file
from bestiary.store.keyed_json import read_keyed, write_keyed
from bestiary.store.tables import read_table, write_table

FORMAT = 3
RUN, ENVIRONMENT, HISTORY, FIT = "run.toml", "environment.json", "history.parquet", "fit.json"
REFIT, REFIT_WEIGHTS = "refit.json", "refit.safetensors"
LOGITS, MODEL, CHECKPOINT, FIGURES = "logits.parquet", "model.safetensors", "checkpoint.safetensors", "figures.json"

HISTORY_COLUMNS = ("epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")

_RESULTS = (ENVIRONMENT, HISTORY, FIT, LOGITS, MODEL)
_PREFIX = "logit:"


@dataclass(frozen=True)
class RunStatus:
    """What `run.toml` says of a run besides its config. Times are UTC.

    Attributes:
        kind: of the model, see `config.kinds`.
        key: of what the weights depend on, see `runs.keys`.
        weights_sha256: of the local weights file that it began with; empty where there was none.
    """

    model: str
    kind: str
    status: Literal["done", "not run"]
    key: str
    started_at: str
    finished_at: str
    bestiary_version: str
    reason: str = ""
    weights_sha256: str = ""


@dataclass(frozen=True)
class Logits:
    """What a model says of images: logits `(n, class_count) float32`, rows by `image_ids`, columns by `class_names`."""

    image_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class RunRecord:
    """A run, read back. All but `status` and `config` is empty where the model was not run.

    Attributes:
        config: of the model, with the head that a sweep chose.
        environment: versions, device, precision, preprocessing.
        history: one row an epoch.
        fit: what fitting found: class names, parameters, seconds, epochs, choices.
        figures: of val and test, with intervals; empty until they have been evaluated.
    """

    status: RunStatus
    config: dict[str, Any]
    environment: dict[str, Any]
    history: pd.DataFrame
    fit: dict[str, Any]
    figures: dict[str, Any]

    @property
    def done(self) -> bool:
        """Whether the model was fitted."""
        return self.status.status == "done"


def write_results(
    folder: Path, *, environment: dict[str, Any], history: Sequence[Any], fit: dict[str, Any], logits: Logits
) -> None:
    """Write everything of a fit but its weights and its status."""
    write_json(folder / ENVIRONMENT, environment)
    write_table(folder / HISTORY, pd.DataFrame([asdict(row) for row in history], columns=list(HISTORY_COLUMNS)))
    write_json(folder / FIT, fit)
    write_logits(folder, logits)


def write_status(folder: Path, status: RunStatus, config: ModelConfig) -> None:
    """Write `run.toml`, with the hash of every other file: from now on the run counts as complete.

    Args:
        folder: the run's.
        status: how the run ended.
        config: the model's, with the head that a sweep chose: what the saved weights belong to.
    """
    files = {name: sha256_file(folder / name) for name in _RESULTS if (folder / name).exists()}
    record = {
        "format": FORMAT,
        "run": asdict(status),
        "files": files if status.status == "done" else {},
        "config": config.model_dump(mode="json"),
    }
    write_text(folder / RUN, tomli_w.dumps(record))


def _read_toml(folder: Path) -> dict[str, Any]:
    """All of `run.toml`; empty where there is none, or where it is damaged."""
    try:
        return tomllib.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}


def is_older(folder: Path) -> bool:
    """Whether a run of an older format lies there."""
    record = _read_toml(folder)
    return "run" in record and record.get("format", 1) < FORMAT


def read_status(folder: Path) -> RunStatus | None:
    """What `run.toml` says; None where there is none of this format, or where it is damaged."""
    record = _read_toml(folder)
    try:
        # A record without its config is cut off: `KeyError`.
        return RunStatus(**record["run"]) if record.get("format") == FORMAT and record["config"] else None
    except (KeyError, TypeError):
        return None


def is_whole(folder: Path) -> bool:
    """Whether a run is done, and every file of it is as it was written."""
    status, hashes = read_status(folder), _read_toml(folder).get("files", {})
    if status is None or status.status != "done" or set(hashes) != set(_RESULTS):
        return False
    return all((folder / name).is_file() and sha256_file(folder / name) == hashes[name] for name in _RESULTS)


def read_run(folder: Path) -> RunRecord:
    """Read a run back, without its logits.

    Raises:
        StudyError: it was never completed, or by an older bestiary.
        BestiaryError: one of its files is damaged.
    """
    status = read_status(folder)
    if status is None:
        why = "was trained by an older bestiary" if is_older(folder) else "has not been trained"
        raise StudyError(f"model {folder.name!r} {why}: run `bestiary train {folder.parent.parent}`")
    config = dict(_read_toml(folder)["config"])
    if status.status == "not run":
        return RunRecord(status, config, {}, pd.DataFrame(columns=list(HISTORY_COLUMNS)), {}, {})
    try:
        return RunRecord(
            status=status,
            config=config,
            environment=read_json(folder / ENVIRONMENT),
            history=read_table(folder / HISTORY),
            fit=read_json(folder / FIT),
            figures=read_figures(folder),
        )
    except OSError as error:
        raise StudyError(
            f"the run {folder} is incomplete ({error}): run `bestiary train {folder.parent.parent}`"
        ) from error


def write_logits(folder: Path, logits: Logits) -> None:
    """Write `logits.parquet`: `image_id`, and one column `logit:<class>` a class, float32."""
    columns = {
        f"{_PREFIX}{name}": pa.array(np.ascontiguousarray(logits.values[:, number]))
        for number, name in enumerate(logits.class_names)
    }
    table = pa.table({"image_id": pa.array(list(logits.image_ids), pa.string()), **columns})
    write_atomically(folder / LOGITS, lambda temporary: pq.write_table(table, temporary))


def read_logits(folder: Path) -> Logits:
    """Read `logits.parquet`.

    Raises:
        StudyError: there is none.
        BestiaryError: it is damaged.
    """
    path = folder / LOGITS
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise StudyError(f"the run {folder} has no {LOGITS}: run `bestiary train {folder.parent.parent}`") from error
    except (pa.ArrowException, OSError) as error:
        raise BestiaryError(f"{path} is damaged ({error}). Delete it and run the command again.") from error
    names = tuple(name.removeprefix(_PREFIX) for name in table.column_names if name.startswith(_PREFIX))
    values = np.empty((len(table), len(names)), dtype=np.float32)
    for number, name in enumerate(names):
        values[:, number] = table.column(f"{_PREFIX}{name}").to_numpy()
    return Logits(tuple(table.column("image_id").to_pylist()), names, values)


def read_scored_ids(folder: Path) -> list[str]:
    """The ids of the images that the logits speak of."""
    return list(pq.read_table(folder / LOGITS, columns=["image_id"]).column("image_id").to_pylist())


def logits_digest(folder: Path) -> str:
    """The hash of `logits.parquet`, as `run.toml` says it was written; empty where there is none."""
    return str(_read_toml(folder).get("files", {}).get(LOGITS, ""))


def write_figures(folder: Path, figures: Mapping[str, Any], *, key: str) -> None:
    """Write `figures.json`."""
    write_keyed(folder / FIGURES, figures, key=key, form=FORMAT)


def read_figures(folder: Path) -> dict[str, Any]:
    """What `figures.json` holds, with its `key`; empty where there is none, or one that cannot be used."""
    return read_keyed(folder / FIGURES, form=FORMAT)


def write_refit(folder: Path, refit: Mapping[str, Any], *, key: str) -> None:
    """Write `refit.json` beside the weights that it speaks of, with their hash; last, so that it vouches for them."""
    content = {"weights_sha256": sha256_file(folder / REFIT_WEIGHTS), **refit}
    write_keyed(folder / REFIT, content, key=key, form=FORMAT)


def read_refit(folder: Path, *, key: str) -> dict[str, Any]:
    """What `refit.json` holds; empty where there is none of this key, or its weights are not as they were written."""
    content, weights = read_keyed(folder / REFIT, form=FORMAT), folder / REFIT_WEIGHTS
    if content.get("key") != key or not weights.is_file():
        return {}
    return content if sha256_file(weights) == content["weights_sha256"] else {}
