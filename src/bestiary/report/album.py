"""Which pictures are in the page: as many as its size allows, those first that matter most.

In: a `StudyRecord`, the findings that are shown, the order of its test images, room in bytes. Out: an `Album`, which
the templates ask for pictures. Owns no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bestiary.report.contents.data_parts import sample_ids
from bestiary.report.contents.fix_first import FindingCards, near_ids, own_ids
from bestiary.report.figures.thumbnails import Thumbnails, make_thumbnails
from bestiary.report.study_record import StudyRecord
from bestiary.report.words.wording import counted, whole

_SAMPLES_PER_CLASS = 3
_SAMPLE_SHARE, _FINDINGS_SHARE = 0.25, 0.6
# Findings are judged by eye: their pictures are larger.
_FINDINGS_TIMES, _FINDINGS_MOST_PX = 2, 320
_MARKUP_BYTES = 300
# Beside its picture an image takes its id twice, its path and, for each model, two places and two probabilities.
_ENTRY_BYTES = 64
_ENTRY_BYTES_A_MODEL = 24


@dataclass
class Album:
    """The pictures of one rendering of the page. A picture is written into the file where it is first shown.

    Attributes:
        uris: image id → data URI; empty where the file cannot be read.
        missing: image id → why its file cannot be read.
        paths: image id → path, of every image.
        samples: the samples that found room, by class.
        samples_note, findings_note, tests_note: how many pictures of each kind there are, where not all fit.
    """

    uris: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    samples_note: str = ""
    findings_note: str = ""
    tests_note: str = ""
    _shown: set[str] = field(default_factory=set)

    def take(self, image_id: str) -> str:
        """The picture of an image the first time that it is asked for; "" afterwards, and where there is none."""
        uri = self.uris.get(image_id, "") if image_id not in self._shown else ""
        self._shown.add(image_id)
        return uri

    @property
    def rest(self) -> dict[str, str]:
        """The pictures that have not been shown yet: the script gets them."""
        return {image_id: uri for image_id, uri in self.uris.items() if image_id not in self._shown}


def make_album(
    study: StudyRecord, *, findings: Sequence[FindingCards], test_images: Sequence[str], room_bytes: int
) -> Album:
    """Make pictures until the room is spent: findings first, then samples, then test images.

    Args:
        study: the study.
        findings: the cards that the page shows.
        test_images: ids of all test images, the most important first.
        room_bytes: what pictures and all that is written beside them may take.
    """
    paths = dict(zip(study.index["image_id"], study.index["path"], strict=True))
    budget = _Budget(study, paths, tested=set(test_images), room_bytes=room_bytes)
    own = [image_id for cards in findings for image_id in own_ids(cards)]
    near = [image_id for cards in findings for image_id in near_ids(cards)]
    budget.add(own, _FINDINGS_SHARE, times=_FINDINGS_TIMES, markup_bytes=_MARKUP_BYTES)
    samples = _add_samples(study, budget)
    budget.add(near, _FINDINGS_SHARE, markup_bytes=_MARKUP_BYTES)
    budget.add(test_images, 1.0)
    uris = budget.made.uris
    return Album(
        uris=uris,
        missing=budget.made.missing,
        paths=paths,
        samples=samples,
        samples_note=_samples_note(study, samples),
        findings_note=_findings_note({*own, *near}, uris),
        tests_note=_tests_note(shown=sum(image_id in uris for image_id in test_images), tested=len(test_images)),
    )


class _Budget:
    """Pictures made so far, and what they cost."""

    def __init__(self, study: StudyRecord, paths: Mapping[str, str], *, tested: set[str], room_bytes: int) -> None:
        self.made = Thumbnails(uris={}, missing={})
        self.spent_bytes = 0
        self._study, self._paths, self._tested, self._room_bytes = study, paths, tested, room_bytes

    def add(self, image_ids: Sequence[str], share: float, *, times: int = 1, markup_bytes: int = 0) -> None:
        """Make pictures for a share of the room that is left; `times`: how much larger than usual."""
        side_px = self._study.config.report.thumbnail_px

        def overhead_bytes(image_id: str) -> int:
            return markup_bytes + (self._entry_bytes(image_id) if image_id in self._tested else 0)

        more = make_thumbnails(
            image_ids,
            paths=self._paths,
            root=self._study.data_root,
            long_side_px=max(side_px, min(times * side_px, _FINDINGS_MOST_PX)),
            budget_bytes=max(int((self._room_bytes - self.spent_bytes) * share), 0),
            overhead_bytes=overhead_bytes,
            known=self.made.uris,
        )
        fresh = [len(uri) for image_id, uri in more.uris.items() if not self.made.uris.get(image_id)]
        self.spent_bytes += sum(fresh) + sum(map(overhead_bytes, more.uris))
        self.made = Thumbnails(uris={**self.made.uris, **more.uris}, missing={**self.made.missing, **more.missing})

    def _entry_bytes(self, image_id: str) -> int:
        models = len(self._study.done)
        return _ENTRY_BYTES + _ENTRY_BYTES_A_MODEL * models + 2 * len(image_id) + len(self._paths[image_id].encode())


def _add_samples(study: StudyRecord, budget: _Budget) -> dict[str, list[str]]:
    """Add up to three samples a class, or fewer where they do not fit for all; return those that found room."""
    made, spent_bytes, chosen = budget.made, budget.spent_bytes, dict[str, list[str]]()
    for per_class in range(_SAMPLES_PER_CLASS, 0, -1):
        chosen = sample_ids(study, per_class=per_class)
        budget.made, budget.spent_bytes = made, spent_bytes
        wanted = [image_id for ids in chosen.values() for image_id in ids]
        budget.add(wanted, _SAMPLE_SHARE, markup_bytes=_MARKUP_BYTES)
        if budget.made.uris.keys() >= set(wanted):
            break
    return {name: [image_id for image_id in ids if image_id in budget.made.uris] for name, ids in chosen.items()}


def _samples_note(study: StudyRecord, samples: Mapping[str, Sequence[str]]) -> str:
    counts = study.readable["label"].value_counts()
    full = sum(min(_SAMPLES_PER_CLASS, int(count)) for count in counts)
    shown = sum(map(len, samples.values()))
    if shown >= full:
        return f"Up to {_SAMPLES_PER_CLASS} images per class, drawn at random with a fixed seed."
    classes = sum(bool(ids) for ids in samples.values())
    return (
        f"{counted(shown, 'image')} of {whole(classes)} classes, drawn at random with a fixed seed; more do not fit "
        "into this file."
    )


def _findings_note(wanted: set[str], uris: Mapping[str, str]) -> str:
    shown = len(wanted & set(uris))
    if shown == len(wanted):
        return ""
    return f"To keep this file small, it has {whole(shown)} of {counted(len(wanted), 'picture')} of findings."


def _tests_note(*, shown: int, tested: int) -> str:
    if shown >= tested:
        return ""
    return (
        f"To keep this file small, it has {whole(shown)} of {counted(tested, 'test image')}: misclassified ones first, "
        "then some of every class. Each cell says how many of its images are shown."
    )
