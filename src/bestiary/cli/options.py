"""What several commands share: their arguments and options, the groups of `--help`, and how a result is shown.

In: nothing. Out: annotated types for typer, and small functions over them. Owns no file.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from bestiary.errors import UsageError
from bestiary.progress import SILENT, Console, Progress

WHOLE, STAGES, DATA, MODELS, MACHINE = (
    "The whole study",
    "Stage by stage",
    "The data",
    "Models",
    "This machine",
)

Data = Annotated[str, typer.Argument(help="Folder of class folders, CSV or Parquet table, or a named set.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The study's folder; default: beside the data, photos-study for photos/."),
]
Folder = Annotated[Path, typer.Argument(help="A study's folder.")]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", "-r", help="A shipped recipe; see `bestiary recipes`. Default: quick.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file instead of a recipe.")]
ModelNames = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="Only this model of the recipe, or a timm architecture, added as a linear probe. Repeatable.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: models.lite2-probe.head.hidden=512. Repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Where --out holds a study: go on with the configuration it has.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Where --out holds a study: give it this configuration; redo what changes.")
]

Redraw = Annotated[
    bool,
    typer.Option("--redraw", help="Draw the split again; otherwise an image keeps the side that it was drawn into."),
]

Budget = Annotated[
    str | None,
    typer.Option("--budget", help="Find the best model in so long, all included: 90s, 10m, 1h30m."),
]
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130

T = TypeVar("T")


def progress_of(quiet: bool) -> Progress:
    """Bars and lines on stderr, or nothing."""
    return SILENT if quiet else Console()


def seconds_of(duration: str) -> float:
    """Seconds of `90`, `90s`, `10m`, `1.5h` or `1h30m`.

    Raises:
        UsageError: it is none of these, or not above zero.
    """
    parts = re.fullmatch(r"(?:\d+(?:\.\d+)?[smh])+", duration.strip().lower())
    found = re.findall(r"(\d+(?:\.\d+)?)([smh])", duration.lower()) if parts else [(duration, "s")]
    try:
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in found)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--budget {duration}: write it as 90s, 10m or 1h30m")
    return seconds


def when_there(resume: bool, force: bool) -> Literal["refuse", "resume", "force"]:
    """What to do where the study's folder holds another study."""
    if resume and force:
        raise UsageError("--resume and --force exclude each other")
    return "resume" if resume else "force" if force else "refuse"


def open_study(study: Path, quiet: bool) -> Any:
    """The study in a folder; pandas is imported here and not before."""
    from bestiary.study.study import Study

    return Study.open(study, progress=progress_of(quiet))


def show_result(value: T, as_json: bool, show: Callable[[T], None]) -> None:
    """Print a result as JSON, or as `show` prints it for a person."""
    if as_json:
        from bestiary.cli.streams import print_json

        print_json(value)
    else:
        show(value)
