"""The tables of the report that compare models: ranking, settings, seconds, and each model's classes.

In: a `StudyRecord`. Out: `Table`s of finished text for the templates. Owns no file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bestiary.config.schema import MAJORITY
from bestiary.report.record import ModelRecord, StudyRecord
from bestiary.report.words.wording import (
    DASH,
    decimal,
    is_number,
    p_value,
    percent,
    percent_interval,
    points,
    seconds,
    setting,
    whole,
)

_STAGES = ("pixels", "features", "fit", "score")


@dataclass(frozen=True)
class Cell:
    """One cell: its text and, smaller below it, up to two notes."""

    text: str
    note: str = ""
    second_note: str = ""


@dataclass(frozen=True)
class Table:
    """A table of finished text. The first column names the row; `words` are the columns that are not numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    words: frozenset[int] = frozenset({0})
    marked: frozenset[int] = field(default_factory=frozenset)
    quiet: frozenset[int] = field(default_factory=frozenset)
    label: str = ""

    @property
    def tall(self) -> bool:
        """Whether the table gets a box of its own to scroll in, with its head in place."""
        return len(self.rows) > 25


def ranking_table(study: StudyRecord) -> Table:
    """The models in the order of their validation accuracy, with all that is measured of them."""
    models = study.comparison["models"]
    columns = ["Model", "Validation accuracy", "Test accuracy", "Difference to the winner", "Balanced accuracy"]
    columns += ["Macro F1", "Log loss", "Top-3 accuracy", "Parameters", "Seconds", "Images/s"]
    with_top3 = len(study.class_names) > 3  # among three classes the top three are all
    if not with_top3:
        columns.remove("Top-3 accuracy")
    rows = []
    for model in models:
        test, parameters = model.get("test") or {}, model.get("parameters") or {}
        row: list[Cell | str] = [
            Cell(f"{model.get('rank', DASH)}. {model['model']}", _architecture(model)),
            _measured(model.get("val"), "accuracy"),
            _measured(test, "accuracy"),
            _versus_winner(model),
            _measured(test, "balanced_accuracy"),
            _measured(test, "macro_f1"),
            Cell(decimal(_value(test, "log_loss"), 3), _ends(test, "log_loss")),
        ]
        if with_top3:
            row.append(_measured(test, "top3_accuracy"))
        row += [
            Cell(_millions(parameters.get("total")), f"{_millions(parameters.get('trainable'))} trained"),
            seconds(_total(model.get("seconds"))),
            _speed(model.get("images_per_s")),
        ]
        rows.append(row)
    winner = [place for place, model in enumerate(models) if model["model"] == study.comparison.get("winner")]
    return Table(columns=columns, rows=rows, marked=frozenset(winner), label="Models, ranked on validation accuracy")


def _architecture(model: Mapping[str, Any]) -> str:
    if model.get("backbone") == MAJORITY:
        return "always the commonest class"
    return str(model.get("backbone") or "")


def _value(split: Mapping[str, Any] | None, measure: str) -> Any:
    return ((split or {}).get(measure) or {}).get("value")


def _measured(split: Mapping[str, Any] | None, measure: str) -> Cell:
    interval = (split or {}).get(measure)
    return Cell(percent(_value(split, measure)), _percent_ends(interval))


def _percent_ends(interval: Mapping[str, Any] | None) -> str:
    """The ends without their signs: eleven columns stand side by side."""
    ends = percent_interval(interval)
    return "" if ends == DASH else ends.replace("\u00a0%", "").replace("\u00a0", "")


def _ends(split: Mapping[str, Any], measure: str) -> str:
    interval = split.get(measure) or {}
    if not (is_number(interval.get("low")) and is_number(interval.get("high"))):
        return ""
    return f"{decimal(interval['low'], 3)} to {decimal(interval['high'], 3)}"


