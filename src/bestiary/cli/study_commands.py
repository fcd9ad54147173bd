"""`bestiary study`, `init` and `demo`: a study is begun from data and a configuration.

In: the command line. Out: a study's folder; tables and paths on stdout. Owns no file.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bestiary.cli.options import (
    EXIT_DONE,
    EXIT_FAILED,
    STAGES,
    WHOLE,
    Budget,
    ConfigFile,
    Data,
    Force,
    Json,
    ModelNames,
    Out,
    Overrides,
    Quiet,
    RecipeName,
    Redraw,
    Resume,
    progress_of,
    seconds_of,
    show_result,
    when_there,
)
from bestiary.errors import ConfigError, UsageError
from bestiary.progress import SILENT, Progress

if TYPE_CHECKING:
    from bestiary.config.schema import StudyConfig
    from bestiary.study.study import Study

study_app = typer.Typer()
# What `--budget` begins from.
BEST_RECIPE = "best"


@study_app.command(epilog="Example: bestiary study photos/ --model lite2-probe --model resnet50", rich_help_panel=WHOLE)
def study(
    data: Data,
    out: Out = None,
    recipe: RecipeName = None,
    config: ConfigFile = None,
    models: ModelNames = None,
    overrides: Overrides = None,
    budget: Budget = None,
    resume: Resume = False,
    force: Force = False,
    redraw: Redraw = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Index, audit, split, train, compare, report, export. Run it again to continue, or to redo what changed.

    With --budget, search for the best model in that time; without a recipe or a file it begins from the recipe best.
    """
    from bestiary.cli.printing import print_comparison, print_outcome, relative

    if budget is not None:
        recipe = recipe if recipe or config else BEST_RECIPE
        overrides = [*(overrides or ()), f"search.budget_s={seconds_of(budget):g}"]
    begun = _begin(
        data,
        out,
        recipe=recipe,
        config_file=config,
        models=models or (),
        overrides=overrides or (),
        when_there=when_there(resume, force),
        progress=progress_of(quiet),
    )
    result = begun.run(redraw=redraw)
    if as_json:
        show_result({"study": begun.path, **result.__dict__}, True, print)
        return EXIT_FAILED if result.not_run else EXIT_DONE
    print_comparison(result.comparison)
    print()
    for name, reason in result.not_run.items():
        print(f"not run  {name}: {reason}")
    print_outcome(winner=result.winner, report=result.report, model=result.model)
    if result.findings:
        count = sum(result.findings.values())
        print(f"findings {count:,}: `bestiary review {relative(begun.path)}` goes through them")
    return EXIT_FAILED if result.not_run else EXIT_DONE


