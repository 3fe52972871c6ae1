"""Balances a layer by the factors of a record, see `qir.passes.balancing.scaling`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qir.ir.errors import BackendError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.passes.balancing.scaling import FIELD, input_channels, scale_channels


def balance(graph: Graph, layer: Node, factors: Sequence[float]) -> None:
    """Balance a float layer with a constant weight, in place, by one factor per input channel.

    The factors are noted in the layer's metadata. BackendError when their number is another, or when the
    weights overflow.
    """
    weight = layer.inputs[1]
    assert weight is not None
    assert weight.constant is not None
    channels = input_channels(layer, weight.constant.shape)
    if len(factors) != channels:
        raise BackendError(
            f"the length of {FIELD} should be equal to the {channels} input channels of layer "
            f"'{layer.name}', not {len(factors)}"
        )
    try:
        scale_channels(graph, layer, np.asarray(factors, np.float32))
    except PassError as error:
        raise BackendError(f"{FIELD} of layer '{layer.name}': {error}") from error
