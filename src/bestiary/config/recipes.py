"""Study files: recipes shipped with the package, users' TOML files, `--model` and `--set`.

In: a recipe's name or a TOML file, models and overrides. Out: a `StudyConfig`. Owns `study.toml`, the whole config
with every default written out.
"""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bestiary.config.kinds import SIMPLE_CNN
from bestiary.config.parsing import did_you_mean, parse_config
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
        way_out = f"That is a file: --config {name}" if Path(name).is_file() else "For a file of your own: --config"
        raise ConfigError(
            f"no recipe named {name!r}: {did_you_mean(name, recipes)}there are {', '.join(recipes)}. {way_out}"
        )
    return recipes[name]


def load_config(
    *,
    recipe: str = DEFAULT_RECIPE,
    file: Path | None = None,
    values: Mapping[str, Any] | None = None,
    data_path: str | None = None,
    overrides: Sequence[str] = (),
    models: Sequence[str] = (),
) -> StudyConfig:
    """Read a config from a recipe, or from `file` or `values` where one is given.

    Args:
        recipe: the name of a shipped recipe; unused where `file` or `values` is given.
        file: a TOML file of the same form.
        values: a mapping of the same form.
        data_path: replaces `data.path`.
        overrides: `key=value` strings such as `models.lite2-probe.head.hidden=512`, applied last. One that sets
            `models.NAME.backbone` of a new name adds a model.
        models: the models of the study, in this order; empty: all of the recipe. Any name that the recipe does not
            have is a backbone, added as a linear probe named after it. That there is such a backbone is not checked.

    Raises:
        ConfigError: no such recipe or file, not TOML, or a wrong key, type or pair.
    """
    if values is not None:
        origin, wanted = "config", deepcopy(dict(values))
    else:
        origin = str(file) if file is not None else f"recipe {recipe}"
        wanted = _parse_toml(_read(file) if file is not None else get_recipe(recipe).text, origin=origin)
    if data_path is not None:
        _set(wanted, ["data", "path"], data_path, origin=origin)
    if models:
        _pick(wanted, models)
    known = _model_names(wanted)
    for override in overrides:
        _apply(wanted, override)
    for override in overrides:
        _refuse_unknown_model(wanted, override, known=known)
    given = [option for option, used in (("--model", models), ("--set", overrides)) if used]
    return parse_config(wanted, origin=f"{origin} with {' and '.join(given)}" if given else origin)


def model_names(*, recipe: str, file: Path | None) -> list[str]:
    """The models that a recipe or a file names, unchecked: a file may become whole by `--model` and `--set` alone."""
    text, origin = (get_recipe(recipe).text, f"recipe {recipe}") if file is None else (_read(file), str(file))
    return _model_names(_parse_toml(text, origin=origin))


def _parse_toml(text: str, *, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not valid TOML: {error}") from error


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # editors on Windows put a byte order mark first
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read the config {file}: it is not UTF-8 ({error}); save it as UTF-8") from error
    except OSError as error:
        recipes = [recipe.name for recipe in list_recipes()]
        hint = f". A recipe goes by --recipe {file}" if str(file) in recipes else ""
        raise ConfigError(f"cannot read the config {file}: {error.strerror or error}{hint}") from error


def _pick(values: dict[str, Any], models: Sequence[str]) -> None:
    """Leave only these models: those of the recipe by name, and a linear probe for every other name."""
    there = values.get("models", {})
    if not isinstance(there, dict):
        return  # refused by name in `parse_config`
    chosen: dict[str, Any] = {}
    for name in dict.fromkeys(models):
        model = name if name in there else _model_name(name)
        if model in chosen:
            raise ConfigError(f"--model {name}: there is a model named {model!r} already; leave one of them out")
        chosen[model] = there[name] if name in there else _added_model(name)
    values["models"] = chosen


def _model_name(backbone: str) -> str:
    """The name of a model with this backbone: what a folder's name may not hold becomes a dash."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", backbone).strip("-_")[:64]


def _added_model(backbone: str) -> dict[str, Any]:
    # The small network has no weights to keep frozen: a probe on it would be one on random features.
    return {"backbone": backbone, "trainable": "all"} if backbone == SIMPLE_CNN else {"backbone": backbone}


def _model_names(values: dict[str, Any]) -> list[str]:
    models = values.get("models", {})
    return list(models) if isinstance(models, dict) else []


def _apply(values: dict[str, Any], override: str) -> None:
    parts, text = _split_override(override)
    _set(values, parts, _parse_value(text), origin=f"--set {override}")


def _split_override(override: str) -> tuple[list[str], str]:
    """The parts of the key, and the text of the value; a part in double quotes may hold dots."""
    part = r'(?:"[^"]+"|[^".=]+)'
    found = re.fullmatch(rf"({part}(?:\.{part})*)=(.*)", override, re.DOTALL)
    parts = [name.strip().strip('"') for name in re.findall(part, found[1])] if found else []
    if not found or not all(parts):
        raise ConfigError(f"--set {override}: write it as key=value, such as models.lite2-probe.head.hidden=512")
    return parts, found[2].strip()


def _refuse_unknown_model(values: dict[str, Any], override: str, *, known: Sequence[str]) -> None:
    """A key of a model that neither the recipe nor another override has: a typo, or a model without its backbone."""
    parts, _ = _split_override(override)
    if parts[0] != "models" or len(parts) < 2 or parts[1] in known:
        return
    name, models = parts[1], values["models"]
    model = models.get(name) if isinstance(models, dict) else None
    if isinstance(model, dict) and "backbone" not in model:
        raise ConfigError(
            f"--set {override}: no model named {name!r}: {did_you_mean(name, known)}there are "
            f"{', '.join(known) or 'none'}. To add one: --set models.{name}.backbone=NAME, a timm architecture"
        )


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


def write_study_config(path: Path, config: StudyConfig, *, note: str = "") -> None:
    """Write `study.toml`: every key, defaults included.

    Args:
        path: of the file.
        config: what is written.
        note: lines that stand in its head as comments.
    """
    import tomli_w

    head = ["The whole configuration of this study, every default written out.", *note.splitlines()]
    comments = "".join(f"# {line}\n" for line in head)
    write_text(path, f"{comments}\n{tomli_w.dumps(config.model_dump(mode='json'))}")


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
        least, most = schema.get("minItems"), schema.get("maxItems")
        count = f"{least} of" if least is not None and least == most else "list of"
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
