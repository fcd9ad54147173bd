"""Near duplicates: changed copies are found, pictures merely alike are not, whatever the processor or the order."""

import contextlib
import functools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bestiary.audit.copies.alignment import best_windows, cut, direct_correlation, refined
from bestiary.audit.copies.candidates import _by_hash, _close_hashes
from bestiary.audit.copies.clusters import (
    duplicate_groups,
    duplicates_fingerprint,
    find_duplicates,
    read_duplicates,
    write_duplicates,
)
from bestiary.audit.copies.similarity import similarities
from bestiary.audit.copies.threshold import LEAST_SIMILARITY, near_duplicate_threshold
from bestiary.audit.neighbours import nearest, normalised
from bestiary.data.groups import connected
from bestiary.progress import Silent
from tests.audit.conftest import in_bf16

SIDE = 64


@functools.cache
def scene(seed, side=4 * SIDE):
    """A picture with structure at several sizes, as photos have: `(side, side)` in [0, 255]."""
    random = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(random.normal(size=(side, side)), sigma) * sigma for sigma in (3, 9, 27)]
    picture = np.sum(layers, axis=0)
    return (picture - picture.min()) / np.ptp(picture) * 200 + 20


def small(picture):
    """As image statistics have it: the whole picture in 64 x 64."""
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
def test_a_changed_copy_is_alike_and_another_picture_is_not(change):
    original, other = scene(1), scene(2)
    pictures = np.stack([small(original), small(CHANGES[change](original)), small(other)])
    copy, stranger = similarities(pictures, np.array([[0, 1], [0, 2]]))
    assert copy > 0.95
    assert stranger < 0.5
    turned = similarities(pictures, np.array([[1, 0]]))
    assert turned[0] == pytest.approx(copy, abs=1e-3)


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
    assert (best_windows(pictures, pairs, side=12)[1] == 0).all()
    assert (direct_correlation(pictures, pairs, side=8) == 0).all()
    assert (similarities(pictures, pairs) == 0).all()


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
        patch.setattr("bestiary.audit.copies.candidates._HASH_BLOCK_BYTES", block)
        blocks = [np.argwhere(close) + start for start, close in _close_hashes(hashes)]
        assert {tuple(pair) for pairs in blocks for pair in pairs.tolist()} == wanted


def test_of_many_close_hashes_the_ten_most_alike_are_kept_and_a_group_of_copies_stays_whole(monkeypatch):
    """As frames of one camera have them; the ten are worked out again with numpy's own correlation."""
    random = np.random.default_rng(0)
    base = scene(0)
    frames = [base + random.uniform(0.02, 0.3) * scene(1 + number % 7) for number in range(40)]
    frames = [frame[:, ::-1] if number % 3 == 0 else frame for number, frame in enumerate(frames)]
    pictures = np.stack([small(frame) for frame in frames])
    blocks = pictures.reshape(40, 16, 4, 16, 4).mean(axis=(2, 4))
    likeness = np.maximum(
        np.corrcoef(blocks.reshape(40, -1), blocks.reshape(40, -1))[:40, 40:],
        np.corrcoef(blocks.reshape(40, -1), blocks[:, :, ::-1].reshape(40, -1))[:40, 40:],
    )
    hashes = np.zeros(40, dtype=np.uint64)
    monkeypatch.setattr("bestiary.audit.copies.candidates._HASH_BLOCK_BYTES", 8 * 40 * 9)
    pairs = _by_hash(hashes, pictures)
    for first in range(40):
        kept = likeness[first, pairs[pairs[:, 0] == first, 1]]
        later = np.sort(likeness[first, first + 1 :])[::-1][:10]
        assert np.sort(kept)[::-1] == pytest.approx(later, abs=1e-5)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert (connected(40, pairs) == 0).all()


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


