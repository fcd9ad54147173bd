"""The review page in a real browser, by keyboard alone: every key, and what then lies on disk."""

from collections.abc import Iterator

import pytest

from bestiary.review.server import ReviewServer
from tests.chromium import CHROMIUM
from tests.review.devtools import Page
from tests.review.made_review import HOSTILE, MadeReview

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")

CAT, ODD, DOGS = "cat/000.png", f"{HOSTILE}/000.png", [f"dog/{number:03d}.png" for number in range(3)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, server: ReviewServer) -> Page:
    browser.errors.clear()
    browser.resize(1280, 800)
    start(browser, server)
    return browser


def start(page: Page, server: ReviewServer) -> None:
    page.open(server.url)
    page.wait("document.body.dataset.ready")


def text(page: Page, name: str) -> str:
    return str(page.evaluate(f"document.getElementById({name!r}).textContent"))


def shown(page: Page) -> tuple[str, str]:
    """The issue and the file that the page shows."""
    return text(page, "title"), text(page, "path")


def decide(page: Page, *keys: str, says: str) -> None:
    """Press keys and wait for the page to say that it is done."""
    page.evaluate("document.getElementById('status').textContent = ''")
    for key in keys:
        page.press(key)
    page.wait(f"document.getElementById('status').textContent.includes({says!r})")


def test_a_whole_review_by_keyboard(page: Page, server: ReviewServer, review: MadeReview) -> None:
    assert shown(page) == ("Label error", CAT)  # the note before it is skipped
    assert text(page, "progress-text") == "0 of 5 decided"
    assert text(page, "also") == "Also: Blurry"
    decide(page, "r", says="Saved")
    assert review.corrections() == {CAT: ("relabel", "dog")}
    assert shown(page) == ("Label error", ODD)
    assert text(page, "also") == ""
    assert text(page, "progress-text") == "1 of 5 decided"  # whether the cat is too blurry was not asked yet
    decide(page, "u", says="Undone")
    assert review.corrections() == {}
    assert shown(page) == ("Label error", CAT)
    decide(page, "k", says="Saved")
    assert review.corrections() == {CAT: ("keep", "")}
    decide(page, "1", says="already")  # it is of the first class as found
    decide(page, "3", says="Saved")
    assert review.corrections() == {CAT: ("keep", ""), ODD: ("relabel", "dog")}
    assert shown(page) == ("Near copies", DOGS[0])
    page.press("ArrowDown")
    assert text(page, "path") == DOGS[1]
    decide(page, "d", says="Saved")
    assert review.corrections()[DOGS[1]] == ("drop", "")
    assert shown(page) == ("Near copies", DOGS[0])  # two copies are left
    page.press("ArrowUp")
    assert text(page, "path") == DOGS[2]
    decide(page, "a", says="1 dropped")
    assert {dog: review.corrections()[dog][0] for dog in DOGS} == dict(zip(DOGS, ["drop", "drop", "keep"], strict=True))
    assert shown(page) == ("Outlier", "cat/001.png")
    page.press("/")
    for key in "DO":
        page.press(key)
    decide(page, "Enter", says="Saved")
    assert review.corrections()["cat/001.png"] == ("relabel", "dog")
    assert shown(page)[0] == "Shortcut"  # a note on the way
    assert text(page, "progress-text") == "4 of 5 decided"
    before = review.corrections()
    for key in "krd1":
        page.press(key)
    page.press("n")
    assert shown(page) == ("Blurry", CAT)
    assert text(page, "state") == ""  # its label was kept; that says nothing of this
    assert text(page, "also") == ""
    page.press("p")
    assert shown(page)[0] == "Shortcut"
    assert review.corrections() == before
    page.press("n")
    decide(page, "k", says="Saved")
    assert review.rows()[CAT] == ("keep", "", "blurry label_error")
    assert text(page, "title") == "All decided"
    page.press("p")
    assert shown(page) == ("Blurry", CAT)
    assert text(page, "state") == "Kept by ann"
    assert page.errors == []