def _versus_winner(model: Mapping[str, Any]) -> Cell:
    versus = model.get("versus_winner") or {}
    difference = versus.get("difference") or {}
    if not is_number(difference.get("value")):
        return Cell(DASH)
    ends = f"{points(difference.get('low'), signed=True)} to {points(difference.get('high'), signed=True)}"
    p = versus.get("p_value_holm", versus.get("p_value"))
    return Cell(points(difference["value"], signed=True), ends, f"p\u00a0{p_value(p)}" if is_number(p) else "")


def _millions(count: Any) -> str:
    if not is_number(count):
        return DASH
    return f"{count / 1e6:.1f}\u00a0M" if count >= 1e6 else whole(count)


def _total(stages: Mapping[str, Any] | None) -> Any:
    values = [value for value in (stages or {}).values() if is_number(value)]
    return sum(values) if values else None


def _speed(speeds: Mapping[str, Any] | None) -> Cell:
    """The slowest stage but fitting, which a user of the model waits for, and its name."""
    known = [(value, stage) for stage, value in (speeds or {}).items() if is_number(value) and stage != "fit"]
    return Cell(whole(min(known)[0]), min(known)[1]) if known else Cell(DASH)


def class_table(run: ModelRecord) -> Table:
    """Precision, recall, F1 and support of one model's classes on test; those of the lowest F1 are marked."""
    rows = run.split("test").get("per_class") or []
    f1 = [row.get("f1") for row in rows if row.get("support") and is_number(row.get("f1"))]
    weakest = [place for place, row in enumerate(rows) if row.get("support") and f1 and row.get("f1") == min(f1) < 1]
    return Table(
        columns=["Class", "Precision", "Recall", "F1", "Images"],
        rows=[
            [
                str(row["class_name"]),
                *(percent(row.get(key)) for key in ("precision", "recall", "f1")),
                whole(row.get("support")),
            ]
            for row in rows
        ],
        marked=frozenset(weakest) if len(weakest) < 4 else frozenset(),
        label=f"Classes of {run.name} on test",
    )


def method_table(study: StudyRecord) -> Table:
    """What each model sees, starts from and trains, and when its test was scored."""
    rows: list[list[Cell | str]] = []
    for run in study.runs:
        config = config_of(study, run)
        dummy = config.get("backbone") == MAJORITY
        rows.append(
            [
                Cell(run.name, str(config.get("backbone", ""))),
                DASH if dummy else geometry_text(run, config),
                DASH if dummy else str(config.get("weights", DASH)),
                DASH if dummy else str(config.get("trainable", DASH)),
                DASH if dummy else augment_text(config),
                when(run.metrics.get("test_scored_at") or run.run.get("test_scored_at")) if run.done else "not run",
            ]
        )
    columns = ["Model", "Input", "Weights", "Trained", "Augmentation", "Test scored"]
    return Table(columns=columns, rows=rows, words=frozenset(range(6)), label="Models as they were set up")


def config_of(study: StudyRecord, run: ModelRecord) -> Mapping[str, Any]:
    """The resolved config of a run; that of the study where there is no run."""
    return run.config or study.config.models[run.name].model_dump(mode="json")


def geometry_text(run: ModelRecord, config: Mapping[str, Any]) -> str:
    """How an image becomes a square, such as `260 px, centre crop 0.89, bicubic`."""
    geometry = {**(config.get("pixels") or {}), **(run.metrics.get("geometry") or {})}
    if not geometry or geometry.get("size_px") in (None, "auto"):
        return "as the weights ask"
    fit = {"crop": "centre crop", "squash": "squashed", "pad": "padded"}.get(str(geometry.get("fit")), "")
    fraction = geometry.get("crop_fraction")
    if fit == "centre crop" and fraction is not None and is_number(fraction):
        fit += f" {float(fraction):.3g}"
    parts = [f"{setting(geometry['size_px'])}\u00a0px", fit, str(geometry.get("interpolation") or "")]
    return ", ".join(part for part in parts if part and part != "auto")


