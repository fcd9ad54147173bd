"""The report: a study folder → one self-contained HTML file.

In: a study folder. Out: `report.html` in it, which this module owns; `sections` lists what stands in it. The file loads
nothing from anywhere, follows the reader's light or dark theme, and is read on a phone and on paper.

A Content-Security-Policy in the file lets no script run but the report's own, identified by its hash.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from bestiary.report import gallery
from bestiary.report.album import Album, make_album
from bestiary.report.contents.fix_first import FindingCards
from bestiary.report.contents.overview import KeyFigure, key_figures, page_title
from bestiary.report.sections import BuiltSection, build_sections
from bestiary.report.study_record import StudyRecord, read_study
from bestiary.report.words.remarks import remarks
from bestiary.report.words.verdict import verdict
from bestiary.snapshot import Snapshot
from bestiary.store.files import write_text

_SPARE_BYTES = 20_000
_CODE = re.compile(r"`([^`]+)`")
_BREAKS = re.compile(r"(?<=[_./\\-])(?=[^\W\d])")


def write_report(snapshot: Snapshot, *, fingerprint: str = "", audit_key: str | None = None) -> Path:
    """Write `report.html` into a study's folder.

    Parts that are missing (a model that was not run, a picture that was deleted) are named in the report.

    Args:
        snapshot: of the folder.
        fingerprint: of what the report is made from, written into its head; `stamp.report_fingerprint` reads it back.
        audit_key: the key of an audit made now; the report says where the study's audit has another.

    Raises:
        StudyError: the folder has no index.parquet.
        BestiaryError: a file of the study is damaged, or the report cannot be written.
    """
    study = read_study(snapshot)
    path = snapshot.paths.report
    write_text(path, _render_within_budget(_draft(study, fingerprint=fingerprint, audit_key=audit_key)))
    return path


@dataclass(frozen=True)
class _Draft:
    """All that does not depend on which pictures fit into the file."""

    study: StudyRecord
    title: str
    verdict: str
    key_figures: Sequence[KeyFigure]
    remarks: Sequence[str]
    sections: Sequence[BuiltSection]
    predictions: Mapping[str, pd.DataFrame]
    test_images: Sequence[str]
    fingerprint: str


def _draft(study: StudyRecord, *, fingerprint: str, audit_key: str | None) -> _Draft:
    predictions = gallery.test_predictions(study.done)
    return _Draft(
        study=study,
        title=page_title(study),
        verdict=verdict(study.comparison, images=len(study.readable), classes=study.readable["label"].nunique()),
        key_figures=key_figures(study),
        remarks=remarks(study, audit_key=audit_key),
        sections=build_sections(study),
        predictions=predictions,
        test_images=gallery.by_importance(study.done, predictions),
        fingerprint=fingerprint,
    )


def _render_within_budget(draft: _Draft) -> str:
    """Render, at first without pictures to see what room is left, then with as many as fit."""
    findings = [part for section in draft.sections for part in section.parts if isinstance(part, FindingCards)]
    limit = draft.study.config.report.max_bytes
    room = max(limit - len(_render(draft, Album()).encode()) - _SPARE_BYTES, 0)
    while True:
        album = make_album(draft.study, findings=findings, test_images=draft.test_images, room_bytes=room)
        text = _render(draft, album)
        excess = len(text.encode()) - limit
        if excess <= 0 or room == 0:
            return text
        room = max(room - excess - _SPARE_BYTES, 0)


def _render(draft: _Draft, album: Album) -> str:
    environment = page_environment()
    script = _source(environment, "report.js")
    # Not read where the folder is gone: that is one remark, and not one for each picture.
    unreadable = album.missing if draft.study.data_root else {}

    def gallery_json() -> Markup:
        # Called at the end of the page: what it shows from the start is not repeated for the script.
        data = gallery.gallery_data(
            draft.study.done,
            draft.predictions,
            class_names=draft.study.class_names,
            image_ids=[image_id for image_id in draft.test_images if image_id in album.uris],
            paths=album.paths,
            uris=album.rest,
        )
        return Markup(gallery.safe_json(data))  # noqa: S704 - its escapes let nothing end the element

    return environment.get_template("page.html.j2").render(
        draft=draft,
        album=album,
        unreadable=sorted((album.paths[image_id], reason) for image_id, reason in unreadable.items()),
        gallery_json=gallery_json,
        css=Markup(_source(environment, "report.css")),  # noqa: S704 - shipped with the package
        script=Markup(script),  # noqa: S704 - shipped with the package
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return str(environment.loader.get_source(environment, name)[0])


def page_environment() -> Environment:
    """What renders the templates: everything is escaped, and nothing undefined is let through."""
    environment = Environment(
        loader=PackageLoader("bestiary.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    environment.filters["breakable"] = _breakable
    return environment


def _prose(text: str) -> Markup:
    """Text in which words between backticks are code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just before


def _breakable(name: str) -> Markup:
    """A name that may be broken after its underscores, dots, hyphens and slashes."""
    return Markup("<wbr>").join(_BREAKS.split(name))
