"""Labelled photos in; compared models, an honest report and a portable classifier out.

    import bestiary

    study = bestiary.Study.create("photos/", "my-study")
    study.run()

Names are imported on first use, so that `import bestiary` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bestiary.config.recipes import list_recipes, load_config
    from bestiary.config.schema import StudyConfig
    from bestiary.data.geometry import Geometry
    from bestiary.data.images import load_rgb
    from bestiary.deploy.predictor import predict
    from bestiary.errors import BestiaryError, ConfigError
    from bestiary.evaluate.intervals import wilson
    from bestiary.evaluate.paired import compare_paired
    from bestiary.evaluate.scoring import split_figures
    from bestiary.progress import Console
    from bestiary.report.figures import plots
    from bestiary.study.study import Study, StudyResult

    __version__: str

_HOMES = {
    "Study": "bestiary.study.study",
    "StudyResult": "bestiary.study.study",
    "StudyConfig": "bestiary.config.schema",
    "BestiaryError": "bestiary.errors",
    "ConfigError": "bestiary.errors",
    "Console": "bestiary.progress",
    "Geometry": "bestiary.data.geometry",
    "list_recipes": "bestiary.config.recipes",
    "load_config": "bestiary.config.recipes",
    "load_rgb": "bestiary.data.images",
    "predict": "bestiary.deploy.predictor",
    "plots": "bestiary.report.figures.plots",
    "split_figures": "bestiary.evaluate.scoring",
    "compare_paired": "bestiary.evaluate.paired",
    "wilson": "bestiary.evaluate.intervals",
}

# What type checkers see is what there is: `tests/test_house.py` holds this list to the table above.
__all__ = [
    "BestiaryError",
    "ConfigError",
    "Console",
    "Geometry",
    "Study",
    "StudyConfig",
    "StudyResult",
    "__version__",
    "compare_paired",
    "list_recipes",
    "load_config",
    "load_rgb",
    "plots",
    "predict",
    "split_figures",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("bestiary")
    if name not in _HOMES:
        raise AttributeError(f"module 'bestiary' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # A module is exported under its own last name.
    return home if _HOMES[name].endswith(f".{name}") and not hasattr(home, name) else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
