"""Fixtures of the folders whose tests make small studies on disk. The cache is the one of `tests/conftest.py`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.made_runs import Bench


@pytest.fixture(autouse=True)
def fresh_cache(own_cache: Path) -> Path:
    """The test session's cache: no test here reads the user's."""
    return own_cache


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A study folder that is filled with made-up runs."""
    return Bench(tmp_path / "study")


@pytest.fixture(scope="session")
def coloured(tmp_path_factory: pytest.TempPathFactory, make_shapes: Callable[..., Path]) -> Path:
    return make_shapes(tmp_path_factory.mktemp("coloured") / "photos", each=40)
