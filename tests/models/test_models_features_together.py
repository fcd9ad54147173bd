"""Features of several backbones in one pass: the same as one by one, with each image decoded once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_models import CPU, model

from bestiary.config.schema import DataConfig
from bestiary.data import pixels as pixels_module
from bestiary.data.index import build_index
from bestiary.data.pixels import DecodedOnce, PixelsOnDemand, pixel_table
from bestiary.errors import DataError
from bestiary.models.augment import PLAIN_VIEW, View
from bestiary.models.backbones import Backbone, build_backbone
from bestiary.models.extract import features, passes
from bestiary.models.extract.features import FeatureRequest, feature_table, feature_tables
from bestiary.progress import Silent

FLIPPED = View(1, flip=True)


def cnn(size_px: int, **changes) -> Backbone:
    return build_backbone(model(pixels={"size_px": size_px}, **changes))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("together") / "photos", each=7)


@pytest.fixture
def images(photos: Path) -> pd.DataFrame:
    return build_index(DataConfig(path=str(photos)))


@pytest.fixture
def requests() -> list[FeatureRequest]:
    return [
        FeatureRequest(cnn(24), (PLAIN_VIEW, FLIPPED), "fp32"),
        FeatureRequest(cnn(40, seed=1), (PLAIN_VIEW,), "fp32"),
        FeatureRequest(cnn(24, seed=2), (PLAIN_VIEW,), "fp32"),
    ]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are decoded from now on."""
    seen: list[str] = []
    real = pixels_module.load_as_indexed
    monkeypatch.setattr(
        pixels_module, "load_as_indexed", lambda root, path, digest: seen.append(path) or real(root, path, digest)
    )
    return seen


def one_by_one(request: FeatureRequest, images: pd.DataFrame, root: Path) -> features.FeatureTable:
    pixels = PixelsOnDemand(images, root, geometry=request.backbone.preprocessing.geometry)
    return feature_table(request.backbone, pixels, views=request.views, precision=request.precision)


@pytest.mark.parametrize("turn_bytes", [1 << 26, 5 * 24 * 24 * 3])
def test_they_are_bit_for_bit_those_of_one_by_one(
    images: pd.DataFrame, photos: Path, requests, turn_bytes: int, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(passes, "_TURN_BYTES", turn_bytes)
    together = feature_tables(requests, DecodedOnce(images, photos), device=CPU)
    assert [found.passes for found in together] == [42, 21, 21]
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path / "other"))
    for found, request in zip(together, requests, strict=True):
        alone = one_by_one(request, images, photos)
        assert alone.passes == found.passes
        for mine, theirs in zip(found.views, alone.views, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_each_image_is_decoded_once_and_what_is_there_is_not_made_again(
    images: pd.DataFrame, photos: Path, requests, decoded: list[str]
) -> None:
    one_by_one(requests[1], images.iloc[:5], photos)
    decoded.clear()
    found = feature_tables(requests, DecodedOnce(images, photos), device=CPU)
    assert sorted(decoded) == sorted(images["path"])
    assert [table.passes for table in found] == [42, 16, 21]
    decoded.clear()
    feature_tables(requests, DecodedOnce(images, photos), device=CPU)
    assert decoded == []


def test_pixels_that_lie_in_a_store_are_taken_from_there(
    images: pd.DataFrame, photos: Path, requests, decoded: list[str]
) -> None:
    pixel_table(images, photos, geometry=requests[0].backbone.preprocessing.geometry)
    decoded.clear()
    feature_tables([requests[0], requests[2]], DecodedOnce(images, photos), device=CPU)
    assert decoded == []


def test_two_requests_for_one_backbone_share_its_passes(images: pd.DataFrame, photos: Path) -> None:
    plain, both = FeatureRequest(cnn(24), (PLAIN_VIEW,), "fp32"), FeatureRequest(cnn(24), (PLAIN_VIEW, FLIPPED), "fp32")
    found = feature_tables([plain, both], DecodedOnce(images, photos), device=CPU)
    assert [len(table.views) for table in found] == [1, 2]
    assert [table.passes for table in found] == [42, 42]
    np.testing.assert_array_equal(found[0].plain, found[1].plain)


class Said(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of 40 px cannot be compiled."""
    real = features.compile_forward

    def compile_forward(backbone, *, size_px, **options):
        if size_px == 40:
            raise RuntimeError("no such operation")
        return real(backbone, size_px=size_px, **options)

    monkeypatch.setattr(features, "compile_forward", compile_forward)


@pytest.mark.usefixtures("broken")
def test_one_that_cannot_be_compiled_is_an_error_where_it_was_asked_for_and_costs_the_others_nothing(
    images: pd.DataFrame, photos: Path, requests
) -> None:
    with pytest.raises(RuntimeError, match="no such operation"):
        feature_tables(requests, DecodedOnce(images, photos), device=CPU)
    others = feature_tables([requests[0], requests[2]], DecodedOnce(images, photos), device=CPU)
    assert [table.passes for table in others] == [0, 0]


@pytest.mark.usefixtures("broken")
def test_one_that_was_to_be_made_ahead_is_named_and_left(images: pd.DataFrame, photos: Path, requests) -> None:
    said = Said()
    (found,) = feature_tables(requests[:1], DecodedOnce(images, photos), ahead=requests[1:], device=CPU, progress=said)
    assert found.passes == 42
    assert said.lines == [f"  features {requests[1].backbone.name}: not made ahead: no such operation"]
    assert one_by_one(requests[2], images, photos).passes == 0


def test_one_beyond_half_precision_is_kept_whole_beside_one_that_is_not(images: pd.DataFrame, photos: Path) -> None:
    large = cnn(40, seed=1)
    with torch.no_grad():
        for parameter in large.parameters():
            parameter.mul_(1000)
    small = FeatureRequest(cnn(24), (PLAIN_VIEW,), "fp32")
    found = feature_tables(
        [FeatureRequest(large, (PLAIN_VIEW,), "fp32"), small], DecodedOnce(images, photos), device=CPU
    )
    assert found[0].plain.max() > 65504
    np.testing.assert_array_equal(found[1].plain, one_by_one(small, images, photos).plain)


def test_a_file_that_has_changed_is_an_error_and_what_was_made_is_kept(
    tmp_path: Path, make_shapes: Callable[..., Path], requests, monkeypatch
) -> None:
    monkeypatch.setattr(passes, "_BLOCK_IMAGES", 1)
    monkeypatch.setattr(passes, "_TURN_BYTES", 24 * 24 * 3)
    root = make_shapes(tmp_path / "photos", each=16)
    images = build_index(DataConfig(path=str(root)))
    changed = root / images["path"].iloc[-1]
    before = changed.read_bytes()
    changed.write_bytes(before + b"more")
    with pytest.raises(DataError, match="has changed since it was indexed"):
        feature_tables(requests, DecodedOnce(images, root), device=CPU)
    changed.write_bytes(before)
    found = feature_tables(requests, DecodedOnce(images, root), device=CPU)
    assert all(0 < table.passes < 48 * len(table.views) for table in found)
