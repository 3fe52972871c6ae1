"""The float graph of a user's module, with a note at every layer that AMCT would not quantize."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from qir.compat.amct_pytorch.layers import Layer
from qir.compat.common.errors import CompatRuntimeError, CompatTypeError
from qir.frontends.torch import (
    LAYER_KINDS,
    MODULE,
    RUNS,
    DynamicAxes,
    Example,
    kind_of,
    parameter_owners,
    read_torch,
)
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.passes.rules import KEEP_APART, KEEP_FLOAT

_LAYER_OPS = frozenset(op for kind in LAYER_KINDS.values() for op in kind.ops)
_RECURRENT = ("LSTM", "GRU")
_NORM = "BatchNormalization"
_log = logging.getLogger(__name__)


def exported(
    model: nn.Module,
    input_data: Example,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
) -> Graph:
    """The float graph of a module, whose quantizable layers are modules that run once.

    CompatTypeError for no module, CompatRuntimeError for one that is quantized already; ModelError as
    `read_torch`.
    """
    if not isinstance(model, nn.Module):
        raise CompatTypeError(f"argument 'model' must be torch.nn.Module, not {type(model).__name__}")
    quantized = [path for path, child in model.named_modules() if isinstance(child, Layer)]
    if quantized:
        raise CompatRuntimeError(
            f"The model cannot be quantized for following quant layers are in the model {quantized[:5]}; "
            "give the float model"
        )
    graph = read_torch(model, input_data, input_names, output_names, dynamic_axes)
    modules = dict(model.named_modules())
    shared = {path for owners in parameter_owners(model).values() if len(owners) > 1 for path in owners}
    for node in graph.nodes:
        reason = _reason(node, modules, shared) if node.op in _LAYER_OPS else None
        if reason is not None:
            node.metadata[KEEP_FLOAT] = reason
        apart = _why_apart(node) if node.op == _NORM else None
        if apart is not None:
            node.metadata[KEEP_APART] = apart
    return graph


def report_float_layers(graph: Graph) -> None:
    """Log which layers cannot be quantized, and why."""
    for name, reason in _float_layers(graph):
        _log.warning("'%s' stays in float: %s", name, reason)


def _float_layers(graph: Graph) -> Iterator[tuple[str, str]]:
    for node in graph.nodes:
        if KEEP_FLOAT in node.metadata:
            yield node.name, node.metadata[KEEP_FLOAT]
        elif node.op in _RECURRENT:
            yield node.name, f"{node.op} has no integer form in the deploy model"


def _why_apart(node: Node) -> str | None:
    """Why a BatchNormalization must stay: modules could not do without it what the fused graph does."""
    source = node.input(0)
    for item in (node, None if source is None else source.producer):
        if item is None or item.op not in (_NORM, *_LAYER_OPS):
            continue
        path, times = item.metadata.get(MODULE), item.metadata.get(RUNS)
        if path is None:
            return f"no module computes '{item.name}'"
        if times is not None:
            return f"module '{path}' runs {times} times"
    return None


def _reason(node: Node, modules: Mapping[str, nn.Module], shared: set[str]) -> str | None:
    path = node.metadata.get(MODULE)
    module = None if path is None else modules[path]
    kind = None if module is None else kind_of(module)
    if path is None or module is None or kind is None:
        return "no module computes it; AMCT quantizes modules only"
    if kind.name not in LAYER_KINDS:
        return f"AMCT does not quantize {kind.name}"
    if RUNS in node.metadata:
        return f"module '{path}' runs {node.metadata[RUNS]} times"
    if path in shared:
        return f"module '{path}' shares its weight with another module"
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return f"module '{path}' pads otherwise than with zeros"
    return None
