"""Raises the opset of a graph through onnx.version_converter, and checks that the numbers stay the same.

The converter neither sees large constants (they pass as inputs and are put back, so the model
may be of any size) nor quants (they pass as ops of an unknown domain, which it leaves alone).
"""

from __future__ import annotations

from onnx import helper, version_converter

from qir.backends.trial import compare_runs
from qir.frontends.onnx import read_model, to_model
from qir.frontends.onnx.metadata import IR_VERSION
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import QUANT_DOMAIN, is_quant
from qir.ir.types import Type
from qir.ir.walk import walk_nodes
from qir.runtime.session import Feeds

_OPAQUE = "qir.opaque"
_SMALL = 1024  # elements; the converter reads constants such as axes and shapes
_SAMPLING_SINCE = 11
_TOLERANCE = 1e-5  # of the range of an output


def raise_opset(graph: Graph, version: int, feeds: Feeds | None = None) -> Graph:
    """A copy of `graph` in opset `version`, or a plain copy when its opset is that high already.

    Float results before and after are compared on `feeds` (made up from the input types when None). Names
    stay, but for a node that the converter replaces (Upsample by Resize).
    BackendError when a node cannot be converted or a result moves.
    """
    current = graph.opsets.get("", version)
    if current >= version:
        return graph.clone()
    what = f"the model's opset {current} cannot be raised to {version}"
    cure = "export the model with a later opset, or write form 'ascend', which keeps the opset"
    hidden = graph.clone()
    constants = _hide_constants(hidden)
    quants = _hide_quants(hidden)
    try:
        model = to_model(hidden)
        raised = read_model(version_converter.convert_version(model, version))
    except Exception as error:  # the converter raises RuntimeError, ConvertError and what its adapters throw
        raise BackendError(f"{what}: {error}; {cure}") from error
    _show_constants(raised, constants)
    _show_quants(raised, quants)
    _copy_metadata(graph, raised)
    if current < _SAMPLING_SINCE <= version:
        _keep_sampling(raised)
    difference = compare_runs(graph, raised, feeds)
    if difference is not None and difference.relative > _TOLERANCE:
        raise BackendError(
            f"{what}: output '{difference.name}' moves by {difference.relative:.1e} of its range; {cure}"
        )
    return raised


def _hide_constants(graph: Graph) -> dict[str, Value]:
    """Turn large constants into graph inputs of the same name; returns the constants by name."""
    found: dict[str, Value] = {}
    for value in graph.constants:
        assert value.constant is not None
        if value.constant.size > _SMALL:
            name = value.name
            graph.rename(value, graph.unique_value_name(f"{name}.hidden"))
            graph.replace(value, graph.add_input(name, value.type))
            found[name] = value
            graph.erase(value)
    return found


def _show_constants(graph: Graph, constants: dict[str, Value]) -> None:
    for value in graph.inputs:
        if value.name in constants:
            held, name = constants[value.name].constant, value.name
            assert held is not None
            constant = graph.constant(held, name)
            graph.replace(value, constant)
            graph.erase(value)
            graph.rename(constant, name)


def _hide_quants(graph: Graph) -> dict[str, Type]:
    """Move quants to an unknown domain; returns the type of each by node name."""
    found: dict[str, Type] = {}
    for node in graph.nodes:
        if is_quant(node):
            found[node.name] = node.output.type
            node.domain = _OPAQUE
            node.output.type = node.output.tensor.with_quant(None)
    if found:
        graph.opsets[_OPAQUE] = 1
    return found


def _show_quants(graph: Graph, quants: dict[str, Type]) -> None:
    graph.opsets.pop(_OPAQUE, None)
    for node in graph.nodes:
        if node.domain == _OPAQUE:
            node.domain = QUANT_DOMAIN
            node.output.type = quants[node.name]


def _keep_sampling(graph: Graph) -> None:
    """Let Resize read the points that it read before opset 11 gave it a choice.

    The converter leaves them to the default, which is another. Of a nearest Resize that enlarges one axis
    and shrinks another ONNX Runtime has no later form; the comparison of results will tell.
    """
    for node in walk_nodes(graph):
        if node.op != "Resize":
            continue
        node.attributes["coordinate_transformation_mode"] = "asymmetric"
        scales = node.input(2)
        if node.attributes.get("mode", "nearest") == "nearest":
            shrinks = scales is not None and scales.constant is not None and (scales.constant.array < 1).any()
            node.attributes["nearest_mode"] = "ceil" if shrinks else "floor"


def _copy_metadata(old: Graph, new: Graph) -> None:
    """The converter drops metadata; nodes keep their names, so it can be put back."""
    needed = helper.find_min_ir_version_for([helper.make_opsetid(d, v) for d, v in new.opsets.items()], True)
    new.metadata.update(old.metadata)
    new.metadata[IR_VERSION] = str(max(int(old.metadata.get(IR_VERSION, "0")), needed))
    kept = {node.name: node.metadata for node in walk_nodes(old)}
    for node in walk_nodes(new):
        node.metadata.update(kept.get(node.name, {}))
