"""Study files: recipes shipped with the package, users' TOML files, and `--set` overrides.

In: a recipe's name or a TOML file, and overrides. Out: a `StudyConfig`. Owns `study.toml`, the whole config with
every default written out.
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bestiary.config.parsing import parse_config
from bestiary.config.schema import ModelConfig, StudyConfig
from bestiary.errors import ConfigError
from bestiary.store.files import write_text

DEFAULT_RECIPE = "quick"


@dataclass(frozen=True)
class Recipe:
    """A study file shipped in the package."""

    name: str
    summary: str
    text: str


def list_recipes() -> list[Recipe]:
    """All recipes, in alphabetical order, each with the first line of its head."""
    folder = resources.files("bestiary.config").joinpath("shipped")
    files = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".toml")),
        key=lambda entry: entry.name.removesuffix(".toml"),
    )
    return [_recipe(entry.name.removesuffix(".toml"), entry.read_text(encoding="utf-8")) for entry in files]


def _recipe(name: str, text: str) -> Recipe:
    return Recipe(name=name, summary=text.splitlines()[0].lstrip("# "), text=text)


def get_recipe(name: str) -> Recipe:
    """One recipe by name.

    Raises:
        ConfigError: there is none of that name; lists those there are.
    """
    recipes = {recipe.name: recipe for recipe in list_recipes()}
    if name not in recipes:
        raise ConfigError(f"no recipe named {name!r}: there are {', '.join(recipes)}. For a file of your own: --config")
    return recipes[name]


def load_config(
    *,
    recipe: str = DEFAULT_RECIPE,
    file: Path | None = None,
    data_path: str | None = None,
    overrides: Sequence[str] = (),
) -> StudyConfig:
    """Read a config from a recipe, or from `file` where one is given.

    Args:
        recipe: the name of a shipped recipe; unused where `file` is given.
        file: a TOML file of the same form.
        data_path: replaces `data.path`.
        overrides: `key=value` strings such as `models.lite2-probe.head.hidden=512`, applied last.

    Raises:
        ConfigError: no such recipe or file, not TOML, or a wrong key, type or pair.
    """
    if file is not None:
        origin, text = str(file), _read(file)
    else:
        origin, text = f"recipe {recipe}", get_recipe(recipe).text
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not valid TOML: {error}") from error
    if data_path is not None:
        _set(values, ["data", "path"], data_path, origin=origin)
    for override in overrides:
        _apply(values, override)
    return parse_config(values, origin=origin if not overrides else f"{origin} with --set")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config {file}: {error}") from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {override}: write it as key=value, such as models.lite2-probe.head.hidden=512")
    models = values.get("models", {})
    if parts[0] == "models" and len(parts) > 1 and isinstance(models, dict) and parts[1] not in models:
        raise ConfigError(f"--set {override}: no model named {parts[1]!r}: there are {', '.join(models) or 'none'}")
    _set(values, parts, _parse_value(text.strip()), origin=f"--set {override}")


def _set(values: dict[str, Any], parts: Sequence[str], value: Any, *, origin: str) -> None:
    section = values
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{origin}: {part} is a value, not a section")
    section[parts[-1]] = value


def _parse_value(text: str) -> Any:
    """A TOML value; a bare word that is none is a string, so that quotes can be left out."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    if len(parsed) > 1:
        raise ConfigError(f"--set takes one key at a time: {text!r} holds more")
    return parsed["value"]


def read_study_config(path: Path) -> StudyConfig:
    """Read a study's own `study.toml`."""
    return load_config(file=path)


def write_study_config(path: Path, config: StudyConfig) -> None:
    """Write `study.toml`: every key, defaults included."""
    import tomli_w

    head = "# The whole configuration of this study, every default written out.\n\n"
    write_text(path, head + tomli_w.dumps(config.model_dump(mode="json")))


@dataclass(frozen=True)
class Key:
    """One key of a study file: its full name, what it may be, what it is if left out, and what it does."""

    name: str
    allowed: str
    default: str
    description: str


def list_keys() -> list[Key]:
    """Every key that a study file may have, in order; `NAME` stands for a model's name."""
    return _keys(StudyConfig, "")


def _keys(section: type[BaseModel], prefix: str) -> list[Key]:
    schema = section.model_json_schema()
    found: list[Key] = []
    for name, field in section.model_fields.items():
        if name == "models":
            found += _keys(ModelConfig, f"{prefix}models.NAME.")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _keys(field.annotation, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else json.dumps(field.get_default(call_default_factory=True))
            found.append(Key(prefix + name, _allowed(schema["properties"][name]), default, field.description or ""))
    return found


def _allowed(schema: dict[str, Any]) -> str:
    """A JSON schema's values in words."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema["type"] == "array":
        count = f"{schema['minItems']} of" if schema.get("minItems") == schema.get("maxItems") else "list of"
        return f"{count} {_allowed(schema['items'])}"
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true, false",
        "object": "table",
    }
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([words[schema["type"]], *bounds])
