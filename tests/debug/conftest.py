"""The small net, quantized and opened once for the tests of a file."""

from __future__ import annotations

import pytest
from rounded_net import closed_net, samples

from qir.debug import open_model
from qir.debug.opened import Opened
from qir.ir.graph import Graph


@pytest.fixture(scope="module")
def closed() -> Graph:
    return closed_net()


@pytest.fixture(scope="module")
def opened(closed: Graph) -> Opened:
    return open_model(closed, samples())
