"""Opening the page in a browser without showing its secret to other users of the machine.

In: the page's address. Out: a browser that shows it. Owns `review-*.html` in the study folder for as long as it is
needed.

What a program is started with can be read by every user of a machine, so a browser is not given the address itself. As
Jupyter does, it gets the path of a file that only this user may read, and that leads on to the address.
"""

import os
import platform
import stat
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bestiary.errors import BestiaryError

_REDIRECT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Review</title>
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}"></head>
<body><p><a href="{url}">The review page</a></p></body></html>
"""


@contextmanager
def in_browser(url: str, study_dir: Path, *, loaded: threading.Event) -> Iterator[None]:
    """Open a page in the user's browser, beside what the body of the `with` does.

    Args:
        url: the address with its secret; plain ASCII, without quotes.
        study_dir: where the file is written that leads to it. Browsers that are confined to a part of the disk (snap,
            flatpak) read there, and not in the folder for temporary files.
        loaded: set by the server once the browser has asked for the page; then the file is deleted, and at the latest
            at the end.

    Raises:
        BestiaryError: no such file can be written.
    """
    file = None if _reads_no_files() else _write_private(study_dir, _REDIRECT.format(url=url))
    address = url if file is None else file.as_uri()

    def delete_when_loaded() -> None:
        loaded.wait()
        if file is not None:
            file.unlink(missing_ok=True)

    # Some browsers hold up the thread that opens them until they are closed.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    deleting = threading.Thread(target=delete_when_loaded, daemon=True)
    deleting.start()
    try:
        yield
    finally:
        loaded.set()
        deleting.join()


def _reads_no_files() -> bool:
    """Whether the browser is one of Windows and this is Linux below it, whose paths it does not know.

    There the address itself is handed over: the machine has one user, and Windows shows arguments to no other.
    """
    return os.name == "posix" and "microsoft" in platform.uname().release.casefold()


def _write_private(folder: Path, text: str) -> Path:
    """A file that only this user may read: in `folder`, or where that cannot be, among temporary files."""
    for place in (folder, Path(tempfile.gettempdir())):
        # Only where somebody may write can the file be made; only some file systems keep permissions.
        if os.access(place, os.W_OK):
            handle, name = tempfile.mkstemp(dir=place.absolute(), prefix="review-", suffix=".html")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                is_private = os.name != "posix" or not stat.S_IMODE(os.fstat(handle).st_mode) & 0o077
                stream.write(text if is_private else "")
            if is_private:
                return Path(name)
            Path(name).unlink()
    raise BestiaryError(
        f"cannot open a browser: neither {folder} nor {tempfile.gettempdir()} keeps a file from other users. Start "
        "`bestiary review` with --no-browser, and open the address that it prints"
    )
