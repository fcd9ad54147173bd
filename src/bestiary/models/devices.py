"""Where the arithmetic runs: device, precision, threads.

In: `device` and `precision` of a config. Out: a torch device and data type, and a description for run records.
"""

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from bestiary.errors import ConfigError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


def pick_device(name: DeviceName) -> torch.device:
    """The device asked for; `auto` is CUDA, then MPS, then CPU.

    Raises:
        ConfigError: the device is not on this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[name]:
        raise ConfigError(f'device = "{name}": this machine or this build of torch has none; use "auto" or "cpu"')
    return torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware: AVX-512 BF16 or AMX on CPU, Ampere or later on CUDA."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
    return False


def settle_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """`auto` becomes bf16 where the device computes it in hardware, else fp32."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    return precision


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[Any]:
    """The context for forward passes at a precision."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def is_deterministic(device: torch.device) -> bool:
    """Whether the same config, data and machine give the same predictions: promised on CPU only."""
    return device.type == "cpu"


def describe_device(device: torch.device) -> dict[str, Any]:
    """What run records and `doctor` say of a device."""
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "fast_bf16": has_fast_bf16(device),
        "deterministic": is_deterministic(device),
    }


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    for line in _cpu_info():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_flags() -> set[str]:
    for line in _cpu_info():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()


def _cpu_info() -> list[str]:
    if not os.path.exists("/proc/cpuinfo"):
        return []
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
        return stream.read().splitlines()
