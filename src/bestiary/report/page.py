"""The report: a study folder → one self-contained HTML file.

In: a study folder. Out: `report.html` in it, which this module owns. The file loads nothing from anywhere, follows the
reader's light or dark theme, and is read on a phone and on paper.

A Content-Security-Policy in the file lets no script run but the report's own, told by its hash.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bestiary.data.corrections.csv_rows import Correction
from bestiary.report import fix_first, gallery, sections
from bestiary.report.figures.thumbnails import Thumbnails, make_thumbnails
from bestiary.report.record import StudyRecord, read_study
from bestiary.report.words.wording import counted, whole
from bestiary.store.files import write_text

FILE_NAME = "report.html"
_SAMPLES_PER_CLASS = 3
_SAMPLE_SHARE, _FINDINGS_SHARE = 0.25, 0.6
# Findings are judged by the eye: their pictures are larger.
_FINDINGS_TIMES, _FINDINGS_MOST_PX = 2, 320
_MARKUP_BYTES = 300
# Beside its picture an image takes its id twice, its path and, a model, two places and two probabilities.
_ENTRY_BYTES = 64
_ENTRY_BYTES_A_MODEL = 24
_SPARE_BYTES = 20_000


def write_report(
    study_dir: Path,
    *,
    fingerprint: str = "",
    corrections: Sequence[Correction] | None = None,
    audit_key: str | None = None,
) -> Path:
    """Write `report.html` into a study folder.

    Parts that are missing (a model that was not run, a picture that was deleted) are named in the report.

    Args:
        study_dir: the study's folder.
        fingerprint: of what the report is made from, written into its head; `stamp.report_fingerprint` reads it back.
        corrections: those that the runs were made with; read from the study where they are not given.
        audit_key: what the audit's files would carry, were they made now; the report says where they do not.

    Raises:
        StudyError: the folder has no study.toml or no index.parquet.
        BestiaryError: a file of the study is damaged, or the report cannot be written.
    """
    study = read_study(study_dir, corrections=corrections, audit_key=audit_key)
    path = study_dir / FILE_NAME
    write_text(path, _render_within_budget(study, fingerprint=fingerprint))
    return path


def _render_within_budget(study: StudyRecord, *, fingerprint: str) -> str:
    """Render, at first without pictures to see what room is left, then with as many as fit."""
    fixed = {**sections.build_sections(study), "fingerprint": fingerprint}
    limit = study.config.report.max_bytes
    fix = fix_first.build_fix_first(study)
    bare = _render(study, fixed, fix, Thumbnails(uris={}, missing={}), samples={})
    room = max(limit - len(bare.encode()) - _SPARE_BYTES, 0)
    while True:
        thumbnails, samples = _pictures(study, fix, room=room)
        text = _render(study, fixed, fix, thumbnails, samples=samples)
        excess = len(text.encode()) - limit
        if excess <= 0 or room == 0:
            return text
        room = max(room - excess - _SPARE_BYTES, 0)


def _pictures(study: StudyRecord, fix: fix_first.FixFirst, *, room: int) -> tuple[Thumbnails, dict[str, list[str]]]:
    """Thumbnails of samples, findings and test images for `room` bytes, and the samples that found a place."""
    paths = dict(zip(study.index["image_id"], study.index["path"], strict=True))
    runs, side = study.done, study.config.report.thumbnail_px
    order = gallery.by_importance(runs, gallery.test_predictions(runs))
    tested = set(order)
    made, spent = Thumbnails(uris={}, missing={}), 0

    def entry_bytes(image_id: str) -> int:
        return _ENTRY_BYTES + _ENTRY_BYTES_A_MODEL * len(runs) + 2 * len(image_id) + len(paths[image_id].encode())

    def add(image_ids: Sequence[str], share: float, *, times: int = 1, markup: int = 0) -> None:
        nonlocal made, spent

        def overhead_bytes(image_id: str) -> int:
            return markup + (entry_bytes(image_id) if image_id in tested else 0)

        more = make_thumbnails(
            image_ids,
            paths=paths,
            root=study.data_root,
            long_side_px=max(side, min(times * side, _FINDINGS_MOST_PX)),
            budget_bytes=max(int((room - spent) * share), 0),
            overhead_bytes=overhead_bytes,
            known=made.uris,
        )
        fresh = [len(uri) for image_id, uri in more.uris.items() if not made.uris.get(image_id)]
        spent += sum(fresh) + sum(map(overhead_bytes, more.uris))
        made = Thumbnails(uris={**made.uris, **more.uris}, missing={**made.missing, **more.missing})

    add(fix_first.own_ids(fix), _FINDINGS_SHARE, times=_FINDINGS_TIMES, markup=_MARKUP_BYTES)
    before, chosen = (made, spent), dict[str, list[str]]()
    for per_class in range(_SAMPLES_PER_CLASS, 0, -1):
        chosen, (made, spent) = sections.sample_ids(study, per_class=per_class), before
        wanted = [image_id for ids in chosen.values() for image_id in ids]
        add(wanted, _SAMPLE_SHARE, markup=_MARKUP_BYTES)
        if made.uris.keys() >= set(wanted):
            break
    kept = {name: [image_id for image_id in ids if image_id in made.uris] for name, ids in chosen.items()}
    add(fix_first.near_ids(fix), _FINDINGS_SHARE, markup=_MARKUP_BYTES)
    add(order, 1.0)
    return made, kept


def _render(
    study: StudyRecord,
    fixed: Mapping[str, Any],
    fix: fix_first.FixFirst,
    thumbnails: Thumbnails,
    *,
    samples: Mapping[str, list[str]],
) -> str:
    runs = study.done
    paths = dict(zip(study.index["image_id"], study.index["path"], strict=True))
    predictions = gallery.test_predictions(runs)
    order = gallery.by_importance(runs, predictions)
    kept = [image_id for image_id in order if image_id in thumbnails.uris]
    # A picture stands in the file once: where the page shows it from the start, the script takes it from there.
    standing: set[str] = set()

    def once(image_id: str) -> str:
        uri = thumbnails.uris.get(image_id, "") if image_id not in standing else ""
        standing.add(image_id)
        return uri

    sample_pictures = {
        name: [sections.Picture(image_id=i, uri=once(i), path=paths[i], true=name) for i in ids]
        for name, ids in samples.items()
    }
    fix = fix_first.with_pictures(fix, thumbnails.uris, once)
    worst = sections.worst_pictures(runs, model=study.comparison.get("winner"), uris=thumbnails.uris, paths=paths)
    worst = [replace(picture, uri=once(picture.image_id)) for picture in worst]
    data = gallery.gallery_data(
        runs,
        predictions,
        class_names=study.class_names,
        image_ids=kept,
        paths=paths,
        uris={image_id: uri for image_id, uri in thumbnails.uris.items() if image_id not in standing},
    )
    script = _source("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **fixed,
            samples=sample_pictures,
            samples_note=_samples_note(study, samples),
            fix=fix,
            fix_thinned=fix_first.thinned_note(fix, thumbnails.uris),
            worst=worst,
            winner=study.comparison.get("winner"),
            missing_ids=set(thumbnails.missing),
            missing=[]
            if study.data_root is None
            else sorted((paths[image_id], reason) for image_id, reason in thumbnails.missing.items()),
            thinned=_thinned_note(shown=len(kept), tested=len(order)),
            gallery_json=Markup(gallery.safe_json(data)),  # noqa: S704 - its escapes let nothing end the element
            css=Markup(_source("report.css")),  # noqa: S704 - shipped with the package
            script=Markup(script),  # noqa: S704 - shipped with the package
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _samples_note(study: StudyRecord, samples: Mapping[str, list[str]]) -> str:
    classes = study.readable["label"].nunique()
    full = sum(min(_SAMPLES_PER_CLASS, int(count)) for count in study.readable["label"].value_counts())
    shown = sum(map(len, samples.values()))
    if shown >= full:
        return f"Up to {_SAMPLES_PER_CLASS} images a class, drawn at random with a fixed seed."
    return f"{counted(shown, 'image')} of {whole(classes)} classes, drawn at random: more do not fit into this file."


def _thinned_note(*, shown: int, tested: int) -> str:
    if shown >= tested:
        return ""
    return (
        f"To keep this file small, {whole(shown)} of {counted(tested, 'test image')} are in it: misclassified ones "
        "first, then some of every class. Each cell says how many of its images are shown."
    )


def _source(name: str) -> str:
    return str(_environment().loader.get_source(_environment(), name)[0])  # type: ignore[union-attr]


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("bestiary.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
