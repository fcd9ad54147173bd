"""A plain mapping → a checked `StudyConfig`, or an error that a person can act on.

In: nested mappings (from TOML). Out: the typed config. Owns no file.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from bestiary.config.schema import ModelConfig, StudyConfig
from bestiary.errors import ConfigError


def parse_config(values: dict[str, Any], *, origin: str) -> StudyConfig:
    """Check a plain mapping and resolve its defaults.

    Args:
        values: nested mapping as read from TOML.
        origin: where it came from, for messages: a file name or "recipe quick".

    Raises:
        ConfigError: names each wrong key with its place, what is wrong and what is allowed.
    """
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem)}" for problem in error.errors())
        raise ConfigError(f"{origin}:\n{problems}") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'quick'? `, with the space after it, for the closest of the known names; empty where none is."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    # A union (all of them in models.NAME.section.key) ends the location with the type that was tried.
    if len(location) == 5 and _is_union_tag(location[-1]):
        location.pop()
    key = ".".join(location) or "the whole file"
    if problem["type"] == "extra_forbidden":
        allowed = list(_section_of(location[:-1]).model_fields)
        return f"{key}: unknown key; {did_you_mean(location[-1], allowed)}allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{key}: missing; add it"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] in ("model_type", "dict_type"):
        return f"{key}: must be a section of keys (found {problem['input']!r})"
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    hint = ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        hint = did_you_mean(problem["input"], re.findall(r"'([^']+)'", problem["ctx"]["expected"]))
    return f"{key}: {message} (found {problem['input']!r}){'; ' + hint.strip() if hint else ''}"


def _is_union_tag(part: str) -> bool:
    return part.startswith(("literal[", "constrained-", "function-")) or part in ("int", "float")


def _section_of(location: list[str]) -> type[BaseModel]:
    """The config section that a path of keys leads to."""
    section: type[BaseModel] = StudyConfig
    position = 0
    while position < len(location):
        if section is StudyConfig and location[position] == "models":
            section, position = ModelConfig, position + 2
            continue
        annotation = section.model_fields[location[position]].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        section, position = annotation, position + 1
    return section
