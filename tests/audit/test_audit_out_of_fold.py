import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.audit.labels.out_of_fold import MIN_GROUPS_SEEN, out_of_fold_probabilities
from bestiary.audit.labels.probe import fit_probe
from tests.audit.made_features import Made, clouds


def test_every_image_is_judged_by_a_probe_fitted_without_it_and_without_its_copies() -> None:
    # Class 0 and 1 are the same cloud: only who has seen a copy can know the label.
    random = np.random.default_rng(0)
    features = np.repeat(random.normal(size=(120, 200)).astype(np.float32), 2, axis=0)
    labels = np.repeat(random.integers(0, 2, 120), 2).astype(np.int64)
    copies = np.repeat(np.arange(120), 2).astype(np.int64)
    kept_together = out_of_fold_probabilities(features, labels, copies, class_count=2, folds=5, seed=0, c=1000)
    parted = out_of_fold_probabilities(features, labels, np.arange(240), class_count=2, folds=5, seed=0, c=1000)
    assert kept_together.accuracy < 0.65  # chance
    assert parted.accuracy > 0.75  # the copies tell


def test_well_separated_classes_are_recognised() -> None:
    made = clouds(60, 40, 30)
    found = out_of_fold_probabilities(made.features, made.labels, made.groups, class_count=3, folds=5, seed=0)
    assert found.accuracy > 0.97
    assert found.judged.all()
    assert found.folds == 5
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_the_same_seed_gives_the_same_and_another_seed_another() -> None:
    made = clouds(40, 40, spread=1.0)

    def run(seed: int) -> np.ndarray:
        return out_of_fold_probabilities(
            made.features, made.labels, made.groups, class_count=2, folds=4, seed=seed
        ).probabilities

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


def test_a_class_all_of_whose_images_are_copies_is_not_judged() -> None:
    made = clouds(40, 40, 12)
    groups = np.where(made.labels == 2, 80, made.groups)
    found = out_of_fold_probabilities(made.features, made.labels, groups, class_count=3, folds=5, seed=0)
    assert not found.judged[made.labels == 2].any()
    assert found.judged[made.labels != 2].all()
    assert np.all(found.probabilities[made.labels == 2, 2] == 0)


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize(("size", "judged"), [(1, False), (2, False), (MIN_GROUPS_SEEN, False), (12, True)])
def test_a_class_is_judged_where_enough_of_it_was_seen(size: int, judged: bool) -> None:
    made = clouds(40, size)
    found = out_of_fold_probabilities(made.features, made.labels, made.groups, class_count=2, folds=5, seed=0)
    assert np.all(found.judged[made.labels == 1] == judged)
    assert found.judged[made.labels == 0].all()


def test_one_group_alone_leaves_nothing_to_judge_with() -> None:
    made = clouds(4, 4)
    found = out_of_fold_probabilities(made.features, made.labels, np.zeros(8, np.int64), class_count=2, folds=5, seed=0)
    assert found.folds == 0
    assert not found.judged.any()
    assert np.isnan(found.accuracy)
    assert np.all(found.probabilities == 0.5)


def test_probabilities_are_those_of_a_probe_fitted_on_the_rest() -> None:
    made = clouds(30, 30, spread=1.0)
    found = out_of_fold_probabilities(made.features, made.labels, made.groups, class_count=2, folds=60, seed=0, c=0.2)
    assert found.folds == 30  # no class has more images
    everything = fit_probe(made.features, made.labels, c=0.2, balanced=True).probabilities(made.features, class_count=2)
    own = np.arange(60), made.labels
    # An image that was left out is less sure of its label than one that was seen.
    assert np.mean(found.probabilities[own] < everything[own]) > 0.95


@pytest.mark.filterwarnings("ignore:The least populated class")
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=24),
    st.integers(2, 7),
    st.integers(0, 5),
)
def test_no_labels_and_groups_make_it_fail(rows: list[tuple[int, int]], folds: int, seed: int) -> None:
    labels = np.array([label for label, _ in rows], dtype=np.int64)
    made = Made(clouds(len(rows)).features, labels, np.array([group for _, group in rows], dtype=np.int64))
    found = out_of_fold_probabilities(made.features, made.labels, made.groups, class_count=4, folds=folds, seed=seed)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-4)
    assert np.all((found.probabilities >= 0) & (found.probabilities <= 1))
    for label in range(4):
        if len(np.unique(made.groups[labels == label])) <= MIN_GROUPS_SEEN - 1:
            assert not found.judged[labels == label].any()
