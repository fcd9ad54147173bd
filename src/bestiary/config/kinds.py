"""Model kinds: one declaration each of how a model's config becomes a model.

In: a model's config. Out: its `ModelKind`: which configs it takes, what it makes of `auto`, which combinations it
refuses, which settings matter to it, what it is called on pages, and where its learner is. Owns no file; imports no
learner, so that a config can be checked and a report written without torch.

To add a kind: a learner (`models.learner.Learner`) in a module of its own, and an entry in `KINDS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]

SIMPLE_CNN = "simple_cnn"
PACKAGED_BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")


@dataclass(frozen=True)
class ModelKind:
    """What the package knows of one kind of model.

    Attributes:
        name: in `run.toml` and in messages.
        takes: whether a model's config (as a plain mapping) is of this kind; the first kind that takes it has it.
        learner: `module:class` of its learner, imported when a model is fitted.
        describe: what stands under a model's name in tables.
        uses: whether a setting, by its dotted name in `ModelConfig`, matters to a model; pages show a dash where not.
        is_baseline: a yardstick without a view of the images: it never wins, is not exported, and its errors say
            nothing of the images.
        is_composed: put together of fitted models by the study; nothing of its own is fitted.
        reserved: a name that `backbone` may have for this kind alone; empty: any architecture.
        refuse: raises ValueError, with the fix, for a config that this kind cannot carry out.
    """

    name: str
    takes: Callable[[Values], bool]
    learner: str
    describe: Callable[[Values], str]
    uses: Callable[[Values, str], bool]
    is_baseline: bool = False
    is_composed: bool = False
    reserved: str = ""
    refuse: Callable[[Values], None] = lambda values: None


# What only training in epochs has, and a probe fitted by L-BFGS has not.
_OF_EPOCHS = (
    "epochs",
    "batch_size",
    "label_smoothing",
    "schedule",
    "early_stopping",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "average.decay",
)

# What only a network has of which stages are trained.
_OF_STAGES = ("head.begin", "batch_norm", "optimizer.stage_decay")


def _network_uses(values: Values, setting: str) -> bool:
    optimizer = (values.get("optimizer") or {}).get("name")
    if setting == "optimizer.momentum":
        return bool(optimizer == "sgd")
    if setting in _OF_STAGES and values.get("trainable", "head") == "head":
        return False
    return not (setting in _OF_EPOCHS and optimizer == "lbfgs")


def backbones_of(values: Values) -> tuple[str, ...]:
    """The architectures of a model: one, or those that it joins."""
    return tuple(values.get("backbones") or (values.get("backbone", ""),))


def _refuse_weights(values: Values) -> None:
    weights = values["weights"]
    for backbone in backbones_of(values):
        if backbone == SIMPLE_CNN and weights != "random":
            raise ValueError(f'simple_cnn has no pretrained weights: weights = "random", not {weights!r}')
        if weights == "packaged" and backbone not in PACKAGED_BACKBONES:
            raise ValueError(
                f"no packaged weights for {backbone!r}: packaged are {', '.join(PACKAGED_BACKBONES)}; "
                'else weights = "hub", "random" or a path'
            )


def _refuse_sweep(values: Values) -> None:
    if values["sweep"]["configurations"]:
        raise ValueError(
            'sweep tries heads on the features of a frozen backbone: trainable = "head" and an architecture as '
            "backbone, or sweep.configurations = 0"
        )


def _refuse_gradients(values: Values) -> None:
    _refuse_weights(values)
    _refuse_sweep(values)
    if values["optimizer"]["name"] == "lbfgs":
        raise ValueError('optimizer.name = "lbfgs" fits a linear probe only: head.hidden = 0 and trainable = "head"')


def _refuse_joined(values: Values) -> None:
    names = backbones_of(values)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"backbones joins two or more different architectures, not {', '.join(names)}: use backbone")
    if other := next((name for name in names if name == SIMPLE_CNN or name in reserved_names()), ""):
        raise ValueError(f"{other} has no features of its own to join: take timm architectures")
    if values.get("trainable", "head") != "head":
        raise ValueError('joined backbones stay frozen: trainable = "head"')
    if values["weights"] not in ("auto", "packaged", "hub", "random"):
        raise ValueError(
            'one weights file cannot serve several backbones: weights = "auto", "packaged", "hub", "random"'
        )
    _refuse_frozen(values)


def _refuse_frozen(values: Values) -> None:
    _refuse_weights(values)
    if values["head"]["begin"] == "probe":
        raise ValueError(
            'head.begin = "probe" is for trained stages: on a frozen backbone optimizer.name = "lbfgs" is the probe'
        )
    if values["optimizer"]["stage_decay"] != 1:
        raise ValueError('optimizer.stage_decay is for trained stages: trainable = "last:N stages" or "all", or 1')
    if values["optimizer"]["name"] == "lbfgs" and values["average"]["decay"]:
        raise ValueError("average.decay is for what is trained in epochs: 0 for lbfgs")
    if values["optimizer"]["name"] == "lbfgs" and values["head"]["hidden"]:
        raise ValueError('optimizer.name = "lbfgs" fits a linear probe only: head.hidden = 0 and trainable = "head"')


def _describe_ensemble(values: Values) -> str:
    return " + ".join(f"{member['share']:.0%} {member['model']}" for member in values["ensemble"])


KINDS: list[ModelKind] = [
    ModelKind(
        name="majority",
        takes=lambda values: values.get("backbone") == "majority",
        learner="bestiary.models.majority:MajorityLearner",
        describe=lambda values: "predicts the most frequent class",
        uses=lambda values, setting: setting == "backbone",
        is_baseline=True,
        reserved="majority",
        refuse=_refuse_sweep,
    ),
    ModelKind(
        name="ensemble",
        takes=lambda values: bool(values.get("ensemble")),
        learner="bestiary.models.ensembled:EnsembleLearner",
        describe=_describe_ensemble,
        uses=lambda values, setting: setting in ("", "backbone", "weights", "pixels"),
        is_composed=True,
    ),
    ModelKind(
        name="joined",
        takes=lambda values: bool(values.get("backbones")),
        learner="bestiary.models.joined:JoinedLearner",
        describe=lambda values: " + ".join(backbones_of(values)),
        uses=_network_uses,
        refuse=_refuse_joined,
    ),
    ModelKind(
        name="frozen",
        takes=lambda values: values.get("trainable", "head") == "head",
        learner="bestiary.models.frozen:FrozenLearner",
        describe=lambda values: str(values.get("backbone", "")),
        uses=_network_uses,
        refuse=_refuse_frozen,
    ),
    ModelKind(
        name="gradients",
        takes=lambda values: True,
        learner="bestiary.models.gradients:GradientLearner",
        describe=lambda values: str(values.get("backbone", "")),
        uses=_network_uses,
        refuse=_refuse_gradients,
    ),
]


def kind_of(values: Values) -> ModelKind:
    """The kind of a model, by its config as a plain mapping (`ModelConfig.model_dump()`, or what `run.toml` holds)."""
    return next(kind for kind in KINDS if kind.takes(values))


def reserved_names() -> tuple[str, ...]:
    """What `backbone` may be besides an architecture."""
    return tuple(kind.reserved for kind in KINDS if kind.reserved)


def default_weights(*backbones: str) -> str:
    """What `weights = "auto"` means for a backbone; "auto" where several mean different things by it."""
    found = {_default_weights(backbone) for backbone in backbones}
    return found.pop() if len(found) == 1 else "auto"


def _default_weights(backbone: str) -> str:
    if backbone in PACKAGED_BACKBONES:
        return "packaged"
    return "random" if backbone == SIMPLE_CNN or backbone in reserved_names() else "hub"
