"""See `tests/small_studies.py`."""

from tests.small_studies import bench, coloured, fresh_cache

__all__ = ["bench", "coloured", "fresh_cache"]
