"""Labelled photos in; compared models, an honest report and a portable classifier out.

    import bestiary

    study = bestiary.Study.create("photos/", "my-study")
    study.run()

Names are imported on first use, so that `import bestiary` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

from bestiary.core.process import prepare_process

prepare_process()

_HOMES = {
    "Study": "bestiary.door.workflow",
    "StudyConfig": "bestiary.core.config",
    "BestiaryError": "bestiary.core.errors",
    "ConfigError": "bestiary.core.errors",
    "Console": "bestiary.core.progress",
    "Geometry": "bestiary.data.geometry",
    "list_recipes": "bestiary.core.recipes",
    "load_config": "bestiary.core.recipes",
    "load_rgb": "bestiary.data.images",
    "predict": "bestiary.deploy.predict",
    "plots": "bestiary.report.plots",
    "split_metrics": "bestiary.study.metrics",
    "compare_paired": "bestiary.study.statistics",
    "wilson": "bestiary.study.statistics",
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