@study_app.command(epilog="Example: bestiary init photos/ --recipe thorough", rich_help_panel=STAGES)
def init(
    data: Data,
    out: Out = None,
    recipe: RecipeName = None,
    config: ConfigFile = None,
    models: ModelNames = None,
    overrides: Overrides = None,
    resume: Resume = False,
    force: Force = False,
    guess: Annotated[
        bool, typer.Option("--guess", help="Look for copies, and for groups in file names that hold them.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Begin a study: write study.toml and nothing else, to look at or to run stage by stage.

    With --guess, read the images and look for copies too: where groups in file names hold them, set data.group_pattern.
    """
    from bestiary.cli.printing import print_proposal, relative
    from bestiary.snapshot import StudyPaths

    begun = _begin(
        data,
        out,
        recipe=recipe,
        config_file=config,
        models=models or (),
        overrides=overrides or (),
        when_there=when_there(resume, force),
        progress=progress_of(quiet) if guess else SILENT,
    )
    file = StudyPaths(begun.path).config
    if not guess:
        show_result({"study": begun.path, "config": file}, as_json, lambda _: print(relative(file)))
        return
    found = begun.guess_groups()
    result = {"study": begun.path, "config": file, "group_pattern": found.pattern, "reason": found.reason}
    show_result(result, as_json, lambda _: print_proposal(found, file))


@study_app.command(epilog="Example: bestiary demo --out bestiary-demo", rich_help_panel=WHOLE)
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to put images and study.")] = Path("bestiary-demo"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A whole study of scikit-learn's digits with planted faults: under a minute, no network."""
    from bestiary.cli.printing import print_demo
    from bestiary.demo.demo import run_demo

    show_result(run_demo(out, progress=progress_of(quiet)), as_json, print_demo)


def _begin(
    data: str,
    out: Path | None,
    *,
    recipe: str | None,
    config_file: Path | None,
    models: Sequence[str],
    overrides: Sequence[str],
    when_there: Literal["refuse", "resume", "force"],
    progress: Progress,
) -> "Study":
    from bestiary.cli.printing import relative
    from bestiary.config.recipes import DEFAULT_RECIPE, load_config, model_names
    from bestiary.snapshot import StudyPaths
    from bestiary.study.study import Study

    if recipe is not None and config_file is not None:
        raise UsageError("--recipe and --config exclude each other: a file is used instead of a recipe")
    recipe = recipe or DEFAULT_RECIPE
    place = default_out(data) if out is None else out
    config = load_config(recipe=recipe, file=config_file, overrides=overrides, models=models)
    # A study that goes on was checked when it was begun, and is spared the import of torch where nothing is to do.
    if when_there == "force" or not StudyPaths(place).config.exists():
        _check_backbones(config, models, of_recipe=model_names(recipe=recipe, file=config_file))
    begun = Study.create(
        data,
        place,
        recipe=recipe,
        config=config_file,
        models=models,
        overrides=overrides,
        when_there=when_there,
        progress=progress,
    )
    if out is None:
        progress.say(f"  study in {relative(begun.path)}")
    return begun


def default_out(data: str) -> Path:
    """Where a study lies if nobody says: beside its data, or in the working directory for a named set.

    `photos/` gives `photos-study`, `lists/x.csv` gives `lists/x-study`, `digits` gives `digits-study`.

    Raises:
        UsageError: the data is the root of a disk, beside which there is nothing.
    """
    from bestiary.data.datasets import is_named_set, is_table

    # Not resolved: where the data is a link, the study lies beside the link.
    place = Path(os.path.abspath(data if is_named_set(data) else Path(data).expanduser()))
    name = place.stem if is_table(data) else place.name
    if not name:
        raise UsageError(f"{data} has no name to call the study after: give --out")
    return place.with_name(f"{name}-study")


def _check_backbones(config: "StudyConfig", models: Sequence[str], *, of_recipe: Collection[str]) -> None:
    """Refuse a backbone that there is not, or modules that it has not, before a study is begun with them.

    Raises:
        ConfigError: names the closest that there are; for a `--model`, the recipe's models, too; some of the modules.
    """
    from bestiary.config.kinds import PACKAGED_BACKBONES, SIMPLE_CNN, reserved_names
    from bestiary.config.parsing import did_you_mean
    from bestiary.config.schema import NO_BACKBONE

    asked = [member.backbone for model in config.models.values() for member in model.members]
    by_name = [model for model in config.models.values() if model.trainable_modules]
    if config.audit.enabled:
        asked.append(config.audit.backbone)
    if config.search.asked:
        asked += config.search.backbones
    known = (NO_BACKBONE, SIMPLE_CNN, *reserved_names(), *PACKAGED_BACKBONES)
    # timm takes seconds to import; the shipped recipes without a network go without it.
    asked = [name for name in asked if name not in known]
    if not asked and not by_name:
        return
    from bestiary.models.backbones import check_backbone
    from bestiary.models.partial.trainable import check_trainable

    for name in asked:
        try:
            check_backbone(name)
        except ConfigError as error:
            if name not in models:
                raise
            raise ConfigError(
                f"--model {name}: {did_you_mean(name, of_recipe)}it is no model of the recipe, which has "
                f"{', '.join(of_recipe) or 'none'}; and as an architecture: {error}"
            ) from error
    for model in by_name:
        check_trainable(model)
