"""Options of the test run."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: what a test finds must not depend on how fast data are drawn.
settings.register_profile("qir", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("qir")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="Rewrite what stands after the split lines of tests/passes/*.qir with what the passes give now.",
    )
