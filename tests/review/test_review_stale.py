"""What two hands do at once, and data that change after the audit: no decision is lost, none hits another file."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bestiary.audit.findings import Finding, findings_table, write_findings
from bestiary.audit.mark import is_of, marked
from bestiary.config.recipes import read_study_config
from bestiary.data.corrections import saved
from bestiary.data.corrections.overlay import corrected
from bestiary.data.corrections.saved import read_corrections
from bestiary.data.index import build_index, read_index, write_index
from bestiary.errors import StudyError
from bestiary.review.server import ReviewServer
from bestiary.study.study import Study
from tests.review.made_review import MadeReview
from tests.review.test_review_server import CAT, ask, change, decide, shown


@pytest.mark.parametrize("first", ["drop", "keep"])
def test_of_two_servers_that_decide_at_once_one_is_told(review: MadeReview, monkeypatch, first: str) -> None:
    """Both have read what is there before either may write: the later one must look again."""
    cat = review.ids[CAT]
    if first == "keep":
        (review.folder / "corrections.csv").write_text(f"path,action\n{CAT},drop\n")
    was = shown("drop") if first == "keep" else None
    servers = [ReviewServer(review.folder, reviewer=name) for name in ("ann", "ben")]
    for server in servers:
        server.start()
        ask(server, "queue")
    both, held = threading.Barrier(2), saved._locked

    def wait(folder: Path) -> Any:
        both.wait(10)
        return held(folder)

    monkeypatch.setattr(saved, "_locked", wait)
    told: dict[str, tuple[int, dict[str, Any]]] = {}

    def press(server: ReviewServer, name: str, *key: str) -> None:
        told[name] = decide(server, change(cat, *key, was=was))

    pressed = [(servers[0], "ann", first), (servers[1], "ben", "relabel", "dog")]
    threads = [threading.Thread(target=press, args=args) for args in pressed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for server in servers:
        server.stop()
    assert sorted(status for status, _ in told.values()) == [200, 409]
    (row,) = read_corrections(review.folder)
    winner = next(name for name, (status, _) in told.items() if status == 200)
    assert row.reviewed_by == winner
    for _, answer in told.values():
        assert answer["decisions"][cat]["reviewed_by"] == winner


def again_indexed(review: MadeReview) -> pd.DataFrame:
    index = build_index(read_study_config(review.folder / "study.toml").data)
    write_index(review.folder, index)
    return index


@pytest.mark.parametrize("own", ["dog/zz.png", "cat/003.png"])
@pytest.mark.parametrize("issue", ["label_error", "near_duplicate"])
def test_a_page_is_refused_where_ids_of_copies_have_shifted(review: MadeReview, issue: Any, own: str) -> None:
    """A further copy that sorts earlier takes the id of another: about whichever file a finding was, it is refused."""
    shutil.copy(review.data / "cat/002.png", review.data / "dog/zz.png")
    index = again_indexed(review)
    ids = dict(zip(index["path"], index["image_id"], strict=True))
    related = tuple(ids[path] for path in ("cat/002.png", "dog/zz.png", "cat/003.png") if path != own)
    finding = Finding(issue, "high", 0.9, "check", "r", ids[own], own, own[:3], related)
    write_findings(review.folder, findings_table([finding]), fingerprint=marked("made", index))
    ReviewServer(review.folder, reviewer="ann").close()
    shutil.copy(review.data / "cat/002.png", review.data / "cat/0.png")
    shifted = again_indexed(review).set_index("path")["image_id"]
    assert (shifted["cat/0.png"], shifted["cat/002.png"]) == (ids["cat/002.png"], ids["dog/zz.png"])
    with pytest.raises(StudyError, match=rf"the data changed after the audit: run `bestiary audit {review.folder}`"):
        ReviewServer(review.folder, reviewer="ann")


@pytest.mark.parametrize(
    "changed",
    [
        lambda index: index.iloc[1:],
        lambda index: index.assign(path=index["path"].str.replace("cat/001", "cat/one")),
        lambda index: index.assign(label=index["label"].where(index["path"] != CAT, "dog")),
        lambda index: index.assign(split_given=["train"] + [""] * (len(index) - 1)),
    ],
)
def test_any_change_of_files_or_of_classes_as_found_is_one(
    review: MadeReview, changed: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    assert is_of(review.folder, review.index)
    assert is_of(review.folder, read_index(review.folder))
    assert not is_of(review.folder, changed(review.index).reset_index(drop=True))
    (review.folder / "audit.parquet").unlink()
    assert not is_of(review.folder, review.index)


def test_reviewing_goes_on_after_decisions_and_after_a_new_audit(tmp_path: Path, make_shapes) -> None:
    data = make_shapes(tmp_path / "photos", classes=("cat", "dog"), each=6)
    shutil.copy(data / "cat/005.png", data / "dog/zz.png")
    over = ["models={m={backbone='majority'}}", "audit.backbone=none"]
    study = Study.create(data, tmp_path / "study", overrides=over)
    study.index()
    study.audit()
    server = ReviewServer(study.path, reviewer="ann")
    server.start()
    images = {image["path"]: image["id"] for image in json.loads(ask(server, "queue")[1])["images"]}
    assert decide(server, change(images["dog/zz.png"], "drop", issue="label_conflict"))[0] == 200
    assert decide(server, change(images["cat/005.png"], "relabel", "dog", issue="label_conflict"))[0] == 200
    server.stop()
    assert is_of(study.path, corrected(read_index(study.path), read_corrections(study.path)))
    ReviewServer(study.path, reviewer="ann").close()
    Study.open(study.path).audit()  # of what was decided
    ReviewServer(study.path, reviewer="ann").close()
    # The dropped file is deleted: its row asks for nothing more.
    (data / "dog/zz.png").unlink()
    again = Study.open(study.path)
    assert again.index()["path"].tolist().count("dog/zz.png") == 0
    with pytest.raises(StudyError, match="the data changed after the audit"):
        ReviewServer(study.path, reviewer="ann")
    again.audit()
    page = ReviewServer(study.path, reviewer="ann")
    assert set(page._decisions.read()) == {images["cat/005.png"]}
    page.close()
