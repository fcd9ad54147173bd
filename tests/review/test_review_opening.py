"""Opening the page: what the browser is given, and that nobody else can read it."""

import os
import stat
import threading
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from bestiary.errors import BestiaryError
from bestiary.review import opening
from bestiary.review.opening import in_browser
from bestiary.review.server import ReviewServer, serve
from tests.chromium import CHROMIUM
from tests.review.devtools import Page
from tests.review.made_review import MadeReview
from tests.review.test_review_server import ask

ADDRESS = "http://127.0.0.1:8123/s3cret-token/"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the browser was started with."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    monkeypatch.setattr(opening, "_reads_no_files", lambda: False)
    return addresses


def until(is_so: Callable[[], object]) -> None:
    ends = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def file_of(address: str) -> Path:
    assert address.startswith("file://")
    return Path(url2pathname(urlsplit(address).path))


def test_the_browser_gets_a_private_file_that_is_deleted_once_the_page_is_loaded(
    given: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "my study ü"
    folder.mkdir()
    loaded = threading.Event()
    with in_browser(ADDRESS, folder, loaded=loaded):
        until(lambda: given)
        (address,) = given
        assert "s3cret" not in address
        file = file_of(address)
        assert file.parent == folder
        assert f'content="0; url={ADDRESS}"' in file.read_text(encoding="utf-8")
        if os.name == "posix":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        loaded.set()
        until(lambda: not file.exists())
    assert list(folder.iterdir()) == []


def test_the_file_is_deleted_while_a_browser_holds_up_who_opened_it(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, loaded = threading.Event(), threading.Event()

    def open_and_wait(address: str) -> None:
        given.append(address)
        closed.wait(20)

    monkeypatch.setattr(webbrowser, "open", open_and_wait)
    with in_browser(ADDRESS, tmp_path, loaded=loaded):
        until(lambda: given)
        loaded.set()
        until(lambda: not list(tmp_path.iterdir()))
        closed.set()


def test_the_file_is_deleted_at_the_end_also_where_nobody_opened_it(given: list[str], tmp_path: Path) -> None:
    def interrupted() -> None:
        with in_browser(ADDRESS, tmp_path, loaded=threading.Event()):
            until(lambda: given)
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_keeps_no_permissions_is_not_used(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk of another system, where every file can be read by all."""
    study, temporary = tmp_path / "study", tmp_path / "temporary"
    study.mkdir()
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    made = opening.tempfile.mkstemp

    def shared(*, dir: Path, **rest: str) -> tuple[int, str]:  # noqa: A002 - the name is the library's
        handle, name = made(dir=dir, **rest)
        if Path(dir) in open_to_all:
            os.fchmod(handle, 0o644)
        return handle, name

    monkeypatch.setattr(opening.tempfile, "mkstemp", shared)
    open_to_all = [study]
    with in_browser(ADDRESS, study, loaded=threading.Event()):
        until(lambda: given)
        assert file_of(given[0]).parent == temporary
        assert list(study.iterdir()) == []
    open_to_all.append(temporary)
    with (
        pytest.raises(
            BestiaryError, match=r"neither .*study nor .*temporary keeps a file from other users.*no-browser"
        ),
        in_browser(ADDRESS, study, loaded=threading.Event()),
    ):
        pass
    assert list(temporary.iterdir()) == list(study.iterdir()) == []


def test_a_browser_of_windows_gets_the_address(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_reads_no_files", lambda: True)
    with in_browser(ADDRESS, tmp_path, loaded=threading.Event()):
        until(lambda: given)
    assert given == [ADDRESS]
    assert list(tmp_path.iterdir()) == []


def test_serving_opens_the_page_and_leaves_no_file(
    given: list[str], review: MadeReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = sorted(review.folder.iterdir())

    def look(server: ReviewServer) -> None:
        until(lambda: given)
        text = file_of(given[0]).read_text(encoding="utf-8")
        assert server.url in text
        server.loaded.set()
        until(lambda: sorted(review.folder.iterdir()) == there)
        raise KeyboardInterrupt

    monkeypatch.setattr(ReviewServer, "run", look)
    addresses: list[str] = []
    progress = serve(review.folder, reviewer="ann", on_ready=addresses.append, browser=True)
    assert (progress.decided, progress.total) == (0, 5)
    assert addresses[0].startswith("http://127.0.0.1:")
    given.clear()
    monkeypatch.setattr(ReviewServer, "run", lambda server: None)
    serve(review.folder, reviewer="ann")
    assert given == []


def test_loading_the_page_is_noticed_and_loading_its_parts_is_not(server: ReviewServer) -> None:
    ask(server, "queue")
    ask(server, "review.js")
    assert not server.loaded.is_set()
    ask(server, "")
    assert server.loaded.wait(10)


@pytest.mark.parametrize(
    ("name", "mode", "place", "status"),
    [
        ("", "navigate", "document", 200),
        ("", "navigate", "iframe", 403),
        ("", "no-cors", "image", 403),
        ("", "cors", "empty", 403),
        ("queue", "navigate", "document", 403),
        ("review.js", "no-cors", "script", 403),
    ],
)
def test_only_the_page_itself_is_opened_from_elsewhere(
    shared_server: ReviewServer, name: str, mode: str, place: str, status: int
) -> None:
    headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": place}
    assert ask(shared_server, name, **headers)[0].status == status
    assert ask(shared_server, "decide", method="POST", body=b"{}", **headers)[0].status == 403


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_a_real_browser_is_led_from_the_file_to_the_page(
    given: list[str], server: ReviewServer, review: MadeReview, tmp_path: Path
) -> None:
    with in_browser(server.url, review.folder, loaded=server.loaded), Page(tmp_path / "profile") as page:
        until(lambda: given)
        page.call("Page.navigate", url=given[0])
        page.wait("document.body && document.body.dataset.ready")
        assert page.evaluate("location.href") == server.url
        until(lambda: not file_of(given[0]).exists())
        page.call("Page.reload")
        page.wait("document.body && document.body.dataset.ready")
        assert page.errors == []