def test_a_reload_and_a_new_server_resume_at_the_first_undecided(
    page: Page, server: ReviewServer, review: MadeReview
) -> None:
    decide(page, "d", says="Saved")
    start(page, server)
    assert shown(page) == ("Label error", ODD)
    decide(page, "k", says="Saved")
    server.stop()
    page.press("k")
    page.wait("!document.getElementById('alarm').hidden")
    assert "does not answer" in text(page, "alarm")
    assert text(page, "status") == "Not saved."
    assert shown(page)[0] == "Near copies"
    assert text(page, "state") == ""
    second = ReviewServer(review.folder, reviewer="ben")
    second.start()
    start(page, second)
    assert shown(page) == ("Near copies", DOGS[0])
    assert text(page, "progress-text") == "3 of 5 decided"  # of the dropped cat both findings
    second.stop()


def test_what_was_decided_elsewhere_is_told(page: Page, review: MadeReview) -> None:
    (review.folder / "corrections.csv").write_text(f"path,action\n{CAT},drop\n")
    page.press("k")
    page.wait("!document.getElementById('alarm').hidden")
    assert "elsewhere" in text(page, "alarm")
    assert shown(page) == ("Label error", CAT)
    assert text(page, "state") == "Dropped"
    decide(page, "k", says="Saved")  # now the reader has seen it
    assert review.corrections() == {CAT: ("keep", "")}
    assert page.evaluate("document.getElementById('alarm').hidden")


def test_names_from_the_data_are_never_read_as_html(page: Page) -> None:
    page.press("n")
    assert text(page, "label") == HOSTILE
    page.press("l")
    page.press("Escape")
    page.press("c")
    page.press("Escape")
    assert page.evaluate("document.querySelectorAll('img[src=x], [onerror]').length") == 0
    assert not page.evaluate("Boolean(window.pwned)")
    assert HOSTILE in text(page, "classes")


def test_enter_space_and_keys_in_dialogs_decide_nothing(page: Page, review: MadeReview) -> None:
    page.press("Enter")
    page.press(" ")
    page.press("l")
    page.press("Escape")
    page.press("?")
    page.press("d")  # the list of keys is open
    page.press("Escape")
    page.click("#next")
    page.press("Enter")
    page.press(" ")
    assert shown(page) == ("Label error", ODD)
    assert review.corrections() == {}


def test_a_key_held_down_decides_once_and_steps_on(page: Page, review: MadeReview) -> None:
    page.evaluate("document.getElementById('status').textContent = ''")
    page.down("k")
    page.wait("document.getElementById('status').textContent.includes('Saved')")
    for _ in range(3):
        page.down("k", again=True)
    page.up("k")
    assert shown(page) == ("Label error", ODD)
    page.down("n")
    page.down("n", again=True)
    page.up("n")
    assert shown(page)[0] == "Outlier"
    assert review.corrections() == {CAT: ("keep", "")}


def test_undo_takes_the_last_decision_or_that_of_a_finding_gone_to(page: Page, review: MadeReview) -> None:
    decide(page, "k", says="Saved")
    decide(page, "d", says="Saved")
    decide(page, "d", says="Saved")
    decide(page, "2", says="Saved")
    there = {CAT: ("keep", ""), ODD: ("drop", ""), DOGS[0]: ("drop", ""), DOGS[1]: ("relabel", "cat")}
    assert review.corrections() == there
    decide(page, "u", says="Undone")  # the last one alone, though others of the copies are decided
    del there[DOGS[1]]
    assert review.corrections() == there
    page.press("p")
    assert text(page, "state") == "Dropped by ann"
    decide(page, "u", says="Undone")
    del there[ODD]
    assert review.corrections() == there
    assert shown(page) == ("Label error", ODD)


def test_a_key_answers_the_finding_at_hand_and_undo_restores_what_was_there(page: Page, review: MadeReview) -> None:
    for _ in range(5):
        page.press("n")
    assert shown(page) == ("Blurry", CAT)
    assert text(page, "also") == "Also: Label error"
    decide(page, "k", says="Saved")
    assert review.rows() == {CAT: ("keep", "", "blurry")}
    assert shown(page) == ("Label error", CAT)
    assert (text(page, "state"), text(page, "also")) == ("", "")
    decide(page, "d", says="Saved")
    assert review.rows() == {CAT: ("drop", "", "blurry")}
    decide(page, "u", says="Undone")
    assert review.rows() == {CAT: ("keep", "", "blurry")}
    decide(page, "r", says="Saved")
    assert review.rows() == {CAT: ("relabel", "dog", "blurry")}
    page.press("p")
    assert text(page, "state") == "Relabelled to dog by ann"
    decide(page, "k", says="Saved")  # the label is right after all
    assert review.rows() == {CAT: ("keep", "", "blurry label_error")}
    page.press("p")
    decide(page, "u", says="Undone")  # of this finding gone to, not of the image's other one
    assert review.rows() == {CAT: ("keep", "", "blurry")}
    assert text(page, "progress-text") == "1 of 5 decided"
    assert page.errors == []


