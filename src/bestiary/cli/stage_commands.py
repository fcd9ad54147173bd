"""The stages of a study, a command each: index, audit, split, train, compare, report, export.

In: a study's folder. Out: what the stage found, as a table or JSON on stdout. Owns no file.
"""

from typing import Annotated

import typer

from bestiary.cli.options import (
    EXIT_DONE,
    EXIT_FAILED,
    STAGES,
    Budget,
    Folder,
    Json,
    Quiet,
    Redraw,
    open_study,
    seconds_of,
    show_result,
)

stage_app = typer.Typer()


@stage_app.command(epilog="Example: bestiary index my-study", rich_help_panel=STAGES)
def index(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Read every file of the data: what it is, or why it was left out."""
    from bestiary.cli.printing import print_index

    show_result(open_study(study, quiet).index(), as_json, print_index)


@stage_app.command(epilog="Example: bestiary audit my-study", rich_help_panel=STAGES)
def audit(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Look for what is wrong: unreadable files, copies, leaks, label errors, outliers, bad quality, shortcuts."""
    from bestiary.cli.printing import print_findings

    show_result(open_study(study, quiet).audit(), as_json, print_findings)


@stage_app.command(epilog="Example: bestiary split my-study", rich_help_panel=STAGES)
def split(study: Folder, redraw: Redraw = False, as_json: Json = False, quiet: Quiet = False) -> None:
    """Split the images into train, val and test; copies stay on one side, and what was drawn stays drawn."""
    from bestiary.cli.printing import print_table

    table = open_study(study, quiet).split(redraw=redraw)
    counts = table["split"].value_counts()
    rows = [(name, f"{counts[name]:,}") for name in ("train", "val", "test")]
    show_result(table, as_json, lambda _: print_table(("split", "images"), rows, numbers=["images"]))


@stage_app.command(epilog="Example: bestiary race my-study --backbone resnet50 --budget 10m", rich_help_panel=STAGES)
def race(
    study: Folder,
    backbones: Annotated[
        list[str] | None, typer.Option("--backbone", help="A timm architecture. Repeatable; default: the study's.")
    ] = None,
    budget: Budget = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time backbones and let them race on samples of the training images; `search` goes on with those left."""
    from bestiary.cli.printing import print_race

    budget_s = None if budget is None else seconds_of(budget)
    table = open_study(study, quiet).race(backbones=backbones or (), budget_s=budget_s)
    show_result(table, as_json, lambda found: print_race(found, study))


@stage_app.command(epilog="Example: bestiary search my-study --trials 200", rich_help_panel=STAGES)
def search(
    study: Folder,
    budget: Budget = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="How many heads to try.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try many heads on frozen backbones; the best become models of the study. Run it again to go on."""
    from bestiary.cli.printing import print_heads

    budget_s = None if budget is None else seconds_of(budget)
    show_result(open_study(study, quiet).search(budget_s=budget_s, trials=trials), as_json, print_heads)


@stage_app.command(epilog="Example: bestiary train my-study lite2-probe", rich_help_panel=STAGES)
def train(
    study: Folder,
    models: Annotated[list[str] | None, typer.Argument(help="Models to train; default: all.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train models; those that are complete are kept."""
    from bestiary.cli.printing import print_table

    table = open_study(study, quiet).train(models or ())
    rows = [(row.model, row.status, row.reason) for row in table.itertuples()]
    show_result(table, as_json, lambda _: print_table(("model", "status", "reason"), rows))
    return EXIT_FAILED if (table["status"] != "done").any() else EXIT_DONE


@stage_app.command(epilog="Example: bestiary compare my-study --json", rich_help_panel=STAGES)
def compare(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Evaluate the models, rank them on validation, and compare each with the winner on test."""
    from bestiary.cli.printing import print_comparison

    show_result(open_study(study, quiet).compare(), as_json, print_comparison)


@stage_app.command(epilog="Example: bestiary report my-study", rich_help_panel=STAGES)
def report(study: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Write report.html: one file, no network."""
    from bestiary.cli.printing import relative

    path = open_study(study, quiet).report()
    show_result({"report": path}, as_json, lambda _: print(relative(path)))


@stage_app.command(epilog="Example: bestiary export my-study --model lite0-probe", rich_help_panel=STAGES)
def export(
    study: Folder,
    model: Annotated[str | None, typer.Option("--model", help="A model's name; default: the config's choice.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write model/: safetensors, ONNX, preprocessing, class names, a model card."""
    from bestiary.cli.printing import relative

    path = open_study(study, quiet).export(model)
    show_result({"model": path}, as_json, lambda _: print(relative(path)))
