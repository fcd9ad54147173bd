"""`bestiary predict` and `recipes`: an exported model at work, and the models that studies can begin with.

In: the command line. Out: predictions, tables and TOML on stdout. Owns no file.
"""

from pathlib import Path
from typing import Annotated

import typer

from bestiary.cli.options import MODELS, Json, Quiet, progress_of, show_result

model_app = typer.Typer()
recipes_app = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="List the recipes, or show one as TOML.",
    epilog="Example: bestiary recipes show quick > my-study.toml",
)
model_app.add_typer(recipes_app, name="recipes", rich_help_panel=MODELS)


@model_app.command(
    epilog="Example: bestiary predict my-study/model new/*.jpg more-photos/ --out predictions.csv",
    rich_help_panel=MODELS,
)
def predict(
    model: Annotated[Path, typer.Argument(help="A model folder, or a study that holds one.")],
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, patterns; - reads a list from stdin.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .csv, .parquet or .jsonl file; default: CSV on stdout.")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many classes to name.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines on stdout.")] = False,
    quiet: Quiet = False,
) -> int:
    """Classify images: one row a file; a file that cannot be read is a row with its error."""
    from bestiary.cli.predict_output import predict_to

    return predict_to(model, inputs, out=out, top_k=top_k, as_json=as_json, progress=progress_of(quiet))


@recipes_app.callback()
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes, or show one as TOML."""
    if context.invoked_subcommand is not None:
        return
    from bestiary.cli.printing import print_table
    from bestiary.config.recipes import list_recipes

    rows = [(recipe.name, recipe.summary) for recipe in list_recipes()]
    values = [{"name": name, "summary": summary} for name, summary in rows]
    show_result(values, as_json, lambda _: print_table(("recipe", "what for"), rows))


@recipes_app.command("show", epilog="Example: bestiary recipes show quick > my-study.toml")
def recipes_show(name: Annotated[str, typer.Argument(help="A recipe.")]) -> None:
    """Print a recipe as TOML, with what it is for, how long it takes and what to expect in its head."""
    from bestiary.cli.streams import utf8_stdout
    from bestiary.config.recipes import get_recipe

    print(get_recipe(name).text, end="", file=utf8_stdout())


@recipes_app.command("keys", epilog="Example: bestiary recipes keys | grep optimizer")
def recipes_keys(as_json: Json = False) -> None:
    """Every key that a study file may have: what is allowed, the default, what it does."""
    from bestiary.cli.printing import print_table
    from bestiary.config.recipes import list_keys

    keys = [(key.name, key.allowed, key.default, key.description) for key in list_keys()]
    headers = ("key", "allowed", "default", "what it does")
    values = [dict(zip(headers, key, strict=True)) for key in keys]
    show_result(values, as_json, lambda _: print_table(headers, keys))
