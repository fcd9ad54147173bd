"""The report in a real browser: a click on a cell shows its images."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from bestiary.report.page import write_report
from tests.chromium import CHROMIUM, OPTIONS

# Clicks the cell of the most frequent confusion as a keyboard does and writes down what the page then shows.
CLICK = """
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
seen.wide = document.documentElement.scrollWidth > window.innerWidth;
gallery.querySelector(".close").click();
seen.closed = gallery.hidden && document.activeElement === button;
const out = document.createElement("pre");
out.id = "seen";
out.textContent = JSON.stringify(seen);
document.body.append(out);
"""


def open_and_click(page: Path, folder: Path, *, width: int) -> dict[str, object]:
    """Load a copy of the report that clicks by itself; its policy would rightly refuse the added script."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = folder / "clicking.html"
    copy.write_text(text.replace("</body>", f"<script>{CLICK}</script></body>"), encoding="utf-8")
    command = [
        str(CHROMIUM),
        *OPTIONS,
        "--virtual-time-budget=3000",
        "--dump-dom",
        f"--window-size={width},900",
        f"--user-data-dir={folder / 'profile'}",
        copy.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return dict(json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_a_click_on_a_cell_shows_its_images(make_study, tmp_path):
    names = ("cat", "<b onclick=window.pwned=1>dog</b>", "</script><script>window.pwned = 1</script>")
    study = make_study(names=names)
    seen = open_and_click(write_report(study.folder), tmp_path, width=800)
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
    assert not seen["wide"]
