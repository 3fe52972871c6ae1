"""The layers of a model that a target can quantize, and the names that their types have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from qir.backends.targets import Target
from qir.config.float_reasons import float_reasons
from qir.config.outline import Outline, outline
from qir.config.type_words import is_float, type_word
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import unquantized
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.insertion.selection import rule_of
from qir.passes.insertion.specs import has_floats, narrow_reason
from qir.passes.manager import PassManager
from qir.passes.rules import OperandRule, OpRule

_TORCH = {"Gemm": "Linear", "MatMul": "Linear"}
_BY_RANK = ("Conv", "ConvTranspose")
TORCH_TYPES = (
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "Linear", "AvgPool1d", "AvgPool2d",
)  # fmt: skip
"""The types of layers in PyTorch, which configurations may name as well as ops of ONNX."""


@dataclass(frozen=True)
class Layer:
    """One quantizable layer: a node after the exact passes, and the target's rule for its op."""

    node: Node
    rule: OpRule

    @property
    def name(self) -> str:
        """The name that it has in the user's model."""
        return self.node.name

    @property
    def op(self) -> str:
        """The op of ONNX."""
        return self.node.op

    @property
    def types(self) -> tuple[str, ...]:
        """The names of its type: the op of ONNX, and the layer of PyTorch."""
        return self.op, torch_type(self.node)

    @property
    def has_weight(self) -> bool:
        """False for pooling."""
        return self.rule.operand("weight") is not None

    @property
    def weight_index(self) -> int | None:
        """Which input its weight is, if it has one."""
        weight = self.rule.operand("weight")
        return None if weight is None else weight.index

    @cached_property
    def operands(self) -> tuple[OperandRule, ...]:
        """Its operands but for the bias, those that it has."""
        return tuple(
            operand
            for operand in self.rule.operands
            if operand.role != "bias"
            and (value := self.node.input(operand.index)) is not None
            and has_floats(value)
        )

    @property
    def float_type(self) -> str:
        """What it computes in when it is not quantized: `float32`, or `float16`."""
        return type_word(self.node.output)

    @property
    def per_channel(self) -> bool:
        """True when the target has a weight scale per output channel for it."""
        weight = self.rule.operand("weight")
        return weight is not None and weight.spec(self.node).axis is not None

    @property
    def symmetric_only(self) -> bool:
        """True when the target takes symmetric inputs only."""
        activation = self.rule.operand("activation")
        return activation is not None and activation.spec(self.node).symmetric

    @property
    def takes_int16(self) -> bool:
        """True when the target has an INT16 form of it."""
        return self.rule.refuse_precision(self.node, "activation", "int16") is None

    def lacks_weight_bits(self, bits: int) -> str | None:
        """Why its weight cannot have so many bits, or None."""
        return None if bits == 8 else narrow_reason(self.node, self.rule, bits)


@dataclass(frozen=True)
class Model:
    """A float model as configurations see it.

    `nodes` has every node of the model as it came, then those that exact passes have made. `layers` are those
    that the target can quantize once the exact passes have run, in running order, `tensors` those that may
    read an input as integers. `floats` says why other nodes stay in float, `outputs` which nodes make the
    float outputs of the model, with their types.
    """

    nodes: Outline
    layers: Mapping[str, Layer]
    tensors: Mapping[str, Node]
    target: Target
    floats: Mapping[str, str]
    outputs: Mapping[str, str]

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Every node, name -> op."""
        return {name: node.op for name, node in self.nodes.items()}

    @property
    def known_types(self) -> tuple[str, ...]:
        """What configurations may call types of layers."""
        return (*self.target.rules.ops, *TORCH_TYPES)


def model_of(original: Outline, graph: Graph, target: Target) -> Model:
    """What configurations need to know; `graph` is after the exact passes, `original` before them."""
    layers: dict[str, Layer] = {}
    for node in graph.nodes:
        rule = rule_of(node, target.rules)
        if rule is not None and rule.refuse(node) is None:
            layers[node.name] = Layer(node, rule)
    outputs = {v.producer.name: type_word(v) for v in graph.outputs if v.producer and is_float(v)}
    tensors = {n.name: n for n in graph.nodes if n.op in target.rules.tensors and n.domain in ("", "ai.onnx")}
    nodes = {**outline(graph), **original}
    ordered = {name: nodes[name] for name in (*original, *nodes)}
    return Model(ordered, layers, tensors, target, float_reasons(original, graph, target), outputs)


def read_model(graph: Graph, target: Target, passes: Iterable[Pass]) -> Model:
    """The same for a float model as it came, which is left as it is; `passes` are those of a pipeline."""
    prepared = graph.clone()
    PassManager(exact_passes(passes)).run(prepared, Context(rules=target.rules))
    return model_of(outline(graph), prepared, target)


def exact_passes(passes: Iterable[Pass]) -> tuple[Pass, ...]:
    """The passes in front of the first insert-quant: they leave the numbers as they are."""
    found: list[Pass] = []
    for item in passes:
        if isinstance(item, InsertQuant):
            break
        found.append(item)
    return tuple(found)


def torch_type(node: Node) -> str:
    """What PyTorch calls such a layer: Conv2d, Linear, AvgPool2d; the op where it has no such layer."""
    if node.op == "AveragePool":
        kernel = node.attributes.get("kernel_shape", ())
        return f"AvgPool{len(kernel) if isinstance(kernel, tuple) else 2}d"
    weight = node.input(1)
    constant = None if weight is None else unquantized(weight).constant
    if node.op in _BY_RANK and constant is not None:
        return f"{node.op}{len(constant.shape) - 2}d"
    return _TORCH.get(node.op, node.op)
