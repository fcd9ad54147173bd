"""Quality: every fault on made photos, none on clean ones, and CleanVision's own verdict beside ours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from bestiary.audit.findings import Finding
from bestiary.audit.quality import quality_issues
from bestiary.audit.quality.image_statistics import ImageStatistics, measure_images
from bestiary.audit.quality.quality_issues import find_quality_issues
from bestiary.data.images import load_rgb
from tests.audit.made_photos import FAULTS, as_jpeg, photo, saved, scaled

CLEAN = {f"{'cat' if number % 2 else 'dog'}/{number:02d}.png": photo(number) for number in range(40)}


def findings_of(folder: Path, pictures: dict[str, Image.Image]) -> list[Finding]:
    images = saved(folder, pictures)
    return find_quality_issues(images, measure_images(images, folder))


def named(findings: Sequence[Finding]) -> set[tuple[str, str]]:
    return {(finding.path, finding.issue) for finding in findings}


def test_clean_photos_raise_nothing(tmp_path: Path) -> None:
    assert findings_of(tmp_path, CLEAN) == []


def test_every_fault_is_found_where_it_is(tmp_path: Path) -> None:
    faulty = {f"cat/{issue}.png": spoil(photo(100)) for issue, spoil in FAULTS.items()}
    found = findings_of(tmp_path, CLEAN | faulty)
    assert {(f"cat/{issue}.png", issue) for issue in FAULTS} <= named(found)
    assert {finding.path for finding in found} == set(faulty)
    for finding in found:
        assert 0 <= finding.score <= 1
        assert (finding.label, finding.action, len(finding.image_id)) == ("cat", "check", 20)
        assert any(character.isdigit() for character in finding.reason)


def test_worse_faults_have_higher_scores_and_severity(tmp_path: Path) -> None:
    worse = {f"dog/{factor}.png": scaled(photo(101), factor) for factor in (0.3, 0.15, 0.05)}
    found = {finding.path: finding for finding in findings_of(tmp_path, CLEAN | worse) if finding.issue == "dark"}
    ordered = [found[path] for path in worse]
    assert [finding.severity for finding in ordered] == ["low", "medium", "high"]
    assert ordered[0].score < ordered[1].score < ordered[2].score


def test_flags_are_cleanvisions_where_it_is_not_overruled(tmp_path: Path) -> None:
    from cleanvision import Imagelab

    steps = {
        f"cat/{name}-{number}.png": change(photo(200 + number))
        for number in range(3)
        for name, change in {
            "dim": lambda image: scaled(image, 0.25),
            "dusk": lambda image: scaled(image, 0.5),
            "pale": lambda image: scaled(image, 0.04, 244),
            "mist": lambda image: scaled(image, 0.4, 150),
            "even": lambda image: Image.new("RGB", image.size, image.getpixel((0, 0))),
            "long": lambda image: image.resize((400, 120)),
            "longish": lambda image: image.resize((300, 130)),
        }.items()
    }
    images = saved(tmp_path, CLEAN | steps)
    found = named(find_quality_issues(images, measure_images(images, tmp_path)))
    lab = Imagelab(data_path=str(tmp_path))
    lab.find_issues(verbose=False, n_jobs=1)
    for issue in ("dark", "light", "low_information", "odd_aspect_ratio"):
        flagged = lab.issues.index[lab.issues[f"is_{issue}_issue"]]
        expected = {(Path(path).relative_to(tmp_path.resolve()).as_posix(), issue) for path in flagged}
        assert expected, issue
        assert {one for one in found if one[1] == issue} == expected


def test_common_sizes_are_not_odd_though_cleanvision_says_so(tmp_path: Path) -> None:
    small_changes = {f"cat/other-{number}.png": photo(300 + number, (150 - number, 120)) for number in range(4)}
    second_size = {f"dog/large-{number}.png": photo(310 + number, (330, 250)) for number in range(5)}
    images = saved(tmp_path, CLEAN | small_changes | second_size)
    found = find_quality_issues(images, measure_images(images, tmp_path))
    assert found == []


@pytest.mark.parametrize("size", [(330, 250), (70, 55)])
def test_rare_size_is_odd_where_all_others_are_equal(tmp_path: Path, size: tuple[int, int]) -> None:
    found = findings_of(tmp_path, CLEAN | {"cat/odd.png": photo(400, size)})
    assert named(found) == {("cat/odd.png", "odd_size")}


def test_the_sizes_of_a_second_camera_are_not_odd(tmp_path: Path) -> None:
    camera = {f"dog/large-{number}.png": photo(320 + number, (330, 250)) for number in range(5)}
    camera |= {"dog/upright.png": photo(330, (250, 330))}
    many = {f"cat/more-{number:03d}.png": photo(number) for number in range(260)}  # six are less than 2 % of these
    assert findings_of(tmp_path / "camera", CLEAN | many | camera) == []
    alone = {path: camera[path] for path in list(camera)[:4]}
    assert {path for path, _ in named(findings_of(tmp_path / "alone", CLEAN | many | alone))} == set(alone)


def test_fault_of_the_whole_set_is_reported_once(tmp_path: Path) -> None:
    found = findings_of(tmp_path, {path: scaled(picture, 0.2) for path, picture in CLEAN.items()})
    (dark,) = [finding for finding in found if finding.issue == "dark"]
    assert (dark.label, dark.image_id, dark.path, dark.severity) == ("", "", "", "low")
    assert "40 of 40 images, 100 %" in dark.reason


def test_what_is_typical_of_a_class_is_no_fault_of_its_images(tmp_path: Path) -> None:
    night = {f"owl/{number}.png": scaled(photo(500 + number), 0.2) for number in range(10)}
    by_day = {"dog/night.png": scaled(photo(520), 0.2)}
    found = {one for one in named(findings_of(tmp_path, CLEAN | night | by_day)) if one[1] == "dark"}
    assert found == {("dog/night.png", "dark")}


def test_grey_is_no_fault_where_the_class_or_the_set_is_grey(tmp_path: Path) -> None:
    one = {"dog/grey.png": photo(1).convert("L"), "dog/x.png": photo(2)}
    assert named(findings_of(tmp_path / "one", CLEAN | one)) == {("dog/grey.png", "grayscale")}
    grey_cats = {path: as_jpeg(p.convert("L").convert("RGB")) if "cat" in path else p for path, p in CLEAN.items()}
    assert findings_of(tmp_path / "class", {**grey_cats, **one}) == []
    all_grey = {path: picture.convert("L") for path, picture in CLEAN.items()}
    assert findings_of(tmp_path / "set", {**all_grey, "dog/colour.png": photo(3)}) == []
    mixed = {p: as_jpeg(c.convert("L").convert("RGB")) if n % 5 == 0 else c for n, (p, c) in enumerate(CLEAN.items())}
    assert findings_of(tmp_path / "mixed", mixed) == []


@pytest.mark.parametrize("issue", ["blurry", *quality_issues._CHECKS])
def test_what_half_of_a_set_has_is_reported_once(issue: str) -> None:
    images = pd.DataFrame({"image_id": list("abcd"), "path": list("abcd"), "label": ["cat", "cat", "dog", "dog"]})
    flags, scores = np.array([True, False, True, False]), np.ones(4)
    found = quality_issues._reported(issue, images, flags, scores, ["low"] * 4, [""] * 4)  # type: ignore[arg-type]
    assert [(finding.label, finding.image_id) for finding in found] == [("", "")]


def test_no_images_have_no_faults(tmp_path: Path) -> None:
    images = saved(tmp_path, CLEAN).iloc[:0]
    assert find_quality_issues(images, measure_images(images, tmp_path)) == []


def test_blur_of_real_photos_is_found_and_few_are_called_blurred(animals10: Path, tmp_path: Path) -> None:
    paths = sorted(path for path in animals10.rglob("*.jp*g") if path.stat().st_size < 60_000)[::40]
    sharp = {
        f"{'cat' if number % 2 else 'dog'}/sharp-{number:03d}.jpg": load_rgb(path) for number, path in enumerate(paths)
    }
    blurred = {
        f"{'cat' if number % 2 else 'dog'}/soft-{number:03d}.jpg": picture.filter(
            ImageFilter.GaussianBlur(max(picture.size) / 60)
        )
        for number, picture in enumerate(list(sharp.values())[::5])
    }
    found = [finding for finding in findings_of(tmp_path, sharp | blurred) if finding.issue == "blurry"]
    assert sum("soft" in finding.path for finding in found) >= 0.9 * len(blurred)
    assert sum("sharp" in finding.path for finding in found) <= 0.02 * len(sharp)


def test_dim_real_photos_are_called_dark(animals10: Path, tmp_path: Path) -> None:
    paths = sorted(path for path in animals10.rglob("*.jp*g") if path.stat().st_size < 60_000)[::60]
    pictures = {f"{'cat' if number % 2 else 'dog'}/{number}.jpg": load_rgb(path) for number, path in enumerate(paths)}
    night = {
        f"{'cat' if number % 2 else 'dog'}/night-{number}.jpg": ImageEnhance.Brightness(picture).enhance(0.2)
        for number, picture in enumerate(list(pictures.values())[:8])
    }
    found = named(findings_of(tmp_path, pictures | night))
    assert {path for path, issue in found if issue == "dark"} == set(night)


def test_statistics_and_images_are_left_as_they_were(tmp_path: Path) -> None:
    images = saved(tmp_path, CLEAN)
    statistics = measure_images(images, tmp_path)
    before: tuple[pd.DataFrame, ImageStatistics] = (
        images.copy(),
        ImageStatistics(statistics.values.copy(), statistics.grey.copy(), 0, 0.0),
    )
    find_quality_issues(images, statistics)
    pd.testing.assert_frame_equal(images, before[0])
    pd.testing.assert_frame_equal(statistics.values, before[1].values)
