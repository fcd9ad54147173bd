"""Tests of what OpenVINO computes are skipped where it is not installed: it is then torch that computes."""

import importlib.util

import pytest

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
ENGINES = (pytest.param("openvino", marks=needs_openvino), "torch")
