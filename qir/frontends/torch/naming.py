"""Names the layers of an exported model after their modules, and takes the marks of the trace away."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from qir.frontends.torch.kinds import RENAMED_OPS, Kind
from qir.frontends.torch.marks import DOMAIN, OUTPUT, PATH

MODULE, RUNS = "torch.module", "torch.runs"
"""Metadata of a layer's node: the path of its module; how many nodes the module has, where several."""
_SCOPES = "pkg.torch.onnx.name_scopes"


def name_layers(model: onnx.ModelProto, kinds: Mapping[str, Kind]) -> None:
    """Name nodes in place: a layer has the path of its module; a second one of the same module a suffix.

    `kinds` maps paths of modules to their kinds. Works on what either exporter of torch writes.
    """
    found = _by_scope(model.graph, kinds) or _by_mark(model.graph, kinds)
    _forget_notes(model)
    taken = {node.name for node in model.graph.node}
    for path, nodes in found.items():
        for number, node in enumerate(nodes):
            node.metadata_props.add(key=MODULE, value=path)
            if len(nodes) > 1:
                node.metadata_props.add(key=RUNS, value=str(len(nodes)))
            if node.op_type in RENAMED_OPS:
                node.name = _free(path if not number else f"{path}_{number}", taken, kinds)
    _remove_marks(model)  # last: it copies nodes


def _free(name: str, taken: set[str], kinds: Mapping[str, Kind]) -> str:
    """That name, or one like it that is neither taken nor the path of another module."""
    free, number = name, 1
    while free in taken or (free in kinds and free != name):
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def _by_scope(graph: onnx.GraphProto, kinds: Mapping[str, Kind]) -> dict[str, list[onnx.NodeProto]]:
    """Path -> nodes, out of the scopes that the dynamo exporter notes."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), None)
        for path in reversed(ast.literal_eval(scopes) if scopes else []):
            if path in kinds and path:
                if node.op_type in kinds[path].ops:
                    found.setdefault(path, []).append(node)
                break
    return found


def _forget_notes(model: onnx.ModelProto) -> None:
    """Take away what the dynamo exporter notes for its own tools: several times the size of the graph."""
    graph = model.graph
    for holder in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del holder.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]


def _by_mark(graph: onnx.GraphProto, kinds: Mapping[str, Kind]) -> dict[str, list[onnx.NodeProto]]:
    """Path -> nodes: for each mark, the nearest nodes in front of it that are of the module's kind."""
    producers = {name: node for node in graph.node for name in node.output}
    found: dict[str, list[onnx.NodeProto]] = {}
    for mark in graph.node:
        if mark.domain == DOMAIN and mark.op_type == OUTPUT:
            path = _path(mark)
            ops = kinds[path].ops
            nodes = [node for node in _upstream(mark, producers) if node.op_type in ops]
            found.setdefault(path, []).extend(nodes)
    return found


def _upstream(mark: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Everything in front of a mark, up to other marks and to the layer itself, nearest first."""
    waiting, seen = list(mark.input), set[str]()
    while waiting:
        name = waiting.pop(0)
        node = producers.get(name)
        if node is None or name in seen or node.domain == DOMAIN:
            continue
        seen.update(node.output)
        yield node
        if node.op_type not in RENAMED_OPS:
            waiting.extend(node.input)


def _path(mark: onnx.NodeProto) -> str:
    text: bytes = helper.get_node_attr_value(mark, PATH)
    return text.decode()


@dataclass
class _Names:
    """What values are called once the marks are gone."""

    source: dict[str, str]

    def of(self, name: str) -> str:
        """The name of the value that stands behind all marks."""
        while name in self.source:
            name = self.source[name]
        return name


def _remove_marks(model: onnx.ModelProto) -> None:
    graph = model.graph
    marks = [node for node in graph.node if node.domain == DOMAIN]
    names = _Names({mark.output[0]: mark.input[0] for mark in marks})
    kept = [node for node in graph.node if node.domain != DOMAIN]
    del graph.node[:]
    graph.node.extend(kept)
    _rename_inputs(graph, names)
    _restore_outputs(graph, names)
    gone = names.source.keys()
    infos = [info for info in graph.value_info if info.name not in gone]
    del graph.value_info[:]
    graph.value_info.extend(infos)
    imports = [entry for entry in model.opset_import if entry.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(imports)


def _rename_inputs(graph: onnx.GraphProto, names: _Names) -> None:
    for node in graph.node:
        renamed = [names.of(name) for name in node.input]
        del node.input[:]
        node.input.extend(renamed)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                _rename_inputs(inner, names)


def _restore_outputs(graph: onnx.GraphProto, names: _Names) -> None:
    """Let what the model returns keep its name, where the name was that of a mark."""
    inputs = {info.name for info in (*graph.input, *graph.initializer)}
    returned: dict[str, str] = {}
    for info in graph.output:
        name = names.of(info.name)
        if name == info.name:
            continue
        if name in inputs or name in returned or any(name == other.name for other in graph.output):
            graph.node.add(op_type="Identity", name=f"{info.name}.identity", input=[name], output=[info.name])
        else:
            returned[name] = info.name
    _rename_values(graph.node, returned)
    for info in graph.value_info:
        info.name = returned.get(info.name, info.name)


def _rename_values(nodes: Sequence[onnx.NodeProto], new: Mapping[str, str]) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            renamed = [new.get(name, name) for name in names]
            del names[:]
            names.extend(renamed)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs:
                _rename_values(inner.node, new)
