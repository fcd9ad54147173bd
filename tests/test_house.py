"""The house: floors, names, sizes, exports, and that light commands stay light."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import bestiary
from bestiary.config.recipes import list_recipes
from bestiary.errors import BestiaryError

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "bestiary"
MODULES = sorted(SOURCE.rglob("*.py"))


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_rooms_import_downwards_only() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_every_exported_name_is_there_and_they_are_few() -> None:
    assert len(bestiary.__all__) <= 20
    assert sorted(bestiary.__all__) == dir(bestiary)
    for name in bestiary.__all__:
        assert getattr(bestiary, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bestiary.nonsense


def test_modules_are_small_and_well_named() -> None:
    for module in MODULES:
        assert module.stem not in {"utils", "helpers", "base", "manager"}, module
        assert len(module.read_text(encoding="utf-8").splitlines()) <= 400, module


def test_exceptions_come_from_one_place() -> None:
    for module in MODULES:
        if module.name != "errors.py":
            assert not re.search(
                r"^class \w+\((\w*Error|Exception)\)", module.read_text(encoding="utf-8"), re.MULTILINE
            ), module
    names = [name for name, value in vars(importlib.import_module("bestiary.errors")).items() if _is_error(value)]
    tree = importlib.import_module("bestiary.errors").__doc__ or ""
    assert all(name in tree for name in names)


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BestiaryError)


def test_help_and_light_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, json; from bestiary.cli.main import app, run; from typer.main import get_command\n"
        "for command in ([], *([name] for name in get_command(app).commands)): run([*command, '--help'])\n"
        "for command in (['--version'], ['recipes'], ['recipes', '--json'], ['recipes', 'keys'], ['frobnicate']):\n"
        "    run(command)\n"
        "print('\\nMODULES' + json.dumps(sorted(sys.modules)))"
    )
    loaded = json.loads(python(code).rpartition("MODULES")[2])
    # typer itself imports pydantic where it finds it.
    heavy = {"torch", "timm", "pandas", "numpy", "openvino", "matplotlib", "sklearn", "scipy", "PIL", "IPython"}
    assert heavy.isdisjoint(loaded)


def test_the_command_line_switches_telemetry_off_for_its_own_process() -> None:
    code = (
        "import os, sys; os.environ.pop('HF_HUB_DISABLE_TELEMETRY', None); os.environ['DO_NOT_TRACK'] = '0'\n"
        "from bestiary.cli.main import main; sys.argv = ['bestiary', 'recipes', '--help']\n"
        "os._exit = lambda code: print(code, os.environ['HF_HUB_DISABLE_TELEMETRY'], os.environ['DO_NOT_TRACK'])\n"
        "main()"
    )
    assert python(code).split()[-3:] == ["0", "1", "0"]


def test_every_recipe_says_what_it_is_for_how_long_and_what_to_expect() -> None:
    for recipe in list_recipes():
        head = recipe.text.split("\n\n")[0]
        assert recipe.summary
        for word in ("Time:", "Expect:", "Run:"):
            assert word in head, recipe.name


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode != 0:
        pytest.skip("no git checkout")
    registries = ("pypi" + ".org", "pythonhosted" + ".org", "registry" + ".npmjs")
    for name in files.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".toml", ".md", ".ipynb", ".html", ".csv"} and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert str(ROOT.parent) + os.sep not in text, name
            assert not any(registry in text for registry in registries), name
    assert "uv.lock" not in files.stdout.split()


def test_the_list_of_keys_in_the_docs_is_the_code_s() -> None:
    from bestiary.config.recipes import list_keys

    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    for key in list_keys():
        row = f"| `{key.name}` | {key.allowed} | `{key.default}` | {key.description} |"
        assert row in text, f"docs/config.md lacks: {row}"


def test_no_two_modules_have_one_name() -> None:
    names = [path.stem for path in MODULES if not path.stem.startswith("__")]
    assert sorted(name for name, count in Counter(names).items() if count > 1) == []
