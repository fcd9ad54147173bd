"""The race: who stands where on a sample, who loses, and by how much the samples grow."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.config.schema import ModelConfig
from bestiary.models.linear_probe import choose_strength
from bestiary.runs.search.judging import Blocks, block_name
from bestiary.runs.search.racing import Standing, sample_sizes, stand

STRONG, ALIKE, NOISE, OTHER = (f"tf_efficientnet_{name}" for name in ("lite0", "lite1", "lite2", "lite3"))


def made_blocks(*, count: int = 240, seed: int = 0) -> Blocks:
    """A strong backbone, one as good, one of noise, and one that is weak alone but knows the two classes it mixes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    means = {
        STRONG: np.array([[3, 0, 0], [0, 3, 0], [0, 0, 0.4], [0, 0, -0.4]]),
        ALIKE: np.array([[3, 0, 0], [0, 3, 0], [0, 0, 0.4], [0, 0, -0.4]]),
        NOISE: np.zeros((4, 3)),
        OTHER: np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]]),
    }
    features = {
        block_name(name, 1.0, flip=False): (random.normal(0, 1, (count, 3)) + mean[labels]).astype(np.float32)
        for name, mean in means.items()
    }
    return Blocks(features, labels, np.arange(count), np.zeros(count, dtype=np.int64), 4)


def models(*names: str) -> list[ModelConfig]:
    return [ModelConfig(backbone=name) for name in names]


def by_name(*names: str, joined: bool, seed: int = 0) -> dict[str, Standing]:
    return {row.backbone: row for row in stand(made_blocks(seed=seed), models(*names), joined=joined)}


def test_the_lowest_loss_leads_and_each_loss_is_the_probes_own() -> None:
    blocks = made_blocks()
    rows = stand(blocks, models(STRONG, NOISE, OTHER), joined=False)
    assert rows[0].backbone == STRONG
    assert [row.loss for row in rows] == sorted(row.loss for row in rows)
    assert rows[0].behind == rows[0].error == 0.0
    assert not rows[0].lost
    for row in rows:
        # 240 images are judged once each, in the first dealing of the folds.
        known = choose_strength(
            [blocks.features[block_name(row.backbone, 1.0, flip=False)]], blocks.labels, blocks.groups, class_count=4
        )
        assert row.loss == pytest.approx(known.tried[known.c], abs=0.05)
        assert row.images == 240


@pytest.mark.parametrize("seed", range(5))
def test_noise_loses_and_a_backbone_as_good_as_the_leader_does_not(seed: int) -> None:
    found = by_name(STRONG, ALIKE, NOISE, joined=True, seed=seed)
    assert found[NOISE].lost
    assert found[NOISE].behind > 3 * found[NOISE].error
    assert not found[ALIKE].lost
    assert not found[STRONG].lost


@pytest.mark.parametrize("seed", range(3))
def test_one_that_is_worse_alone_stays_where_joins_are_tried_and_it_adds_something(seed: int) -> None:
    alone = by_name(STRONG, OTHER, joined=False, seed=seed)
    assert alone[OTHER].lost
    assert alone[OTHER].gain_joined is None
    joined = by_name(STRONG, OTHER, joined=True, seed=seed)
    assert not joined[OTHER].lost
    assert joined[OTHER].gain_joined is not None
    assert joined[OTHER].gain_joined > 0


def test_copies_count_as_one_image_in_the_error() -> None:
    blocks = made_blocks()
    eight = np.arange(240) // 4 // 8  # images of all classes, eight of each in a group
    alone, grouped = (
        stand(Blocks(blocks.features, blocks.labels, groups, blocks.folds, 4), models(STRONG, NOISE), joined=False)[1]
        for groups in (blocks.groups, eight)
    )
    assert alone.error != grouped.error
    assert grouped.behind == pytest.approx(alone.behind, rel=0.2)


def test_images_of_one_group_leave_nothing_to_judge_by() -> None:
    blocks = made_blocks()
    one = Blocks(blocks.features, blocks.labels, np.zeros(240, dtype=np.int64), blocks.folds, 4)
    assert stand(one, models(STRONG, NOISE), joined=True) == []


@given(st.integers(2, 200_000), st.integers(2, 2_000))
def test_samples_grow_to_all_images_or_to_as_many_as_a_probe_is_worth(images: int, classes: int) -> None:
    *rounds, last = sample_sizes(images, class_count=classes)
    assert last == min(images, 4096)
    assert all(small * 4 == large for small, large in pairwise(rounds))
    assert all(10 * classes <= size <= last // 2 for size in rounds)


def test_a_study_of_ten_classes_begins_with_256_images() -> None:
    assert sample_sizes(1832, class_count=10) == [256, 1832]
    assert sample_sizes(300, class_count=10) == [300]
    assert sample_sizes(18_000, class_count=10) == [256, 1024, 4096]
