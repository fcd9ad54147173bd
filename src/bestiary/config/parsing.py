"""A plain mapping → a checked `StudyConfig`, or an error that a person can act on.

In: nested mappings (from TOML). Out: the typed config. Owns no file.
"""

import difflib
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


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    # A union (all of them in models.NAME.section.key) ends the location with the type that was tried.
    if len(location) == 5 and _is_union_tag(location[-1]):
        location.pop()
    key = ".".join(location) or "the whole file"
    if problem["type"] == "extra_forbidden":
        allowed = list(_section_of(location[:-1]).model_fields)
        close = difflib.get_close_matches(location[-1], allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{key}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{key}: missing; add it"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] in ("model_type", "dict_type"):
        return f"{key}: wants a section of keys (found {problem['input']!r})"
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (found {problem['input']!r})"


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
