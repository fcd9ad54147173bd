"""Kinds of copies: one picture, or one scene; by agreement, by how much detail there is, and by the set."""

import numpy as np
import pytest

from bestiary.audit.copies.kinds_of_copies import SURE, kinds
from bestiary.audit.copies.threshold import LEAST_SIMILARITY


def pictures(*detailed: float) -> np.ndarray:
    """Noise in so much of each picture, and a flat ground in the rest."""
    random = np.random.default_rng(0)
    made = np.full((len(detailed), 64, 64), 128, np.uint8)
    for picture, share in zip(made, detailed, strict=True):
        picture[: round(64 * share)] = random.integers(40, 216, (round(64 * share), 64))
    return made


@pytest.mark.parametrize(
    ("similarity", "detailed", "least", "kind"),
    [
        (SURE, 0.2, LEAST_SIMILARITY, "same_picture"),
        (SURE - 0.01, 0.2, LEAST_SIMILARITY, "same_scene"),
        (0.84, 1.0, LEAST_SIMILARITY, "same_picture"),
        (0.97, 1.0, 0.9, "same_scene"),  # the set is alike throughout
        (0.981, 0.2, 0.9, "same_picture"),
        (0.99, 1.0, 0.98, "same_scene"),
    ],
)
def test_what_is_one_picture_needs_evidence(similarity: float, detailed: float, least: float, kind: str) -> None:
    made = pictures(1.0, detailed, 1.0)
    found = kinds(made, np.array([0, 0, 1]), np.array([similarity, 0.999, 0], np.float32), least=least)
    assert found[:2].tolist() == [kind, kind]


def test_the_least_alike_member_decides_for_its_cluster() -> None:
    made = pictures(0.3, 0.3, 0.3, 0.3, 0.3)
    alike = np.array([0.99, 0.9, 0.99, 0.99, 0.99], np.float32)
    found = kinds(made, np.array([0, 0, 0, 1, 1]), alike, least=LEAST_SIMILARITY)
    assert found.tolist() == ["same_scene"] * 3 + ["same_picture"] * 2


def test_pictures_of_other_colours_are_no_copies() -> None:
    made, cluster, alike = pictures(*[1.0] * 7), np.array([0, 0, 1, 1, 2, 2, 3]), np.full(7, 0.99, np.float32)
    blue, turquoise, pale = (0.2, 0.3, 0.3), (0.2, 0.45, 0.3), (0.6, 0.2, 0.01)
    colours = np.array([blue, turquoise, blue, pale, turquoise, (0.21, 0.44, 0.1), blue])
    found = kinds(made, cluster, alike, colours=colours, least=LEAST_SIMILARITY)
    # Of a grey picture the tint says nothing.
    assert found[:6].tolist() == ["same_scene"] * 2 + ["same_picture"] * 4


def test_no_cluster_is_no_failure() -> None:
    assert kinds(pictures(1.0), np.array([0]), np.zeros(1, np.float32), least=LEAST_SIMILARITY).shape == (1,)
    assert kinds(pictures(), np.zeros(0, np.int64), np.zeros(0, np.float32), least=LEAST_SIMILARITY).shape == (0,)
