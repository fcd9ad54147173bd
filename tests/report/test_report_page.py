"""The report as a file: self-contained, inert, within its size, complete where parts are missing."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bestiary.audit.findings import findings_table, write_findings
from bestiary.config.recipes import load_config
from bestiary.errors import BestiaryError, StudyError
from bestiary.report.contents.data_parts import split_lead
from bestiary.report.page import write_report
from bestiary.report.stamp import report_fingerprint
from bestiary.report.study_record import read_study
from bestiary.report.words.remarks import remarks
from bestiary.snapshot import Snapshot
from bestiary.store.files import write_json
from bestiary.store.tables import read_table, write_table

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\" onmouseover='alert(3)' x=\"",
    "{{ 7 * 7 }} $\\frac{1}$ \u732b",
    "]]><!-- &amp; ",
)


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag in ("script", "style"):
            self._inside = tag
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            (self.scripts if self._inside == "script" else self.styles)[-1] += data
        else:
            self.text += data

    def find(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key.replace("_", "-")) == value for key, value in wanted.items())
        ]

    @property
    def gallery(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_sections_are_in_order(make_study):
    page = read_page(write_report(make_study().snapshot))
    ids = [found["id"] for found in page.find("section")]
    before, after = ["data", "fix-first", "method", "models", "curves"], ["findings", "errors", "provenance"]
    assert ids == [*before, "classes", "settings", *after]
    assert "Image classifiers for photos" in page.text
    assert "probe was best on validation" in page.text


def test_loads_nothing_from_anywhere(make_study):
    path = write_report(make_study().snapshot)
    page = read_page(path)
    loading = {"src", "href", "xlink:href", "data", "action", "poster", "srcset", "background"}
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "audio", "video")
        for key in loading & attributes.keys():
            assert attributes[key].startswith(("data:image/webp;base64,", "#"))
        assert re.findall(r"url\((?!#)", attributes.get("style", "")) == []
    for css in page.styles:
        assert not re.search(r"url\(|@import", css)
    assert not re.search(r"https?://", path.read_text(encoding="utf-8"))
    policy = page.find("meta", http_equiv="Content-Security-Policy")[0]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_ids_are_unique_and_references_resolve(make_study):
    page = read_page(write_report(make_study().snapshot))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"][1:] for _, attributes in page.elements if attributes.get("href", "")[:1] == "#"]
    clips = [attributes["clip-path"][5:-1] for _, attributes in page.elements if "clip-path" in attributes]
    assert clips
    assert {*targets, *clips} <= set(ids)


def test_hostile_names_are_text_everywhere(make_study):
    study = make_study(
        names=HOSTILE, report={"title": HOSTILE[0]}, models={"probe": {"backbone": "tf_efficientnet_lite0"}}
    )
    index = study.index.copy()
    shutil.move(study.data / "0" / "000.png", study.data / "0" / "<b onload=alert(4)>.png")
    index.loc[0, "path"] = "0/<b onload=alert(4)>.png"
    index.loc[1, "error"] = "<i>not an image</i>"
    write_table(study.folder / "index.parquet", index)
    page = read_page(write_report(study.snapshot, fingerprint='"><script>'))
    assert len(page.scripts) == 2
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert not page.find("b") + page.find("i")
    assert all(found.get("src", "data:").startswith("data:") for found in page.find("img"))
    for name in HOSTILE:
        assert name in page.text
    assert "<i>not an image</i>" in page.text
    assert set(HOSTILE) <= set(page.gallery["classes"])
    assert report_fingerprint(study.folder / "report.html") == '"><script>'


def test_the_script_never_makes_markup_from_names():
    source = (Path(write_report.__code__.co_filename).parent / "templates" / "report.js").read_text(encoding="utf-8")
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "import("):
        assert forbidden not in source


def images_of_cell(page: Page, model: str, true: str, pred: str) -> list[str]:
    """What the page's script shows for a cell, from the data it reads."""
    gallery = page.gallery
    figures = gallery["models"][model]
    place = gallery["classes"].index
    cell = zip(gallery["images"], figures["true"], figures["pred"], strict=True)
    return sorted(image[0] for image, t, p in cell if (t, p) == (place(true), place(pred)))


