"""Activations at the boundary: one pass an image and view, found again by content, kept through kills and damage."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import CPU, model, photos, table

from bestiary.models.augment import PLAIN_VIEW, View
from bestiary.models.backbones import build_backbone
from bestiary.models.classifier import Classifier
from bestiary.models.extract import activations, passes
from bestiary.models.extract.activations import ActivationStores
from bestiary.models.extract.engines import BATCH_SIZE, compile_forward
from bestiary.models.heads import Head
from bestiary.models.partial.boundary import cut
from bestiary.models.training.batches import ActivationSource
from bestiary.store.rows import RowStore
from bestiary.telemetry import import_openvino
from tests.engines_here import ENGINES, needs_openvino

SIZE = 32
MIRRORED = View(1, flip=True)


def network(name="simple_cnn", *, trained=1, **changes):
    weights = "packaged" if name == "tf_efficientnet_lite0" else "random"
    config = model(name, **({"weights": weights, "pixels": {"size_px": SIZE}} | changes))
    backbone = build_backbone(config)
    whole = Classifier(backbone, Head(backbone.feature_count, 3, hidden=config.head.hidden))
    whole.freeze_all_but(trained)
    return whole


def stores(whole=None, *, views=(PLAIN_VIEW,), precision="fp32"):
    whole = whole or network()
    return ActivationStores(whole.backbone, cut(whole.backbone), views=views, precision=precision, device=CPU)


def compute(pixels, whole=None, **options):
    return stores(whole, **options).table(pixels)


def values(found, view=0):
    return found.take(view, np.arange(len(found.rows[view]))).float().numpy()


def eager(whole, pixels):
    with torch.inference_mode():
        return cut(whole.backbone).trunk(torch.from_numpy(pixels))


@pytest.fixture
def pixels():
    return photos(12, SIZE)


@pytest.fixture
def torchs_engine(monkeypatch):
    monkeypatch.setattr(activations, "pick_engine", lambda device: "torch")


def test_rounding_to_bf16_is_all_that_parts_them_from_eager_torch(pixels, torchs_engine):
    whole = network()
    found = compute(table(pixels), whole)
    assert (found.engine, found.precision, found.passes) == ("torch", "fp32", 12)
    exact = eager(whole, pixels)
    taken = found.take(0, np.arange(12))
    assert taken.dtype == torch.bfloat16
    # A sum in another order may fall on the other side of a rounding step.
    assert (taken != exact.bfloat16()).float().mean() < 1e-3
    torch.testing.assert_close(taken.float(), exact, rtol=2**-8, atol=1e-5)


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvinos_are_the_backbones(pixels, precision):
    whole = network()
    found = compute(table(pixels), whole, precision=precision)
    assert (found.engine, found.precision) == ("openvino", precision)
    exact = eager(whole, pixels).numpy()
    if precision == "fp32":
        np.testing.assert_allclose(values(found), exact, rtol=2**-8, atol=1e-3)
    cosine = (values(found) * exact).sum(1) / np.linalg.norm(values(found), axis=1) / np.linalg.norm(exact, axis=1)
    assert cosine.min() > (0.99999 if precision == "fp32" else 0.99)


def test_a_second_call_computes_nothing_nor_asks_for_pixels_nor_compiles(pixels, monkeypatch):
    first = compute(table(pixels))
    monkeypatch.setattr(activations, "compile_forward", lambda *args, **kwargs: pytest.fail("compiled"))

    class Unasked:
        keys = table(pixels).keys

        def subset(self, positions):
            pytest.fail("asked for pixels")

    second = compute(Unasked())
    assert (first.passes, second.passes) == (12, 0)
    assert np.array_equal(values(first), values(second))


def test_more_images_cost_their_own_passes_and_keep_their_order(monkeypatch):
    monkeypatch.setattr(passes, "_BLOCK_IMAGES", BATCH_SIZE)
    pixels, names = photos(140, SIZE), [f"{number:032x}" for number in range(140)]
    few = compute(table(pixels[:40], keys=names[:40]))
    order = np.random.default_rng(0).permutation(140)
    every = compute(table(pixels[order], keys=[names[number] for number in order]))
    assert (few.passes, every.passes) == (40, 100)
    np.testing.assert_allclose(values(every), eager(network(), pixels[order]).numpy(), rtol=2**-7, atol=1e-3)
    assert np.array_equal(values(every)[np.argsort(order)][:40], values(few))
    assert compute(table(pixels[::7], keys=names[::7])).passes == 0


def test_copies_cost_one_pass(pixels):
    found = compute(table(pixels[[0, 1, 0, 1, 0]], keys=["a", "b", "a", "b", "a"]))
    assert found.passes == 2
    assert np.array_equal(values(found)[0], values(found)[4])
    assert not np.array_equal(values(found)[0], values(found)[1])


@pytest.mark.parametrize(
    ("make", "precision", "views"),
    [
        (lambda: network("test_resnet", trained=2), "fp32", (PLAIN_VIEW,)),
        (lambda: network("test_resnet", pixels={"size_px": SIZE, "interpolation": "nearest"}), "fp32", (PLAIN_VIEW,)),
        (lambda: network("test_resnet"), "bf16", (PLAIN_VIEW,)),
        (lambda: network("test_resnet"), "fp32", (MIRRORED,)),
    ],
    ids=["stages", "interpolation", "precision", "view"],
)
def test_what_changes_the_numbers_changes_the_key(pixels, make, precision, views):
    compute(table(pixels), network("test_resnet"))
    assert compute(table(pixels), make(), precision=precision, views=views).passes == 12
    assert compute(table(pixels), network("test_resnet")).passes == 0, "both are kept"


def test_frozen_weights_and_statistics_are_part_of_the_key(pixels):
    compute(table(pixels), network("test_resnet"))
    for name in ("conv1.0.weight", "conv1.1.running_var"):
        changed = network("test_resnet")
        changed.backbone.network.state_dict()[name].view(-1)[0] += 0.5
        found = compute(table(pixels), changed)
        assert found.passes == 12
        np.testing.assert_allclose(values(found), eager(changed, pixels).numpy(), rtol=2**-7, atol=1e-3)


def test_boundaries_of_one_shape_and_one_kind_of_operation_are_kept_apart(pixels):
    from test_models_boundary import _NamedByFunctions, made_up

    small = table(photos(5, 8))
    found = [compute(small, made_up(_NamedByFunctions, trained=trained)) for trained in (1, 2)]
    assert [each.passes for each in found] == [5, 5]
    assert not np.array_equal(values(found[0]), values(found[1]))
    assert [compute(small, made_up(_NamedByFunctions, trained=trained)).passes for trained in (1, 2)] == [0, 0]


@needs_openvino
def test_a_new_version_of_the_engine_computes_anew(pixels, monkeypatch):
    compute(table(pixels))
    real = passes.version
    monkeypatch.setattr(passes, "version", lambda name: "99" if name == "openvino" else real(name))
    assert compute(table(pixels)).passes == 12


def test_head_epochs_and_seed_cost_nothing(pixels):
    compute(table(pixels), network("tf_efficientnet_lite0"))
    other = network(
        "tf_efficientnet_lite0",
        head={"hidden": 32, "dropout": 0.5},
        epochs=99,
        seed=7,
        batch_size=5,
        optimizer={"learning_rate": 0.5},
    )
    assert compute(table(pixels), other).passes == 0


def test_a_damaged_row_is_computed_again(pixels, fresh_cache):
    first = compute(table(pixels))
    before = values(first).copy()
    (rows,) = fresh_cache.rglob("rows.bin")
    data = bytearray(rows.read_bytes())
    data[5 * first.arrays[0].shape[1] * 2 + 8] ^= 0xFF
    rows.write_bytes(data)
    again = compute(table(pixels))
    assert again.passes == 1
    assert np.array_equal(values(again), before)
    assert compute(table(pixels)).passes == 0


class _KilledError(BaseException):
    """What stands for a kill."""


def test_a_kill_in_the_middle_keeps_what_was_written(monkeypatch):
    pixels = photos(100, SIZE)
    monkeypatch.setattr(passes, "_BLOCK_IMAGES", 2 * BATCH_SIZE)
    appended, real = [], RowStore.append

    def append(self, keys, rows):
        if len(appended) == 2:
            raise _KilledError
        appended.append(len(keys))
        real(self, keys, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "append", append)
        with pytest.raises(_KilledError):
            compute(table(pixels))
    assert appended == [32, 32]
    again = compute(table(pixels))
    assert again.passes == 100 - 64
    np.testing.assert_allclose(values(again), eager(network(), pixels).numpy(), rtol=2**-7, atol=1e-3)


def test_each_view_costs_its_own_passes(pixels):
    turned = View(2, rotation_degrees=20.0)
    both = compute(table(pixels), views=(PLAIN_VIEW, MIRRORED))
    assert (both.passes, len(both.arrays)) == (24, 2)
    mirrored = eager(network(), np.ascontiguousarray(pixels[:, :, ::-1])).numpy()
    np.testing.assert_allclose(values(both, 1), mirrored, rtol=2**-7, atol=1e-3)
    assert compute(table(pixels), views=(PLAIN_VIEW, MIRRORED, turned)).passes == 12
    part = both.subset(np.array([3, 1]))
    assert np.array_equal(values(part, 1), values(both, 1)[[3, 1]])
    assert np.array_equal(values(part, 0), values(both, 0)[[3, 1]])


def test_a_view_of_another_angle_or_unflipped_is_another(pixels):
    views = [View(1, rotation_degrees=10), View(1, rotation_degrees=20), View(1, flip=True, rotation_degrees=20)]
    found = [compute(table(pixels), views=(view,)) for view in views]
    assert [each.passes for each in found] == [12, 12, 12]
    assert len({values(each).tobytes() for each in found}) == 3


def test_views_are_drawn_anew_for_training_and_plain_otherwise():
    pixels, views = photos(60, SIZE), (PLAIN_VIEW, MIRRORED, View(3, flip=True, rotation_degrees=30))
    whole = network("simple_cnn")
    found = compute(table(pixels), whole, views=views)
    source = ActivationSource(found, np.zeros(60, dtype=np.int64))
    positions = np.random.default_rng(1).permutation(60)[:50]
    plain = source.batch(positions, device=CPU, generator=None)
    assert plain.dtype == torch.float32
    assert np.array_equal(plain.numpy(), values(found)[positions])

    def drawn(seed):
        batch = source.batch(positions, device=CPU, generator=torch.Generator().manual_seed(seed)).numpy()
        of = np.stack([(batch == values(found, view)[positions]).all(axis=1) for view in range(3)])
        assert np.all(of.sum(axis=0) == 1), "one view an image, whole"
        return of.argmax(axis=0)

    assert np.bincount(drawn(0), minlength=3).min() > 5
    assert not np.array_equal(drawn(0), drawn(1))
    assert np.array_equal(drawn(1), drawn(1))


def test_the_budget_is_for_all_views_and_counts_copies_once(pixels):
    one, two = stores(), stores(views=(PLAIN_VIEW, MIRRORED))
    keys = [*table(pixels).keys, *table(pixels).keys]
    row_gb = cut(network().backbone).activation_count * 2 / 1e9
    assert one.too_large(keys, max_gb=12 * row_gb * 1.001) == ""
    assert "activations.max_gb" in one.too_large(keys, max_gb=12 * row_gb * 0.999)
    assert two.too_large(keys, max_gb=24 * row_gb * 1.001) == ""
    assert "activations.max_gb" in two.too_large(keys, max_gb=24 * row_gb * 0.999)


def test_a_disk_that_is_too_full_is_told_beforehand(pixels, monkeypatch):
    row_bytes = cut(network().backbone).activation_count * 2
    compute(table(pixels[:4]))
    real = shutil.disk_usage

    def free(count):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=int(count)))

    # Eight rows are still to be written, and a tenth of the disk is left to others.
    free(8 * row_bytes / 0.9 * 1.01)
    assert stores().too_large(table(pixels).keys, max_gb=20) == ""
    free(8 * row_bytes / 0.9 * 0.99)
    assert "left" in stores().too_large(table(pixels).keys, max_gb=20)
    free(0)
    assert stores().too_large(table(pixels[:4]).keys, max_gb=20) == "", "what is there needs no room"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_that_is_left_early_can_be_followed_by_another(engine):
    whole = network("simple_cnn").backbone
    pixels = photos(6 * BATCH_SIZE, SIZE)
    forward = compile_forward(whole, size_px=SIZE, precision="fp32", device=CPU, engine=engine)
    with torch.inference_mode():
        expected = whole(torch.from_numpy(pixels)).numpy()

    def batches(*, fail_after=99):
        for number in range(6):
            if number == fail_after:
                raise LookupError("no more batches")
            yield pixels[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]

    for _ in range(3):
        begun = forward.stream(batches())
        np.testing.assert_allclose(next(begun), expected[:BATCH_SIZE], atol=1e-3)
        begun.close()
        np.testing.assert_allclose(forward.run(pixels[::-1]), expected[::-1], atol=1e-3)
        with pytest.raises(LookupError, match="no more"):
            list(forward.stream(batches(fail_after=5)))
        np.testing.assert_allclose(forward.run(pixels), expected, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_of_any_size_keep_their_order(engine):
    whole = network("simple_cnn").backbone
    pixels = photos(BATCH_SIZE * (BATCH_SIZE + 1) // 2, SIZE)
    forward = compile_forward(whole, size_px=SIZE, precision="fp32", device=CPU, engine=engine)
    sizes = np.random.default_rng(2).permutation(np.arange(1, BATCH_SIZE + 1))
    ends = np.cumsum(sizes)
    found = list(forward.stream(pixels[end - size : end] for size, end in zip(sizes, ends, strict=True)))
    assert [len(output) for output in found] == list(sizes)
    with torch.inference_mode():
        np.testing.assert_allclose(np.concatenate(found), whole(torch.from_numpy(pixels)).numpy(), atol=1e-3)


@needs_openvino
def test_no_request_is_left_running_when_a_stream_ends_early(monkeypatch):
    openvino = import_openvino()

    under_way = []

    class Watched:
        def __init__(self, real):
            self._real = real

        def start_async(self, *args, **options):
            under_way.append(self)
            self._real.start_async(*args, **options)

        def wait(self):
            self._real.wait()
            if self in under_way:
                under_way.remove(self)

        def __getattr__(self, name):
            return getattr(self._real, name)

    real = openvino.CompiledModel.create_infer_request
    monkeypatch.setattr(openvino.CompiledModel, "create_infer_request", lambda self: Watched(real(self)))
    forward = compile_forward(
        network("simple_cnn").backbone, size_px=SIZE, precision="fp32", device=CPU, engine="openvino"
    )
    pixels = photos(BATCH_SIZE, SIZE)
    stream = forward.stream(pixels for _ in range(20))
    next(stream)
    assert under_way
    stream.close()
    assert not under_way

    def failing():
        yield pixels
        raise LookupError

    with pytest.raises(LookupError):
        list(forward.stream(failing()))
    assert not under_way


def test_an_error_while_passes_are_computed_reaches_the_caller_and_the_next_call_goes_on(pixels, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(passes, "apply_view", lambda *args: (_ for _ in ()).throw(LookupError("broken")))
        with pytest.raises(LookupError, match="broken"):
            compute(table(pixels))
    assert compute(table(pixels)).passes == 12


def test_a_table_keeps_its_numbers_while_the_store_grows(pixels):
    first = compute(table(pixels[:5]))
    kept = values(first).copy()
    compute(replace_keys(table(photos(7, SIZE, seed=9)), "x"))
    assert np.array_equal(values(first), kept)


def replace_keys(pixel_table, prefix):
    return replace(pixel_table, keys=tuple(f"{prefix}{number}" for number in range(len(pixel_table))))
