"""Where a study's folder holds another study already: what differs, in words.

In: the config that lies there and the one that is wanted. Out: sentences, or an error. Owns no file.
"""

from pathlib import Path
from typing import Any

from bestiary.config.schema import StudyConfig
from bestiary.data.datasets import is_named_set
from bestiary.errors import StudyConflictError


def settled(data: str) -> str:
    """Absolute, so that the study can be opened from anywhere; a named set stays a name."""
    return data if data == "" or is_named_set(data) else str(Path(data).expanduser().absolute())


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
