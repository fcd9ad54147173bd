"""Greedy selection: what it comes to, what it may see, and when an ensemble is worth it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.metrics import log_loss

from bestiary.evaluate import greedy_selection
from bestiary.evaluate.calibration import best_temperature, log_losses
from bestiary.evaluate.greedy_selection import Selection, cross_fit, mix, select_greedily, why_left_out

CLASSES = 4


def said(labels: np.ndarray, *, seed: int, strength: float = 2.0, noise: float = 1.5) -> np.ndarray:
    """Logits that speak for the label, with noise of their own."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, noise, (len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += strength
    return logits


def some_labels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, CLASSES, count)


def test_a_mixture_is_the_weighted_sum_of_tempered_probabilities() -> None:
    labels = some_labels(50)
    parts = [said(labels, seed=seed) for seed in range(3)]
    chosen = Selection(np.array([0.5, 0.0, 0.5]), np.array([2.0, 1.0, 0.5]))
    expected = 0.5 * softmax(parts[0] / 2.0, axis=1) + 0.5 * softmax(parts[2] / 0.5, axis=1)
    np.testing.assert_allclose(np.exp(mix(parts, chosen)), expected, atol=1e-12)


def test_two_models_get_the_shares_that_a_fine_grid_finds() -> None:
    labels = some_labels(600)
    parts = [said(labels, seed=1), said(labels, seed=2, strength=1.5)]
    chosen = select_greedily(parts, labels, rounds=200)
    tempered = [softmax(one / best_temperature(one, labels), axis=1) for one in parts]
    grid = np.linspace(0, 1, 2001)
    losses = [log_loss(labels, share * tempered[0] + (1 - share) * tempered[1]) for share in grid]
    found = log_loss(labels, np.exp(mix(parts, chosen)))
    assert found == pytest.approx(min(losses), abs=1e-4)
    assert chosen.shares[0] == pytest.approx(grid[int(np.argmin(losses))], abs=0.02)


@settings(max_examples=40, deadline=None)
@given(models=st.integers(1, 5), images=st.integers(8, 60), rounds=st.integers(1, 30), seed=st.integers(0, 999))
def test_it_is_never_worse_than_the_best_single_model_where_it_was_chosen(models, images, rounds, seed) -> None:
    labels = some_labels(images, seed)
    parts = [said(labels, seed=1000 * seed + number, strength=number) for number in range(models)]
    chosen = select_greedily(parts, labels, rounds=rounds)
    assert chosen.shares.sum() == pytest.approx(1.0)
    assert (chosen.shares >= 0).all()
    singles = [log_losses(one / t, labels).mean() for one, t in zip(parts, chosen.temperatures, strict=True)]
    assert log_losses(mix(parts, chosen), labels).mean() <= min(singles) + 1e-9


def test_the_order_of_models_does_not_matter() -> None:
    labels = some_labels(200)
    parts = [said(labels, seed=seed) for seed in range(4)]
    there, back = (select_greedily(order, labels, rounds=40) for order in (parts, parts[::-1]))
    np.testing.assert_allclose(there.shares, back.shares[::-1])


def test_a_copy_of_a_model_adds_nothing() -> None:
    labels = some_labels(200)
    one = said(labels, seed=0)
    judged = cross_fit([one, one], labels, np.arange(200), rounds=20, seed=0)
    assert judged is not None
    assert judged.gain.value == pytest.approx(0.0, abs=1e-9)
    assert not judged.gain.value > judged.error + 1e-9


def test_independent_models_gain_what_new_images_confirm() -> None:
    labels, new = some_labels(400), some_labels(5000, 1)
    parts = [said(labels, seed=seed) for seed in range(4)]
    unseen = [said(new, seed=100 + seed) for seed in range(4)]
    judged = cross_fit(parts, labels, np.arange(400), rounds=50, seed=0)
    assert judged is not None
    assert judged.gain.low > 0
    chosen = select_greedily(parts, labels, rounds=50)
    best = min(log_losses(one / t, new).mean() for one, t in zip(unseen, chosen.temperatures, strict=True))
    gained = best - log_losses(mix(unseen, chosen), new).mean()
    assert judged.gain.low < gained < judged.gain.high


def test_an_images_own_label_has_no_part_in_what_is_said_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, count = some_labels(60), 60
    parts = [said(labels, seed=seed) for seed in range(3)]
    held = [np.arange(0, 30), np.arange(30, 60)]
    folds = [(np.setdiff1d(np.arange(count), one), one) for one in held]
    monkeypatch.setattr(greedy_selection, "grouped_folds", lambda *_, **__: folds)
    before = cross_fit(parts, labels, np.arange(count), rounds=20, seed=0)
    poisoned = labels.copy()
    poisoned[:30] = (poisoned[:30] + 1) % CLASSES
    after = cross_fit(parts, poisoned, np.arange(count), rounds=20, seed=0)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before.ensemble[:30], after.ensemble[:30])
    assert not np.array_equal(before.ensemble[30:], after.ensemble[30:])


def test_images_of_one_group_are_held_out_together_and_widen_the_interval() -> None:
    labels = np.repeat(some_labels(60), 5)
    parts = [np.repeat(said(labels[::5], seed=seed), 5, axis=0) for seed in range(3)]
    apart = cross_fit(parts, labels, np.arange(300), rounds=20, seed=0)
    tied = cross_fit(parts, labels, np.repeat(np.arange(60), 5), rounds=20, seed=0)
    assert apart is not None
    assert tied is not None
    assert tied.error > 1.5 * apart.error


def test_a_single_group_leaves_no_folds() -> None:
    labels = some_labels(20)
    assert cross_fit([said(labels, seed=0)] * 2, labels, np.zeros(20, dtype=np.int64), rounds=5, seed=0) is None


def test_a_class_that_cannot_be_stays_impossible() -> None:
    labels = some_labels(40) % 3
    parts = [said(labels, seed=seed) for seed in range(2)]
    for one in parts:
        one[:, 3] = -np.inf
    chosen = select_greedily(parts, labels, rounds=10)
    mixed = mix(parts, chosen)
    assert np.isneginf(mixed[:, 3]).all()
    np.testing.assert_allclose(logsumexp(mixed, axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(log_softmax(mixed[:, :3], axis=1), mixed[:, :3], atol=1e-9)


def verdict(parts: list[np.ndarray], labels: np.ndarray) -> str:
    judged = cross_fit(parts, labels, np.arange(len(labels)), rounds=50, seed=0)
    assert judged is not None
    return why_left_out(select_greedily(parts, labels, rounds=50), judged, parts, labels)


def test_an_ensemble_that_gains_wins() -> None:
    labels = some_labels(400)
    assert verdict([said(labels, seed=seed) for seed in range(4)], labels) == ""


def test_a_lower_log_loss_does_not_win_over_a_model_that_ranks_before_it() -> None:
    labels = some_labels(400)
    parts = [said(labels, seed=seed) for seed in range(4)]
    judged = cross_fit(parts, labels, np.arange(400), rounds=50, seed=0)
    assert judged is not None
    # A model that is as often right as the ensemble, and whose own log loss is lower.
    rival = judged.ensemble.copy()
    rival[rival.argmax(axis=1) == labels] *= 3.0
    chosen = select_greedily(parts, labels, rounds=50)
    assert why_left_out(chosen, judged, parts, labels) == ""
    assert "of one model they are" in why_left_out(chosen, judged, [*parts, rival], labels)


def test_models_alike_are_left_out_with_the_reason() -> None:
    labels = some_labels(200)
    one = said(labels, seed=0)
    assert verdict([one, one], labels)
