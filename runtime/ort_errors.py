"""Turns the messages of ONNX Runtime into short ones that name the node, its op and what to do."""

from __future__ import annotations

import re

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.walk import walk_nodes

_UNKNOWN_OP = re.compile(
    r"Fatal error: (?P<domain>[^:\s]*):(?P<op>\w+)\(-?\d+\) is not a registered"
    r"|No Op registered for (?P<bare>\w+) with domain_version"
)
_NO_KERNEL = re.compile(
    r"Could not find an implementation for (?P<op>\w+)\(\d+\) node with name '(?P<node>[^']*)'"
)
_IN_NODE = re.compile(
    r"In Node, \(\"(?P<node>[^\"]*)\", (?P<op>\w+),.*?(?:, Error |Error: )(?P<reason>.*)", re.DOTALL
)
_RUNNING = re.compile(
    r"Non-zero status code returned while running (?P<op>\w+) node\. Name:'(?P<node>[^']*)' "
    r"Status Message: (?P<reason>.*)",
    re.DOTALL,
)
_TOO_NEW = re.compile(
    r"Unsupported model IR version: (?P<ir>\d+)"
    r"|Opset (?P<opset>\d+) is under development.*till opset (?P<last>\d+)",
    re.DOTALL,
)
_OLDEST_OPSET = 7
_BLOCKED = "_nchwc"  # a node in a blocked layout is called by its result and this
_UNFIT = re.compile(
    r"Got invalid dimensions for input: (?P<name>.*?) for the following indices\s+"
    r"index: (?P<axis>\d+) Got: (?P<got>\d+) Expected: (?P<wanted>\d+)"
)
_OF_SHAPES = re.compile("dimension|broadcast|shape", re.IGNORECASE)
_BATCH_HINT = (
    " (samples run one by one; a model that takes batches of one size only needs that size in the shape of "
    "its inputs, or data from a function that yields such batches)"
)
_NOISE = re.compile(
    r"^(?:\[ONNXRuntimeError\] : \d+ : \w+ : |Exception during initialization: |\[with [^\]]*\] "
    r"|\S+\.(?:h|cc|cpp):\d+ (?:.*?\) |\w+ (?=[A-Z]))?)+"
)
"""What stands in front of a reason: codes, source positions, names of C++ functions."""


def explain_load(message: str, graph: Graph) -> str:
    """Why ONNX Runtime refused to load `graph`."""
    unknown = _UNKNOWN_OP.search(message)
    if unknown:
        op, domain = unknown["op"] or unknown["bare"], unknown["domain"] or ""
        node = next((n for n in walk_nodes(graph) if n.op == op and n.domain == domain), None)
        return _unknown_op(op, domain, node)
    new = _TOO_NEW.search(message)
    if new:
        what = f"IR version {new['ir']}" if new["ir"] else f"opset {new['opset']} (it ends at {new['last']})"
        return (
            f"the installed ONNX Runtime is too old for {what}: install a newer one, or export the model anew"
        )
    kernel = _NO_KERNEL.search(message)
    opset = graph.opsets.get("", _OLDEST_OPSET)
    if opset < _OLDEST_OPSET:
        return (
            f"ONNX Runtime cannot run this model of opset {opset}: export it with opset {_OLDEST_OPSET} or "
            f"later, or raise it with onnx.version_converter"
        )
    if kernel:
        return (
            f"ONNX Runtime has no CPU kernel for node '{kernel['node']}' ({kernel['op']}) with the element "
            f"types it reads; the model cannot be run here unless they are cast to float32"
        )
    invalid = _IN_NODE.search(message)
    if invalid:
        return f"ONNX Runtime rejects node '{invalid['node']}' ({invalid['op']}): {short(invalid['reason'])}"
    return f"ONNX Runtime cannot load the model: {short(message)}"


def _unknown_op(op: str, domain: str, node: Node | None) -> str:
    where = f" of node '{node.name}'" if node is not None else ""
    full = f"{domain}.{op}" if domain else op
    return (
        f"ONNX Runtime does not know the op '{full}'{where}: the model cannot be run here; write it with "
        f"standard ops, or cut it off the model"
    )


def explain_run(message: str, single: bool = False) -> str:
    """Why a run failed; `single`: it had one sample where the inputs allow for any number."""
    hint = _BATCH_HINT if single and _OF_SHAPES.search(message) else ""
    unfit = _UNFIT.search(message)
    if unfit:
        return (
            f"input '{unfit['name']}' has {unfit['got']} along axis {unfit['axis']}, the model takes "
            f"{unfit['wanted']}{hint}"
        )
    failed = _RUNNING.search(message)
    if failed:
        made = failed["node"].removesuffix(_BLOCKED)
        named = f"node '{made}'" if made == failed["node"] else f"the node that makes '{made}'"
        return f"{named} ({failed['op']}) failed in ONNX Runtime: {short(failed['reason'])}{hint}"
    return f"ONNX Runtime failed: {short(message)}{hint}"


def short(message: str) -> str:
    """The first line of a message of ONNX Runtime without ONNX Runtime's own codes and source positions."""
    text = _NOISE.sub("", message.lstrip()).strip()
    return text.splitlines()[0].strip().rstrip(".") if text else "no reason given"
