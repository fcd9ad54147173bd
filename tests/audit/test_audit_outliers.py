import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from bestiary.audit.findings import Finding
from bestiary.audit.neighbours import Neighbours, nearest
from bestiary.audit.outliers import (
    FEWEST_IMAGES,
    far_cosines,
    find_outliers,
    in_spreads,
    relative_mahalanobis,
    shrunk_covariance,
)
from tests.audit.made_features import NAMES, Made, clouds


def find(made: Made, *, count: int = 16, kept: frozenset[str] = frozenset()) -> list[Finding]:
    return find_outliers(
        made.images,
        made.features,
        nearest(made.features, count=count),
        made.groups,
        class_names=NAMES,
        kept=kept,
    )


def with_strangers(made: Made, strangers: np.ndarray, groups: list[int] | None = None) -> Made:
    """Rows put at the end, each under the label of class 0."""
    count = len(made.labels)
    own = np.arange(count, count + len(strangers)) if groups is None else count + np.array(groups)
    return Made(
        np.concatenate([made.features, strangers]).astype(np.float32),
        np.concatenate([made.labels, np.zeros(len(strangers), np.int64)]),
        np.concatenate([made.groups, own]).astype(np.int64),
    )


@pytest.fixture(scope="module")
def strangers() -> np.ndarray:
    """Features in directions in which no class lies."""
    rows = np.zeros((4, 24), np.float32)
    for number in range(4):
        rows[number, 5 * number : 5 * number + 3] = 5.0
    return rows


def test_strangers_are_found_whatever_their_label(strangers: np.ndarray) -> None:
    made = with_strangers(clouds(120, 110, 100, 90), strangers)
    findings = find(made)
    # They come first; at most one in a hundred others comes after.
    assert {finding.image_id for finding in findings[:4]} == {f"id{420 + number:04d}" for number in range(4)}
    assert len(findings) <= 4 + 4
    for finding in findings[:4]:
        assert (finding.issue, finding.action, finding.label) == ("outlier", "check", "ant")
        assert 0.5 < finding.score < 1
        assert len(finding.related) == 8
        assert np.isnan(finding.p_label)
    scores = [finding.score for finding in findings]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_clean_clouds_raise_hardly_an_alarm(seed: int) -> None:
    assert len(find(clouds(150, 150, 150, 150, seed=seed))) <= 6  # 1 %


def test_a_wrong_label_makes_no_outlier() -> None:
    made = clouds(120, 110, 100)
    labels = made.labels.copy()
    labels[:5] = 2
    wrong = {f"id{number:04d}" for number in range(5)}
    assert not wrong & {finding.image_id for finding in find(Made(made.features, labels, made.groups))}


def test_what_is_far_from_everything_is_not_excused_by_it() -> None:
    # Few images for the width: noise is farther from the mean of all than from any class, by its own measure.
    made = clouds(40, 40, 40, 40, width=200)
    noise = np.random.default_rng(5).normal(0, 1.05, (1, 200))
    noisy = with_strangers(made, np.abs(made.features.mean(axis=0) + noise).astype(np.float32))
    assert in_spreads(relative_mahalanobis(noisy.features, noisy.labels, noisy.groups))[-1] < -1
    cosines = far_cosines(noisy.features, nearest(noisy.features, count=16), noisy.groups)
    first = find(noisy)[0]
    said = float(first.reason.removeprefix("Far from every class: ").split()[0])
    # By its neighbours alone it would lie 31.4 spreads off.
    alone = in_spreads(in_spreads(1 - cosines))[-1]
    assert first.image_id == "id0160"
    assert 0.75 * alone < said <= alone


def test_a_stranger_cannot_hide_behind_its_copies(strangers: np.ndarray) -> None:
    # As many copies as neighbours are known.
    made = with_strangers(clouds(120, 110, 100, 90), np.repeat(strangers[:1], 17, axis=0), groups=[0] * 17)
    first, *others = find(made)
    assert first.image_id in {f"id{number:04d}" for number in range(420, 437)}
    assert "It stands for its copies, too: 16." in first.reason
    assert not {finding.image_id for finding in others} & {f"id{number:04d}" for number in range(420, 437)}


