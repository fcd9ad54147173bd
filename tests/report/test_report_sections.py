"""One declaration adds a section, a table or a kind of part to the page."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import bestiary
from bestiary.report import parts, sections
from bestiary.report.page import write_report
from bestiary.report.parts import Cell, Statements, Table, Text
from bestiary.report.sections import SECTIONS, Section
from bestiary.report.words.wording import Sentence
from tests.report.test_report_page import read_page

ROOM = Path(parts.__file__).parent


def toy_table(study):
    rows = [[Cell("first", "small print"), str(len(study.index))], ["<b>second</b>", "2"]]
    return Table(["Toy", "Images"], rows, label="A toy table", title="Toy heading", note="Toy note")


def rendered(make_study, monkeypatch: pytest.MonkeyPatch, declared: tuple[Section, ...]):
    monkeypatch.setattr(sections, "SECTIONS", declared)
    study = make_study(models={"majority": {"backbone": "majority"}})
    return study, read_page(write_report(study.snapshot))


def test_one_declaration_adds_a_section(make_study, monkeypatch):
    toy = Section("toy", "A toy section", (toy_table, lambda study: Text(["Run `bestiary toy`."])), short="Toys")
    study, page = rendered(make_study, monkeypatch, (*SECTIONS, toy))
    assert page.find("section")[-1]["id"] == "toy"
    assert page.find("a", href="#toy")
    assert page.find("div", aria_label="A toy table", role="region")
    for words in ("A toy section", "Toys", "Toy heading", "Toy note", "small print", "<b>second</b>"):
        assert words in page.text
    assert page.find("code")
    assert not page.find("b")
    assert str(len(study.index)) in page.text


def test_one_name_adds_a_table_to_a_section(make_study, monkeypatch):
    declared = tuple(replace(s, parts=(*s.parts, toy_table)) if s.name == "method" else s for s in SECTIONS)
    _, page = rendered(make_study, monkeypatch, declared)
    assert [found["aria-label"] for found in page.find("div", role="region")].index("A toy table") > 0
    assert "Toy heading" in page.text.split("The models compared")[0]


def test_what_has_nothing_to_show_is_left_out(make_study, monkeypatch):
    empty = Section(
        "empty",
        "An empty section",
        (
            lambda study: None,
            lambda study: Table(["a"], [], title="No rows"),
            lambda study: Text(["", ""], title="No text"),
            lambda study: Statements([], title="No sentence"),
        ),
    )
    half = Section("half", "Half", (lambda study: Table(["a"], [], title="No rows"), lambda study: Text(["Shown."])))
    _, page = rendered(make_study, monkeypatch, (empty, half))
    assert [found["id"] for found in page.find("section")] == ["half"]
    assert not page.find("a", href="#empty")
    assert "Shown." in page.text
    for words in ("No rows", "No text", "No sentence", "An empty section"):
        assert words not in page.text


def test_sections_are_declared_with_names_that_a_page_can_link_to():
    names = [section.name for section in SECTIONS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() and name.islower() for name in names)
    assert all(section.parts and section.title for section in SECTIONS)


def test_every_kind_of_part_has_its_template():
    kinds = {kind for module in ROOM.rglob("*.py") for kind in _parts_of(module)}
    assert {Text, Table, Statements} < kinds
    drawn = {kind.template for kind in kinds}
    assert drawn == {f"parts/{file.name}" for file in (ROOM / "templates" / "parts").iterdir()}


def _parts_of(file: Path) -> set[type[parts.Part]]:
    from importlib import import_module

    name = ".".join(("bestiary", *file.relative_to(Path(bestiary.__file__).parent).with_suffix("").parts))
    module: ModuleType = import_module(name.removesuffix(".__init__"))
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, parts.Part) and value is not parts.Part
    }


def test_a_statement_is_text(make_study, monkeypatch):
    section = Section("s", "S", (lambda study: Statements([Sentence("<i>topic</i>", "`code` <i>text</i>")]),))
    _, page = rendered(make_study, monkeypatch, (section,))
    assert not page.find("i")
    assert "`code` <i>text</i>" in page.text
