"""Features as processors compute them: in float32, and in bfloat16, where they come out a little different."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

Features = npt.NDArray[np.float32]
# Of a row's length. Features of photos in bfloat16 arithmetic have cosines of 0.9991 to 0.9994 to those in float32.
_ARITHMETIC = 0.0424


def in_bf16(features: Features, *, seed: int = 0) -> Features:
    """Features with the error of bfloat16 arithmetic, and of numbers that keep 8 bits."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=features.shape)
    noise *= (
        _ARITHMETIC * np.linalg.norm(features, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    )
    bits = (features + noise).astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.fixture(params=["fp32", "bf16"])
def computed(request: pytest.FixtureRequest) -> Callable[[Features], Features]:
    """A function that gives features as a processor of one or the other precision computes them."""
    return in_bf16 if request.param == "bf16" else lambda features: features
