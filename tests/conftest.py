"""Options of the test run."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# What a terminal or a user's profile has set shows in no test. And ONNX Runtime, unless told to leave its
# telemetry, complains of a home that it cannot write to.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)
os.environ.update(TERM="xterm", ORT_DISABLE_TELEMETRY="1")

# A busy machine is no fault of the code: what a test finds must not depend on how fast data are drawn. Nor on
# luck: each run draws the same, and `pytest --hypothesis-profile explore` looks for what they leave out.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _PATIENT, derandomize=False)
settings.register_profile("qir", _PATIENT, derandomize=True)
settings.load_profile("qir")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="Rewrite what stands after the split lines of tests/passes/*.qir with what the passes give now.",
    )