@pytest.mark.parametrize("model", ["probe", "cnn", "majority"])
def test_a_cell_holds_exactly_the_predictions_behind_it(make_study, model):
    study = make_study()
    page = read_page(write_report(study.snapshot))
    table = study.predictions[model]
    test = table[table["split"] == "test"]
    matrix = [found for found in page.find("table") if found.get("data-model") == model]
    assert len(matrix) == 1
    cells = 0
    for (true, pred), rows in test.groupby(["y_true", "y_pred"]):
        assert images_of_cell(page, model, true, pred) == sorted(rows["image_id"])
        spoken = f"true {true}, predicted {pred}: {len(rows)}\u00a0image{'s' if len(rows) > 1 else ''}"
        assert page.find("button", aria_label=spoken, data_count=str(len(rows)))
        cells += len(rows)
    assert cells == len(page.gallery["images"]) == len(test)


def test_probabilities_and_paths_are_those_of_the_predictions(make_study):
    study = make_study()
    gallery = read_page(write_report(study.snapshot)).gallery
    paths = dict(zip(study.index["image_id"], study.index["path"], strict=True))
    table = study.predictions["probe"].set_index("image_id")
    for place, (image_id, path) in enumerate(gallery["images"]):
        row = table.loc[image_id]
        assert path == paths[image_id]
        assert gallery["models"]["probe"]["p_pred"][place] == pytest.approx(row[f"p:{row['y_pred']}"], abs=1e-4)
        assert gallery["models"]["probe"]["p_true"][place] == pytest.approx(row[f"p:{row['y_true']}"], abs=1e-4)


def test_every_picture_stands_in_the_file_once(make_study):
    path = write_report(make_study().snapshot)
    page = read_page(path)
    uris = re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]+", path.read_text(encoding="utf-8"))
    assert len(uris) == len(set(uris))
    standing = {found["data-image"] for found in page.find("img") if "src" in found}
    assert {image_id for image_id, _ in page.gallery["images"]} <= standing | page.gallery["thumbs"].keys()
    assert base64.b64decode(uris[0].partition(",")[2])[8:12] == b"WEBP"


def test_beyond_the_budget_errors_stay_and_the_rest_is_thinned(make_study):
    study = make_study(
        per_class=110,
        side_px=120,
        models={"probe": {"backbone": "tf_efficientnet_lite0"}},
        report={"max_bytes": 500_000},
        wrong_every=12,
    )
    path = write_report(study.snapshot)
    page = read_page(path)
    assert path.stat().st_size <= 500_000
    table = study.predictions["probe"]
    test = table[table["split"] == "test"]
    errors = set(test.loc[test["y_true"] != test["y_pred"], "image_id"])
    kept = {image_id for image_id, _ in page.gallery["images"]}
    assert errors <= kept < set(test["image_id"])
    correct = test[(test["y_true"] == test["y_pred"]) & test["image_id"].isin(kept)]
    assert correct["y_true"].value_counts().max() - correct["y_true"].value_counts().min() <= 1
    assert f"it has {len(kept)} of {len(test)}\u00a0test images" in page.text
    # A cell still says how many there are.
    assert sum(int(found["data-count"]) for found in page.find("button")) == len(test)


def test_a_missing_image_is_a_placeholder_and_a_remark(make_study):
    study = make_study()
    test = study.predictions["probe"].query("split == 'test' and y_true != y_pred")
    gone = study.index.set_index("image_id").loc[test["image_id"].iloc[0], "path"]
    (study.data / gone).unlink()
    page = read_page(write_report(study.snapshot))
    assert "1 picture could not be read when this report was written" in page.text
    assert gone in page.text
    assert "file not readable" in page.text
    assert test["image_id"].iloc[0] in {image_id for image_id, _ in page.gallery["images"]}


def test_a_missing_data_folder_leaves_placeholders(make_study):
    study = make_study()
    shutil.rmtree(study.data)
    page = read_page(write_report(study.snapshot))
    assert "The folder of the images was not found" in page.text
    assert page.gallery["thumbs"] == {}
    assert not [found for found in page.find("img") if found.get("src")]


