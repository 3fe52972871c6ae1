"""What AMCT does with a layer of which nothing is said."""

from __future__ import annotations

from qir.config.amct.file import Activation, AmctLayer, Weight
from qir.config.layers import Layer


def default_layer(layer: Layer, activation_offset: bool) -> AmctLayer:
    """INT8, ifmr and arq; a zero point where offsets are on and the layer takes one."""
    return AmctLayer(
        activation=Activation(asymmetric=activation_offset and not layer.symmetric_only),
        weight=Weight(channel_wise=layer.per_channel),
    )
