"""`bestiary cache` and `doctor`: what lies in the caches of this machine, clearing them, and what is installed.

In: the command line. Out: tables on stdout. What they do stands in `cache_report` and `doctor`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bestiary.cli.options import EXIT_DONE, EXIT_FAILED, MACHINE, Json, show_result

machine_app = typer.Typer()
cache_app = typer.Typer(
    invoke_without_command=True,
    help="What lies in the caches, how large, and when last used; clear them.",
    epilog="Example: bestiary cache",
)
machine_app.add_typer(cache_app, name="cache", rich_help_panel=MACHINE)


@machine_app.command(epilog="Example: bestiary doctor --json", rich_help_panel=MACHINE)
def doctor(as_json: Json = False) -> None:
    """What is installed, devices, threads, caches and their size, which weights are here."""
    from bestiary.cli.doctor import examine, print_examination

    show_result(examine(), as_json, print_examination)


@cache_app.callback()
def cache(context: typer.Context, as_json: Json = False) -> None:
    """What lies in the caches, how large, and when last used; clear them."""
    if context.invoked_subcommand is None:
        cache_show(as_json)


@cache_app.command("show", epilog="Example: bestiary cache show --json")
def cache_show(as_json: Json = False) -> None:
    """What lies in the caches: kind, rows, size, last use, what it is made of."""
    from bestiary.cli.cache_report import look_at_caches, print_caches

    show_result(look_at_caches(), as_json, print_caches)


@cache_app.command("clear", epilog="Example: bestiary cache clear --older-than 30")
def cache_clear(
    older_than: Annotated[int | None, typer.Option(min=0, help="Stores unused for so many days.")] = None,
    study: Annotated[Path | None, typer.Option(help="The rows of a study's images, in all stores.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All stores.")] = False,
    kind: Annotated[
        Literal["pixels", "image_statistics", "features", "activations", "thumbnails"] | None,
        typer.Option(help="Only these."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> int:
    """Free disk by age, by study, or whole. It loses only time, other studies' too where they share images."""
    from bestiary.cli.cache_report import clear_caches, print_cleared

    done = clear_caches(older_than_days=older_than, study=study, everything=everything, kind=kind, yes=yes)
    show_result(done, as_json, print_cleared)
    return EXIT_FAILED if done["failed"] else EXIT_DONE
