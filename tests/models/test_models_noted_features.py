from pathlib import Path

import numpy as np
import pytest

from bestiary.config.schema import ModelConfig
from bestiary.models.extract import noted_features as noted
from bestiary.models.extract.noted_features import circumstances, noted_features
from bestiary.store.rows import RowStore

LITE = ModelConfig(backbone="tf_efficientnet_lite0", weights="packaged")
KEYS = [f"{number:032x}" for number in range(3)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BESTIARY_CACHE", str(tmp_path))
    return tmp_path


def test_the_key_changes_with_all_that_changes_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = circumstances(LITE, "cpu")
    assert before == circumstances(LITE, "cpu")
    smaller = LITE.pixels.model_copy(update={"size_px": 64})
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    found = {
        before,
        circumstances(LITE.model_copy(update={"backbone": "tf_efficientnet_lite2"}), "cpu"),
        circumstances(LITE.model_copy(update={"pixels": smaller}), "cpu"),
        circumstances(LITE.model_copy(update={"weights": str(weights)}), "cpu"),
    }
    weights.write_bytes(b"two")
    found.add(circumstances(LITE.model_copy(update={"weights": str(weights)}), "cpu"))
    monkeypatch.setattr(noted, "_processor", lambda: "flags: avx512_bf16")
    found.add(circumstances(LITE, "cpu"))
    monkeypatch.setattr(noted, "version", lambda name: "99")
    found.add(circumstances(LITE, "cpu"))
    assert len(found) == 7


@pytest.mark.parametrize(("weights", "device"), [("hub", "cpu"), ("packaged", "cuda"), ("packaged", "mps")])
def test_without_torch_nothing_is_said_of_hubs_and_gpus(weights: str, device: str) -> None:
    assert circumstances(LITE.model_copy(update={"weights": weights}), device) == ""


def test_auto_is_the_cpu_only_where_nothing_looks_like_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(noted.sys, "platform", "linux")
    monkeypatch.setattr(noted, "_ACCELERATORS", (str(tmp_path / "nvidia0"),))
    assert circumstances(LITE, "auto") == circumstances(LITE, "cpu")
    (tmp_path / "nvidia0").touch()
    assert circumstances(LITE, "auto") == ""
    (tmp_path / "nvidia0").unlink()
    monkeypatch.setattr(noted.sys, "platform", "darwin")
    assert circumstances(LITE, "auto") == ""


def test_features_are_read_where_all_are_there_and_intact(home: Path) -> None:
    rows = np.arange(6, dtype=np.float16).reshape(3, 2)
    RowStore(home / "features" / "here", shape=(2,), dtype=np.float16, about={}).append(KEYS, rows)
    found = noted_features("here", [KEYS[2], KEYS[0]])
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, rows[[2, 0]])
    assert noted_features("here", [*KEYS, "f" * 32]) is None
    assert noted_features("elsewhere", KEYS) is None
    assert noted_features("", KEYS) is None
    assert noted_features("../features/here", KEYS) is None
    damaged = bytearray((home / "features" / "here" / "rows.bin").read_bytes())
    damaged[-1] ^= 1
    (home / "features" / "here" / "rows.bin").write_bytes(damaged)
    assert noted_features("here", KEYS) is None
