"""Labelled photos in; compared models, an honest report and a portable classifier out.

    import bestiary

    study = bestiary.Study.create("photos/", "my-study")
    study.run()

Names are imported on first use, so that `import bestiary` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

_HOMES = {
    "Study": "bestiary.study.study",
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
    "split_metrics": "bestiary.evaluate.metrics",
    "compare_paired": "bestiary.evaluate.paired",
    "wilson": "bestiary.evaluate.intervals",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  the names are in the table above


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("bestiary")
    if name not in _HOMES:
        raise AttributeError(f"module 'bestiary' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # A module is exported under its own last name.
    return home if _HOMES[name].endswith(f".{name}") and not hasattr(home, name) else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
