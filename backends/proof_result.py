"""What a proof showed, layer by layer and output by output."""

from __future__ import annotations

from dataclasses import dataclass

from qir.runtime.bounds import EXACT_FLOAT32


@dataclass(frozen=True)
class LayerProof:
    """One layer: its bound, how many integers were compared, how many differed and how far.

    `read` counts the integers that it reads, `compared` these and its sums; `flips` those that it reads
    which change when ONNX Runtime runs the fake-quant graph with its default optimizations. `moved` says that
    an unprovable layer in front changed some of what it reads, so that its sums were not held to equality.
    """

    name: str
    op: str
    bound: int
    read: int
    compared: int
    different: int
    max_difference: float
    flips: int
    moved: bool

    @property
    def provable(self) -> bool:
        """True when float32 sums of this layer are exact."""
        return self.bound < EXACT_FLOAT32


@dataclass(frozen=True)
class OutputDifference:
    """The greatest difference of one output between the two graphs; 0 when equal to the bit."""

    name: str
    max_abs: float


@dataclass(frozen=True)
class Proof:
    """What was shown on `samples` samples; layers are in running order."""

    samples: int
    layers: tuple[LayerProof, ...]
    outputs: tuple[OutputDifference, ...]

    @property
    def unprovable(self) -> tuple[LayerProof, ...]:
        """The layers whose bound reaches 2^24."""
        return tuple(layer for layer in self.layers if not layer.provable)

    @property
    def moved(self) -> tuple[LayerProof, ...]:
        """The layers that unprovable layers in front kept from being compared to the bit."""
        return tuple(layer for layer in self.layers if layer.moved)

    @property
    def compared(self) -> int:
        """Integers compared in all layers."""
        return sum(layer.compared for layer in self.layers)

    @property
    def different(self) -> int:
        """Integers that differ: in or behind unprovable layers only."""
        return sum(layer.different for layer in self.layers)

    @property
    def read(self) -> int:
        """Integers that all layers read."""
        return sum(layer.read for layer in self.layers)

    @property
    def flips(self) -> int:
        """Integers read that ONNX Runtime's default optimizations change in the fake-quant graph."""
        return sum(layer.flips for layer in self.layers)

    @property
    def max_abs(self) -> float:
        """The greatest difference of any output."""
        return max((output.max_abs for output in self.outputs), default=0.0)
