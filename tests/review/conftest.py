"""A small study with findings of every kind that the page shows, made by hand."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bestiary.audit.findings import Finding, findings_table, write_findings
from bestiary.audit.mark import marked
from bestiary.config.parsing import parse_config
from bestiary.config.recipes import write_study_config
from bestiary.data.index import build_index, write_index
from bestiary.review.server import ReviewServer
from tests.review.made_review import CLASSES, HOSTILE, MadeReview


@pytest.fixture
def review(tmp_path: Path, made_once: MadeReview) -> MadeReview:
    """A copy of `made_once`, to be changed at will."""
    data = Path(shutil.copytree(made_once.data, tmp_path / "photos"))
    folder = Path(shutil.copytree(made_once.folder, tmp_path / "study"))
    settings = folder / "study.toml"
    settings.write_text(settings.read_text().replace(str(made_once.data), str(data)))
    return MadeReview(folder, data, made_once.index, made_once.ids)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> MadeReview:
    """Findings, in the page's order: unreadable (a note), cat/000 mislabelled, the hostile class mislabelled, three
    dogs that are copies, an outlier, a shortcut (a note), and cat/000 again, blurry."""
    home = tmp_path_factory.mktemp("review")
    data = make_shapes(home / "photos", classes=CLASSES, each=5)
    (data / "cat" / "cut.png").write_bytes((data / "cat" / "000.png").read_bytes()[:200])
    folder = home / "study"
    config = parse_config({"data": {"path": str(data)}, "models": {"m": {"backbone": "majority"}}}, origin="test")
    write_study_config(folder / "study.toml", config)
    index = build_index(config.data)
    write_index(folder, index)
    ids = dict(zip(index["path"], index["image_id"], strict=True))
    labels = dict(zip(index["path"], index["label"], strict=True))

    def finding(path: str, **fields: Any) -> Finding:
        return Finding(image_id=ids[path], path=path, label=labels[path], reason=f"because of {path}", **fields)

    dogs = [f"dog/{number:03d}.png" for number in range(3)]
    suspicion: dict[str, Any] = {"issue": "label_error", "severity": "high", "action": "relabel"}
    findings = [
        finding("cat/cut.png", issue="unreadable", severity="high", score=1.0, action="fix", images=3),
        finding(
            "cat/000.png",
            **suspicion,
            score=0.9,
            suggestion="dog",
            p_label=0.03,
            p_suggestion=0.95,
            related=(ids["dog/003.png"], ids["dog/004.png"]),
        ),
        finding(f"{HOSTILE}/000.png", **suspicion, score=0.8, suggestion="cat", p_label=0.1, p_suggestion=0.8),
        finding(
            dogs[0],
            issue="near_duplicate",
            severity="medium",
            score=0.9,
            action="keep one",
            related=tuple(ids[dog] for dog in dogs[1:]),
            cluster_id="c1",
        ),
        finding("cat/001.png", issue="outlier", severity="medium", score=0.5, action="check"),
        Finding(issue="shortcut", severity="low", score=0.5, action="check", reason="by size", label=HOSTILE, images=5),
        finding("cat/000.png", issue="blurry", severity="low", score=0.5, action="check"),
    ]
    write_findings(folder, findings_table(findings), fingerprint=marked("made", index))
    return MadeReview(folder, data, index, ids)


@pytest.fixture
def server(review: MadeReview) -> Iterator[ReviewServer]:
    server = ReviewServer(review.folder, reviewer="ann")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def shared_server(made_once: MadeReview) -> Iterator[ReviewServer]:
    """One server for the tests that change nothing; `made_once` is its study."""
    server = ReviewServer(made_once.folder, reviewer="ann")
    server.start()
    yield server
    server.stop()
