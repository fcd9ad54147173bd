"""A cache of its own for every test, and a processor's answer to "is bf16 fast?" that no test depends on."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BESTIARY_CACHE", str(folder))
    return folder
