"""Devices: what is picked, and what is said of it."""

import pytest
import torch
from small_models import CPU

from bestiary.errors import ConfigError
from bestiary.models import devices


@pytest.fixture
def machine(monkeypatch):
    def have(*, cuda: bool = False, mps: bool = False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return have


@pytest.mark.parametrize(
    ("there", "expected"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": True}, "cuda"), ({"cuda": True, "mps": True}, "cuda")],
)
def test_auto_takes_the_fastest_there_is(machine, there, expected):
    machine(**there)
    assert devices.pick_device("auto").type == expected
    assert devices.pick_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error_with_the_mend(machine, name):
    machine()
    with pytest.raises(ConfigError, match=rf'device = "{name}".*"auto" or "cpu"'):
        devices.pick_device(name)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512_bf16", "bf16"), ("fpu amx_bf16", "bf16"), ("fpu avx2", "fp32"), ("fpu xavx512_bf16x", "fp32")],
)
def test_auto_precision_is_bf16_where_the_processor_has_it(monkeypatch, flags, expected):
    monkeypatch.setattr(devices, "_cpu_info", lambda: ["model name\t: Some CPU", f"flags\t\t: {flags}"])
    assert devices.resolve_precision("auto", CPU) == expected
    assert devices.resolve_precision("fp32", CPU) == "fp32"
    assert devices.resolve_precision("bf16", CPU) == "bf16"
    assert devices.cpu_name() == "Some CPU"


def test_a_machine_that_tells_nothing_is_fp32(monkeypatch):
    monkeypatch.setattr(devices, "_cpu_info", list)
    assert devices.resolve_precision("auto", CPU) == "fp32"
    assert isinstance(devices.cpu_name(), str)


def test_determinism_is_promised_on_the_cpu_alone():
    assert devices.is_deterministic(CPU)
    assert not devices.is_deterministic(torch.device("cuda"))
    described = devices.describe_device(CPU)
    assert described["device"] == "cpu"
    assert described["deterministic"] is True
    assert described["threads"] == torch.get_num_threads()
