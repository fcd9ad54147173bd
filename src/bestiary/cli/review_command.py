"""`bestiary review`: the page, the browser, and what is said at the end.

In: an audited study. Out: decisions in `corrections.csv`, through the room `review`.
"""

import getpass
import sys
from pathlib import Path

from bestiary.data.corrections.csv_rows import FILE_NAME
from bestiary.review.server import serve


def review_study(study: Path, *, port: int, reviewer: str, browser: bool) -> None:
    """Serve the page until Ctrl-C.

    Args:
        study: a study's folder.
        port: 0 takes a free one.
        reviewer: empty: the name of the user, where there is one.
        browser: whether to open the page.
    """

    def ready(url: str) -> None:
        print(url, flush=True)
        print("every decision is saved at once; Ctrl-C ends this", file=sys.stderr)

    progress = serve(study, reviewer=reviewer or _user(), port=port, on_ready=ready, browser=browser)
    print(f"{progress.decided:,} of {progress.total:,} findings decided, in {study / FILE_NAME}")
    if progress.decided:
        print("`bestiary study` with the same arguments repeats what they affect")


def _user() -> str:
    """The name of the user; empty, and said so, where this machine knows none (a container under a bare number)."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # which of them depends on the version of Python
        print("no user name here: give --reviewer NAME to sign decisions", file=sys.stderr)
        return ""
