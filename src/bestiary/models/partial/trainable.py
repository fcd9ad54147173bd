"""What of a backbone is trained: its last stages, or the modules that a regular expression names.

In: a backbone, and a count of stages or an expression. Out: its parameters that are trained. No file here.

Names are those of timm's network, as `named_modules` gives them: `layer4`, `layer4.0.conv2`. An expression has to match
a name in full, and a module is trained with all that is in it: `layer4` is a whole stage, `layer4.0` its first block.
"""

import re
from collections.abc import Iterator

from torch import nn

from bestiary.config.schema import ModelConfig
from bestiary.errors import ConfigError
from bestiary.models.backbones import Backbone, bare_network

_NAMED = 12


def trainable_parameters(backbone: Backbone, stages: int, *, modules: str = "") -> Iterator[nn.Parameter]:
    """The parameters of the last `stages` stages (-1: all, 0: none), or of modules.

    Args:
        backbone: whose.
        stages: how many; 0 where `modules` is given.
        modules: a regular expression on names of modules; empty: stages say.

    Raises:
        ConfigError: the architecture has fewer stages, or no such modules.
    """
    if modules:
        yield from _of_modules(backbone.network, modules, name=backbone.name)
        return
    if stages < 0:
        yield from backbone.parameters()
        return
    every = backbone.stages()
    if stages > len(every):
        raise ConfigError(f'trainable = "last:{stages} stages": {backbone.name} has {len(every)} stages')
    for stage in every[len(every) - stages :]:
        for module in stage:
            yield from module.parameters(recurse=False)


def check_trainable(config: ModelConfig) -> None:
    """Refuse an expression that names nothing, before anything is trained. The architecture is one that there is.

    Raises:
        ConfigError: no module with parameters is named; says which there are.
    """
    if config.trainable_modules and not config.kind.is_baseline:
        list(_of_modules(bare_network(config), config.trainable_modules, name=config.backbone))


def _of_modules(network: nn.Module, expression: str, *, name: str) -> Iterator[nn.Parameter]:
    # The network itself has no name, and is what "all" is for.
    named = {
        key: module for key, module in network.named_modules() if key and next(module.parameters(), None) is not None
    }
    found = [module for key, module in named.items() if re.fullmatch(expression, key)]
    if not found:
        first = sorted(named, key=lambda key: key.count("."))[:_NAMED]
        raise ConfigError(
            f"trainable = 'modules:{expression}' matches the full name of no module of {name} that has parameters; "
            f"there are {', '.join(first)}{' and more' if len(named) > len(first) else ''}"
        )
    seen: set[nn.Parameter] = set()
    for module in found:
        for parameter in module.parameters():
            if parameter not in seen:
                seen.add(parameter)
                yield parameter
