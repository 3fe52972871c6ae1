"""What a node does to each channel of its input: BatchNormalization, and arithmetic with constants.

Every transform is affine, y[c] = scale[c] * x[c] + shift[c], and says what it makes of the weights and of the
bias of the layer in front of it. Vectors have one entry per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from qir.ir.graph import Graph
from qir.ir.node import Node, Value

Floats: TypeAlias = npt.NDArray[Any]
"""float32 or float64 numbers; float16 models are computed in float32."""
ELEMENTWISE = ("Add", "Sub", "Mul", "Div")
"""Ops that are transforms when their other operand is a constant per channel."""


class Transform(Protocol):
    """An affine map of each channel."""

    def scale(self, values: Floats, shape: tuple[int, ...]) -> Floats:
        """`values` times the scale of each channel, vectors reshaped to `shape` for broadcasting."""

    def apply(self, bias: Floats) -> Floats:
        """What becomes of a value whose last dimension is the channels: scale * bias + shift."""

    @property
    def has_shift(self) -> bool:
        """False when zero certainly stays zero."""


@dataclass(frozen=True)
class Normalization:
    """BatchNormalization in inference: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.

    The order of the float32 operations is that of AMCT, whose scales it thereby reproduces bit for bit:
    inv = 1 / sqrt(variance + epsilon), weights * (gamma * inv), (bias - mean) * inv * gamma + beta.
    """

    gamma: Floats
    beta: Floats
    mean: Floats
    variance: Floats
    epsilon: float

    @property
    def _inverse(self) -> Floats:
        one = self.variance.dtype.type(1)
        inverse: Floats = one / np.sqrt(self.variance + self.variance.dtype.type(self.epsilon))
        return inverse

    def scale(self, values: Floats, shape: tuple[int, ...]) -> Floats:
        """See `Transform.scale`."""
        scaled: Floats = values * (self.gamma * self._inverse).reshape(shape)
        return scaled

    def apply(self, bias: Floats) -> Floats:
        """See `Transform.apply`."""
        applied: Floats = (bias - self.mean) * self._inverse * self.gamma + self.beta
        return applied

    @property
    def has_shift(self) -> bool:
        """A mean and a beta of zeros are not worth a case of their own."""
        return True


@dataclass(frozen=True)
class Arithmetic:
    """Add, Sub, Mul or Div with a constant vector; `reversed`: constant - x."""

    op: str
    constant: Floats
    reversed: bool = False

    def scale(self, values: Floats, shape: tuple[int, ...]) -> Floats:
        """See `Transform.scale`."""
        vector = self.constant.reshape(shape)
        scaled: Floats = values
        if self.op == "Mul":
            scaled = values * vector
        elif self.op == "Div":
            scaled = values / vector
        elif self.reversed:
            scaled = -values
        return scaled

    def apply(self, bias: Floats) -> Floats:
        """See `Transform.apply`."""
        scaled = self.scale(bias, self.constant.shape)
        if self.op == "Sub" and not self.reversed:
            return scaled - self.constant
        return scaled + self.constant if self.has_shift else scaled

    @property
    def has_shift(self) -> bool:
        """Products and quotients of zero are zero."""
        return self.op in ("Add", "Sub")


@dataclass(frozen=True)
class Layout:
    """Where the channels of a value are: how many, how many dimensions follow them, and the rank if known."""

    channels: int
    trailing: int
    rank: int | None

    def vector(self, data: Floats) -> Floats | None:
        """`data` as one entry per channel, when broadcasting it over the value does just that; else None."""
        least_rank = self.trailing + 1 if self.rank is None else self.rank
        axis = data.ndim - 1 - self.trailing
        if data.ndim > least_rank:
            return None
        others = [d for i, d in enumerate(data.shape) if i != axis]
        if any(d != 1 for d in others) or (axis >= 0 and data.shape[axis] not in (1, self.channels)):
            return None
        return np.broadcast_to(data.reshape(-1), (self.channels,))


def normalization_of(node: Node, layout: Layout) -> Normalization | str:
    """What a BatchNormalization does to a value of that layout; a reason when it cannot be folded."""
    if layout.rank is None or layout.rank != layout.trailing + 2:
        return "it normalizes dimension 1, which is not known to be the channels of the layer"
    if node.attributes.get("training_mode") or _has_training_outputs(node):
        return "it is in training mode"
    if node.attributes.get("spatial", 1) != 1:
        return "it has statistics per position (spatial=0)"
    vectors: list[Floats] = []
    for value in node.inputs[1:5]:
        held = None if value is None else value.constant
        if value is None or held is None:
            return f"'{'' if value is None else value.name}' is not a constant; run fold-constants first"
        if not held.dtype.is_float or held.dtype.numpy is None or held.shape != (layout.channels,):
            return f"'{value.name}' is not one number for each of the {layout.channels} channels"
        vectors.append(computable(held.array))
    epsilon = node.attributes.get("epsilon", 1e-5)
    assert isinstance(epsilon, float)
    return Normalization(vectors[0], vectors[1], vectors[2], vectors[3], epsilon)


def _has_training_outputs(node: Node) -> bool:
    """Before opset 14 outputs beside the first are what asks for training."""
    return any(v is not None for v in node.outputs[1:]) and opset_of(node) < 14


def arithmetic_of(node: Node, source: Value, layout: Layout) -> Arithmetic | str:
    """What Add, Sub, Mul or Div does to `source`, one operand of it; a reason if that is not per channel."""
    reverse = node.input(1) is source
    other = node.input(0) if reverse else node.input(1)
    held = None if other is None or other is source else other.constant
    if other is None or held is None:
        return "its other operand is not a constant"
    if not held.dtype.is_float or held.dtype.numpy is None:
        return f"qir does not compute with {held.dtype.value}"
    vector = layout.vector(computable(held.array))
    if vector is None:
        return (
            f"'{other.name}' {list(held.shape)} is not one number for each of the {layout.channels} channels"
        )
    if reverse and node.op == "Div":
        return "it divides by the layer's result"
    return Arithmetic(node.op, vector, reverse and node.op == "Sub")


def transform_of(node: Node, source: Value, layout: Layout) -> Transform | str:
    """What a BatchNormalization, Add, Sub, Mul or Div does to `source`; a reason when it cannot be folded."""
    if node.op == "BatchNormalization":
        return normalization_of(node, layout)
    return arithmetic_of(node, source, layout)


def computable(array: Floats) -> Floats:
    """The array itself, float16 widened to float32."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def opset_of(node: Node) -> int:
    """The version of ai.onnx that the node's model imports; the newest when it names none."""
    graph: Graph | None = node.graph
    while graph is not None and graph.parent is not None:
        graph = graph.parent
    return graph.opsets.get("", 1000) if graph is not None else 1000
