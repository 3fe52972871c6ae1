"""The weights of a layer as a matrix of channels, for factors per output and per input channel.

    y = W x + b,   W'[o, i] = W[o, i] out[o] into[i],   b'[o] = b[o] out[o]

Only the largest magnitude of each pair of channels is looked at while factors are sought, and the weights
are rounded once, when all factors are known.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.errors import PassError
from qir.ir.node import Node
from qir.ir.output_factors import output_factors
from qir.passes.batch_norm.layers import layer_of
from qir.passes.constants import write_operand
from qir.passes.equalization.writes import Factors, Write

F64 = npt.NDArray[np.float64]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class LayerWeights:
    """A layer with constant weights, and the factors of its channels so far.

    `axis` is where the input and the output have their channels, counted from the end. `outputs` and `inputs`
    are their numbers.
    """

    def __init__(self, node: Node, weights: npt.NDArray[Any]) -> None:
        self.node = node
        self.axis = 1 - weights.ndim if node.op in ("Conv", "ConvTranspose") else -1
        self._weights = weights
        bias = node.input(2)  # Gemm's has any shape that broadcasts over [rows, outputs]
        self._bias = None if bias is None or bias.constant is None else bias.constant.array
        blocks = self._blocks(weights)
        self.outputs = blocks.shape[0] * blocks.shape[1]
        self.inputs = blocks.shape[0] * blocks.shape[2]
        self.reset()

    def reset(self) -> None:
        """Forget all factors."""
        self._scaled: F64 | None = None
        self._out, self._into = np.ones(self.outputs), np.ones(self.inputs)

    @functools.cached_property
    def _unscaled(self) -> F64:
        """The largest magnitudes of the weights between channels: [groups, outputs, inputs] of a group."""
        found: F64 = np.abs(self._blocks(self._weights)).max(axis=3, initial=0).astype(np.float64)
        return found  # made on demand: most layers have no partner

    @functools.cached_property
    def _divided_before(self) -> F64:
        """By what earlier passes have divided the output channels; read before our own first writing."""
        assert self.node.graph is not None
        return np.asarray(output_factors(self.node.graph).get(self.node.name, 1.0), np.float64)

    @property
    def _ranges(self) -> F64:
        return self._unscaled if self._scaled is None else self._scaled

    @property
    def is_half(self) -> bool:
        """True for float16, in which every factor but a power of two rounds the weights once more."""
        return self._weights.dtype == np.float16

    def output_ranges(self) -> F64:
        """The largest magnitude of the weights of each output channel."""
        found: F64 = self._ranges.max(axis=2, initial=0).reshape(-1)
        return found

    def input_ranges(self) -> F64:
        """The largest magnitude of the weights that each input channel meets."""
        found: F64 = self._ranges.max(axis=1, initial=0).reshape(-1)
        return found

    def scale_outputs(self, factors: F64) -> None:
        """Multiply each output channel."""
        self._out = self._out * factors
        self._scaled = self._ranges * factors.reshape(*self._ranges.shape[:2], 1)

    def scale_inputs(self, factors: F64) -> None:
        """Multiply what each input channel meets."""
        self._into = self._into * factors
        self._scaled = self._ranges * factors.reshape(self._ranges.shape[0], 1, -1)

    def prepared(self) -> Write:
        """Puts the scaled weights and bias into the graph; PassError now when they overflow."""
        blocks = self._blocks(self._weights).astype(np.float64)
        groups, rows, columns, _ = blocks.shape
        with np.errstate(over="ignore"):
            blocks *= self._out.reshape(groups, rows, 1, 1)
            blocks *= self._into.reshape(groups, 1, columns, 1)
            weights = self._unblocked(blocks).astype(self._weights.dtype)
            bias = None if self._bias is None else self._bias.astype(np.float64) * self._out
            bias = None if bias is None else bias.astype(self._weights.dtype)
        if not np.isfinite(weights).all() or (bias is not None and not np.isfinite(bias).all()):
            raise PassError(f"the weights of {self.node.op} '{self.node.name}' times the factors overflow")

        divided = self._divided_before / self._out

        def write() -> Factors:
            write_operand(self.node, 1, Constant.of(weights), f"{self.node.name}.weight")
            if (self._out == 1).all():
                return {}
            if bias is not None:
                write_operand(self.node, 2, Constant.of(bias), f"{self.node.name}.bias")
            return {self.node.name: divided.tolist()}

        return write

    def _blocks(self, weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """As [groups, outputs of a group, inputs of a group, rest]."""
        groups = _groups(self.node)
        blocks: npt.NDArray[Any] = weights.reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
        return blocks if self.node.op == "Conv" or self._is_transposed else blocks.swapaxes(1, 2)

    def _unblocked(self, blocks: npt.NDArray[Any]) -> npt.NDArray[Any]:
        plain = self.node.op == "Conv" or self._is_transposed
        found: npt.NDArray[Any] = np.ascontiguousarray(blocks if plain else blocks.swapaxes(1, 2))
        return found.reshape(self._weights.shape)

    @property
    def _is_transposed(self) -> bool:
        return self.node.op == "Gemm" and bool(self.node.attributes.get("transB"))


def weights_of(node: Node) -> LayerWeights | str:
    """The weights of a layer; a reason when factors cannot go into them."""
    layer = layer_of(node)
    if isinstance(layer, str):
        return layer
    if node.attributes.get("transA"):
        return f"Gemm '{node.name}' transposes its input"
    value = node.inputs[1]
    assert value is not None
    assert value.constant is not None
    if not np.isfinite(value.constant.array).all():
        return f"the weights of {node.op} '{node.name}' are not finite"
    return LayerWeights(node, value.constant.array)


def _groups(node: Node) -> int:
    found = node.attributes.get("group", 1) if node.op in ("Conv", "ConvTranspose") else 1
    return found if isinstance(found, int) else 1
