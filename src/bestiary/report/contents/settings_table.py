"""How the models were set up: in short, and every setting side by side.

In: a `StudyRecord`. Out: tables for the sections "What was done" and "Settings". Owns no file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bestiary.config.kinds import backbones_of
from bestiary.config.model_schema import MODULES
from bestiary.plurals import counted
from bestiary.report.parts import Cell, Table
from bestiary.report.study_record import ModelRecord, StudyRecord
from bestiary.report.study_view import describe, uses, value
from bestiary.report.words.wording import DASH, is_number, percent, setting, when, whole

Read = Callable[[Mapping[str, Any], ModelRecord], str]


@dataclass(frozen=True)
class Setting:
    """One row of the table: `key` is the setting's dotted name in a model's config, "" for what came of training."""

    title: str
    key: str
    read: Read


def config_of(study: StudyRecord, run: ModelRecord) -> Mapping[str, Any]:
    """The resolved config of a run; that of the study where there is no run."""
    return run.config or study.config.models[run.name].model_dump(mode="json")


def setup_table(study: StudyRecord) -> Table:
    """What each model sees, starts from and trains, and when it was scored on test."""
    rows: list[list[Cell | str]] = []
    for run in study.runs:
        config = config_of(study, run)
        rows.append(
            [
                Cell(run.name, describe(config)),
                *(_of(row, config, run) for row in (_INPUT, _WEIGHTS, _TRAINED, _AUGMENTATION)),
                when(run.metrics.get("test_scored_at")) if run.done else "not run",
            ]
        )
    columns = ["Model", "Input", "Weights", "Trained", "Augmentation", "Scored on test"]
    return Table(columns, rows, words=frozenset(range(6)), label="Models as they were set up", title="The models")


def settings_table(study: StudyRecord) -> Table:
    """All models' settings side by side; rows in which all agree are quiet."""
    rows: list[list[Cell | str]] = [
        [row.title, *(_of(row, config_of(study, run), run) for run in study.runs)] for row in SETTINGS
    ]
    rows = [row for row in rows if any(cell != DASH for cell in row[1:])]
    quiet = [place for place, row in enumerate(rows) if len(study.runs) > 1 and len(set(row[1:])) == 1]
    return Table(
        ["Setting", *(run.name for run in study.runs)],
        rows,
        words=frozenset(range(len(study.runs) + 1)),
        quiet=frozenset(quiet),
        label="Settings side by side",
        note="Models side by side. Rows in which all agree are grey." if len(study.runs) > 1 else "",
    )


def _of(row: Setting, config: Mapping[str, Any], run: ModelRecord) -> str:
    return row.read(config, run) if uses(config, row.key) else DASH


def geometry_text(config: Mapping[str, Any], run: ModelRecord) -> str:
    """How an image becomes a square, such as `260 px, centre crop 0.89, bicubic`; of joined backbones each."""
    asked = config.get("pixels") or {}
    return "; ".join(_geometry_text({**asked, **known}) for known in run.metrics.get("geometries") or [{}])


def _geometry_text(geometry: Mapping[str, Any]) -> str:
    if not geometry or geometry.get("size_px") in (None, "auto"):
        return "as the weights require"
    fit = {"crop": "centre crop", "squash": "squashed", "pad": "padded"}.get(str(geometry.get("fit")), "")
    fraction = geometry.get("crop_fraction")
    if fit == "centre crop" and fraction is not None and is_number(fraction):
        fit += f" {float(fraction):.3g}"
    parts = [f"{setting(geometry['size_px'])}\u00a0px", fit, str(geometry.get("interpolation") or "")]
    return ", ".join(part for part in parts if part and part != "auto")


def augment_text(config: Mapping[str, Any], run: ModelRecord) -> str:
    """The random changes to training images in words."""
    augment = config.get("augment") or {}
    parts = ["flip"] if augment.get("flip") else []
    scale = augment.get("crop_scale") or (1.0, 1.0)
    if tuple(scale) != (1.0, 1.0):
        parts.append(f"crops of {setting(float(scale[0]))} to {setting(float(scale[1]))}")
    if augment.get("mixup"):
        parts.append(f"MixUp {setting(float(augment['mixup']))}")
    if augment.get("rotation_degrees"):
        parts.append(f"rotation up to {setting(float(augment['rotation_degrees']))}\u00b0")
    if parts and is_number(augment.get("views")) and augment["views"] > 1:
        parts.append(f"{whole(augment['views'])} views")
    return ", ".join(parts) or "none"


