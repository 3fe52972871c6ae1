"""Nodes as they were written before: for models that have most of them in common, as those of a search have.

Most of the time that writing a model takes goes into the messages of its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import onnx

from qir.ir.node import Attribute


class NodeText(NamedTuple):
    """All that a file says of a node without subgraphs; operands by name."""

    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: Mapping[str, Attribute]
    metadata: Mapping[str, str]


class WrittenNodes:
    """The bytes of nodes by name, for configurations of one model; what is not as it was is written anew."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[NodeText, bytes]] = {}

    def write(self, text: NodeText, proto: onnx.NodeProto, fill: Callable[[], None]) -> None:
        """Fill `proto` with what `fill` fills it with, or with what that gave for an equal node."""
        known = self._known.get(text.name)
        if known is not None and known[0] == text:
            proto.MergeFromString(known[1])
            return
        fill()
        held = text._replace(attributes=dict(text.attributes), metadata=dict(text.metadata))
        self._known[text.name] = held, proto.SerializeToString(deterministic=True)
