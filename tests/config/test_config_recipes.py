"""Recipes, study files and `--set`."""

import re
from pathlib import Path

import pytest

from bestiary.config.recipes import get_recipe, list_recipes, load_config, read_study_config, write_study_config
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
        # The notebook's last 30 layers have no counterpart by name in another architecture.
        kept = {"backbone", "weights"} | ({"trainable", "activations"} if one.trainable_modules else set())
        assert one.model_dump(exclude=kept) == other.model_dump(exclude=kept)
        assert other.trainable == ("last:1 stage" if one.trainable_modules else one.trainable)


def test_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"no recipe named 'quik': did you mean 'quick'\? there are .*thorough.*--config"
    ):
        load_config(recipe="quik")


def test_a_file_given_as_a_recipe_and_a_recipe_given_as_a_file_name_the_other_option(file: Path) -> None:
    with pytest.raises(ConfigError, match=rf"That is a file: --config {re.escape(str(file))}$"):
        load_config(recipe=str(file))
    with pytest.raises(ConfigError, match=r"A recipe goes by --recipe quick$"):
        load_config(file=Path("quick"))


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
        ('data.rename."St. Bernard"=dog', lambda config: config.data.rename, {"St. Bernard": "dog"}),
        ('data.rename."a=b"="c.d=e"', lambda config: config.data.rename, {"a=b": "c.d=e"}),
        ("models.lite2-probe.trainable=last:1 stage", lambda config: config.models["lite2-probe"].trainable_stages, 1),
    ],
)
def test_set_overrides_one_value(override: str, read, value: object) -> None:
    config = load_config(recipe="quick", overrides=[override])
    assert read(config) == value
    assert read(load_config(recipe="quick")) != value or override == "report.title="


def test_set_resolves_what_follows_from_it() -> None:
    config = load_config(recipe="quick", overrides=["models.lite2-probe.head.hidden=512"])
    assert config.models["lite2-probe"].optimizer.name == "adam"
    assert config.models["lite1-probe"].optimizer.name == "lbfgs"


def test_later_override_wins() -> None:
    config = load_config(recipe="quick", overrides=["split.seed=1", "split.seed=2"])
    assert config.split.seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "models.lite9.head.hidden=5",
            ["'lite9'", "lite1-probe, lite2-probe, lite1-lite2", "models.lite9.backbone=NAME"],
        ),
        ("models.lite2-prob.epochs=5", ["no model named 'lite2-prob': did you mean 'lite2-probe'?"]),
        ("models.new=5", ["models.new", "section of keys"]),
        ("models.new={epochs=5}", ["no model named 'new'", "models.new.backbone=NAME"]),
        ("split.group_duplicates=nera", ["split.group_duplicates", "did you mean 'near'?"]),
        ("models.lite2-probe.head.hiden=5", ["models.lite2-probe.head.hiden", "'hidden'", "with --set"]),
        ("models.lite2-probe.head.hidden=many", ["models.lite2-probe.head.hidden", "integer"]),
        ("models.lite2-probe.head.hidden=5.5", ["models.lite2-probe.head.hidden"]),
        ("split.seed", ["key=value"]),
        ("=5", ["key=value"]),
        ("split..seed=5", ["key=value"]),
        ("split. .seed=5", ["key=value"]),
        ('split."seed=5', ["key=value"]),
        ("split.seed.=5", ["key=value"]),
        ("", ["key=value"]),
        ("models.majority.backbone.name=x", ["backbone is a value, not a section"]),
        ("splt.seed=4", ["splt", "'split'"]),
        ("models=5", ["models"]),
    ],
)
def test_wrong_override_is_named_with_the_fix(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe="quick", overrides=[override])
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("text", "override", "words"),
    [
        ("split = 5\n", None, ["split"]),
        ("data = 5\n" + FILE.split("\n", 2)[2], None, ["data is a value"]),
        ('[data]\npath = "x"\n', "models.a.epochs=2", ["no model named 'a'", "there are none"]),
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


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"\xff\xfe\x00", "not UTF-8"), ("a folder", "Is a directory")]
)
def test_unreadable_study_file_is_named(tmp_path: Path, content: bytes | str | None, reason: str) -> None:
    path = tmp_path / "study.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    with pytest.raises(ConfigError, match=rf"cannot read the config .*study\.toml: .*{reason}"):
        load_config(file=path)