def test_everything_is_reached_by_tab_with_a_visible_focus(page: Page, review: MadeReview) -> None:
    page.press("n")
    page.press("n")  # copies: their buttons, too
    wanted = page.evaluate("[...document.querySelectorAll('button')].filter((b) => b.checkVisibility()).length")
    seen: set[str] = set()
    for _ in range(wanted + 6):
        page.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "BUTTON":
            seen.add(page.evaluate("document.activeElement.textContent + document.activeElement.title"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert len(seen) == wanted > 20
    while not page.evaluate("document.activeElement.textContent.startsWith('Keep all')"):
        page.press("Tab")
    decide(page, "Enter", says="3 kept")
    assert set(review.corrections()) == set(DOGS)


def test_filters_by_issue_class_and_undecided(page: Page) -> None:
    page.press("c")
    for key in "do":
        page.press(key)
    page.press("Enter")
    assert shown(page)[0] == "Near copies"
    assert text(page, "place") == "1 of 1"
    page.press("c")
    page.press("Enter")  # all classes
    assert text(page, "place") == "4 of 7"
    page.evaluate("document.getElementById('issue-outlier').focus()")
    page.press("Enter")
    assert (shown(page)[0], text(page, "place")) == ("Outlier", "1 of 1")
    decide(page, "k", says="Saved")
    assert shown(page)[0] == "Nothing left here"
    page.press("p")
    assert shown(page)[0] == "Outlier"
    page.evaluate("document.getElementById('issue-outlier').click()")
    page.press("o")
    assert shown(page) == ("Label error", CAT)
    assert text(page, "place") == "1 of 4"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_narrow_window_in_both_themes(page: Page, scheme: str) -> None:
    page.resize(400, 800)
    page.prefer(scheme)
    for _ in range(6):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.press("n")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_the_one_copy_kept_keeps_a_class_by_hand_also_the_one_it_was_found_as(
    page: Page, server: ReviewServer, review: MadeReview
) -> None:
    file = review.folder / "corrections.csv"
    for by_hand, after in (("dog", ("relabel", "dog")), ("cat", ("relabel", "cat"))):
        file.write_text(f"path,action,label\n{DOGS[0]},relabel,{by_hand}\n")
        start(page, server)
        while shown(page)[0] != "Near copies":
            page.press("n")
        while shown(page)[1] != DOGS[0]:
            page.press("ArrowDown")
        decide(page, "a", says="2 dropped")
        assert review.corrections() == {DOGS[0]: after, DOGS[1]: ("drop", ""), DOGS[2]: ("drop", "")}
        assert text(page, "progress-text") == "1 of 5 decided"
    assert page.errors == []


def test_images_that_are_no_copies_are_set_apart(page: Page, review: MadeReview) -> None:
    page.press("s")
    page.wait("document.getElementById('status').textContent.includes('Only copies can be set apart')")
    while shown(page)[0] != "Near copies":
        page.press("n")
    first, others = shown(page)[1], set(DOGS) - {shown(page)[1]}
    decide(page, "s", says="set apart")
    assert review.corrections() == {first: ("apart", "")}
    assert text(page, "progress-text") == "0 of 5 decided"
    # One image is left of three: nothing ties it.
    page.press("ArrowDown")
    second = shown(page)[1]
    assert second in others
    decide(page, "s", says="set apart")
    assert review.corrections() == {first: ("apart", ""), second: ("apart", "")}
    assert text(page, "progress-text") == "1 of 5 decided"
    decide(page, "u", says="Undone")
    assert review.corrections() == {first: ("apart", "")}
    assert page.errors == []


@pytest.mark.parametrize("absolute", [False, True])
def test_a_path_is_copied_whole(page: Page, server: ReviewServer, review: MadeReview, absolute: bool) -> None:
    if absolute:  # as a table may name files
        server._queue._images[review.ids[CAT]]["path"] = f"{review.data}/{CAT}"
        start(page, server)
    page.evaluate(
        "void Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (path) => { copied = path; }}})"
    )
    decide(page, "y", says="copied")
    assert page.evaluate("copied") == f"{review.data.resolve()}/{CAT}"
