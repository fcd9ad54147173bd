"""Groups that file names suggest: proposed where they hold the clusters of copies, and where they are of use."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_photos import photo, scaled

from bestiary.audit.copies import name_groups
from bestiary.audit.copies.name_groups import propose_pattern
from bestiary.cli.main import run
from bestiary.study.study import Study

SHARED = Path(__file__).parents[3] / "shared/data"


def images_of(paths: list[str]) -> pd.DataFrame:
    """Images whose contents all differ; the class is the first folder."""
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(len(paths))],
            "path": paths,
            "label": [path.split("/")[0] for path in paths],
            "sha256": [str(number) for number in range(len(paths))],
            "group_given": "",
        }
    )


def clusters_of(images: pd.DataFrame, names: "pd.Series[str]") -> pd.DataFrame:
    """Clusters by name; "" is in none."""
    table = pd.DataFrame({"image_id": images["image_id"], "cluster_id": names})
    return table[table["cluster_id"] != ""]


def patients(count: int = 20, each: int = 4) -> list[str]:
    return [f"{('ill', 'well')[n % 2]}/patient{n:03d}_s{shot}.png" for n in range(count) for shot in range(each)]


def test_the_patients_are_proposed_where_copies_are_of_one_patient() -> None:
    images = images_of(patients())
    # Only two of a patient's four shots are alike: the groups are larger than the clusters.
    alike = images["path"].str.extract(r"(patient\d+)_s[01]")[0].fillna("")
    found = propose_pattern(images, clusters_of(images, alike))
    assert found.pattern == r"(?:^|/)(patient\d+)_s\d+\.[^./]+$"
    assert found.reason == (
        "20 groups of 4 images, which hold 100 % of the pairs of copies and scenes (7.7 % by chance)"
    )
    assert found.examples[0] == ("patient000", tuple(f"ill/patient000_s{shot}.png" for shot in range(3)))
    order = np.random.default_rng(0).permutation(len(images))
    assert propose_pattern(images.iloc[order], clusters_of(images, alike)) == found


def test_one_pair_in_five_may_lie_otherwise_and_no_more() -> None:
    images = images_of(patients(20, 2))
    names = images["path"].str.extract(r"(patient\d+)")[0]
    for across, proposed in ((3, True), (6, False)):  # pairs of the first patients are exchanged
        mixed = names.copy()
        mixed.iloc[1 : 2 * across : 2] = np.roll(names.iloc[1 : 2 * across : 2].to_numpy(), 2)
        assert bool(propose_pattern(images, clusters_of(images, mixed)).pattern) == proposed


def test_names_that_say_nothing_give_no_proposal() -> None:
    random = np.random.default_rng(0)
    numbers = random.permutation(200)
    images = images_of([f"{'ab'[n % 2]}/img_{numbers[n]}.jpg" for n in range(200)])
    alike = pd.Series([f"c{n // 4}" for n in range(200)])
    found = propose_pattern(images, clusters_of(images, alike))
    assert found.pattern == ""
    assert found.reason.startswith("of the 50 clusters of copies and scenes, no pattern in the names has 80 % of the")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        # Two sources a class: copies lie in one source, and a source is half of a class.
        ([f"c{n % 12}/{('web', 'own')[n % 24 // 12]}_{n}.png" for n in range(480)], "class, too large to be split"),
        ([f"a/cam{n % 3}_{n}.png" for n in range(120)], "it makes 3 groups of two or more images, and fewer than 10"),
    ],
)
def test_groups_that_no_split_can_use_are_not_proposed(paths: list[str], words: str) -> None:
    images = images_of(paths)
    group = images["path"].str.extract(r"(.*)_")[0]
    order = group.groupby(group).cumcount()
    found = propose_pattern(images, clusters_of(images, group + (order // 2).astype(str)))
    assert (found.pattern, words in found.reason) == ("", True), found.reason


def test_too_few_clusters_and_groups_that_are_known_are_said() -> None:
    images = images_of(patients())
    alike = images["path"].str.extract(r"(patient00\d)_")[0].fillna("")
    assert propose_pattern(images, clusters_of(images, alike)).pattern
    few = alike.where(alike < "patient009", "")
    assert (
        "found 9 clusters of copies and scenes, too few of 10"
        in propose_pattern(images, clusters_of(images, few)).reason
    )
    # Files of the same bytes are no evidence.
    same = images.assign(sha256=alike.where(alike != "", images["sha256"]))
    assert "found 0 clusters" in propose_pattern(same, clusters_of(same, alike)).reason
    known = propose_pattern(images.assign(group_given="x"), clusters_of(images, alike))
    assert (known.pattern, "says already" in known.reason) == ("", True)


def test_chance_is_what_names_dealt_anew_within_classes_give(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels = np.array(["a"] * 30 + ["b"] * 20, dtype=object)
    names = np.array([f"g{n}" if n < 6 else "" for n in random.integers(0, 8, 50)], dtype=object)
    places = np.arange(0, 48)
    pairs = name_groups._Pairs(places, np.array([f"c{n // 4}" for n in places], dtype=object), labels)
    dealt = []
    for _ in range(4000):
        shuffled = names.copy()
        for label in "ab":
            shuffled[labels == label] = random.permutation(names[labels == label])
        left, right = shuffled[pairs.places].T
        dealt.append(pairs.weight[(left == right) & (left != "")].sum())
    assert name_groups._chance(names, labels, pairs) == pytest.approx(np.mean(dealt), abs=0.003)


@pytest.fixture(scope="module")
def exposures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve things, each under three exposures."""
    folder = tmp_path_factory.mktemp("exposures") / "photos"
    for number in range(12):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        for exposure in range(3):
            scaled(photo(number, (96, 96)), 1 - 0.1 * exposure).save(place / f"thing{number:02d}-e{exposure}.png")
    return folder


def test_init_guesses_and_writes_what_it_found(
    exposures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["--set", "audit.backbone=none", "--model", "majority", "--quiet"]
    assert run(["init", str(exposures), "--out", str(tmp_path / "s"), "--guess", *plain]) == 0
    out = capsys.readouterr().out
    assert r"data.group_pattern = '(?:^|/)(thing\d+)-e\d+\.[^./]+$'" in out
    assert "12 groups of 3 images, which hold 100 % of the pairs" in out
    assert "  thing00: a/thing00-e0.png, a/thing00-e1.png, a/thing00-e2.png" in out
    comments = [line for line in (tmp_path / "s" / "study.toml").read_text().splitlines() if line.startswith("#")]
    assert comments[1].startswith("# data.group_pattern was proposed by `bestiary init --guess`: 12 groups of 3 images")
    study = Study.open(tmp_path / "s")
    assert study.index_table["group_given"].nunique() == 12
    splits = study.split()  # copies are known, and the index is that of the pattern
    assert splits["group_id"].nunique() == 12
    assert run(["init", str(exposures), "--out", str(tmp_path / "s"), "--guess", "--resume", *plain]) == 2
    assert "already: nothing to guess" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "proposed"), [("tiles", True), ("flowers", False), ("waste", False), ("animals10-tenth", False)]
)
def test_of_real_sets_the_tiles_alone_have_names_that_say_so(name: str, proposed: bool, tmp_path: Path) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the photos of {name} at ../shared/data")
    study = Study.create(SHARED / name, tmp_path / "study", models=["majority"])
    assert bool(study.guess_groups().pattern) == proposed
