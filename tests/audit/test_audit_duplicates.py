"""Near duplicates: changed copies are found, pictures that are merely alike are not; against plain references."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bestiary.audit.aligned import best_correlation, direct_correlation
from bestiary.audit.duplicates import (
    _close_hashes,
    duplicate_groups,
    duplicates_fingerprint,
    find_duplicates,
    read_duplicates,
    write_duplicates,
)
from bestiary.audit.neighbours import nearest, normalised

SIDE = 64


def scene(seed, side=4 * SIDE):
    """A picture with structure at several sizes, as photos have: `(side, side)` in [0, 255]."""
    random = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(random.normal(size=(side, side)), sigma) * sigma for sigma in (3, 9, 27)]
    picture = np.sum(layers, axis=0)
    return (picture - picture.min()) / np.ptp(picture) * 200 + 20


def small(picture):
    """As `looks` has it: the whole picture in 64 x 64."""
    zoom = (SIDE / picture.shape[0], SIDE / picture.shape[1])
    return np.clip(np.round(ndimage.zoom(picture, zoom, order=1)), 0, 255).astype(np.uint8)


def cropped(picture):
    height, width = picture.shape
    return picture[height // 20 : -height // 20, width // 20 : -width // 20]


CHANGES = {
    "noisy": lambda picture: picture + np.random.default_rng(9).normal(0, 3, picture.shape),
    "smaller": lambda picture: ndimage.zoom(picture, 0.6, order=1),
    "cropped on all sides": cropped,
    "cropped on one side": lambda picture: picture[:, picture.shape[1] // 8 :],
    "mirrored": lambda picture: picture[:, ::-1],
    "mirrored and cropped": lambda picture: cropped(picture[:, ::-1]),
    "brightened": lambda picture: np.minimum(picture * 1.3, 255),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_correlates_and_another_picture_does_not(change):
    original, other = scene(1), scene(2)
    pictures = np.stack([small(original), small(CHANGES[change](original)), small(other)])
    copy, stranger = best_correlation(pictures, np.array([[0, 1], [0, 2]]), side=20)
    assert copy > 0.93
    assert stranger < 0.75
    turned = best_correlation(pictures, np.array([[1, 0]]), side=20)
    assert turned[0] == pytest.approx(copy, abs=0.02)


def test_correlation_of_wholes_is_pearsons():
    pictures = np.stack([small(scene(seed)) for seed in range(4)])
    pairs = np.array([[0, 1], [2, 3], [1, 1]])
    blocks = pictures.reshape(4, 16, 4, 16, 4).mean(axis=(2, 4))
    wanted = [
        max(np.corrcoef(blocks[i].ravel(), side.ravel())[0, 1] for side in (blocks[j], blocks[j][:, ::-1]))
        for i, j in pairs
    ]
    assert direct_correlation(pictures, pairs, side=16) == pytest.approx(wanted, abs=1e-5)


def test_flat_pictures_are_like_nothing():
    pictures = np.stack([np.full((SIDE, SIDE), 90), np.full((SIDE, SIDE), 90), small(scene(1))]).astype(np.uint8)
    pairs = np.array([[0, 1], [0, 2]])
    assert (best_correlation(pictures, pairs, side=12) == 0).all()
    assert (direct_correlation(pictures, pairs, side=8) == 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 60))
def test_nearest_is_what_a_full_matrix_says(seed, count, images):
    features = np.random.default_rng(seed).normal(size=(images, 7)).astype(np.float32)
    found = nearest(features, count=count)
    cosines = normalised(features) @ normalised(features).T
    np.fill_diagonal(cosines, -np.inf)
    kept = min(count, images - 1)
    assert found.indices.shape == (images, kept)
    assert np.allclose(found.cosines, -np.sort(-cosines, axis=1)[:, :kept], atol=1e-5)
    own = np.take_along_axis(cosines, found.indices, axis=1)
    assert np.allclose(own, found.cosines, atol=1e-5)


def test_nearest_in_blocks_is_nearest_at_once(monkeypatch):
    features = np.random.default_rng(0).normal(size=(101, 8)).astype(np.float32)
    whole = nearest(features, count=5)
    monkeypatch.setattr("bestiary.audit.neighbours._BLOCK_BYTES", 4 * 101 * 7)
    blocks = nearest(features, count=5)
    assert (whole.indices == blocks.indices).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.integers(1, 1000))
def test_close_hashes_are_all_pairs_within_ten_bits(values, block):
    hashes = np.array(values, dtype=np.uint64)
    mirror = 0x5555555555555555
    wanted = {
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if min((values[i] ^ values[j]).bit_count(), (values[i] ^ values[j] ^ mirror).bit_count()) <= 10
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bestiary.audit.duplicates._HASH_BLOCK_BYTES", block)
        assert {tuple(pair) for pair in _close_hashes(hashes).tolist()} == wanted


def made(pictures, *, same=()):
    """Images whose features are noise about their scene; those of `same` (pairs) share their bytes."""
    import imagehash
    from PIL import Image

    digests = [f"{number:064x}" for number in range(len(pictures))]
    for first, other in same:
        digests[other] = digests[first]
    images = pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(len(pictures))],
            "sha256": digests,
            "phash": [str(imagehash.phash(Image.fromarray(small(p)))) for p in pictures],
        }
    )
    return images, np.stack([small(picture) for picture in pictures])


def features_of(scenes):
    random = np.random.default_rng(3)
    centres = random.normal(size=(max(scenes) + 1, 32))
    return (centres[scenes] + random.normal(0, 0.1, (len(scenes), 32))).astype(np.float32)


def test_copies_form_one_cluster_and_strangers_none():
    originals = [scene(seed) for seed in range(12)]
    pictures = [*originals, *[change(originals[0]) for change in CHANGES.values()], originals[5]]
    scenes = [*range(12), *[0] * len(CHANGES), 5]
    images, grey = made(pictures, same=[(5, len(pictures) - 1)])
    table = find_duplicates(images, grey, features_of(scenes))
    clusters = table.groupby("cluster_id")["image_id"].apply(set).tolist()
    copies = {"i0", *[f"i{number}" for number in range(12, 12 + len(CHANGES))]}
    assert clusters == [copies, {"i5", f"i{len(pictures) - 1}"}]
    assert table["cluster_id"].drop_duplicates().tolist() == ["d000000", "d000001"]
    assert table.set_index("image_id")["exact"].to_dict() == {i: i in clusters[1] for i in {*copies, *clusters[1]}}
    assert table["similarity"].between(0.92, 1).all()


def test_features_that_disagree_keep_pictures_apart():
    original = scene(1)
    images, grey = made([original, original + 1, scene(2), scene(3)])
    assert len(find_duplicates(images, grey, features_of([0, 0, 1, 2]))) == 2
    assert find_duplicates(images, grey, features_of([0, 3, 1, 2])).empty


def test_without_features_close_hashes_and_pictures_decide():
    original = scene(1)
    images, grey = made([original, ndimage.zoom(original, 0.6, order=1), original[:, ::-1], scene(2)])
    assert find_duplicates(images, grey, None)["image_id"].tolist() == ["i0", "i1", "i2"]


def test_a_set_that_is_alike_throughout_is_not_one_cluster():
    """Scans: the same large structure in all, and a little of their own. Copies are still found."""
    common = scene(0)
    pictures = [common + 0.12 * scene(seed) for seed in range(1, 17)]
    pictures.append(pictures[7] + np.random.default_rng(0).normal(0, 1, common.shape))
    images, grey = made(pictures)
    table = find_duplicates(images, grey, features_of([0] * len(pictures)))
    assert table["image_id"].tolist() == ["i7", "i16"]


def test_a_set_of_which_every_picture_was_multiplied_falls_into_its_originals():
    """As sets are that were augmented before they were published."""
    changes = ["noisy", "smaller", "cropped on all sides", "mirrored"]
    pictures = [scene(seed) for seed in range(12)]
    pictures += [CHANGES[name](scene(seed)) for seed in range(12) for name in changes]
    scenes = [*range(12), *[seed for seed in range(12) for _ in changes]]
    images, grey = made(pictures)
    table = find_duplicates(images, grey, features_of(scenes))
    found = table.assign(scene=[scenes[int(image_id[1:])] for image_id in table["image_id"]])
    assert len(found) == len(pictures)
    assert (found.groupby("cluster_id")["scene"].nunique() == 1).all()
    assert found["cluster_id"].nunique() == 12


def test_sets_too_small_to_compare():
    images, grey = made([scene(1)])
    assert find_duplicates(images, grey, features_of([0])).empty
    images, grey = made([scene(1), scene(1)], same=[(0, 1)])
    assert find_duplicates(images, grey, features_of([0, 0]))["exact"].all()


def test_groups_follow_clusters_and_name_strangers_alone():
    table = pd.DataFrame({"image_id": ["a", "c", "gone"], "cluster_id": ["d0", "d0", "d0"]})
    groups = duplicate_groups(table, pd.Series(["a", "b", "c", "e"]))
    assert groups.tolist() == [0, 1, 0, 2]


def test_the_table_comes_back_as_written(tmp_path):
    images, grey = made([scene(1), scene(1) + 1, scene(2)])
    table = find_duplicates(images, grey, features_of([0, 0, 1]))
    key = duplicates_fingerprint(images, {"backbone": "x"})
    write_duplicates(tmp_path, table, fingerprint=key)
    pd.testing.assert_frame_equal(read_duplicates(tmp_path), table)
    assert key != duplicates_fingerprint(images.iloc[:2], {"backbone": "x"})
    assert key == duplicates_fingerprint(images.assign(label="other"), {"backbone": "x"})
