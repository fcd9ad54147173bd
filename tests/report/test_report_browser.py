"""The report in a real browser: a click on a cell shows its images; no table is cut off, on screens and on paper."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bestiary.report.page import write_report
from tests.chromium import CHROMIUM
from tests.review.devtools import Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")

PAPER_PX = 688  # A4 without its margins, at 96 dots an inch

# Clicks the cell of the most frequent confusion as a keyboard does and writes down what the page then shows.
CLICK = """(() => {
const seen = {pwned: Boolean(window.pwned)};
const button = document.querySelector("table[data-model=probe] button:not(.right)");
button.focus();
seen.focused = document.activeElement === button;
button.click();
const gallery = document.getElementById(button.getAttribute("aria-controls"));
seen.hidden = gallery.hidden;
seen.expanded = button.getAttribute("aria-expanded");
seen.title = gallery.querySelector("h4").textContent;
seen.count = Number(button.dataset.count);
seen.cell = [Number(button.dataset.true), Number(button.dataset.pred)];
seen.images = [...gallery.querySelectorAll("li")].map((item) => item.dataset.image);
seen.pictures = gallery.querySelectorAll("img[src^='data:image/webp']").length;
seen.injected = gallery.querySelectorAll("b, script, [onerror]").length;
seen.paths = [...gallery.querySelectorAll(".path")].map((path) => path.textContent);
seen.empty = [...document.querySelectorAll("img:not([src])")].length;
gallery.querySelector(".close").click();
seen.closed = gallery.hidden && document.activeElement === button;
return seen;
})()"""

# Every table: how far it and its box reach, whether the box scrolls and says so, and whether row names stay in place.
TABLES = """(() => [...document.querySelectorAll("table")].map((table) => {
for (let at = table; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
const box = table.closest(".scroll"), row = table.querySelector("tbody th");
const seen = {label: box.getAttribute("aria-label"), boxEnds: box.getBoundingClientRect().right};
seen.tableEnds = table.getBoundingClientRect().right;
seen.scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX === "auto";
const before = row.getBoundingClientRect().left;
box.scrollLeft = 1e6;
seen.nameStays = Math.abs(row.getBoundingClientRect().left - before) < 1;
seen.endInSight = table.getBoundingClientRect().right <= box.getBoundingClientRect().right + 1;
box.scrollLeft = 0;
return seen;
}))()"""
SHADOWS = """[...document.querySelectorAll(".frame")].map((frame) => [
  frame.querySelector(".scroll").getAttribute("aria-label"),
  Number(getComputedStyle(frame, "::after").opacity),
])"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


def open_at(browser: Page, path: Path, *, width: int) -> None:
    browser.errors.clear()
    browser.resize(width, 900)
    browser.open(path.as_uri())


def tables(browser: Page) -> list[dict[str, Any]]:
    """All tables; the page must not be wider than its window."""
    found = browser.evaluate(TABLES)
    assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.errors == []
    return list(found)


def models_of(count: int) -> dict[str, dict[str, Any]]:
    """Models with long names, every second of which is trained in epochs."""
    named = {
        f"efficientnet-lite2-at-260-pixels-head-{number}": {
            "backbone": "simple_cnn" if number % 2 else "tf_efficientnet_lite2",
            "trainable": "all" if number % 2 else "head",
            "augment": {"flip": True, "rotation_degrees": 10},
        }
        for number in range(count - 1)
    }
    return {**named, "majority": {"backbone": "majority"}}


def test_a_click_on_a_cell_shows_its_images(make_study, browser):
    names = ("cat", "<b onclick=window.pwned=1>dog</b>", "</script><script>window.pwned = 1</script>")
    study = make_study(names=names)
    open_at(browser, write_report(study.snapshot), width=800)
    seen = browser.evaluate(CLICK)
    assert browser.errors == []
    assert not seen["pwned"]
    assert not seen["injected"]
    assert not seen["hidden"]
    assert seen["expanded"] == "true"
    assert seen["focused"]
    assert seen["closed"]
    classes = sorted(names)
    true, pred = (classes[place] for place in seen["cell"])
    table = study.predictions["probe"]
    rows = table[(table["split"] == "test") & (table["y_true"] == true) & (table["y_pred"] == pred)]
    rows = rows.sort_values(f"p:{pred}", ascending=False)
    paths = dict(zip(study.index["image_id"], study.index["path"], strict=True))
    assert true != pred
    assert len(rows) == seen["count"] > 1
    assert seen["images"] == rows["image_id"].tolist()
    assert seen["paths"] == [paths[image_id] for image_id in rows["image_id"]]
    assert seen["pictures"] == len(rows)
    assert seen["empty"] == 0
    assert seen["title"] == f"True {true}, predicted {pred}: {len(rows)} images"


@pytest.mark.parametrize("count", [2, 8])
def test_no_table_is_cut_off(make_study, browser, count):
    path = write_report(make_study(names=("cat", "dog", "sheep", "yak"), models=models_of(count)).snapshot)
    for width in (1280, 1300, 400):
        open_at(browser, path, width=width)
        found = tables(browser)
        assert len(found) >= 5 + 2 * count
        for table in found:
            assert table["boxEnds"] <= width, table
            assert table["endInSight"], table
            assert table["scrolls"] or table["tableEnds"] <= table["boxEnds"] + 1, table
            assert table["nameStays"], table
        scrolling = {table["label"] for table in found if table["scrolls"]}
        assert scrolling or width > 400
        # The edge of a box shows that there is more, and only then. The observer tells a moment after the layout.
        shown = ",".join(f"'{label}'" for label in sorted(scrolling))
        browser.wait(f"String({SHADOWS}.filter(([, o]) => o).map(([label]) => label).sort()) === String([{shown}])")


@pytest.mark.slow
def test_eight_settings_side_by_side_scroll_in_their_own_box(make_study, browser):
    path = write_report(make_study(models=models_of(8)).snapshot)
    open_at(browser, path, width=500)
    settings = next(table for table in tables(browser) if table["label"] == "Settings side by side")
    assert settings["scrolls"]
    assert settings["nameStays"]


@pytest.mark.parametrize("width", [1280, 1300])
def test_the_ranking_of_six_models_fits_without_scrolling(make_study, browser, width):
    path = write_report(make_study(names=("cat", "dog", "sheep", "yak"), models=models_of(6)).snapshot)
    open_at(browser, path, width=width)
    ranking = next(table for table in tables(browser) if table["label"].startswith("Models, ranked"))
    assert not ranking["scrolls"]


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.slow
def test_no_table_is_wider_than_paper(make_study, browser, count):
    path = write_report(make_study(names=("cat", "dog", "sheep", "yak"), models=models_of(count)).snapshot)
    open_at(browser, path, width=PAPER_PX)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        wide = [table for table in tables(browser) if table["tableEnds"] > PAPER_PX]
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
    assert wide == []
