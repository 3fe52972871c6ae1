"""Folds the ranges of a layer's input channels into its weights: input-channel equalization.

    sum_c x[c] W[c]  =  sum_c (x[c] / f[c]) (W[c] f[c]),     f[c] = a[c]^m / w[c]^(1-m)

with a[c] = max |x[c]| over calibration data and w[c] = max |W[c]| over all layers that read x. With m = 1
all channels of x / f have one range, which is as good as a scale per channel of the activation; with m = 1/2
the weights take half of it, and the ranges a[c] and w[c] of a channel become equal.

The division is free: what makes x takes it up, be it a layer, a normalization or arithmetic with constants
(`routes.py`). Where nothing can, `explicit` puts a Mul in front of the layers. The factors are those of
balance-channels, which always does the latter. Run it before insert-quant. Sources: Nagel et al. 2019 and
SmoothQuant, Xiao et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.equalization.inputs import NAME, InputEqualization


@dataclass(frozen=True)
class EqualizeInputs(Pass):
    """Even out the ranges of input channels, exactly, by factors that weights and producers take up.

    `strength` (0 to 1) says how much of a channel's range the weight takes over. `explicit` allows a Mul in
    front of layers whose producer cannot take up the factors. Layers named in `skip` are left alone.
    """

    name: ClassVar[str] = NAME
    strength: float = 0.5
    explicit: bool = False
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ConfigError(f"strength must be in [0, 1], not {self.strength}")

    def run(self, graph: Graph, context: Context) -> bool:
        """Equalize the inputs of all float layers; PassError without data or behind insert-quant."""
        for name in self.skip:
            graph.node(name)
        return InputEqualization(self.strength, self.explicit, self.skip).apply(graph, context)
