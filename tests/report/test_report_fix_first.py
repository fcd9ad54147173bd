"""What to fix first: every kind of finding, with pictures, in the table's order; within budget, escaped, corrected."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from bestiary.audit.findings import Finding, findings_table, write_findings
from bestiary.audit.issues import ISSUES
from bestiary.data.corrections.csv_rows import Correction
from bestiary.data.corrections.saved import write_corrections
from bestiary.data.masks import MASK_FILE
from bestiary.errors import CorrectionsError
from bestiary.report.album import Album
from bestiary.report.contents.as_given import as_given_table
from bestiary.report.contents.fix_first import counts_table, finding_cards, findings_lead, open_findings
from bestiary.report.contents.leak_free import leak_free_table
from bestiary.report.contents.overview import KeyFigure, findings_figure
from bestiary.report.page import page_environment, write_report
from bestiary.report.sections import build_sections
from bestiary.report.study_record import StudyRecord, read_study
from bestiary.store.files import read_json, write_json
from bestiary.store.tables import read_table, write_table
from tests.report.conftest import MadeStudy
from tests.report.test_report_page import HOSTILE, Page, read_page

SUMMARY: dict[str, Any] = {
    "images": 36,
    "classes": 3,
    "counts": {},
    "duplicates": {"clusters": 4, "images": 9, "exact_images": 2, "across_classes": 1, "across_given_splits": 0},
    "labels": {
        "judged": 36,
        "probe_accuracy": 0.9,
        "flagged": 4,
        "noise_rate": {"value": 0.021, "low": 0.011, "high": 0.034},
        "ceiling": {"value": 0.979, "low": 0.966, "high": 0.989},
        "classes": [
            {
                "label": name,
                "images": 12,
                "judged": 12,
                "wrong_share": wrong / 12,
                "wrong_images": wrong,
                "flagged": wrong,
            }
            for name, wrong in (("cat", 0), ("dog", 3), ("sheep", 1))
        ],
    },
    "leakage": {
        "images": 36,
        "images_with_copies": 9,
        "draws": 5,
        "test_images": 8,
        "leaked_images": 2.4,
        "train_images": 20.0,
        "leaky_accuracy": 0.95,
        "honest_accuracy": 0.92,
        "difference": {"value": 0.03, "low": 0.01, "high": 0.05},
        "leaky_on_leaked": 0.99,
        "honest_on_leaked": 0.8,
    },
    "shortcuts": [
        {
            "family": "size",
            "balanced_accuracy": 0.5,
            "low": 0.4,
            "high": 0.6,
            "chance": 1 / 3,
            "per_class": {"cat": 0.5, "dog": 0.93},
        }
    ],
    "seconds": {},
}


def finding_of(issue: Any, row: Any, others: list[str], **values: Any) -> Finding:
    about = {"image_id": row.image_id, "path": row.path, "label": row.label, "related": tuple(others)}
    return Finding(
        **{"issue": issue, "severity": "low", "score": 0.5, "action": "check", "reason": "why", **about, **values}
    )


def findings_of_every_kind(index: pd.DataFrame) -> list[Finding]:
    rows = list(index.itertuples())
    found = []
    for place, issue in enumerate(ISSUES):
        row, others = rows[place], [rows[-place - 1].image_id]
        if issue in ("shortcut", "small_class", "imbalance"):
            found.append(Finding(issue, "medium", 0.5, "collect", f"about {issue}", label=row.label))
        elif issue == "unreadable":
            found.append(Finding(issue, "high", 1.0, "drop", "left out: torn", image_id="gone", path="0/gone.png"))
        elif ISSUES[issue].about == "file":
            found.append(Finding(issue, "low", 0.0, "check", f"about {issue}", image_id="gone", path="0/gone.png"))
        elif issue == "label_error":
            values = {"suggestion": "sheep", "p_label": 0.014, "p_suggestion": 0.962, "action": "relabel"}
            found.append(finding_of(issue, row, others, severity="high", **values))
        else:
            found.append(finding_of(issue, row, others, reason=f"about {issue}"))
    return found


def audit(study: MadeStudy, findings: list[Finding], **changes: Any) -> pd.DataFrame:
    table = findings_table(findings)
    write_findings(study.folder, table, fingerprint="feed")
    write_json(study.folder / "audit.json", {"fingerprint": "feed", **SUMMARY, **changes})
    return table


def rendered(study: MadeStudy) -> str:
    """The section alone, without pictures: a whole report takes ten times as long."""
    parts = next(section.parts for section in build_sections(read_study(study.snapshot)) if section.name == "fix-first")
    source = '{% for part in parts %}{% include "part.html.j2" %}{% endfor %}'
    return page_environment().from_string(source).render(parts=parts, album=Album())


def lead_of(record: StudyRecord) -> str:
    return findings_lead(record).paragraphs[0]


def text_of(study: MadeStudy) -> str:
    return Page(rendered(study)).text.replace("\u00a0", " ")


def section_of(study: MadeStudy) -> str:
    text = write_report(study.snapshot).read_text(encoding="utf-8")
    found = re.search(r'<section id="fix-first">(.*?)</section>', text, re.DOTALL)
    assert found
    return found[1]


def test_every_kind_has_its_words():
    assert (
        len({words.title for words in ISSUES.values()})
        == len({words.short for words in ISSUES.values()})
        == len(ISSUES)
    )


def test_every_kind_of_finding_stands_in_the_tables_order(make_study):
    study = make_study()
    table = audit(study, findings_of_every_kind(study.index))
    section = section_of(study)
    page = Page(section)
    assert re.findall(r'data-issue="(\w+)"', section) == list(dict.fromkeys(table["issue"]))
    for finding in table.itertuples():
        assert ISSUES[finding.issue].title in section
        assert finding.path in page.text
        if finding.issue not in ("label_error", "unreadable"):  # a card of its own words; a file's own reason
            assert f"About {finding.issue}." in page.text
    paths = dict(zip(study.index["image_id"], study.index["path"], strict=True))
    for issue in ("exact_duplicate", "near_duplicate", "label_conflict", "leak"):
        related = table.loc[table["issue"] == issue, "related"].iloc[0]
        card = section.split(f'data-issue="{issue}"')[1].split("data-issue=")[0]
        assert paths[related[0]] in card
        assert f'data-image="{related[0]}"' in card


def test_a_label_error_shows_label_suggestion_and_neighbours(make_study):
    study = make_study()
    rows = list(study.index.itertuples())
    near = [row.image_id for row in rows[20:28]]
    values = {"suggestion": "sheep", "p_label": 0.014, "p_suggestion": 0.962, "severity": "high"}
    audit(study, [finding_of("label_error", rows[0], near, **values)])
    section = section_of(study)
    card = section.split('<li class="card">')[1]
    assert '<bdi class="name">cat</bdi> <span class="p">1.4\u00a0%</span>' in card
    assert '<bdi class="name">sheep</bdi> <span class="p">96.2\u00a0%</span>' in card
    assert re.findall(r'data-image="(\w+)"', card) == [rows[0].image_id, *near[:5]]
    labels = study.index.set_index("image_id")["label"]
    assert re.findall(r'<div class="name"><bdi>(\w+)</bdi>', card) == [labels[image_id] for image_id in near[:5]]
    assert rows[0].path in card


def test_pictures_of_findings_are_there_once_and_larger(make_study):
    study = make_study(side_px=300)
    audit(study, findings_of_every_kind(study.index))
    section = section_of(study)
    path = study.folder / "report.html"
    text, page = path.read_text(encoding="utf-8"), read_page(path)
    uris = re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]+", text)
    assert len(uris) == len(set(uris))
    standing = {found["data-image"]: found["src"] for found in page.find("img") if "src" in found}
    shown = set(re.findall(r'data-image="(\w+)"', section))
    assert shown <= standing.keys()
    assert "left out: no room" not in text
    blurry = study.index["image_id"].iloc[list(ISSUES).index("blurry")]
    sample = next(i for i in standing if i not in shown)
    assert len(standing[blurry]) > 2 * len(standing[sample])


def test_counts_agree_with_the_table(make_study):
    study = make_study()
    table = audit(study, findings_of_every_kind(study.index) * 2)
    record = read_study(study.snapshot)
    issues = [issue for issue in ISSUES if issue in set(table["issue"])]
    counts = Counter(zip(table["label"], table["issue"], strict=True))
    *rows, total = counts_table(record).rows
    for row in rows:
        label = "" if row[0] == "(no class)" else row[0]
        assert list(row[1:-1]) == [str(counts[label, issue] or "") for issue in issues]
        assert int(row[-1]) == (table["label"] == label).sum()
    assert list(total[1:]) == [*(str((table["issue"] == issue).sum()) for issue in issues), str(len(table))]
    assert {group.issue: int(group.count) for group in finding_cards(record).groups} == table[
        "issue"
    ].value_counts().to_dict()
    assert f"{len(table)}\u00a0findings" in lead_of(record)
    high = (table["severity"] == "high").sum()
    assert findings_figure(record) == KeyFigure("Findings", str(len(table)), f"{high} urgent")


@pytest.mark.parametrize(
    ("issue", "shown", "opened"), [("label_error", 30, 6), ("near_duplicate", 6, 3), ("dark", 6, 0)]
)
def test_the_first_few_of_each_kind_are_shown(make_study, issue, shown, opened):
    study = make_study()
    rows = list(study.index.itertuples())
    findings = [finding_of(issue, row, [], score=1 - place / 100) for place, row in enumerate(rows[:35])]
    audit(study, findings)
    group = finding_cards(read_study(study.snapshot)).groups[0]
    assert [card.path for card in (*group.cards, *group.folded)] == [row.path for row in rows[:shown]]
    assert (len(group.cards), group.rest) == (opened, 35 - shown)
    assert "All 35 are in" in rendered(study)


def test_poor_images_that_matter_are_not_folded(make_study):
    study = make_study()
    rows = list(study.index.itertuples())
    audit(study, [finding_of("dark", rows[0], [], severity="medium"), finding_of("dark", rows[1], [])])
    assert len(finding_cards(read_study(study.snapshot)).groups[0].cards) == 2


def test_a_kind_that_is_the_way_of_the_set_is_a_sentence(make_study):
    study = make_study()
    audit(study, [Finding("blurry", "low", 0.4, "check", "9 of the class's 12 images", label="dog")])
    section = rendered(study)
    assert '<bdi class="name">dog</bdi><span>9 of the class&#39;s 12 images.</span>' in section
    assert "<img" not in section


def test_a_study_without_an_audit_says_so(make_study):
    study = make_study()
    page = read_page(write_report(study.snapshot))
    assert "The data of this study have not been audited yet." in page.text
    assert f"bestiary audit {study.folder.name}" in page.text
    assert "not audited yet" in page.text
    assert not page.find("div", **{"class": "issue"})


def test_an_audit_that_found_nothing(make_study):
    study = make_study()
    audit(study, [], duplicates={"clusters": 0, "images": 0, "exact_images": 0}, leakage=None, shortcuts=[])
    assert "The audit checked 36 images and found nothing." in text_of(study)
    assert "No image is a copy of another" in text_of(study)
    assert findings_figure(read_study(study.snapshot)) == KeyFigure("Findings", "none")


def test_an_audit_without_its_summary(make_study):
    study = make_study()
    audit(study, findings_of_every_kind(study.index))
    (study.folder / "audit.json").unlink()
    assert "Findings by class" in text_of(study)
    assert "An estimated" not in text_of(study)


def test_labels_that_were_not_judged_are_no_estimate(make_study):
    study = make_study()
    audit(study, [], labels=None, leakage=None)
    assert "Labels were not checked" in text_of(study)
    assert "An estimated" not in text_of(study)
    assert "random split" not in text_of(study)


def test_what_the_audit_says_of_the_whole(make_study):
    study = make_study()
    audit(study, [])
    text = text_of(study)
    assert "An estimated 2.1 % of the labels are wrong (95 % interval 1.1 % to 3.4 %)" in text
    assert "would have an accuracy of about 97.9 % (96.6 % to 98.9 %); more cannot be measured" in text
    assert "The largest share is doubted in “dog”: 3 of 12 images." in text
    assert "9 images (25.0 %) are copies of one another, in 4 clusters; 2 of them are exact." in text
    assert "1 cluster is in more than one class." in text
    assert "2.4 of 8 test images (30.0 %) would have a copy in training (mean of 5 splits)" in text
    assert "Trained with these copies, a linear probe has a test accuracy of 95.0 %; with as many other images" in text
    assert "in their place, it has 92.0 %: a difference of +3.0 percentage points (95 % interval +1.0 to +5.0)." in text
    assert "On the leaked images alone the two are 99.0 % and 80.0 %." in text
    assert "Size: width, height and shape" in text
    assert "dog (0.93)" in text


@pytest.mark.parametrize(("confirmed", "words"), [(1, "1 label that"), (6, "6 labels that")])
def test_labels_that_a_person_confirmed_are_said_to_count_as_correct(make_study, confirmed, words):
    study = make_study()
    audit(study, [], labels={**SUMMARY["labels"], "confirmed": confirmed})
    verb = "counts" if confirmed == 1 else "count"
    assert f"{words} a person confirmed or changed {verb} as correct." in text_of(study)


@pytest.mark.parametrize(
    ("leakage", "expected"),
    [
        (
            {"leaked_images": 0.0, "images_with_copies": 0, "difference": None},
            "would leak nothing, since no image has a copy",
        ),
        (
            {"leaked_images": 0.0, "images_with_copies": 2, "difference": None},
            "In none of 5 random splits was one of the 2 images with copies in test while its copy was in training.",
        ),
        (
            {"difference": None},
            "would have a copy in training (mean of 5 splits). In this study all copies that were found are in one "
            "split.",
        ),
    ],
)
def test_leaks_that_were_not_measured_have_no_figures(make_study, leakage, expected):
    study = make_study()
    audit(study, [], leakage={**SUMMARY["leakage"], **leakage})
    text = text_of(study)
    assert expected in text
    assert "linear probe" not in text


def test_copies_that_change_nothing_are_said_to(make_study):
    study = make_study()
    same = {"difference": {"value": 0.0004, "low": -0.002, "high": 0.003}, "honest_accuracy": 0.9496}
    audit(study, [], leakage={**SUMMARY["leakage"], **same}, duplicates={**SUMMARY["duplicates"], "exact_images": 0})
    text = text_of(study)
    assert "has a test accuracy of 95.0 %; with as many other images in their place, it has the same to within" in text
    assert "0.1 percentage points (95 % interval of the difference \u22120.2 to +0.3)" in text
    assert "none of them are exact." in text


def test_where_no_image_was_judged_otherwise_no_interval_pretends_to_know_more(make_study):
    study = make_study()
    same = {"difference": {"value": 0.0, "low": 0.0, "high": 0.0}, "honest_accuracy": 0.95}
    audit(study, [], leakage={**SUMMARY["leakage"], **same})
    text = text_of(study)
    assert "it has the same, and no test image was right more often because of its copy." in text
    assert "0.0 to 0.0" not in text


@pytest.mark.parametrize(("accuracy", "there"), [(0.965, ""), (0.966, "reached"), (0.99, "above")])
def test_a_model_at_the_ceiling_is_named(make_study, accuracy, there):
    study = make_study()
    audit(study, [])
    comparison = dict(read_json(study.folder / "comparison.json"))
    winner = next(model for model in comparison["models"] if model["model"] == comparison["winner"])
    winner["test"]["accuracy"] = {"value": accuracy, "low": 0.9, "high": 1.0}
    write_json(study.folder / "comparison.json", comparison)
    named, text = f"{winner['model']}, with {accuracy:.1%} on test,".replace("%", " %"), text_of(study)
    assert (f"{named} has reached this limit" in text) is (there == "reached")
    assert (f"{named} is above this limit, by no more than" in text) is (there == "above")


def test_where_no_label_seems_wrong_none_is_to_be_fixed(make_study):
    study = make_study()
    clean = {
        "noise_rate": {"value": 0.0, "low": 0.0, "high": 0.01},
        "ceiling": {"value": 1.0, "low": 0.99, "high": 1.0},
    }
    audit(study, [], labels={**SUMMARY["labels"], **clean, "flagged": 0})
    comparison = dict(read_json(study.folder / "comparison.json"))
    for model in comparison["models"]:
        model["test"]["accuracy"] = {"value": 0.995, "low": 0.9, "high": 1.0}
    write_json(study.folder / "comparison.json", comparison)
    assert "fixing labels" not in text_of(study)


def test_what_was_not_looked_for_is_said_with_the_reason(make_study):
    study = make_study()
    audit(study, [], not_checked=["outliers (12 images)", "shortcuts (few classes)"])
    assert "Not looked for: outliers (12 images) and shortcuts (few classes)." in text_of(study)
    audit(study, [], leakage={**SUMMARY["leakage"], "reason": "What they do was not measured."})
    text = text_of(study)
    assert "What they do was not measured." in text
    assert "a linear probe has" not in text


@pytest.mark.parametrize("side", ["val", "test"])
def test_no_ceiling_is_stated_that_a_model_is_above(make_study, side):
    study = make_study()
    audit(study, [])
    comparison = dict(read_json(study.folder / "comparison.json"))
    high = SUMMARY["labels"]["ceiling"]["high"]
    comparison["models"][-1][side]["accuracy"] = {"value": 0.999, "low": high + 0.0001, "high": 1.0}
    write_json(study.folder / "comparison.json", comparison)
    text = text_of(study)
    assert "How many labels are wrong cannot be said" in text
    assert "always right" not in text
    assert "An estimated" not in text


def test_a_set_that_is_alike_throughout_is_said_to_be(make_study):
    study = make_study()
    copies = {"clusters": 1, "images": 2, "exact_images": 0, "scenes": 0, "scene_images": 0}
    audit(study, [], duplicates={**copies, "least_similarity": 0.83})
    assert "alike throughout" not in text_of(study)
    audit(study, [], duplicates={**copies, "least_similarity": 0.962})
    assert "count as copies from a correlation of 0.96 on, where 0.83 is enough elsewhere" in text_of(study)


def test_scenes_are_no_copies(make_study):
    study = make_study()
    scenes = {"clusters": 0, "images": 0, "exact_images": 0, "scenes": 2, "scene_images": 9}
    audit(study, [], duplicates=scenes)
    text = text_of(study)
    assert "No image is a copy of another, exact or near. 9 images (25.0 %) in 2 clusters show the same scene" in text
    assert "would have a copy, or a picture of the same scene, in training" in text


def test_labels_that_could_not_be_judged_say_why(make_study):
    study = make_study()
    audit(study, [], labels={**SUMMARY["labels"], "noise_rate": None, "ceiling": None, "reason": "Weak probe."})
    text = text_of(study)
    assert "Weak probe." in text
    assert "An estimated" not in text


def test_names_and_paths_are_text(make_study):
    study = make_study(names=HOSTILE, models={"probe": {"backbone": "tf_efficientnet_lite0"}})
    index = study.index.copy()
    index.loc[index.index[:17], "path"] = [f"0/<b onload=alert({k})>.png" for k in range(17)]
    write_table(study.folder / "index.parquet", index)
    found = [
        replace(finding, reason=HOSTILE[0], label=HOSTILE[place % 5], suggestion=HOSTILE[1])
        for place, finding in enumerate(findings_of_every_kind(index))
    ]
    audit(study, found, shortcuts=[{"family": HOSTILE[0], "per_class": {HOSTILE[1]: 0.9}}])
    page = read_page(write_report(study.snapshot))
    assert len(page.scripts) == 2
    assert not page.find("b")
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert "<b onload=alert(5)>.png" in page.text
    for name in HOSTILE:
        assert name in page.text


def test_beyond_the_budget_findings_come_first_and_what_is_missing_is_said(make_study):
    study = make_study(
        per_class=60,
        side_px=200,
        models={"probe": {"backbone": "tf_efficientnet_lite0"}},
        report={"max_bytes": 700_000, "thumbnail_px": 96},
    )
    rows = list(study.index.itertuples())
    near = [row.image_id for row in rows[-40:]]
    audit(
        study, [finding_of("label_error", row, near[k : k + 5], suggestion="sheep") for k, row in enumerate(rows[:30])]
    )
    section = section_of(study)
    path = study.folder / "report.html"
    page = read_page(path)
    assert path.stat().st_size <= 700_000
    shown = {found["data-image"] for found in page.find("img")}
    said = re.search(r"To keep this file small, it has (\d+) of (\d+)\u00a0pictures of findings", page.text)
    assert said
    own = [row.image_id for row in rows[:30]]
    wanted = {*own, *(image_id for k in range(30) for image_id in near[k : k + 5])}
    assert (int(said[1]), int(said[2])) == (len(wanted & shown), len(wanted))
    # Images further down may be there for another reason, as samples or test images.
    places = [image_id in shown for image_id in own]
    assert all(places[:6])
    assert section.count("left out: no room") >= places.count(False) > 0
    # What is not shown is still named.
    assert all(row.path in section for row in rows[:30])


def test_corrections_are_laid_over_and_left_out_files_are_not_mixed_with_dropped_images(make_study):
    study = make_study()
    rows = list(study.index.itertuples())
    index = study.index.copy()
    index.loc[3, "error"] = "file is torn"
    index.loc[4, "error"] = MASK_FILE
    write_table(study.folder / "index.parquet", index)
    write_corrections(
        study.folder,
        [
            Correction(rows[0].image_id, rows[0].path, "relabel", "dog", "ann", "2026-01-31T12:00:00Z"),
            Correction(rows[1].image_id, rows[1].path, "drop", "", "ann", "2026-01-31T12:00:00Z"),
            Correction(rows[2].image_id, rows[2].path, "keep", "", "ann", "2026-01-31T12:00:00Z"),
            Correction("f" * 20, "gone.png", "drop", "", "ann", "2026-01-31T12:00:00Z"),
        ],
    )
    record = read_study(study.snapshot)
    assert record.index.set_index("image_id").loc[rows[0].image_id, ["label", "label_given"]].tolist() == ["dog", "cat"]
    assert record.unreadable["path"].tolist() == [rows[3].path, rows[4].path]
    assert record.dropped["path"].tolist() == [rows[1].path]
    page = read_page(write_report(study.snapshot))
    assert "1\u00a0file could not be used. 1\u00a0file is no image: masks, files that accompany" in page.text
    assert "1\u00a0image was dropped in a review." in page.text
    assert "2 left out, 1 dropped" in page.text
    assert "3\u00a0images were reviewed so far: 1 kept as they are, 1 relabelled and 1 dropped." in page.text
    assert "1\u00a0further decision was skipped, because its image is gone." in page.text
    assert "dropped in corrections.csv (by ann)" in page.text
    labels = [found["aria-label"] for found in page.find("div") if "aria-label" in found]
    assert {"Files left out", "Images dropped"} <= set(labels)


def test_decided_findings_are_no_longer_counted(make_study):
    study = make_study()
    rows = list(study.index.itertuples())
    ids = [row.image_id for row in rows]
    found = [
        finding_of("label_error", rows[0], []),
        finding_of("label_error", rows[1], []),
        finding_of("near_duplicate", rows[2], ids[3:5]),  # all but one dropped
        finding_of("near_duplicate", rows[5], ids[6:8]),  # one of three dropped
        finding_of("exact_duplicate", rows[8], ids[9:10]),  # both kept
        finding_of("outlier", rows[10], ids[:1]),  # a neighbour was decided, not the image
        Finding("imbalance", "low", 0.5, "collect", "why", label="cat"),
    ]
    audit(study, found)
    actions = {0: "keep", 3: "drop", 4: "drop", 6: "drop", 8: "keep", 9: "keep"}
    write_corrections(study.folder, [Correction(ids[k], rows[k].path, action) for k, action in actions.items()])
    record = read_study(study.snapshot)
    left = open_findings(record)
    assert sorted(zip(left["issue"], left["image_id"], strict=True)) == [
        ("imbalance", ""),
        ("label_error", ids[1]),
        ("near_duplicate", ids[5]),
        ("outlier", ids[10]),
    ]
    assert "has 4\u00a0open findings" in lead_of(record)
    assert "3\u00a0further findings have been decided" in lead_of(record)
    near = next(group for group in finding_cards(record).groups if group.issue == "near_duplicate")
    assert [still.image_id for still in near.cards[0].near] == [ids[7]]  # the dropped copy is gone


def test_a_finding_that_was_kept_leaves_the_image_s_others_in_the_report(make_study):
    study = make_study()
    rows = list(study.index.itertuples())
    ids = [row.image_id for row in rows]
    found = [finding_of(issue, rows[0], []) for issue in ("dark", "label_error")]
    found += [finding_of(issue, rows[1], ids[2:3]) for issue in ("near_duplicate", "leak")]
    audit(study, found)

    def left(issues):
        keeps = [Correction(ids[k], rows[k].path, "keep", issues=issues) for k in range(3)]
        write_corrections(study.folder, keeps)
        return set(open_findings(read_study(study.snapshot))["issue"])

    assert left(("dark",)) == {"label_error", "near_duplicate", "leak"}
    assert left(("dark", "near_duplicate")) == {"label_error", "leak"}
    assert left(()) == set()


def test_corrections_that_cannot_be_are_an_error(make_study):
    study = make_study()
    write_corrections(study.folder, [Correction("feed", "no/such.png", "drop")])
    with pytest.raises(CorrectionsError, match=r"corrections\.csv, line 2"):
        write_report(study.snapshot)


def test_findings_about_images_that_are_gone_are_shown_without_a_picture(make_study):
    study = make_study()
    rows = list(study.index.itertuples())
    gone = rows[0]._replace(image_id="ffff", path="0/gone.png")
    audit(study, [finding_of("label_error", gone, ["eeee"]), finding_of("near_duplicate", gone, ["eeee"])])
    assert "0/gone.png" in rendered(study)
    assert "no longer in the data" in rendered(study)
    (study.data / rows[1].path).unlink()
    audit(study, [finding_of("label_error", rows[1], [])])
    assert "file not readable" in section_of(study)


def test_accuracy_on_labels_as_given_is_below_the_ranking(make_study):
    study = make_study()
    path = study.folder / "comparison.json"
    comparison = dict(read_json(path))
    table = as_given_table(read_study(study.snapshot))
    assert table.empty
    assert table.note == ""
    for model in comparison["models"][:-1]:
        model["test"]["accuracy"] = {"value": 0.705, "low": 0.6, "high": 0.8}
        given = {"value": 0.625, "low": 0.5, "high": 0.75}
        model["test_as_given"] = {"n": 24, "accuracy": given, "n_relabelled": 2, "n_dropped": 1}
    comparison["models"][-1]["test_as_given"] = None
    write_json(path, comparison)
    page = read_page(write_report(study.snapshot))
    text = page.text.replace("\u00a0", " ")
    assert "corrections.csv changes 3 of 24 test images: 2 relabelled and 1 dropped." in text
    assert page.find("div", aria_label="Test accuracy on corrected labels and on labels as given")
    rows = as_given_table(read_study(study.snapshot)).rows
    assert [row[0] for row in rows] == [model["model"] for model in comparison["models"][:-1]]
    assert [(row[1].text, row[2].text, row[3]) for row in rows] == [("70.5\u00a0%", "62.5\u00a0%", "+8.0")] * len(rows)


def test_accuracy_without_leaked_images_is_below_the_ranking_and_in_the_head(make_study):
    study = make_study()
    splits = read_table(study.folder / "splits.parquet")
    for split in ("train", "test"):
        splits.loc[splits.index[splits["split"] == split][0], "group_id"] = "both"
    write_table(study.folder / "splits.parquet", splits)
    assert leak_free_table(read_study(study.snapshot)).empty
    path = study.folder / "comparison.json"
    comparison = dict(read_json(path))
    for model in comparison["models"]:
        model["test"]["accuracy"] = {"value": 0.982, "low": 0.96, "high": 0.99}
        model["test_leak_free"] = {
            "n": 20,
            "n_leaked": 4,
            "accuracy": {"value": 0.944, "low": 0.9, "high": 0.97},
            "accuracy_leaked": {"value": 1.0, "low": 0.6, "high": 1.0},
        }
    write_json(path, comparison)
    text = read_page(write_report(study.snapshot)).text.replace("\u00a0", " ")
    winner = comparison["winner"]
    assert (
        "Without the 4 test images that have one in train or validation, the test accuracy of "
        f"{winner} is 94.4 % (90.0 % to 97.0 %) instead of 98.2 %."
    ) in text
    assert "Of 24 test images, 4 have a copy" in text
    rows = leak_free_table(read_study(study.snapshot)).rows
    assert [[cell.text for cell in row[1:]] for row in rows] == [["98.2\u00a0%", "94.4\u00a0%", "100.0\u00a0%"]] * len(
        rows
    )
    for model in comparison["models"]:
        model["test_leak_free"] |= {"n": 0, "n_leaked": 24, "accuracy": None}
    write_json(path, comparison)
    assert "Every test image has a copy" in read_page(write_report(study.snapshot)).text


def test_the_order_of_findings_in_the_file_is_the_tables(make_study):
    study = make_study()
    rows = list(study.index.itertuples())
    found = [
        finding_of("dark", rows[0], [], severity="high"),
        finding_of("label_error", rows[1], [], severity="medium"),
        finding_of("dark", rows[2], [], severity="low"),
    ]
    table = audit(study, found)
    groups = finding_cards(read_study(study.snapshot)).groups
    assert [group.issue for group in groups] == ["dark", "label_error"]
    assert [card.path for card in groups[0].cards] == table.loc[table["issue"] == "dark", "path"].tolist()
