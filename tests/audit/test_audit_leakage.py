from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestiary.audit import leakage
from bestiary.audit.leakage import measure_leakage
from tests.audit.made_features import clouds


def twins_of_noise(count: int, *, width: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels at random, each image there twice: only its copy tells an image's label."""
    random = np.random.default_rng(0)
    features = np.repeat(random.normal(size=(count, width)), 2, axis=0).astype(np.float32)
    labels = np.repeat(np.arange(count) % 2, 2).astype(np.int64)
    return features, labels, np.repeat(np.arange(count), 2).astype(np.int64)


def test_copies_raise_accuracy_above_chance_and_honesty_brings_it_back() -> None:
    features, labels, groups = twins_of_noise(150)
    found = measure_leakage(features, labels, groups, class_count=2, test_fraction=0.2)
    assert found.images_with_copies == found.images == 300
    assert found.test_images == 60
    # A test image's copy is in train with probability 240 / 299.
    assert found.leaked_images == pytest.approx(60 * 240 / 299, abs=6)
    assert found.difference is not None
    assert found.difference.low > 0.15
    assert found.difference.value == pytest.approx(found.leaky_accuracy - found.honest_accuracy)
    assert found.honest_accuracy == pytest.approx(0.5, abs=0.15)
    assert found.leaky_on_leaked > found.honest_on_leaked + 0.2
    assert found.train_images == pytest.approx(240 - found.leaked_images, abs=2)


def test_where_nothing_can_leak_nothing_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("fitted")

    monkeypatch.setattr(leakage, "fit_probe", refuse)
    made = clouds(20, 20)
    found = measure_leakage(made.features, made.labels, made.groups, class_count=2, test_fraction=0.25)
    assert (found.leaked_images, found.images_with_copies, found.draws) == (0, 0, 5)
    assert found.difference is None
    assert np.isnan(found.leaky_accuracy)


def test_both_probes_see_equally_many_images_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    fit = leakage.fit_probe

    def watch(features: np.ndarray, labels: np.ndarray, *, c: float) -> object:
        seen.append(np.bincount(labels, minlength=3).tolist())
        return fit(features, labels, c=c)

    monkeypatch.setattr(leakage, "fit_probe", watch)
    made = clouds(60, 50, 40)
    groups = np.where(made.groups < 40, made.groups // 2, made.groups)
    measure_leakage(made.features, made.labels, groups, class_count=3, test_fraction=0.2, seeds=3)
    assert len(seen) == 6
    for honest, leaky in zip(seen[::2], seen[1::2], strict=True):
        assert honest == leaky


def test_the_honest_probe_sees_no_copy_of_a_test_image(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, groups = twins_of_noise(40, width=30)
    fitted: list[np.ndarray] = []
    fit = leakage.fit_probe

    def watch(rows: np.ndarray, kinds: np.ndarray, *, c: float) -> object:
        fitted.append(rows)
        return fit(rows, kinds, c=c)

    scored: list[np.ndarray] = []
    split = leakage._split

    def watch_split(*args: object, **kwargs: object) -> tuple[np.ndarray, np.ndarray]:
        train, test = split(*args, **kwargs)  # type: ignore[arg-type]
        scored.append(features[test])
        return train, test

    monkeypatch.setattr(leakage, "fit_probe", watch)
    monkeypatch.setattr(leakage, "_split", watch_split)
    measure_leakage(features, labels, groups, class_count=2, test_fraction=0.25, seeds=2)
    for test, honest, leaky in zip(scored, fitted[::2], fitted[1::2], strict=True):
        keys = {row.tobytes() for row in test}
        assert not any(row.tobytes() in keys for row in honest)
        assert any(row.tobytes() in keys for row in leaky)


def test_the_same_seed_gives_the_same() -> None:
    features, labels, groups = twins_of_noise(40, width=30)

    def run(seed: int) -> dict[str, object]:
        return asdict(measure_leakage(features, labels, groups, class_count=2, test_fraction=0.25, seeds=2, seed=seed))

    assert run(1) == run(1)
    assert run(1) != run(2)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=24),
    st.sampled_from([0.1, 0.5, 0.9]),
    st.integers(0, 3),
)
def test_no_labels_and_groups_make_it_fail(rows: list[tuple[int, int]], fraction: float, seed: int) -> None:
    labels = np.array([label for label, _ in rows], dtype=np.int64)
    groups = np.array([group for _, group in rows], dtype=np.int64)
    found = measure_leakage(
        clouds(len(rows)).features, labels, groups, class_count=4, test_fraction=fraction, seeds=2, seed=seed
    )
    assert found.images == len(rows)
    if found.difference is not None:
        assert -1 <= found.difference.low <= found.difference.value <= found.difference.high <= 1
        assert found.leaked_images > 0