def test_copies_form_one_cluster_and_strangers_none(computed):
    originals = [scene(seed) for seed in range(12)]
    pictures = [*originals, *[change(originals[0]) for change in CHANGES.values()], originals[5]]
    scenes = [*range(12), *[0] * len(CHANGES), 5]
    images, grey = made(pictures, same=[(5, len(pictures) - 1)])
    table = find_duplicates(images, grey, computed(features_of(scenes)))
    clusters = table.groupby("cluster_id", sort=False)["image_id"].apply(set).tolist()
    copies = {"i0", *[f"i{number}" for number in range(12, 12 + len(CHANGES))]}
    assert clusters == [copies, {"i5", f"i{len(pictures) - 1}"}]
    assert table.set_index("image_id")["exact"].to_dict() == {i: i in clusters[1] for i in {*copies, *clusters[1]}}
    assert table["similarity"].between(0.95, 1).all()


def test_features_that_disagree_keep_pictures_apart(computed):
    original = scene(1)
    images, grey = made([original, original + 1, scene(2), scene(3)])
    assert len(find_duplicates(images, grey, computed(features_of([0, 0, 1, 2])))) == 2
    assert find_duplicates(images, grey, computed(features_of([0, 3, 1, 2]))).empty


def test_without_features_close_hashes_and_pictures_decide():
    original = scene(1)
    images, grey = made([original, ndimage.zoom(original, 0.6, order=1), original[:, ::-1], scene(2)])
    assert find_duplicates(images, grey, None)["image_id"].tolist() == ["i0", "i1", "i2"]


def test_a_set_that_is_alike_throughout_is_not_one_cluster(computed):
    """Scans: the same large structure in all, and a little of their own. Copies are still found."""
    common = scene(0)
    pictures = [common + 0.12 * scene(seed) for seed in range(1, 17)]
    pictures.append(pictures[7] + np.random.default_rng(0).normal(0, 1, common.shape))
    images, grey = made(pictures)
    table = find_duplicates(images, grey, computed(features_of([0] * len(pictures))))
    assert table["image_id"].tolist() == ["i7", "i16"]


def test_a_set_of_which_every_picture_was_multiplied_falls_into_its_originals(computed):
    """As sets are that were augmented before they were published."""
    changes = ["noisy", "smaller", "cropped on all sides", "mirrored"]
    pictures = [scene(seed) for seed in range(12)]
    pictures += [CHANGES[name](scene(seed)) for seed in range(12) for name in changes]
    scenes = [*range(12), *[seed for seed in range(12) for _ in changes]]
    images, grey = made(pictures)
    table = find_duplicates(images, grey, computed(features_of(scenes)))
    found = table.assign(scene=[scenes[int(image_id[1:])] for image_id in table["image_id"]])
    assert len(found) == len(pictures)
    assert (found.groupby("cluster_id")["scene"].nunique() == 1).all()
    assert found["cluster_id"].nunique() == 12


def versions(picture, count):
    """The picture, re-encoded, resized, mirrored, brightened, cropped, and so on: `count` in all."""
    found = [picture]
    for number in range(1, count):
        random = np.random.default_rng(number)
        turned = picture[:, ::-1] if number % 2 else picture
        noisy = turned + random.normal(0, 2, picture.shape)
        top, bottom, left, right = random.integers(4, 13, 4)
        found.append(
            [
                noisy,
                ndimage.zoom(turned, random.uniform(0.4, 0.8), order=1),
                np.minimum(turned * random.uniform(0.7, 1.2), 255),
                noisy[top:-bottom, left:-right],
            ][number % 4]
        )
    return found


def together(table, count):
    """Pairs of places that stand in one cluster: `(count, count)`."""
    cluster = pd.Series(range(-1, -count - 1, -1))
    cluster[[int(image_id[1:]) for image_id in table["image_id"]]] = pd.factorize(table["cluster_id"])[0]
    return cluster.to_numpy()[:, None] == cluster.to_numpy()[None]


@pytest.mark.slow
def test_more_versions_do_not_hide_copies(computed):
    """Where most photos stand in seven or more versions, their nearest neighbours are all copies."""
    counts, originals = (2, 6, 7, 8, 14), 10
    pictures = [versions(scene(seed), counts[-1]) for seed in range(originals)]
    before = np.eye(originals * counts[0], dtype=bool)
    for last, count in zip((counts[0], *counts), counts, strict=False):
        # Versions in the outer order: those of a smaller set stand first in a larger one.
        scenes = [*range(originals)] * count
        images, grey = made([pictures[seed][version] for version in range(count) for seed in range(originals)])
        found = together(find_duplicates(images, grey, computed(features_of(scenes))), len(images))
        assert not (before & ~found[: originals * last, : originals * last]).any()
        of_one_scene = np.equal.outer(scenes, scenes)
        assert not (found & ~of_one_scene).any()
        assert (found & of_one_scene).sum() / of_one_scene.sum() > 0.95
        before = found


