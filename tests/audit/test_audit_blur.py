import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestiary.audit.quality.blur import BLURRED_FROM, blurred


def softness(random: np.random.Generator, median: float, spread: float, count: int) -> np.ndarray:
    return np.clip(random.normal(median, spread, count), 0.05, 0.99)


def flags(*classes: np.ndarray, of_all: float = 0.9) -> list[np.ndarray]:
    values = np.concatenate(classes)
    labels = np.repeat(np.arange(len(classes)), [len(one) for one in classes])
    found = blurred(values, np.full(len(values), of_all), labels)
    return [found[labels == number] for number in range(len(classes))]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2])
def test_soft_pictures_among_sharp_ones_are_found(share: float) -> None:
    random = np.random.default_rng(0)
    sharp = softness(random, 0.27, 0.05, 300)
    soft = round(share * 300)
    sharp[:soft] = softness(random, 0.9, 0.02, soft)
    found = flags(sharp, softness(random, 0.3, 0.05, 200))
    assert found[0][:soft].all()
    assert not found[0][soft:].any()
    assert not found[1].any()


def test_a_class_that_is_soft_by_nature_has_no_fault() -> None:
    random = np.random.default_rng(1)
    animals, skies = softness(random, 0.27, 0.05, 300), softness(random, 0.5, 0.2, 100)
    found = flags(animals, skies)
    assert (skies > BLURRED_FROM).sum() > 20
    assert found[1].sum() <= 1
    # The same pictures would be blurred among animals.
    assert flags(np.concatenate([animals, skies[skies > 0.75]]))[0][300:].all()


def test_a_set_that_was_enlarged_has_no_fault() -> None:
    random = np.random.default_rng(2)
    found = flags(softness(random, 0.79, 0.035, 300), softness(random, 0.8, 0.035, 300))
    assert sum(map(np.sum, found)) <= 3


def test_a_sharp_subject_before_a_soft_background_is_not_blurred() -> None:
    values = np.concatenate([softness(np.random.default_rng(3), 0.27, 0.05, 100), [0.9]])
    assert flags(values)[0][-1]
    assert not flags(values, of_all=0.6)[0].any()


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(1, 4))
def test_few_or_odd_values_do_no_harm(values: list[float], classes: int) -> None:
    found = blurred(np.array(values), np.ones(len(values)), np.arange(len(values)) % classes)
    assert found.shape == (len(values),)
    assert (np.array(values)[found] >= BLURRED_FROM).all()
