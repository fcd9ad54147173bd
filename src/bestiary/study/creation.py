"""Creation: what a new study is to do, and where its folder holds another study already.

In: data, and a config in any form. Out: a `StudyConfig` that means the same from everywhere; sentences about what
differs, or an error. Owns no file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bestiary.config.recipes import load_config, read_study_config
from bestiary.config.schema import StudyConfig
from bestiary.data.datasets import is_named_set
from bestiary.errors import ConfigError, StudyConflictError
from bestiary.runs.keys import is_local
from bestiary.snapshot import StudyPaths

WhenThere = Literal["refuse", "resume", "force"]


def study_config(
    data: Path | str,
    *,
    config: StudyConfig | Mapping[str, Any] | str | Path | None,
    recipe: str,
    overrides: Sequence[str],
    models: Sequence[str],
) -> StudyConfig:
    """The config of a study; see `Study.create` for the arguments. Paths in it are absolute.

    Raises:
        ConfigError: the recipe, file or an override is wrong.
    """
    values: dict[str, Any] | None = None
    file: Path | None = None
    if isinstance(config, StudyConfig):
        values = config.model_dump()
    elif isinstance(config, Mapping):
        values = {**config}
    elif config is not None:
        file = Path(config)
    loaded = load_config(
        recipe=recipe, file=file, values=values, data_path=absolute(str(data)), overrides=overrides, models=models
    )
    return _absolute_weights(loaded)


def absolute(data: str) -> str:
    """Absolute, so that the study can be opened from anywhere; a named set stays a name."""
    return data if data == "" or is_named_set(data) else str(Path(data).expanduser().absolute())


def _absolute_weights(config: StudyConfig) -> StudyConfig:
    """Local weights files by their absolute paths: a relative one would depend on the folder that one stands in."""
    values = config.model_dump()
    for section in (values["audit"], *values["models"].values()):
        if is_local(section["weights"]):
            section["weights"] = str(Path(section["weights"]).expanduser().absolute())
    return StudyConfig.model_validate(values)


def refuse_other(there: StudyConfig, wanted: StudyConfig, place: Path) -> None:
    """Refuse a folder whose study has other data or another configuration.

    Raises:
        StudyConflictError: names the first differences, and the three ways out.
    """
    if there == wanted:
        return
    found = differences(there, wanted)
    what = "other data" if there.data != wanted.data else "another configuration"
    raise StudyConflictError(
        f"{place} belongs to a study of {what}: {'; '.join(found[:5])}. Choose another --out; or --resume to go "
        "on with the configuration it has; or --force to give it the new one and redo what that changes"
    )


def differences(there: StudyConfig, wanted: StudyConfig) -> list[str]:
    """What differs, a line each: the key, what is there, what is wanted."""
    return _differences(there.model_dump(mode="json"), wanted.model_dump(mode="json"))


def _differences(there: Any, wanted: Any, key: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        keys = [*there, *(name for name in wanted if name not in there)]
        return [
            difference
            for name in keys
            for difference in _differences(there.get(name), wanted.get(name), f"{key}.{name}".lstrip("."))
        ]
    if there == wanted:
        return []
    return [f"{key} is {_short(there)}, not {_short(wanted)}"]


def _short(value: Any) -> str:
    return "absent" if value is None else "present" if isinstance(value, dict) else repr(value)


def holds_something(paths: StudyPaths) -> bool:
    """Whether anything but the lock is where a study is to begin."""
    return not paths.folder.is_dir() or any(path != paths.lock for path in paths.folder.iterdir())


def read_unless_forced(file: Path, when_there: str) -> StudyConfig | None:
    """The config of a study; None for one that is to be replaced and cannot be read."""
    try:
        return read_study_config(file)
    except ConfigError:
        if when_there != "force":
            raise
        return None