def test_models_not_run_are_named_with_their_reason(make_study):
    page = read_page(write_report(make_study(not_run={"cnn": "the hub did not answer"}).snapshot))
    assert "Not run: cnn." in page.text
    assert "the hub did not answer" in page.text


def test_no_model_run_at_all(make_study):
    reasons = dict.fromkeys(("probe", "cnn", "majority"), "out of memory")
    page = read_page(write_report(make_study(not_run=reasons).snapshot))
    assert "No model has been run, so there is nothing to compare." in page.text
    assert page.gallery["images"] == []
    # A section with nothing to show is left out, of the contents too.
    assert not page.find("section", id="provenance")
    assert not page.find("a", href="#provenance")


def test_a_study_with_only_its_index(make_study):
    study = make_study()
    shutil.rmtree(study.folder / "runs")
    (study.folder / "comparison.json").unlink()
    (study.folder / "splits.parquet").unlink()
    page = read_page(write_report(study.snapshot))
    assert "The models have not been compared yet." in page.text
    assert "The images have not been split yet." in page.text
    assert page.text.count("not run yet") >= 3


@pytest.mark.parametrize("name", ["history.parquet", "logits.parquet", "fit.json"])
def test_an_incomplete_run_is_named_with_its_fix(make_study, name):
    study = make_study()
    (study.folder / "runs" / "probe" / name).unlink()
    with pytest.raises(StudyError, match=f"{name}.*bestiary train"):
        write_report(study.snapshot)


def test_files_left_out_and_copies_are_named(make_study):
    study = make_study()
    index = study.index.copy()
    index.loc[1, "sha256"] = index.loc[0, "sha256"]
    index.loc[13, "sha256"] = index.loc[0, "sha256"]
    left_out = [{**index.loc[0], "image_id": f"x{k}", "path": f"bad/{k}.jpg", "error": "empty file"} for k in range(12)]
    write_table(study.folder / "index.parquet", pd.concat([index, pd.DataFrame(left_out)], ignore_index=True))
    page = read_page(write_report(study.snapshot))
    assert "3\u00a0files are exact copies of one another: they hold 1\u00a0picture." in page.text
    assert "1\u00a0picture is in more than one class." in page.text
    assert "12\u00a0files could not be used" in page.text
    for k in range(12):
        assert f"bad/{k}.jpg" in page.text
    assert "All 12 files with the reason" in page.text


def test_many_classes_share_a_row_of_the_matrix(make_study):
    names = [f"class number {k} with a very long name indeed" for k in range(120)]
    study = make_study(names=names, per_class=6, side_px=16, models={"probe": {"backbone": "tf_efficientnet_lite0"}})
    path = write_report(study.snapshot)
    page = read_page(path)
    assert path.stat().st_size < 3_000_000
    assert "24 of 120 classes are shown" in page.text
    table = study.predictions["probe"]
    counts = [int(found["data-count"]) for found in page.find("button")]
    assert sum(counts) == (table["split"] == "test").sum()
    assert len(json.loads(page.find("table", data_model="probe")[0]["data-shown"])) == 24


def test_two_classes_have_no_top_three(make_study):
    page = read_page(write_report(make_study(names=("cat", "dog")).snapshot))
    assert "Top-3" not in page.text


def test_one_class_split_and_group_columns_named_like_classes(make_study):
    page = read_page(write_report(make_study(names=("split", "y_true", "image_id")).snapshot))
    assert page.gallery["classes"] == ["image_id", "split", "y_true"]


def test_fingerprint_comes_back(make_study, tmp_path):
    study = make_study()
    assert report_fingerprint(study.folder / "report.html") is None
    path = write_report(study.snapshot, fingerprint="0123abcd")
    assert path == study.folder / "report.html"
    assert report_fingerprint(path) == "0123abcd"
    other = tmp_path / "other.html"
    other.write_text("<html></html>")
    assert report_fingerprint(other) is None


def test_the_same_study_gives_the_same_file(make_study):
    study = make_study()
    first = write_report(study.snapshot).read_bytes()
    assert write_report(study.snapshot).read_bytes() == first


