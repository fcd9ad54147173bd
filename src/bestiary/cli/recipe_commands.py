"""`bestiary recipes`: list the recipes, show one, list every key.

In: the command line. Out: tables and TOML on stdout. Owns no file.
"""

from typing import Annotated

import typer

from bestiary.cli.options import Json, show_result

recipes_app = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="List the recipes, or show one as TOML.",
    epilog="Example: bestiary recipes show quick > my-study.toml",
)


@recipes_app.callback()
def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes, or show one as TOML."""
    if context.invoked_subcommand is not None:
        return
    from bestiary.cli.printing import print_rows
    from bestiary.config.recipes import list_recipes

    rows = [(recipe.name, recipe.summary) for recipe in list_recipes()]
    values = [{"name": name, "summary": summary} for name, summary in rows]
    show_result(values, as_json, lambda _: print_rows(("recipe", "what for"), rows))


@recipes_app.command("show", epilog="Example: bestiary recipes show quick > my-study.toml")
def recipes_show(name: Annotated[str, typer.Argument(help="A recipe.")]) -> None:
    """Print a recipe as TOML, with what it is for, how long it takes and what to expect in its head."""
    from bestiary.config.recipes import get_recipe

    print(get_recipe(name).text, end="")


@recipes_app.command("keys", epilog="Example: bestiary recipes keys | grep optimizer")
def recipes_keys(as_json: Json = False) -> None:
    """Every key that a study file may have: what is allowed, the default, what it does."""
    from bestiary.cli.printing import print_rows
    from bestiary.config.recipes import list_keys

    keys = [(key.name, key.allowed, key.default, key.description) for key in list_keys()]
    headers = ("key", "allowed", "default", "what it does")
    values = [dict(zip(headers, key, strict=True)) for key in keys]
    show_result(values, as_json, lambda _: print_rows(headers, keys))
