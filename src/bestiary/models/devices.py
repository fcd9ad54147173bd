"""Where the arithmetic runs, and from what it starts: device, precision, threads, random numbers.

In: `device`, `precision` and `seed` of a config. Out: a torch device and data type, a description for run records, and
contexts that leave torch's settings as they were.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Let torch draw from `seed`, on the CPU and on `device`; afterwards its generators are as they were.

    For what draws from torch's own generators: first weights, dropout. Others may take a generator of their own.
    `torch.manual_seed` would seed every device there is, also for the caller's own work.
    """
    kind = device.type if device is not None else "cpu"
    others = [] if kind == "cpu" else [device if kind == "cuda" else 0]
    with torch.random.fork_rng(others, device_type=kind if others else "cuda"):
        torch.default_generator.manual_seed(seed)
        if kind == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif others:
            torch.get_device_module(kind).manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