def augment_text(config: Mapping[str, Any]) -> str:
    """The random changes to training images in words."""
    augment = config.get("augment") or {}
    parts = ["flip"] if augment.get("flip") else []
    if augment.get("rotation_degrees"):
        parts.append(f"turned up to {setting(float(augment['rotation_degrees']))}\u00b0")
    if parts and is_number(augment.get("views")) and augment["views"] > 1:
        parts.append(f"{whole(augment['views'])} views")
    return ", ".join(parts) or "none"


def when(stamp: Any) -> str:
    """A time stamp as people read it, in UTC."""
    text = str(stamp or "")
    return f"{text[:10]} {text[11:16]} UTC" if len(text) >= 16 and text.endswith("Z") else text or DASH


def settings_table(study: StudyRecord) -> Table:
    """All models' settings side by side; rows in which all agree are quiet."""
    rows: list[list[Cell | str]] = []
    for title, read in _SETTINGS:
        rows.append([title, *(read(config_of(study, run), run) for run in study.runs)])
    rows = [row for row in rows if any(cell != DASH for cell in row[1:])]
    quiet = [place for place, row in enumerate(rows) if len(study.runs) > 1 and len(set(row[1:])) == 1]
    return Table(
        columns=["Setting", *(run.name for run in study.runs)],
        rows=rows,
        words=frozenset(range(len(study.runs) + 1)),
        quiet=frozenset(quiet),
        label="Settings side by side",
    )


_Reader = Callable[[Mapping[str, Any], ModelRecord], str]


def _unless_dummy(read: _Reader) -> _Reader:
    return lambda config, run: DASH if config.get("backbone") == MAJORITY else read(config, run)


def _unless_lbfgs(read: _Reader) -> _Reader:
    """For what only training in epochs has."""
    return _unless_dummy(
        lambda config, run: DASH if (config.get("optimizer") or {}).get("name") == "lbfgs" else read(config, run)
    )


def _of(section: str, key: str) -> _Reader:
    return lambda config, run: setting((config.get(section) or {}).get(key))


def _schedule(config: Mapping[str, Any], run: ModelRecord) -> str:
    schedule = config.get("schedule") or {}
    if schedule.get("name") != "plateau":
        return str(schedule.get("name") or DASH).replace("_", " ")
    return f"plateau, times {setting(schedule.get('factor'))} after {setting(schedule.get('patience_epochs'))}"


def _momentum(config: Mapping[str, Any], run: ModelRecord) -> str:
    optimizer = config.get("optimizer") or {}
    return setting(optimizer.get("momentum")) if optimizer.get("name") == "sgd" else DASH


def _epochs(config: Mapping[str, Any], run: ModelRecord) -> str:
    if not is_number(run.metrics.get("epochs")) or not run.metrics["epochs"]:
        return DASH
    best = run.metrics.get("best_epoch")
    return f"{whole(run.metrics['epochs'])} of {setting(config.get('epochs'))}" + (
        f", best {whole(best)}" if best else ""
    )


def _chosen_c(config: Mapping[str, Any], run: ModelRecord) -> str:
    return setting((run.metrics.get("choices") or {}).get("C"))


def _tried_c(config: Mapping[str, Any], run: ModelRecord) -> str:
    tried = (run.metrics.get("choices") or {}).get("tried") or []
    return setting([one["C"] for one in tried if isinstance(one, Mapping) and "C" in one])


def _heads_tried(config: Mapping[str, Any], run: ModelRecord) -> str:
    heads = (run.metrics.get("choices") or {}).get("heads")
    return f"{whole(len(heads))}, chosen by validation loss" if heads else DASH


def _hidden(config: Mapping[str, Any], run: ModelRecord) -> str:
    hidden = (config.get("head") or {}).get("hidden")
    return "0 (linear)" if hidden == 0 else setting(hidden)


