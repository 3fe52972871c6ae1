"""Tests of calibration graphs need the package that runs their ops."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("onnxruntime_extensions") is None:
    collect_ignore_glob = ["test_amct_*.py"]