def test_no_study_names_the_fix(tmp_path):
    with pytest.raises(StudyError, match="bestiary study"):
        write_report(Snapshot(tmp_path, load_config(data_path="photos")))


def test_a_damaged_file_of_a_run_is_named(make_study):
    study = make_study()
    (study.folder / "runs" / "probe" / "fit.json").write_text("{")
    with pytest.raises(BestiaryError, match=r"fit\.json is damaged"):
        write_report(study.snapshot)


def test_images_of_the_index_are_read_only(make_study):
    study = make_study()
    before = read_table(study.folder / "index.parquet")
    write_report(study.snapshot)
    pd.testing.assert_frame_equal(read_table(study.folder / "index.parquet"), before)


def test_works_where_torch_cannot_be_imported(make_study):
    study = make_study()
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'openvino'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from bestiary.config.recipes import read_study_config\n"
        "from bestiary.report.page import write_report\n"
        "from bestiary.snapshot import Snapshot\n"
        f"folder = Path({str(study.folder)!r})\n"
        "write_report(Snapshot(folder, read_study_config(folder / 'study.toml')))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (study.folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), "Of each class, 20\u00a0% (test) and 10\u00a0% (validation) were drawn at random, with seed 0."),
        (("train",), "Of each class, 20\u00a0% (test) and 10\u00a0% (validation) were drawn at random, with seed 0."),
        (
            ("train", "test"),
            "The test images came with the data. Of the others, 10\u00a0% (validation) of each class were drawn at "
            "random, with seed 0.",
        ),
        (("train", "val", "test"), "The splits came with the data."),
    ],
)
def test_where_the_splits_come_from(make_study, given, expected):
    study = make_study()
    splits = read_table(study.folder / "splits.parquet")
    kept = splits["split"].where(splits["split"].isin(given), "").tolist()
    write_table(study.folder / "index.parquet", study.index.assign(split_given=kept))
    (text,) = split_lead(read_study(study.snapshot)).paragraphs
    assert expected in text
    assert "group" not in text


@pytest.mark.parametrize(("crossing", "spoiled"), [(("train", "test"), "test"), (("train", "val"), "validation")])
def test_copies_in_more_than_one_split_are_said_to_spoil_the_figures(make_study, crossing, spoiled):
    study = make_study()
    splits = read_table(study.folder / "splits.parquet")
    for split in crossing:
        splits.loc[splits.index[splits["split"] == split][0], "group_id"] = "both"
    write_table(study.folder / "splits.parquet", splits)
    record = read_study(study.snapshot)
    assert remarks(record) == [
        "The splits came with the data, and 1\u00a0group of images that belong together is in more than one of them: "
        f"the {spoiled} figures may be too high."
    ]
    assert "1 of them is in more than one split" in split_lead(record).paragraphs[0]


def test_an_audit_of_other_data_is_remarked(make_study):
    study = make_study()
    write_findings(study.folder, findings_table([]), fingerprint="old")
    write_json(study.folder / "audit.json", {"fingerprint": "old"})
    record = read_study(study.snapshot)
    assert remarks(record) == remarks(record, audit_key="old") == []
    (remark,) = remarks(record, audit_key="new")
    assert f"run `bestiary audit {study.folder.name}` to update it" in remark
    page = read_page(write_report(study.snapshot, audit_key="new"))
    assert page.find("code")
    assert f"run bestiary audit {study.folder.name} to update it" in page.text


def test_a_report_of_150_classes_stays_readable(make_study):
    names = [f"a species whose name begins as others do {k:03d}" for k in range(150)]
    study = make_study(names=names, per_class=6, side_px=16, models={"probe": {"backbone": "tf_efficientnet_lite0"}})
    page = read_page(write_report(study.snapshot))
    assert len(page.find("div", **{"class": "scroll tall"})) >= 2  # classes by split, and the figures of each class
    assert "24 of 150 classes are shown" in page.text
    assert "138 more classes" in page.text
    columns = re.findall(r"<th[^>]*slanted[^>]*><span>(.*?)<", (study.folder / "report.html").read_text("utf-8"))
    # Shortened so that no two look alike.
    assert len(columns) == len(set(columns)) == 25
    assert max(map(len, columns)) <= 18
