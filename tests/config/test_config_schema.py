"""The typed config: what it refuses, what it settles, and that nothing is lost on the way to disk and back."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bestiary.config.parsing import parse_config
from bestiary.config.recipes import read_study_config, write_study_config
from bestiary.config.schema import ActivationsConfig, ModelConfig, StudyConfig
from bestiary.errors import ConfigError, UsageError

LITE = {"backbone": "tf_efficientnet_lite0"}

# Every section of a study file, with a key that is nearly right and the key that was meant.
TYPOS = {
    "": ("devise", "device"),
    "data": ("pth", "path"),
    "audit": ("fold", "folds"),
    "audit.pixels": ("siz_px", "size_px"),
    "split": ("test_fracton", "test_fraction"),
    "search": ("trails", "trials"),
    "ensemble": ("chose", "choose"),
    "train": ("doubted_label", "doubted_labels"),
    "report": ("titel", "title"),
    "export": ("modle", "model"),
    "models.a": ("epoch", "epochs"),
    "models.a.pixels": ("size", "size_px"),
    "models.a.head": ("hiden", "hidden"),
    "models.a.optimizer": ("learning_rat", "learning_rate"),
    "models.a.schedule": ("factr", "factor"),
    "models.a.average": ("decy", "decay"),
    "models.a.early_stopping": ("patience_epoch", "patience_epochs"),
    "models.a.augment": ("flips", "flip"),
    "models.a.activations": ("caches", "cache"),
    "models.a.sweep": ("configuration", "configurations"),
}


def nested(key: str, value: Any, *, model: str = "a") -> dict[str, Any]:
    """A small valid study with one value set at a dotted key."""
    values: dict[str, Any] = {"models": {model: dict(LITE)}}
    section = values
    *parents, last = key.split(".")
    for part in parents:
        section = section.setdefault(part, {})
    section[last] = value
    return values


def sections(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = {prefix}
    for name, field in model.model_fields.items():
        place = f"{prefix}.{name}".strip(".")
        if name == "models":
            found |= sections(ModelConfig, "models.a")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= sections(field.annotation, place)
    return found


def fields_of(section: str) -> list[str]:
    model: type[BaseModel] = StudyConfig
    for part in section.replace("models.a", "MODEL").split("."):
        if part:
            model = ModelConfig if part == "MODEL" else model.model_fields[part].annotation  # type: ignore[assignment]
    return list(model.model_fields)


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, origin="my.toml")
    text = str(caught.value)
    assert text.startswith("my.toml:\n")
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2
    return text


def test_typos_are_tried_in_every_section() -> None:
    assert set(TYPOS) == sections(StudyConfig)


@pytest.mark.parametrize("section", TYPOS)
def test_unknown_key_names_its_place_the_likely_key_and_all_allowed_ones(section: str) -> None:
    typo, meant = TYPOS[section]
    key = f"{section}.{typo}".strip(".")
    text = refusal(nested(key, 1))
    assert f"  {key}: unknown key; did you mean {meant!r}?" in text
    assert text.split("allowed here: ")[1].splitlines()[0] == ", ".join(fields_of(section))


def test_unknown_key_like_no_other_gets_no_suggestion() -> None:
    text = refusal(nested("data.zzzzzz", 1))
    assert "did you mean" not in text
    assert "allowed here: path, rename" in text


@pytest.mark.parametrize("name", ["int", "float", "literal[a]", "function-x"])
def test_keys_named_like_types_keep_their_place_in_the_message(name: str) -> None:
    assert f"  {name}: unknown key" in refusal(nested(name, 1))
    assert f"  models.a.head.{name}: unknown key" in refusal(nested(f"models.a.head.{name}", 1))


@pytest.mark.parametrize("model", ["int", "float"])
def test_model_named_like_a_type_keeps_its_place_in_the_message(model: str) -> None:
    text = refusal(nested(f"models.{model}.head.hiden", 1, model=model))
    assert f"models.{model}.head.hiden: unknown key; did you mean 'hidden'? allowed here: hidden, dropout" in text
    assert f"models.{model}.head.hidden: " in refusal(nested(f"models.{model}.head.hidden", -1, model=model))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", 5),
        ("data.path", 3),
        ("data.rename", "dog"),
        ("data.rename.cane", ""),
        ("split.seed", "5"),
        ("split.seed", -1),
        ("split.seed", True),
        ("split.test_fraction", 0.0),
        ("split.test_fraction", 1.0),
        ("split.val_fraction", "a tenth"),
        ("split.use_given", "yes"),
        ("device", "gpu"),
        ("models", 3),
        ("models", {}),
        ("models.a", 3),
        ("models.a.epochs", 0),
        ("models.a.epochs", 1.5),
        ("models.a.epochs", "10"),
        ("models.a.batch_size", 0),
        ("models.a.class_weights", "some"),
        ("models.a.precision", "fp16"),
        ("models.a.trainable", "last:0 stages"),
        ("models.a.trainable", "last: 1 stage"),
        ("models.a.trainable", "none"),
        ("models.a.trainable", "modules:"),
        ("models.a.trainable", "modules:layer4("),
        ("models.a.trainable", "modules:a{99999999999}"),
        ("models.a.trainable", "module:layer4"),
        ("models.a.pixels.size_px", "big"),
        ("models.a.pixels.size_px", 4),
        ("models.a.pixels.fit", "stretch"),
        ("models.a.pixels.interpolation", "cubic"),
        ("models.a.pixels.crop_fraction", 1.5),
        ("models.a.head.hidden", -1),
        ("models.a.head.pooling", "max"),
        ("models.a.optimizer.name", "adagrad"),
        ("models.a.optimizer.learning_rate", 0),
        ("models.a.optimizer.learning_rate", float("inf")),
        ("models.a.optimizer.weight_decay", float("nan")),
        ("models.a.optimizer.momentum", 1.0),
        ("models.a.schedule.name", "cosine"),
        ("models.a.schedule.factor", 1),
        ("models.a.early_stopping.patience_epochs", -1),
        ("models.a.augment.flip", 1),
        ("models.a.augment.rotation_degrees", 181),
        ("models.a.augment.views", 0),
        ("report.thumbnail_px", 8),
        ("report.max_bytes", 10),
    ],
)
def test_wrong_type_or_range_names_the_key(key: str, value: Any) -> None:
    text = refusal(nested(key, value))
    assert re.search(rf"^  {re.escape(key)}: \S", text, re.MULTILINE), text


def test_missing_key_is_named() -> None:
    assert "models.a: give backbone, or two or more backbones" in refusal({"models": {"a": {"epochs": 2}}})
    assert "models: missing" in refusal({})


def test_every_problem_is_told_at_once() -> None:
    values = nested("split.seed", "x") | {"colour": 1}
    text = refusal(values)
    assert "split.seed" in text
    assert "colour: unknown key" in text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"head": {"dropout": 0.5}}, ["models.a.head", "hidden > 0"]),
        ({"backbone": "simple_cnn", "weights": "hub"}, ["simple_cnn", 'weights = "random"']),
        ({"backbone": "simple_cnn", "weights": "packaged"}, ["simple_cnn", 'weights = "random"']),
        (
            {"backbone": "resnet50", "weights": "packaged"},
            ["resnet50", "tf_efficientnet_lite1, tf_efficientnet_lite2"],
        ),
        ({"optimizer": {"name": "lbfgs"}, "head": {"hidden": 8}}, ["lbfgs", "head.hidden = 0"]),
        ({"optimizer": {"name": "lbfgs"}, "trainable": "all"}, ["lbfgs", 'trainable = "head"']),
        ({"trainable": "all", "augment": {"flip": True, "views": 2}}, ["augment.views", "frozen backbone"]),
        (
            {
                "trainable": "last:1 stage",
                "augment": {"views": 3, "flip": True},
                "activations": {"cache": "off"},
            },
            ["augment.views", "cached activations"],
        ),
        ({"trainable": "last:1 stage", "augment": {"views": 1, "flip": True}}, ["augment.views = 1", "flip"]),
        ({"augment": {"views": 4}}, ["augment.views > 1", "augment.flip"]),
        ({"augment": {"views": 1, "flip": True}}, ["augment.views = 1", "flip"]),
        ({"augment": {"views": 1, "rotation_degrees": 5}}, ["augment.views = 1", "rotation_degrees"]),
    ],
)
def test_impossible_pair_in_a_model_is_refused_with_both_sides(model: dict[str, Any], words: list[str]) -> None:
    text = refusal({"models": {"a": LITE | model}})
    assert all(word in text for word in ["models.a", *words]), text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"split": {"test_fraction": 0.5, "val_fraction": 0.5}}, ["test_fraction + val_fraction", "below 1"]),
        ({"export": {"model": "b"}}, ["export.model", "'b'", "no model of this study: a"]),
        ({"models": {"a": LITE, "A": LITE}}, ["differ only in case"]),
        ({"models": {"a b": LITE}}, ["model name 'a b'"]),
        ({"models": {"../a": LITE}}, ["model name '../a'"]),
        ({"models": {"": LITE}}, ["model name ''"]),
        ({"models": {"a" * 65: LITE}}, ["at most 64"]),
    ],
)
def test_impossible_study_is_refused(values: dict[str, Any], words: list[str]) -> None:
    text = refusal({"models": {"a": LITE}} | values)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("model", "weights", "optimizer", "views"),
    [
        ({"backbone": "majority"}, "random", "lbfgs", 1),
        ({"backbone": "tf_efficientnet_lite2"}, "packaged", "lbfgs", 1),
        ({"backbone": "resnet50.a1_in1k"}, "hub", "lbfgs", 1),
        ({"backbone": "resnet50", "weights": "random"}, "random", "lbfgs", 1),
        ({"backbone": "simple_cnn", "trainable": "all", "augment": {"flip": True}}, "random", "adam", 1),
        (LITE | {"head": {"hidden": 4}}, "packaged", "adam", 1),
        (LITE | {"trainable": "last:1 stage"}, "packaged", "adam", 1),
        (LITE | {"optimizer": {"name": "sgd"}}, "packaged", "sgd", 1),
        (LITE | {"augment": {"flip": True}}, "packaged", "lbfgs", 2),
        (LITE | {"augment": {"flip": True, "rotation_degrees": 20}}, "packaged", "lbfgs", 4),
        (LITE | {"augment": {"flip": True, "views": 7}}, "packaged", "lbfgs", 7),
        (LITE | {"trainable": "last:1 stage", "augment": {"flip": True}}, "packaged", "adam", 2),
        (LITE | {"trainable": "modules:blocks", "augment": {"flip": True}}, "packaged", "adam", 2),
        (
            LITE | {"trainable": "last:1 stage", "augment": {"flip": True}, "activations": {"cache": "off"}},
            "packaged",
            "adam",
            1,
        ),
    ],
)
def test_autos_are_settled(model: dict[str, Any], weights: str, optimizer: str, views: int) -> None:
    settled = parse_config({"models": {"a": model}}, origin="test").models["a"]
    assert (settled.weights, settled.optimizer.name, settled.augment.views) == (weights, optimizer, views)


@pytest.mark.parametrize(
    ("trainable", "frozen", "stages"),
    [
        ("head", True, 0),
        ("all", False, -1),
        ("last:1 stage", False, 1),
        ("last:12 stages", False, 12),
        (r"modules:blocks\.[56]", False, 0),
    ],
)
def test_trainable_tells_how_many_stages_move(trainable: str, frozen: bool, stages: int) -> None:
    model = ModelConfig(backbone="tf_efficientnet_lite0", trainable=trainable)
    assert (model.frozen, model.trainable_stages) == (frozen, stages)


def test_modules_to_train_are_named_by_an_expression_that_compiles() -> None:
    model = ModelConfig(backbone="resnet50", trainable=r"modules:layer4\.[12]|a: 12")
    assert model.trainable_modules == r"layer4\.[12]|a: 12"
    assert (model.kind.name, model.optimizer.name, model.caches_activations) == ("gradients", "adam", True)
    assert not model.model_copy(update={"activations": ActivationsConfig(cache="off")}).caches_activations
    assert all(not ModelConfig(backbone="resnet50", trainable=other).trainable_modules for other in ("head", "all"))
    text = refusal({"models": {"a": LITE | {"trainable": "modules:layer4("}}})
    assert "'modules:layer4(' holds no regular expression: missing )" in text
    joined = {"backbones": ["tf_efficientnet_lite0", "tf_efficientnet_lite2"], "trainable": "modules:blocks"}
    assert 'stay frozen: trainable = "head"' in refusal({"models": {"a": joined}})


def test_config_cannot_be_changed_after_it_was_checked() -> None:
    config = parse_config({"models": {"a": LITE}}, origin="test")
    with pytest.raises(ValidationError):
        config.models["a"].epochs = 3  # type: ignore[misc]


def test_models_keep_the_order_of_the_file() -> None:
    names = ["zebra", "ant", "mole"]
    assert list(parse_config({"models": dict.fromkeys(names, LITE)}, origin="test").models) == names


def fractions(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, width=64)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def model_configs(draw: st.DrawFn) -> dict[str, Any]:
    backbone = draw(st.sampled_from(["majority", "simple_cnn", "tf_efficientnet_lite0", "resnet50.a1_in1k"]))
    weights = ["auto", "random"] if backbone == "simple_cnn" else ["auto", "random", "hub", "/a path/w.pth"]
    trainable = draw(st.sampled_from(["head", "last:1 stage", "last:3 stages", "all", r"modules:blocks\.[56]|\"'x"]))
    hidden = draw(st.sampled_from([0, 1, 256]))
    flip, degrees = draw(st.booleans()), draw(st.one_of(st.just(0), fractions(0, 180)))
    optimizers = ["auto", "adam", "adamw", "sgd"] + (["lbfgs"] if trainable == "head" and not hidden else [])
    cache = draw(st.sampled_from(["auto", "off"]))
    fixed = trainable == "head" or (trainable != "all" and cache == "auto")
    views: list[Any] = ["auto"] + ([2, 64] if fixed and (flip or degrees) else [])
    return {
        "backbone": backbone,
        "weights": draw(st.sampled_from(weights)),
        "trainable": trainable,
        "epochs": draw(st.integers(1, 10_000)),
        "batch_size": draw(st.integers(1, 65536)),
        "class_weights": draw(st.sampled_from(["none", "balanced"])),
        "precision": draw(st.sampled_from(["auto", "fp32", "bf16"])),
        "seed": draw(st.integers(0, 2**31)),
        "pixels": {
            "size_px": draw(st.one_of(st.just("auto"), st.integers(8, 2048))),
            "fit": draw(st.sampled_from(["auto", "crop", "squash", "pad"])),
            "crop_fraction": draw(st.one_of(st.just("auto"), fractions(0.01, 1))),
        },
        "head": {"hidden": hidden, "dropout": draw(fractions(0, 0.99)) if hidden else 0.0},
        "optimizer": {
            "name": draw(st.sampled_from(optimizers)),
            "learning_rate": draw(fractions(1e-12, 10)),
            "weight_decay": draw(fractions(0, 1)),
        },
        "schedule": {"name": draw(st.sampled_from(["constant", "plateau", "one_cycle"]))},
        "early_stopping": {"patience_epochs": draw(st.integers(0, 50))},
        "augment": {"flip": flip, "rotation_degrees": degrees, "views": draw(st.sampled_from(views))},
        "activations": {"cache": cache, "max_gb": draw(fractions(1e-6, 1e6))},
    }


study_configs = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"path": texts, "rename": st.dictionaries(texts, texts.filter(bool), max_size=3), "split_column": texts}
        ),
        "split": st.fixed_dictionaries(
            {
                "test_fraction": fractions(0.001, 0.49),
                "val_fraction": fractions(0.001, 0.49),
                "use_given": st.booleans(),
            }
        ),
        "device": st.sampled_from(["auto", "cpu", "cuda", "mps"]),
        "models": st.dictionaries(
            st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True), model_configs(), min_size=1, max_size=3
        ),
        "report": st.fixed_dictionaries({"title": texts, "thumbnail_px": st.integers(32, 320)}),
    }
)


@given(values=study_configs)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_config_written_to_disk_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    config = parse_config(values, origin="test")
    path = tmp_path_factory.getbasetemp() / "round-trip" / "study.toml"
    write_study_config(path, config)
    assert read_study_config(path) == config


def test_written_config_has_every_key(tmp_path: Path) -> None:
    import tomllib

    config = parse_config({"models": {"a": LITE}}, origin="test")
    write_study_config(tmp_path / "study.toml", config)
    written = tomllib.loads((tmp_path / "study.toml").read_text(encoding="utf-8"))
    for section in sections(StudyConfig):
        table: Any = written
        for part in section.split("."):
            table = table[part] if part else table
        assert sorted(table) == sorted(fields_of(section)), section