_SETTINGS: tuple[tuple[str, _Reader], ...] = (
    ("Backbone", lambda config, run: setting(config.get("backbone"))),
    ("Weights", _unless_dummy(lambda config, run: setting(config.get("weights")))),
    ("Trained", _unless_dummy(lambda config, run: setting(config.get("trainable")))),
    ("Input", _unless_dummy(lambda config, run: geometry_text(run, config))),
    ("Augmentation", _unless_dummy(lambda config, run: augment_text(config))),
    ("Heads tried", _unless_dummy(_heads_tried)),
    ("Hidden units", _unless_dummy(_hidden)),
    ("Dropout", _unless_dummy(_of("head", "dropout"))),
    ("Pooling", _unless_dummy(_of("head", "pooling"))),
    ("Optimizer", _unless_dummy(_of("optimizer", "name"))),
    ("Chosen C", _unless_dummy(_chosen_c)),
    ("C tried", _unless_dummy(_tried_c)),
    ("Learning rate", _unless_lbfgs(_of("optimizer", "learning_rate"))),
    ("Weight decay", _unless_lbfgs(_of("optimizer", "weight_decay"))),
    ("Momentum", _unless_lbfgs(_momentum)),
    ("Schedule", _unless_lbfgs(_schedule)),
    ("Batch size", _unless_lbfgs(lambda config, run: setting(config.get("batch_size")))),
    ("Epochs run", _unless_lbfgs(_epochs)),
    ("Class weights", _unless_dummy(lambda config, run: setting(config.get("class_weights")))),
    ("Seed", _unless_dummy(lambda config, run: setting(config.get("seed")))),
    ("Validation accuracy", lambda config, run: percent(_value(run.split("val"), "accuracy"))),
    ("Test accuracy", lambda config, run: percent(_value(run.split("test"), "accuracy"))),
)


def seconds_table(study: StudyRecord) -> Table:
    """Seconds by stage, a row a model."""
    runs = [run for run in study.done if run.metrics.get("seconds")]
    stages = list(dict.fromkeys([*_STAGES, *(stage for run in runs for stage in run.metrics["seconds"])]))
    stages = [stage for stage in stages if any(is_number(run.metrics["seconds"].get(stage)) for run in runs)]
    rows = [
        [
            run.name,
            *(seconds(run.metrics["seconds"].get(stage)) for stage in stages),
            seconds(_total(run.metrics["seconds"])),
        ]
        for run in runs
    ]
    return Table(columns=["Model", *stages, "total"], rows=rows, label="Seconds by stage")


def environment_tables(study: StudyRecord) -> list[Table]:
    """On what and with what the models ran: what all share, then what differs by model."""
    runs = [run for run in study.done if run.environment]
    facts = [dict(_flatten(run.environment)) for run in runs]
    keys = list(dict.fromkeys(key for known in facts for key in known))
    rows = [[key, *(known.get(key, DASH) for known in facts)] for key in keys]
    shared = [row[:2] for row in rows if len(set(row[1:])) == 1]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    words = frozenset(range(len(runs) + 1))
    own = Table(["By model", *(run.name for run in runs)], differing, words=words, label="Environment by model")
    return [Table(["All models", ""], shared, words=words, label="Environment of all models"), own]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            facts += _flatten(value, prefix="" if key in ("versions", "packages") else f"{key} ")
        elif value is not None:
            facts.append((name, setting(value)))
    return facts


def runs_table(study: StudyRecord) -> Table:
    """When each run ended and its fingerprint, by which a later study tells that nothing has changed."""
    rows = [
        [
            run.name,
            when(run.run.get("started_at")),
            when(run.run.get("finished_at")),
            when(run.metrics.get("test_scored_at") or run.run.get("test_scored_at")),
            setting(run.run.get("bestiary_version")),
            setting(run.run.get("fingerprint")),
        ]
        for run in study.done
    ]
    columns = ["Model", "Started", "Finished", "Test scored", "bestiary", "Fingerprint"]
    return Table(columns=columns, rows=rows, words=frozenset(range(6)), label="Runs")