def test_a_byte_order_mark_is_no_part_of_the_file(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    assert list(load_config(file=file).models) == ["a"]


def test_models_are_picked_by_name_in_the_order_given() -> None:
    whole = load_config(recipe="quick")
    config = load_config(recipe="quick", models=["lite2-probe", "majority", "lite2-probe"])
    assert list(config.models) == ["lite2-probe", "majority"]
    assert config.models["lite2-probe"] == whole.models["lite2-probe"]
    assert config.model_copy(update={"models": whole.models}) == whole


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("resnet18", "resnet18"),
        ("convnext_tiny.fb_in22k_ft_in1k", "convnext_tiny-fb_in22k_ft_in1k"),
        ("local-dir:/weights/näive net/", "local-dir-weights-n-ive-net"),
        ("x" * 100, "x" * 64),
    ],
)
def test_any_other_name_is_a_backbone_that_becomes_a_linear_probe(given: str, name: str, tmp_path: Path) -> None:
    config = load_config(recipe="quick", models=["majority", given])
    assert list(config.models) == ["majority", name]
    model = config.models[name]
    assert (model.backbone, model.weights, model.trainable, model.head.hidden) == (given, "hub", "head", 0)
    assert model.optimizer.name == "lbfgs"
    write_study_config(tmp_path / "study.toml", config)
    assert read_study_config(tmp_path / "study.toml") == config


def test_the_small_network_is_trained_whole() -> None:
    assert load_config(models=["simple_cnn"]).models["simple_cnn"].trainable == "all"
    assert load_config(models=["majority"]).models["majority"].backbone == "majority"


def test_a_recipe_s_name_goes_before_a_backbone_of_that_name() -> None:
    assert load_config(recipe="notebook", models=["vgg16"]).models["vgg16"].backbone == "vgg16.tv_in1k"


def test_overrides_reach_the_models_that_were_picked_and_added() -> None:
    config = load_config(models=["lite1-probe", "resnet18"], overrides=["models.resnet18.epochs=3", "split.seed=4"])
    assert (config.models["resnet18"].epochs, config.split.seed) == (3, 4)
    with pytest.raises(ConfigError, match=r"no model named 'lite2-probe'.*there are lite1-probe, resnet18"):
        load_config(models=["lite1-probe", "resnet18"], overrides=["models.lite2-probe.epochs=3"])


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (["resnet18.a1", "resnet18-a1"], "--model resnet18-a1: there is a model named 'resnet18-a1' already"),
        ([""], "give backbone"),
        (["..."], "use letters"),
        (["resnet18", "ResNet18"], "differ only in case"),
    ],
)
def test_models_that_cannot_be_are_refused(models: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(models=models)


def test_the_origin_of_a_fault_names_the_options_that_changed_the_recipe() -> None:
    with pytest.raises(ConfigError, match=r"^recipe quick with --model and --set:"):
        load_config(models=["majority"], overrides=["split.seed=-1"])
    with pytest.raises(ConfigError, match=r"^recipe quick with --model:"):
        load_config(models=[""])


@pytest.mark.parametrize(
    "overrides",
    [
        ["models.new.backbone=resnet18", "models.new.epochs=3"],
        ["models.new.epochs=3", "models.new.backbone=resnet18"],
        ['models.new={backbone="resnet18", epochs=3}'],
    ],
)
def test_set_adds_a_model_where_it_gives_the_backbone(overrides: list[str]) -> None:
    config = load_config(recipe="quick", overrides=overrides)
    assert list(config.models) == ["majority", "lite1-probe", "lite2-probe", "lite1-lite2", "new"]
    assert (config.models["new"].backbone, config.models["new"].epochs) == ("resnet18", 3)
