"""The overlay: what people decided about images, laid over the index; no image file is touched.

In: the rows of `corrections.csv` and the index as the files are. Out: the correction of each image, and the index that
later stages see. Owns no file: `saved` reads and writes `corrections.csv`, and `matching` finds a row's image.

A `drop` or `keep` whose image has gone from the data is already carried out, and is skipped; so you may delete what you
dropped. It has to have a `reviewed_at`: a row without one may never have been about an image of these data.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from bestiary.data.corrections.csv_rows import FILE_NAME, Correction, Problem, refuse
from bestiary.data.corrections.matching import ImageLookup, Match, NamedImage, NoMatch, comparable
from bestiary.data.index import DROPPED, readable
from bestiary.errors import CorrectionsError
from bestiary.store.hashing import fingerprint as hash_of

Matched = tuple[Correction, Match]


def resolve(corrections: Sequence[Correction], index: pd.DataFrame | ImageLookup) -> dict[str, Correction]:
    """Find the image of each row.

    Of several rows that agree on an image, the last is taken, and accepts the issues that any of them does. Rows whose
    images have gone are skipped where they are already carried out: see `skipped`.

    Args:
        corrections: as read.
        index: as the files are, or a lookup of it, which saves building one.

    Returns:
        By the `image_id` that the index has now, in its order: the rows as they are in the file, so that an image that
        has moved since has another path in the index.

    Raises:
        CorrectionsError: a row is about no image of the index, or about one of several; a class that the index does not
            have; two rows that disagree. Names up to ten rows, and the fix of each.
    """
    if not corrections:
        return {}
    images = ImageLookup.of(index)
    matched = zip(corrections, match_rows(corrections, images), strict=True)
    return one_per_image([pair for pair in matched if not _is_carried_out(*pair)], images)


def skipped(corrections: Sequence[Correction], index: pd.DataFrame | ImageLookup) -> list[tuple[Correction, str]]:
    """The rows that `resolve` skips because their images have gone, and how it knows."""
    if not corrections:
        return []
    matched = zip(corrections, match_rows(corrections, ImageLookup.of(index)), strict=True)
    return [
        (correction, match.reason)
        for correction, match in matched
        if isinstance(match, NoMatch) and _is_carried_out(correction, match)
    ]


def match_rows(corrections: Sequence[Correction], images: ImageLookup) -> list[Match]:
    """Where the image of each row is, or why it is nowhere.

    Where a dropped file was deleted, a copy of it may be left elsewhere. A drop does not go over to that copy: it
    follows its file only where that has moved for sure.
    """
    return images.find(
        [
            NamedImage(correction.image_id, correction.path, sure_move_only=correction.action == "drop")
            for correction in corrections
        ]
    )


def one_per_image(matched: Iterable[Matched], images: ImageLookup) -> dict[str, Correction]:
    """The correction of each image, of rows and where their images are; see `resolve`."""
    problems: list[Problem] = []
    found: dict[int, Correction] = {}
    for row, match in matched:
        if isinstance(match, NoMatch):
            problems.append((row, match.reason))
            continue
        correction = _with_known_class(row, images.class_names)
        earlier = found.get(match)
        if correction.label and correction.label not in images.class_names:
            problems.append((row, _unknown_class(correction.label, images.class_names)))
        elif earlier is not None and earlier.verdict != correction.verdict:
            said = " ".join(earlier.verdict).strip()
            problems.append((row, f"line {earlier.line} says {said!r} of the same image: delete one of the two"))
        else:
            found[match] = correction if earlier is None else correction.joined(earlier)
    refuse(problems)
    return {images.image_ids[number]: found[number] for number in sorted(found)}


def _is_carried_out(correction: Correction, match: Match) -> bool:
    """Whether a row has nothing left to do, because its image has gone since it was reviewed."""
    has_gone = isinstance(match, NoMatch) and match.is_gone
    return has_gone and correction.action != "relabel" and bool(correction.reviewed_at)


def _with_known_class(row: Correction, classes: Sequence[str]) -> Correction:
    """The row; without space around its label where only then it is a class."""
    label = row.label.strip()
    return replace(row, label=label) if row.label not in classes and label in classes else row


def _unknown_class(label: str, classes: Sequence[str]) -> str:
    by_folded = {name.casefold(): name for name in classes}
    close = difflib.get_close_matches(label.strip().casefold(), by_folded, n=1)
    hint = f"did you mean {by_folded[close[0]]!r}? " if close else ""
    shown = ", ".join(classes[:20]) + (" ..." if len(classes) > 20 else "")
    return f"the data have no class {label!r}: {hint}classes are {shown}"


def corrections_fingerprint(corrections: Sequence[Correction]) -> str:
    """Changes with any row, but not with their order, with a row that is there twice, or with columns not ours."""
    return hash_of(sorted({tuple(correction.cells()) for correction in corrections}))


# --- the index that later stages see


def corrected(index: pd.DataFrame, corrections: Sequence[Correction]) -> pd.DataFrame:
    """Lay corrections over an index.

    Returns:
        The index with `label` corrected and a new column `label_given`, the class as found. An image that was dropped
        has an `error` that begins with `index.DROPPED`, as if it could not be read; a file that cannot be read keeps
        its reason.

    Raises:
        CorrectionsError: as `resolve`; also where a class is left without an image.
    """
    found = resolve(corrections, index)
    table = index.assign(label_given=index["label"])
    position = {image_id: number for number, image_id in enumerate(index["image_id"])}
    labels, errors = table["label"].tolist(), table["error"].tolist()
    for image_id, correction in found.items():
        number = position[image_id]
        if correction.label:
            labels[number] = correction.label
        elif correction.action == "drop" and not errors[number]:
            errors[number] = _dropped_error(correction, table["path"].iloc[number])
    table["label"], table["error"] = labels, errors
    _refuse_emptied_class(index, table)
    return table


def _dropped_error(correction: Correction, path: str) -> str:
    who = f" (by {correction.reviewed_by})" if correction.reviewed_by else ""
    has_moved = correction.path and comparable(correction.path) != comparable(path)
    return f"{DROPPED}{who}" + (f", where it is {correction.path!r}" if has_moved else "")


def _refuse_emptied_class(index: pd.DataFrame, table: pd.DataFrame) -> None:
    before, after = readable(index), readable(table)
    if emptied := sorted(set(before["label"]) - set(after["label"])):
        rows = table[(table["label_given"] == emptied[0]) & (index["error"] == "")]
        dropped = int((rows["error"] != "").sum())
        raise CorrectionsError(
            f"{FILE_NAME} leaves class {emptied[0]!r} without an image: of {len(rows)}, {dropped} dropped and "
            f"{len(rows) - dropped} relabelled. Undo some of these rows; to make two classes one, use data.rename"
        )
