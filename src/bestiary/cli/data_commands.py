"""`bestiary fetch`, `review` and `apply`: a data set is downloaded, gone through by a person, and copied clean.

In: the command line, an audited study. Out: a folder of images; decisions in `corrections.csv`, through the room
`review`; a clean copy.
"""

import getpass
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from bestiary.cli.options import DATA, Folder, Json, Quiet, open_study, show_result
from bestiary.plurals import counted

data_app = typer.Typer()


@data_app.command(epilog="Example: bestiary fetch animals10", rich_help_panel=DATA)
def fetch(name: Annotated[Literal["animals10"], typer.Argument(help="A named set.")], as_json: Json = False) -> None:
    """Download a named data set through kagglehub (needs the extra `kaggle`)."""
    from bestiary.data.datasets import fetch_animals10

    path = fetch_animals10()
    show_result({"name": name, "path": path}, as_json, lambda _: print(path))


@data_app.command(epilog="Example: bestiary review my-study", rich_help_panel=DATA)
def review(
    study: Folder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    reviewer: Annotated[str, typer.Option(help="Who decides; written beside each decision. Default: the user.")] = "",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Go through the findings on a local page; every decision is saved at once in corrections.csv."""
    from bestiary.data.corrections.csv_rows import FILE_NAME
    from bestiary.review.server import serve

    def ready(url: str) -> None:
        print(url, flush=True)
        print("every decision is saved at once; Ctrl-C ends this", file=sys.stderr)

    progress = serve(study, reviewer=reviewer or _user(), port=port, on_ready=ready, browser=browser)
    print(f"{progress.decided:,} of {counted(progress.total, 'finding')} decided, in {study / FILE_NAME}")
    if progress.decided:
        print("`bestiary study` with the same arguments redoes what they change")


@data_app.command("apply", epilog="Example: bestiary apply my-study --to photos-clean", rich_help_panel=DATA)
def apply_(
    study: Folder,
    to: Annotated[Path, typer.Option("--to", help="A folder that is not there yet, or is empty.")],
    how: Annotated[
        Literal["copy", "hardlink", "symlink"], typer.Option(help="Copy the files, or link to them.")
    ] = "copy",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a clean copy of the data, corrections.csv carried out; nothing of the original changes."""
    from bestiary.cli.printing import print_applied

    show_result(open_study(study, quiet).apply(to, how=how), as_json, print_applied)


def _user() -> str:
    """The name of the user; empty, and said so, where this machine knows none (a container under a bare number)."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # which of them depends on the version of Python
        print("no user name here: give --reviewer NAME to sign decisions", file=sys.stderr)
        return ""