@pytest.mark.parametrize("count", [8, 20])
def test_more_versions_do_not_hide_copies_from_hashes_alone(count):
    scenes = [seed for seed in range(10) for _ in range(count)]
    images, grey = made([version for seed in range(10) for version in versions(scene(seed), count)])
    table = find_duplicates(images, grey, None)
    of_one_scene = np.equal.outer(scenes, scenes)
    found = together(table, len(images))
    assert not (found & ~of_one_scene).any()
    assert (found & of_one_scene).sum() / of_one_scene.sum() > 0.8


@pytest.mark.parametrize("kinds", [1, 4])
@pytest.mark.parametrize("by_features", [True, False])
@pytest.mark.parametrize("copied", [[3, 17, 30], [*range(40)]])
@pytest.mark.slow
def test_scans_of_few_forms_are_no_versions_of_them(copied, kinds, by_features, computed):
    """Of each form more than seven were filled in, all alike; copies are found, and nothing else."""
    pictures = [scene(100 + number % kinds) + 0.1 * scene(number) for number in range(40)]
    random = np.random.default_rng(0)
    images, grey = made([*pictures, *[pictures[number] + random.normal(0, 1, (256, 256)) for number in copied]])
    scenes = [number % kinds for number in (*range(40), *copied)]
    features = features_of(scenes) if by_features else None
    if features is not None:
        features[40:] = features[copied] + 0.01
        features = computed(features)
    table = find_duplicates(images, grey, features)
    clusters = table.groupby("cluster_id", sort=False)["image_id"].apply(list).tolist()
    assert clusters == [[f"i{number}", f"i{40 + place}"] for place, number in enumerate(copied)]
    assert find_duplicates(images[:40], grey[:40], None if features is None else features[:40]).empty


def test_the_threshold_rises_where_look_alikes_come_near_and_leaves_out_versions():
    strangers = [scene(seed) for seed in range(8)]
    scans = [scene(0) + 0.2 * scene(seed) for seed in range(1, 31)]
    multiplied = [version for picture in strangers for version in versions(picture, 8)]
    found = []
    for pictures in (strangers, multiplied, scans):
        _, grey = made(pictures)
        pairs = np.array([(i, j) for i in range(len(grey)) for j in range(i)])
        found.append(near_duplicate_threshold(grey, pairs[similarities(grey, pairs) >= LEAST_SIMILARITY]))
    assert found[:2] == [LEAST_SIMILARITY, LEAST_SIMILARITY]
    assert 0.98 < found[2] < 1


def drawings(count):
    """Discs of one size somewhere on noise, in 48 x 64 pixels; no two of them are the same drawing."""
    from tests.conftest import draw_shape

    return [np.asarray(draw_shape(0, seed=seed).convert("L"), dtype=float) for seed in range(count)]


def test_drawings_of_one_shape_are_no_copies_and_their_copies_are(computed):
    """They correlate by up to 0.97 once one is laid over the other: the disc is most of what there is."""
    discs = drawings(14)
    copied = [discs[3][:, ::-1], ndimage.zoom(discs[5], 2, order=1), discs[7] + 2]
    images, grey = made([*discs, *copied])
    table = find_duplicates(images, grey, computed(features_of([0] * len(grey))))
    clusters = table.groupby("cluster_id", sort=False)["image_id"].apply(list).tolist()
    assert clusters == [["i3", "i14"], ["i5", "i15"], ["i7", "i16"]]
    pairs = np.array([(i, j) for i in range(14) for j in range(i)])
    assert similarities(grey, pairs).max() < LEAST_SIMILARITY - 0.3
    assert similarities(grey, np.array([[3, 14], [5, 15], [7, 16]])).min() > LEAST_SIMILARITY + 0.1