def _plain(key: str) -> Read:
    """Reads a setting as it stands in the config."""
    section, _, name = key.rpartition(".")
    return lambda config, run: setting((config.get(section) or {} if section else config).get(name))


def _schedule(config: Mapping[str, Any], run: ModelRecord) -> str:
    schedule = config.get("schedule") or {}
    if schedule.get("name") != "plateau":
        return str(schedule.get("name") or DASH).replace("_", " ")
    return f"plateau, times {setting(schedule.get('factor'))} after {setting(schedule.get('patience_epochs'))}"


def _epochs(config: Mapping[str, Any], run: ModelRecord) -> str:
    if not is_number(run.metrics.get("epochs")) or not run.metrics["epochs"]:
        return DASH
    best = run.metrics.get("best_epoch")
    return f"{whole(run.metrics['epochs'])} of {setting(config.get('epochs'))}" + (
        f", best {whole(best)}" if best else ""
    )


def _chosen_c(config: Mapping[str, Any], run: ModelRecord) -> str:
    choices = run.metrics.get("choices") or {}
    as_good = choices.get("as_good") or []
    also = f" ({setting(as_good[0])} to {setting(as_good[-1])} as good)" if len(as_good) > 1 else ""
    return f"{setting(choices.get('C'))}{also}"


def _tried_c(config: Mapping[str, Any], run: ModelRecord) -> str:
    choices = run.metrics.get("choices") or {}
    tried, on = choices.get("tried") or [], choices.get("chosen_on") or {}
    if not tried or not on:
        return DASH
    return (
        f"{len(tried)}, {setting(tried[0]['C'])} to {setting(tried[-1]['C'])}, in {on['folds']} folds of "
        f"{counted(on['images'], 'training image')}" + (f", dealt {on['repeats']} times" if on["repeats"] > 1 else "")
    )


def _heads_tried(config: Mapping[str, Any], run: ModelRecord) -> str:
    heads = (run.metrics.get("choices") or {}).get("heads")
    return f"{whole(len(heads))}, chosen by validation loss" if heads else DASH


def _hidden(config: Mapping[str, Any], run: ModelRecord) -> str:
    hidden = (config.get("head") or {}).get("hidden")
    return "0 (linear)" if hidden == 0 else setting(hidden)


def _trained(config: Mapping[str, Any], run: ModelRecord) -> str:
    trainable = setting(config.get("trainable"))
    if trainable.startswith(MODULES):
        return f"modules that match {trainable.removeprefix(MODULES)}"
    return trainable


_INPUT = Setting("Input", "pixels", geometry_text)
_WEIGHTS = Setting("Weights", "weights", _plain("weights"))
_TRAINED = Setting("Trained", "trainable", _trained)
_AUGMENTATION = Setting("Augmentation", "augment", augment_text)

SETTINGS: tuple[Setting, ...] = (
    Setting("Backbone", "backbone", lambda config, run: " + ".join(backbones_of(config))),
    _WEIGHTS,
    _TRAINED,
    _INPUT,
    _AUGMENTATION,
    Setting("Heads tried", "", _heads_tried),
    Setting("Hidden units", "head.hidden", _hidden),
    Setting("Dropout", "head.dropout", _plain("head.dropout")),
    Setting("Pooling", "head.pooling", _plain("head.pooling")),
    Setting("Optimizer", "optimizer.name", _plain("optimizer.name")),
    Setting("Chosen C", "", _chosen_c),
    Setting("C tried", "", _tried_c),
    Setting("Learning rate", "optimizer.learning_rate", _plain("optimizer.learning_rate")),
    Setting("Weight decay", "optimizer.weight_decay", _plain("optimizer.weight_decay")),
    Setting("Momentum", "optimizer.momentum", _plain("optimizer.momentum")),
    Setting("Schedule", "schedule", _schedule),
    Setting("Batch size", "batch_size", _plain("batch_size")),
    Setting("Epochs run", "epochs", _epochs),
    Setting("Class weights", "class_weights", _plain("class_weights")),
    Setting("Seed", "seed", _plain("seed")),
    Setting("Validation accuracy", "", lambda config, run: percent(value(run.split("val"), "accuracy"))),
    Setting("Test accuracy", "", lambda config, run: percent(value(run.split("test"), "accuracy"))),
)
