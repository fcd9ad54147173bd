"""Recipes, study files and `--set`."""

from pathlib import Path

import pytest

from bestiary.config.recipes import get_recipe, list_recipes, load_config
from bestiary.config.schema import StudyConfig
from bestiary.errors import ConfigError

FILE = '[data]\npath = "photos"\n[models.a]\nbackbone = "tf_efficientnet_lite0"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_the_promised_recipes_are_shipped() -> None:
    names = [recipe.name for recipe in list_recipes()]
    assert {"quick", "thorough", "notebook", "notebook-offline"} <= set(names)
    assert names == sorted(names)


@pytest.mark.parametrize("name", [recipe.name for recipe in list_recipes()])
def test_shipped_recipe_parses_and_says_what_it_is_for_how_long_it_takes_and_what_to_expect(name: str) -> None:
    recipe = get_recipe(name)
    head = recipe.text.split("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in head)
    assert len(recipe.summary) > 20
    for word in ("# Time:", "# Expect:", "# Run:"):
        assert any(line.startswith(word) for line in head), word
    assert load_config(recipe=name).models


def test_offline_recipes_need_no_hub() -> None:
    for name in ("quick", "thorough", "notebook-offline", "demo"):
        assert not [model.backbone for model in load_config(recipe=name).models.values() if model.weights == "hub"]


def test_notebook_recipes_share_protocol_and_rows() -> None:
    notebook, offline = load_config(recipe="notebook"), load_config(recipe="notebook-offline")
    assert len(notebook.models) == len(offline.models) == 6
    assert notebook.split == offline.split
    for one, other in zip(notebook.models.values(), offline.models.values(), strict=True):
        kept = {"backbone", "weights"}
        assert one.model_dump(exclude=kept) == other.model_dump(exclude=kept)


def test_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no recipe named 'quik'.*quick.*--config"):
        load_config(recipe="quik")


def test_file_goes_before_the_recipe_and_the_data_path_before_the_file(file: Path) -> None:
    config = load_config(file=file, data_path="other")
    assert list(config.models) == ["a"]
    assert config.data.path == "other"


def hidden(config: StudyConfig) -> object:
    return config.models["lite2-probe"].head.hidden


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("models.lite2-probe.head.hidden=512", hidden, 512),
        (" models.lite2-probe.head.hidden = 512 ", hidden, 512),
        ("split.test_fraction=0.25", lambda config: config.split.test_fraction, 0.25),
        ("split.use_given=false", lambda config: config.split.use_given, False),
        ("device=cpu", lambda config: config.device, "cpu"),
        ('device="cpu"', lambda config: config.device, "cpu"),
        ("report.title=A day = a night", lambda config: config.report.title, "A day = a night"),
        ("report.title=", lambda config: config.report.title, ""),
        ("data.rename.cane=dog", lambda config: config.data.rename, {"cane": "dog"}),
        ("models.lite2-probe.trainable=last:1 stage", lambda config: config.models["lite2-probe"].trainable_stages, 1),
    ],
)
def test_set_overrides_one_value(override: str, read, value: object) -> None:
    config = load_config(recipe="quick", overrides=[override])
    assert read(config) == value
    assert read(load_config(recipe="quick")) != value or override == "report.title="


def test_set_settles_what_follows_from_it() -> None:
    config = load_config(recipe="quick", overrides=["models.lite2-probe.head.hidden=512"])
    assert config.models["lite2-probe"].optimizer.name == "adam"
    assert config.models["lite0-probe"].optimizer.name == "lbfgs"


def test_later_override_wins() -> None:
    config = load_config(recipe="quick", overrides=["split.seed=1", "split.seed=2"])
    assert config.split.seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("models.lite9.head.hidden=5", ["'lite9'", "majority, lite0-probe, lite2-probe"]),
        ("models.lite2-probe.head.hiden=5", ["models.lite2-probe.head.hiden", "'hidden'", "with --set"]),
        ("models.lite2-probe.head.hidden=many", ["models.lite2-probe.head.hidden", "integer"]),
        ("models.lite2-probe.head.hidden=5.5", ["models.lite2-probe.head.hidden"]),
        ("split.seed", ["key=value"]),
        ("=5", ["key=value"]),
        ("split..seed=5", ["key=value"]),
        ("", ["key=value"]),
        ("models.majority.backbone.name=x", ["backbone is a value, not a section"]),
        ("splt.seed=4", ["splt", "'split'"]),
        ("models=5", ["models"]),
    ],
)
def test_wrong_override_is_named_with_the_mend(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe="quick", overrides=[override])
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("text", "override", "words"),
    [
        ("split = 5\n", None, ["split"]),
        ("data = 5\n" + FILE.split("\n", 2)[2], None, ["data is a value"]),
        ('[data]\npath = "x"\n', "models.a.backbone=majority", ["no model named 'a'"]),
        ("models = 3\n", "models.a.epochs=2", ["models is a value"]),
        ("models = \n", None, ["not valid TOML", "mine.toml"]),
        ("[a]\n[a]\n", None, ["not valid TOML"]),
    ],
)
def test_odd_study_file_is_a_config_error(file: Path, text: str, override: str | None, words: list[str]) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file=file, data_path="photos", overrides=[override] if override else [])
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_unreadable_study_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"cannot read the config .*study\.toml"):
        load_config(file=path)
