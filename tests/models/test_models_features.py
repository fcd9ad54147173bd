"""Features: one pass an image and view, found again by content."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import model, photos, table

from bestiary.data.pixels import PixelTable
from bestiary.models.augment import PLAIN_VIEW, View
from bestiary.models.backbones import Backbone, build_backbone
from bestiary.models.extract import engines as forward
from bestiary.models.extract import features, passes
from bestiary.models.extract.features import feature_table, seconds_an_image
from bestiary.progress import Silent
from tests.engines_here import needs_openvino

SIZE = 24


def cnn(**changes):
    return build_backbone(model(**({"pixels": {"size_px": SIZE}} | changes)))


@pytest.fixture
def pixels():
    return photos(12, SIZE)


def compute(pixels, *, backbone=None, precision="fp32", **options):
    return feature_table(backbone or cnn(), pixels, precision=precision, **options)


@needs_openvino
def test_features_are_the_backbones(pixels):
    backbone = cnn()
    found = compute(table(pixels), backbone=backbone)
    with torch.inference_mode():
        expected = backbone(torch.from_numpy(pixels)).numpy()
    # Half precision keeps 11 bits.
    np.testing.assert_allclose(found.plain, expected, rtol=2**-10, atol=1e-4)
    assert (found.passes, found.precision, found.engine) == (12, "fp32", "openvino")


def test_a_second_call_computes_nothing_and_finds_the_same(pixels):
    first, second = compute(table(pixels)), compute(table(pixels))
    assert second.passes == 0
    assert np.array_equal(first.plain, second.plain)


def test_a_second_call_does_not_even_compile(pixels, monkeypatch):
    compute(table(pixels))
    monkeypatch.setattr(features, "compile_forward", lambda *args, **kwargs: pytest.fail("compiled"))
    compute(table(pixels))


def test_five_more_images_cost_five_passes_and_keep_their_order(pixels):
    names = [f"{number:032x}" for number in range(12)]
    compute(table(pixels[:7], keys=names[:7]))
    order = np.random.default_rng(0).permutation(12)
    more = compute(table(pixels[order], keys=[names[number] for number in order]))
    assert more.passes == 5
    np.testing.assert_allclose(more.plain, compute(table(pixels, keys=names)).plain[order])


def test_copies_cost_one_pass(pixels):
    doubled = table(pixels[[0, 1, 0, 1, 0]], keys=["a", "b", "a", "b", "a"])
    found = compute(doubled)
    assert found.passes == 2
    assert np.array_equal(found.plain[0], found.plain[4])
    assert not np.array_equal(found.plain[0], found.plain[1])


def test_each_view_costs_its_own_passes(pixels):
    views = [PLAIN_VIEW, View(1, flip=True), View(2, rotation_degrees=20.0)]
    both = compute(table(pixels), views=views[:2])
    assert (both.passes, len(both.views)) == (24, 2)
    mirrored = compute(table(np.ascontiguousarray(pixels[:, :, ::-1]), keys=[f"m{n}" for n in range(12)]))
    np.testing.assert_allclose(both.views[1], mirrored.plain, atol=1e-5)
    assert compute(table(pixels), views=views).passes == 12


def test_a_subset_is_of_all_views(pixels):
    whole = compute(table(pixels), views=[PLAIN_VIEW, View(1, flip=True)])
    part = whole.subset(np.array([3, 1]))
    assert len(part.views) == 2
    assert np.array_equal(part.views[1], whole.views[1][[3, 1]])


@pytest.mark.parametrize(
    "changed",
    [
        {"backbone": cnn(seed=1)},
        {"backbone": cnn(pixels={"size_px": SIZE, "interpolation": "bicubic"})},
        {"backbone": cnn(pixels={"size_px": SIZE, "fit": "pad"})},
        {"backbone": cnn(head={"pooling": "avg"})},
        {"precision": "bf16"},
        {"views": [View(1, flip=True)]},
    ],
    ids=["weights", "interpolation", "fit", "pooling", "precision", "view"],
)
def test_what_changes_the_numbers_changes_the_key(pixels, changed):
    compute(table(pixels))
    assert compute(table(pixels), **changed).passes == 12
    assert compute(table(pixels)).passes == 0, "both are kept"


@pytest.mark.parametrize("change", [{"mean": (0.5, 0.5, 0.4)}, {"std": (0.3, 0.2, 0.2)}])
def test_mean_and_std_are_part_of_the_key(pixels, change):
    one = cnn()
    preprocessing = replace(one.preprocessing, **change)
    other = Backbone(one.name, one.network, preprocessing=preprocessing, pooling=one.pooling, source="random").eval()
    compute(table(pixels), backbone=one)
    assert compute(table(pixels), backbone=other).passes == 12


@needs_openvino
def test_a_new_version_of_the_engine_computes_anew(pixels, monkeypatch):
    compute(table(pixels))
    real = passes.version
    monkeypatch.setattr(passes, "version", lambda name: "99" if name == "openvino" else real(name))
    assert compute(table(pixels)).passes == 12


def test_what_does_not_change_the_numbers_costs_nothing(pixels):
    compute(table(pixels))
    head = cnn(head={"hidden": 32, "dropout": 0.5}, epochs=99, class_weights="balanced", batch_size=7)
    assert compute(table(pixels), backbone=head).passes == 0


def test_a_corrupt_entry_is_computed_again(pixels, fresh_cache: Path):
    first = compute(table(pixels))
    (rows,) = fresh_cache.rglob("rows.bin")
    data = bytearray(rows.read_bytes())
    row_bytes = first.plain.shape[1] * 2
    data[5 * row_bytes + 8] ^= 0xFF
    rows.write_bytes(data)
    again = compute(table(pixels))
    assert again.passes == 1
    assert np.array_equal(again.plain, first.plain)
    assert compute(table(pixels)).passes == 0


@pytest.mark.parametrize("name", ["rows.bin", "keys.bin", "meta.json"])
@pytest.mark.parametrize("keep", [0, 100])
def test_a_cut_off_cache_file_costs_time_alone(pixels, fresh_cache: Path, name, keep):
    first = compute(table(pixels))
    (file,) = fresh_cache.rglob(name)
    file.write_bytes(file.read_bytes()[:keep])
    again = compute(table(pixels))
    assert again.passes > 0
    assert np.array_equal(again.plain, first.plain)
    assert compute(table(pixels)).passes == 0


def test_more_images_than_a_block_holds_come_back_in_order(monkeypatch):
    monkeypatch.setattr(passes, "_BLOCK_IMAGES", 5)
    monkeypatch.setattr(forward, "BATCH_SIZE", 2)
    pixels = photos(13, SIZE)
    found = compute(table(pixels))
    with torch.inference_mode():
        expected = cnn()(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(found.plain, expected, rtol=2**-10, atol=1e-4)


def test_features_beyond_half_precision_are_kept_as_they_are(pixels):
    large = cnn()
    with torch.no_grad():
        for parameter in large.parameters():
            parameter.mul_(1000)
        expected = large(torch.from_numpy(pixels)).numpy()
    assert expected.max() > 65504
    first = compute(table(pixels), backbone=large)
    np.testing.assert_allclose(first.plain, expected, rtol=1e-4, atol=1e-4 * expected.max())
    again = compute(table(pixels), backbone=large)
    assert again.passes == 0
    assert np.array_equal(again.plain, first.plain)


def test_pixels_are_asked_for_only_where_features_lack(pixels):
    class Counted:
        keys = table(pixels).keys
        asked = ()

        def batches(self, positions, size):
            self.asked = tuple(positions)
            return table(pixels).batches(positions, size)

    compute(table(pixels).subset(np.array([0, 2, 5])))
    counted = Counted()
    compute(counted)
    assert set(counted.asked) == set(range(len(pixels))) - {0, 2, 5}
    counted = Counted()
    whole = compute(counted)
    assert counted.asked == ()
    assert np.array_equal(whole.plain, compute(table(pixels)).plain)


def test_the_network_is_compiled_in_the_thread_that_asks_for_features(pixels, monkeypatch):
    """Compiling filters warnings, which only one thread may do at a time; decoding goes on in others."""
    compiling, decoding = [], []

    def compiled(*arguments, **options):
        compiling.append(threading.current_thread())
        return forward.compile_forward(*arguments, **options)

    class Watched(PixelTable):
        def batches(self, positions, size):
            decoding.append(threading.current_thread())
            yield from super().batches(positions, size)

    monkeypatch.setattr(features, "compile_forward", compiled)
    plain = table(pixels)
    found = compute(Watched(plain.array, plain.rows, plain.keys, plain.geometry, 0, 0.0))
    assert compiling == [threading.main_thread()]
    assert len(decoding) == 1
    assert decoding != compiling
    assert np.array_equal(found.plain, compute(table(pixels)).plain)


@needs_openvino
def test_without_openvino_torch_computes_the_same_and_says_that_it_is_slower(pixels, monkeypatch):
    class Heard(Silent):
        said = ()

        def say(self, text):
            self.said = (*self.said, text)

    fast, slow = Heard(), Heard()
    expected = compute(table(pixels), progress=fast).plain
    assert fast.said == ()
    monkeypatch.setattr(features, "pick_engine", lambda device: "torch")
    found = compute(table(pixels), progress=slow)
    assert found.engine == "torch"
    assert any("slower" in text for text in slow.said)
    np.testing.assert_allclose(found.plain, expected, rtol=2**-9, atol=1e-4)


def test_timed_passes_are_of_every_view_and_kept_nowhere(pixels, fresh_cache: Path, monkeypatch):
    asked = []
    real = features.apply_view
    monkeypatch.setattr(
        features, "apply_view", lambda batch, keys, view: asked.append((len(batch), view)) or real(batch, keys, view)
    )
    flipped = View(1, flip=True)
    seconds = seconds_an_image(
        cnn(), table(pixels), views=(PLAIN_VIEW, flipped), precision="fp32", device=torch.device("cpu")
    )
    assert 0 < seconds < 10
    assert {view: sum(count for count, its in asked if its == view) for _, view in asked} == {
        PLAIN_VIEW: 12,
        flipped: 12,
    }
    assert not (fresh_cache / "features").exists()
