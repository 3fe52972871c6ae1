"""The quantization information file: which original nodes each node of the deploy graph stands for.

The accuracy comparison tool of the Ascend toolchain reads it like a fusion file of ATC: `graph[].op[]`, each
op with its name, type, inputs and the list `_datadump_original_op_names`. The nodes that quantization adds
stand for no original node; AscendDequant says in `output_desc` of which original output it holds the value.
"""

from __future__ import annotations

import json

from qir.backends.ascend.deploy import RESULT_TYPES
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node

Json = str | int | list["Json"] | dict[str, "Json"]
_STRINGS = 1  # val_type of a list of strings
_plain = json.JSONEncoder(ensure_ascii=False).encode


def quant_info(quantized: Graph, deploy: Graph, name: str) -> str:
    """The file's text, for a quantized graph and the deploy graph made of it; `name` is its title."""
    origins = {node.name: _original_names(node) for node in quantized.nodes}
    ops: list[Json] = []
    for number, node in enumerate(deploy.nodes):
        added = node.op in ("AscendQuant", "AscendDequant", "AscendAntiQuant")
        op: dict[str, Json] = {"name": node.name, "type": node.op, "id": number, "input": _inputs(node)}
        op["attr"] = [_names([] if added else origins.get(node.name, [node.name]))]
        if node.op == "AscendDequant":
            layer = node.inputs[0].producer if node.inputs[0] is not None else None
            assert layer is not None
            kind = "DT_FLOAT16" if node.attributes["dtype"] == RESULT_TYPES[DType.F16] else "DT_FLOAT"
            op["output_desc"] = [_output(origins[layer.name][-1], kind)]
        ops.append(op)
    return _text({"name": name, "graph": [{"op": ops}]}, "\n") + "\n"


def _text(item: Json, line: str) -> str:
    """JSON as `json.dumps` indents it by 2, without its generators within generators; `line` begins lines."""
    inner = f"{line}  "
    if isinstance(item, dict) and item:
        pairs = (f"{_plain(k)}: {_text(v, inner)}" for k, v in item.items())
        return f"{{{inner}{f',{inner}'.join(pairs)}{line}}}"
    if isinstance(item, list) and item:
        return f"[{inner}{f',{inner}'.join(_text(each, inner) for each in item)}{line}]"
    return _plain(item)


def _original_names(node: Node) -> list[str]:
    """The node and those folded into it, by the names they had in the user's file."""
    fused = json.loads(node.metadata.get("qir.fused", "[]"))
    return [node.metadata.get("qir.original_name") or node.name, *(str(name) for name in fused)]


def _inputs(node: Node) -> Json:
    """`producer:output` of everything the node reads."""
    read = [v for v in node.inputs if v is not None]
    return [
        f"{v.name if v.producer is None else v.producer.name}:{v.index if v.producer else 0}" for v in read
    ]


def _names(names: list[str]) -> Json:
    strings: list[Json] = [*names]
    return {"key": "_datadump_original_op_names", "value": {"list": {"val_type": _STRINGS, "s": strings}}}


def _output(origin: str, kind: str) -> Json:
    return {
        "attr": [
            {"key": "_datadump_origin_format", "value": {"s": "NCHW"}},
            {"key": "_datadump_data_type", "value": {"s": kind}},
            {"key": "_datadump_origin_output_index", "value": {"i": 0}},
            {"key": "_datadump_origin_name", "value": {"s": origin}},
        ]
    }
