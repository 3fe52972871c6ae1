"""What an ONNX file says beside its graph (versions, producer, texts), kept as graph and node metadata.

Keys that start with `qir.` hold fields of the file; all others are its `metadata_props`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import helper

from qir.ir.graph import Graph
from qir.ir.node import Node, Value

IR_VERSION = "qir.ir_version"
_COMMON_IR = 10  # what runtimes of 2024 read; later versions brought types and texts that such a graph lacks
DOC_STRING = "qir.doc_string"
ORIGINAL_NAME = "qir.original_name"
SPARSE_ATTRIBUTES = "qir.sparse_attributes"
_MODEL_VERSION = "qir.model_version"
_MODEL_TEXTS = {
    "producer_name": "qir.producer_name",
    "producer_version": "qir.producer_version",
    "domain": "qir.domain",
    "doc_string": "qir.model_doc_string",
}
_GRAPH_METADATA = "qir.graph_metadata"
_INITIALIZER_INPUTS = "qir.initializer_inputs"
_QUANTIZATION = "qir.quantization_annotation"
_VALUE_TEXTS = "qir.value_texts"
_FIELDS = frozenset(
    {
        IR_VERSION,
        DOC_STRING,
        SPARSE_ATTRIBUTES,
        _MODEL_VERSION,
        *_MODEL_TEXTS.values(),
        _GRAPH_METADATA,
        _INITIALIZER_INPUTS,
        _QUANTIZATION,
        _VALUE_TEXTS,
    }
)
_log = logging.getLogger(__name__)


def properties(entries: Iterable[onnx.StringStringEntryProto]) -> dict[str, str]:
    """A list of key-value messages as a dict."""
    return {entry.key: entry.value for entry in entries}


def _dump(item: object) -> str:
    return json.dumps(item, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_model_metadata(model: onnx.ModelProto, graph: Graph) -> None:
    """Keep the fields of a model; training and device configurations are left out, with a log line."""
    graph.metadata.update(properties(model.metadata_props))
    graph.metadata[IR_VERSION] = str(model.ir_version)
    if model.model_version:
        graph.metadata[_MODEL_VERSION] = str(model.model_version)
    for field, key in _MODEL_TEXTS.items():
        text: str = getattr(model, field)
        if text:
            graph.metadata[key] = text
    for field in ("training_info", "configuration"):
        if field in model.DESCRIPTOR.fields_by_name and len(getattr(model, field)):
            _log.info("the model's %s is left out: qir keeps the inference graph only", field)


def read_graph_metadata(proto: onnx.GraphProto, graph: Graph) -> None:
    """Keep the texts of a graph and of its values."""
    own = properties(getattr(proto, "metadata_props", ()))
    if graph.parent is not None:
        graph.metadata.update(own)
    elif own:
        graph.metadata[_GRAPH_METADATA] = _dump(own)
    if proto.doc_string:
        graph.metadata[DOC_STRING] = proto.doc_string
    texts: dict[str, dict[str, object]] = {}
    for info in (*proto.input, *proto.output, *proto.value_info):
        if info.doc_string:
            texts.setdefault(info.name, {})["doc_string"] = info.doc_string
        if len(getattr(info, "metadata_props", ())):
            texts.setdefault(info.name, {})["metadata"] = properties(info.metadata_props)
    if texts:
        graph.metadata[_VALUE_TEXTS] = _dump(texts)
    if len(proto.quantization_annotation):
        notes = {
            a.tensor_name: properties(a.quant_parameter_tensor_names) for a in proto.quantization_annotation
        }
        graph.metadata[_QUANTIZATION] = _dump(notes)


def remember_initializer_inputs(graph: Graph, values: Sequence[Value]) -> None:
    """Note which constants the file lists as inputs too, so that its users can override them."""
    if values:
        held = [[v.name, v.constant.digest] for v in values if v.constant is not None]
        graph.metadata[_INITIALIZER_INPUTS] = _dump(held)


def initializer_inputs(graph: Graph) -> tuple[Value, ...]:
    """The constants that the file listed as inputs and that are unchanged."""
    noted: Sequence[tuple[str, str]] = json.loads(graph.metadata.get(_INITIALIZER_INPUTS, "[]"))
    values = ((graph.value(name), digest) for name, digest in noted if graph.has_value(name))
    return tuple(v for v, digest in values if v.constant is not None and v.constant.digest == digest)


def write_model_metadata(graph: Graph, model: onnx.ModelProto) -> None:
    """Write the fields of a model, its IR version excepted."""
    for key in sorted(graph.metadata):
        if key not in _FIELDS:
            model.metadata_props.add(key=key, value=graph.metadata[key])
    if IR_VERSION not in graph.metadata:  # the graph did not come from a file
        model.producer_name = "qir"
    for field, key in _MODEL_TEXTS.items():
        if key in graph.metadata:
            setattr(model, field, graph.metadata[key])
    version = graph.metadata.get(_MODEL_VERSION, "")
    if version:
        model.model_version = int(version)


def runnable_ir_version(graph: Graph) -> int:
    """The graph's IR version; for a late one the lowest that its opset needs, though not less than 10.

    Runtimes refuse an IR version that is newer than they are, whatever is in the model.
    """
    current = int(graph.metadata.get(IR_VERSION, _COMMON_IR))
    opsets = [helper.make_opsetid("", graph.opsets[""])] if "" in graph.opsets else []
    try:
        return min(current, max(helper.find_min_ir_version_for(opsets), _COMMON_IR))
    except ValueError:  # an opset newer than the onnx package
        return current


def write_graph_metadata(graph: Graph, proto: onnx.GraphProto) -> None:
    """Write the texts of a graph."""
    own = {k: v for k, v in graph.metadata.items() if k not in _FIELDS}
    if graph.parent is None:
        own = json.loads(graph.metadata.get(_GRAPH_METADATA, "{}"))
    for key in sorted(own):
        proto.metadata_props.add(key=key, value=own[key])
    if DOC_STRING in graph.metadata:
        proto.doc_string = graph.metadata[DOC_STRING]
    notes: Mapping[str, Mapping[str, str]] = json.loads(graph.metadata.get(_QUANTIZATION, "{}"))
    for name in sorted(notes):
        if graph.has_value(name) and all(graph.has_value(v) for v in notes[name].values()):
            made = proto.quantization_annotation.add(tensor_name=name)
            for key in sorted(notes[name]):
                made.quant_parameter_tensor_names.add(key=key, value=notes[name][key])


class ValueTexts:
    """Texts and properties that a file gives to the values of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._texts: Mapping[str, Mapping[str, object]] = json.loads(graph.metadata.get(_VALUE_TEXTS, "{}"))

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def write(self, proto: onnx.ValueInfoProto) -> None:
        """Write what is known about the value that `proto` names."""
        texts = self._texts.get(proto.name) if self._texts else None
        if texts is None:
            return
        doc, held = texts.get("doc_string"), texts.get("metadata")
        if isinstance(doc, str):
            proto.doc_string = doc
        if isinstance(held, dict):
            for key in sorted(held):
                proto.metadata_props.add(key=key, value=held[key])


def read_node_metadata(proto: onnx.NodeProto, node: Node, sparse: Sequence[str]) -> None:
    """Keep the texts of a node; `sparse` names the attributes that were sparse tensors."""
    node.metadata.update(properties(getattr(proto, "metadata_props", ())))
    if proto.doc_string:
        node.metadata[DOC_STRING] = proto.doc_string
    if sparse:
        node.metadata[SPARSE_ATTRIBUTES] = _dump(sorted(sparse))


def sparse_attributes(node: Node) -> Sequence[str]:
    """The names of the attributes that the file held as sparse tensors."""
    text = node.metadata.get(SPARSE_ATTRIBUTES)
    names: Sequence[str] = () if text is None else json.loads(text)
    return names


def write_node_metadata(node: Node, proto: onnx.NodeProto) -> None:
    """Write the texts of a node."""
    if DOC_STRING in node.metadata:
        proto.doc_string = node.metadata[DOC_STRING]
    for key in sorted(node.metadata):
        if key not in (DOC_STRING, SPARSE_ATTRIBUTES):
            proto.metadata_props.add(key=key, value=node.metadata[key])