def test_a_window_is_found_to_a_fraction_of_a_pixel():
    """Of a picture that is the same at every scale: laid over one another, all of it agrees."""
    large = scene(4)
    left, width, top, height = 0.11, 0.83, 0.06, 0.9
    side = large.shape[0]
    part = large[round(top * side) : round((top + height) * side), round(left * side) : round((left + width) * side)]
    pictures = np.stack([small(large), small(part)])
    placements, _ = best_windows(pictures, np.array([[0, 1]]), side=12)
    assert placements.turn.tolist() == [0]
    whole, smaller = (picture[None].astype(np.float32) - 128 for picture in pictures)
    window = refined(whole, smaller, placements.windows)
    assert window[0] == pytest.approx([left, width, top, height], abs=0.3 / SIDE)
    alike = []
    for place in (placements.windows, window):
        found, inside = cut(whole, place)
        assert inside.all()
        alike.append(np.corrcoef(found.ravel(), smaller.ravel())[0, 1])
    assert alike[1] > max(alike[0], 0.99)


@functools.cache
def mixed():
    """Photos in versions, scans of a form and discs, two files of the same bytes among them."""
    pictures = [version for seed in range(4) for version in versions(scene(seed), 4)]
    pictures += [scene(9) + 0.1 * scene(seed) for seed in range(20, 28)]
    pictures += [pictures[17] + np.random.default_rng(0).normal(0, 1, pictures[17].shape), *drawings(6), pictures[2]]
    images, grey = made(pictures, same=[(2, len(pictures) - 1)])
    scenes = [*[seed for seed in range(4) for _ in range(4)], *[4] * 9, *[5] * 6, 0]
    return images, grey, features_of(scenes)


def members(table):
    return {(name, frozenset(rows["image_id"])) for name, rows in table.groupby("cluster_id")}


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_clusters_depend_neither_on_the_order_of_files_nor_on_precision(random, by_features, given_neighbours):
    images, grey, features = mixed()
    wanted = find_duplicates(images, grey, features if by_features else None)
    order = list(range(len(images)))
    random.shuffle(order)
    seen = in_bf16(features, seed=random.randrange(1000))[order] if by_features else None
    neighbours = nearest(seen) if by_features and given_neighbours else None
    shuffled = images.iloc[order].reset_index(drop=True)
    found = find_duplicates(shuffled, grey[order], seen, neighbours=neighbours)
    assert members(found) == members(wanted)
    one, other = (table.set_index("image_id")["similarity"].sort_index() for table in (found, wanted))
    if by_features:  # Other candidates may be laid over one another, but those that decide are the same.
        np.testing.assert_allclose(one, other, atol=0.05)
    else:
        pd.testing.assert_series_equal(one, other)


@pytest.mark.parametrize("processors", [1, 3, 16])
def test_clusters_do_not_depend_on_the_number_of_processors(processors, monkeypatch):
    images, grey, features = mixed()
    wanted = find_duplicates(images, grey, features)
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    pd.testing.assert_frame_equal(find_duplicates(images, grey, features), wanted)


def test_a_cluster_keeps_its_name_when_other_images_come_and_go():
    images, grey, features = mixed()
    before = members(find_duplicates(images, grey, features))
    fewer = np.arange(len(images)) >= 4
    after = members(find_duplicates(images[fewer].reset_index(drop=True), grey[fewer], features[fewer]))
    assert after == {cluster for cluster in before if not cluster[1] & {"i0", "i1", "i2", "i3"}}


class Counted(Silent):
    """Keeps what was counted."""

    def __init__(self):
        self.totals, self.done = {}, {}

    @contextlib.contextmanager
    def track(self, label, total, *, unit):
        self.totals[label] = self.totals.get(label, 0) + total
        yield SimpleNamespace(advance=lambda count: self.done.update({label: self.done.get(label, 0) + count}))


def test_every_pair_compared_is_counted():
    images, grey = made([scene(0) + 0.3 * scene(seed) for seed in range(1, 15)])
    counted = Counted()
    find_duplicates(images, grey, features_of([0] * 14), progress=counted)
    assert counted.done["comparing pictures"] == counted.totals["comparing pictures"] > 32


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
