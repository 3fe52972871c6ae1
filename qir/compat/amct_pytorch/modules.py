"""Puts other layers into a copy of a user's module, by the constants of a graph made from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from qir.compat.amct_pytorch.layers import CalibratedLayer, Constants, FakeQuantLayer, Layer, Rounding, Watch
from qir.compat.common.errors import CompatRuntimeError
from qir.frontends.torch import LAYER_KINDS, MODULE, RUNS, Kind, kind_of
from qir.ir.constant import Constant
from qir.ir.graph import Graph
from qir.ir.node import Node, Value

Array = npt.NDArray[Any]
_NORM = "BatchNormalization"


def calibration_module(
    model: nn.Module,
    original: Graph,
    graph: Graph,
    watches: Mapping[str, list[Watch]],
    observe: Callable[[Watch, Array], None],
) -> nn.Module:
    """A copy of a module whose layers have the weights of a calibration graph and show their inputs.

    `original` is the graph exported from the module. CompatRuntimeError when modules cannot do what the graph
    does.
    """
    made, layers = _copied(model, original, graph)
    missing = sorted(watches.keys() - layers.keys())
    if missing:
        raise CompatRuntimeError(
            f"{missing[0]} is not the input of a module; PyTorch models have no such quant"
        )
    for path, node in layers.items():
        inner, kind = _inner(made, path)
        constants = _constants(node)
        if path in watches:
            _put(made, path, CalibratedLayer(inner, kind, path, constants, watches[path], observe))
        elif constants.weight is not None:
            _put(made, path, Layer(inner, kind, path, constants))
    return made


def fake_quant_module(model: nn.Module, original: Graph, fake: Graph) -> nn.Module:
    """A copy of a module that computes as a fake-quant graph made from it does."""
    made, layers = _copied(model, original, fake)
    for path, node in layers.items():
        inner, kind = _inner(made, path)
        constants, rounding = _constants(node), _rounding(node)
        if rounding is not None:
            _put(made, path, FakeQuantLayer(inner, kind, path, constants, rounding))
        elif constants.weight is not None:
            _put(made, path, Layer(inner, kind, path, constants))
    return made


def _copied(model: nn.Module, original: Graph, graph: Graph) -> tuple[nn.Module, dict[str, Node]]:
    """A copy without the BatchNormalizations that the graph has fused, and its layers by path.

    Layers that run several times stay as they are: so does what the graph says of them.
    """
    made = copy.deepcopy(model)
    for child in made.modules():
        if isinstance(child, nn.TransformerEncoderLayer):
            child.activation_relu_or_gelu = 0  # no fused forward, which would not call the layers in it
    kept = {node.name for node in graph.nodes}
    for node in original.nodes:
        if node.op == _NORM and node.name not in kept:
            _put(made, node.metadata[MODULE], nn.Identity())
    names = {node.name: node.metadata[MODULE] for node in original.nodes if _is_layer(node, made)}
    layers = {node.name: node for node in graph.nodes if node.name in names}
    return made, {names[name]: node for name, node in layers.items()}


def _is_layer(node: Node, made: nn.Module) -> bool:
    path = node.metadata.get(MODULE)
    if path is None or RUNS in node.metadata or node.op == _NORM:
        return False
    kind = kind_of(made.get_submodule(path))
    return kind is not None and kind.name in LAYER_KINDS


def _inner(made: nn.Module, path: str) -> tuple[nn.Module, Kind]:
    module = made.get_submodule(path)
    kind = kind_of(module)
    assert kind is not None
    return module, kind


def _put(made: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    module.train(False)
    setattr(made.get_submodule(parent), name, module)


def _constants(node: Node) -> Constants:
    """Weight, bias and factors of a layer's node; Gemm and MatMul have their weight transposed."""
    weight, bias, balance = _held(node.input(1)), _held(node.input(2)), None
    if node.op in ("Gemm", "MatMul") and weight is not None and not node.attributes.get("transB", 0):
        weight = np.ascontiguousarray(weight.T)
    if bias is None:
        bias = _bias_behind(node)
    first = _first_quant(node) or node
    divide = first.input(0)
    if divide is not None and divide.producer is not None and divide.producer.name == f"{node.name}.mul":
        balance = _held(divide.producer.input(1))
    return Constants(weight, bias, balance)


def _bias_behind(node: Node) -> Array | None:
    """The bias of a MatMul where it is summed up before the result is scaled: Add, then `dequant`."""
    add = _reader(node)
    if node.op != "MatMul" or add is None or add.op != "Add" or _dequant(add) is None:
        return None
    return _held(add.input(1))


def _rounding(node: Node) -> Rounding | None:
    """The fake quantization around a layer's node; None where there is none."""
    first = _first_quant(node)
    if first is None:
        return None
    sub = node.inputs[0].producer if node.inputs[0] is not None else None
    assert sub is not None
    clip = _producer(sub)
    chain = {"mul": first, "sub": sub, "clip": clip}
    behind = node if _dequant(node) is not None or _reader(node) is None else _reader(node)
    dequant = None if behind is None else _dequant(behind)
    scale = None if dequant is None else _held(dequant.input(0))
    if scale is None:
        raise CompatRuntimeError(f"the fake-quant model has no scale behind layer '{node.name}'")
    return Rounding(
        reciprocal=float(_scalar(chain["mul"], 1)),
        offset=float(_scalar(chain["sub"], 1)),
        low=float(_scalar(clip, 1)),
        high=float(_scalar(clip, 2)),
        dequant=scale,
        bias_after=behind is node and node.op == "MatMul",
    )


def _first_quant(node: Node) -> Node | None:
    """The Mul that begins the fake quantization of a layer's input: Mul, Round, Add, Clip, Sub."""
    item: Node | None = node
    for op in ("Sub", "Clip", "Add", "Round", "Mul"):
        item = None if item is None else _producer(item)
        if item is None or item.op != op:
            return None
    return item if item is not None and ".quant.fakequant." in item.name else None


def _dequant(node: Node) -> Node | None:
    """The Mul that scales the result of a layer."""
    found = _reader(node)
    return found if found is not None and ".fakedequant." in found.name else None


def _reader(node: Node) -> Node | None:
    uses = node.output.uses
    return uses[0].node if len(uses) == 1 else None


def _producer(node: Node) -> Node | None:
    source = node.input(0)
    return None if source is None else source.producer


def _held(value: Value | None) -> Array | None:
    """What a value is known to be: a constant, or what a Constant node gives."""
    if value is None or value.constant is not None:
        return None if value is None or value.constant is None else value.constant.array
    made = None if value.producer is None else value.producer.attributes.get("value")
    return made.array if isinstance(made, Constant) else None


def _scalar(node: Node | None, index: int) -> Array:
    held = None if node is None else _held(node.input(index))
    if held is None:
        raise CompatRuntimeError("the fake-quant model is not one that qir has written")
    return held