def test_what_a_person_kept_is_not_flagged_again(strangers: np.ndarray) -> None:
    made = with_strangers(clouds(120, 110, 100, 90), strangers)
    before = {finding.image_id for finding in find(made)}
    found = {finding.image_id for finding in find(made, kept=frozenset({"id0421", "id0003"}))}
    assert found == before - {"id0421"}
    assert "id0421" in before


@pytest.mark.parametrize("known", [0, 3, 40])
def test_how_many_neighbours_are_known_does_not_matter(known: int) -> None:
    made = clouds(30, 30, spread=0.8)
    groups = made.groups // 3
    found = far_cosines(made.features, nearest(made.features, count=known), groups)
    unit = made.features / np.linalg.norm(made.features, axis=1, keepdims=True)
    cosines = np.where(groups[:, None] == groups[None, :], -2, unit @ unit.T)
    np.testing.assert_allclose(found, -np.sort(-cosines, axis=1)[:, 9], rtol=1e-5)


def test_with_few_others_the_farthest_counts() -> None:
    made = clouds(3, 2)
    found = far_cosines(made.features, nearest(made.features, count=4), np.array([0, 0, 1, 2, 3]))
    unit = made.features / np.linalg.norm(made.features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    expected = [cosines[0, 2:].min(), cosines[1, 2:].min(), *(np.min(cosines[row]) for row in (2, 3, 4))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_distance_is_mahalanobis_where_there_are_many_images() -> None:
    # With n far above d little is shrunk, and the closed form over sample covariances is a reference.
    made = clouds(3000, 3000, spread=0.3, width=5)
    rooted = np.sqrt(made.features.astype(float))
    means = np.stack([rooted[made.labels == label].mean(axis=0) for label in (0, 1)])
    within = np.linalg.inv(np.cov((rooted - means[made.labels]).T))
    overall = np.linalg.inv(np.cov(rooted.T))

    def distance(centre: np.ndarray, precision: np.ndarray) -> np.ndarray:
        return np.einsum("ni,ij,nj->n", rooted - centre, precision, rooted - centre)

    nearest_class = np.minimum(distance(means[0], within), distance(means[1], within))
    expected = np.cbrt(nearest_class) - np.cbrt(distance(rooted.mean(axis=0), overall))
    found = relative_mahalanobis(made.features, made.labels, made.groups)
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    assert np.median(np.abs(found - expected)) < 0.1


def left_out(rooted: np.ndarray, labels: np.ndarray, groups: np.ndarray, row: int) -> float:
    """The definition: fit again without the row's group, with the shrinkage of the whole fit."""
    found = []
    for of in (labels, np.zeros(len(labels), np.int64)):
        first = np.unique(np.stack([of, groups]), axis=1, return_index=True)[1]
        covariance, shrinkage = ledoit_wolf(_centred(rooted[first], of[first]), assume_centered=True)
        kept = first[groups[first] != groups[row]]
        centred = _centred(rooted[kept], of[kept])
        # Shrinkage is part of the covariance already: what is left out is the sample part of one image.
        sample = (centred.T @ centred) / len(first)
        whole = _centred(rooted[first], of[first])
        target = covariance - (1 - shrinkage) * (whole.T @ whole) / len(first)
        ridge = 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        precision = np.linalg.inv((1 - shrinkage) * sample + target + ridge)
        distances = []
        for label in np.unique(of):
            offset = rooted[row] - rooted[kept][of[kept] == label].mean(axis=0)
            count = int((of[kept] == label).sum())
            grown = (count + 1) / count if label == of[row] else 1.0
            distances.append(offset @ precision @ offset / grown)
        found.append(np.cbrt(min(distances)))
    return found[0] - found[1]


def _centred(rows: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.concatenate([rows[of == label] - rows[of == label].mean(axis=0) for label in np.unique(of)])


def test_every_image_is_scored_as_if_its_group_had_not_been_fitted() -> None:
    made = clouds(14, 12, 10)
    groups = made.groups.copy()
    groups[1] = groups[2] = groups[0]  # three frames of one scene
    rooted = (np.sign(made.features) * np.sqrt(np.abs(made.features))).astype(float)
    found = relative_mahalanobis(made.features, made.labels, groups)
    for row in (0, 1, 2, 7, 20, 35):
        assert found[row] == pytest.approx(left_out(rooted, made.labels, groups, row), rel=1e-6, abs=1e-6)


def test_rare_classes_are_no_outliers_for_being_rare() -> None:
    made = clouds(80, 80, 2)
    found = relative_mahalanobis(made.features, made.labels, made.groups)
    assert set(found[160:]) == {np.median(found[:160])}


def test_copies_do_not_move_the_classes() -> None:
    made = clouds(40, 40, 40)
    row = np.concatenate([np.arange(120), np.full(60, 7)])
    alone = relative_mahalanobis(made.features, made.labels, made.groups)
    copied = relative_mahalanobis(made.features[row], made.labels[row], made.groups[row])
    np.testing.assert_allclose(copied, alone[row], rtol=1e-4, atol=1e-4)


def test_spreads_do_not_move_with_what_lies_far() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=1001))
    far = values.copy()
    far[values.argsort()[-50:]] += 1e6
    kept = values.argsort()[:-50]
    np.testing.assert_allclose(in_spreads(far)[kept], in_spreads(values)[kept])
    assert np.all(in_spreads(np.full(7, 3.0)) == 0)


def test_too_few_images_tell_nothing(strangers: np.ndarray) -> None:
    assert find(with_strangers(clouds(FEWEST_IMAGES // 2, FEWEST_IMAGES // 2 - 5), strangers)) == []


def test_features_all_alike_are_no_outliers() -> None:
    count = 2 * FEWEST_IMAGES
    made = Made(np.ones((count, 6), np.float32), np.arange(count) % 2, np.arange(count))
    assert find(made) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 12))
def test_odd_shapes_do_not_make_it_fail(seed: int, classes: int, width: int) -> None:
    random = np.random.default_rng(seed)
    count = FEWEST_IMAGES + int(random.integers(0, 10))
    made = Made(
        random.normal(size=(count, width)).astype(np.float32),
        random.integers(0, classes, count).astype(np.int64),
        np.arange(count, dtype=np.int64),
    )
    assert all(0 <= finding.score <= 1 for finding in find(made, count=5))


def test_no_neighbours_at_all_is_no_failure() -> None:
    made = clouds(FEWEST_IMAGES, FEWEST_IMAGES)
    empty = Neighbours(np.empty((60, 0), np.int64), np.empty((60, 0), np.float32))
    assert find_outliers(made.images, made.features, empty, made.groups, class_names=NAMES) == []


@pytest.mark.parametrize(("rows", "width"), [(40, 5), (12, 30), (2, 3), (20, 1)])
def test_the_covariance_is_shrunk_as_scikit_learn_does(rows: int, width: int) -> None:
    spread = np.random.default_rng(rows).normal(size=(rows, width)) * np.geomspace(0.1, 3, width)
    covariance, shrinkage = shrunk_covariance(spread)
    expected, its = ledoit_wolf(spread, assume_centered=True)
    assert shrinkage == pytest.approx(its, abs=1e-12)
    np.testing.assert_allclose(covariance, expected, atol=1e-12)


def test_images_that_are_all_alike_have_no_covariance() -> None:
    covariance, shrinkage = shrunk_covariance(np.zeros((4, 3)))
    assert (shrinkage, np.abs(covariance).max()) == (0.0, 0.0)
