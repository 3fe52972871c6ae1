"""Nodes as they were written before: for models that have most of them in common, as those of a search have.

Most of the time that writing a model takes goes into the messages of its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import onnx

from qir.ir.constant import Constant
from qir.ir.node import Attribute


class NodeText(NamedTuple):
    """All that a file says of a node without subgraphs; operands by name."""

    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    metadata: Mapping[str, str]
    attributes: Mapping[str, Attribute]

    def means(self, other: NodeText) -> bool:
        """True when both are written alike. Attributes must be the same objects, as in copies of a graph, or
        equal constants: Python takes 1 for 1.0 and 0.0 for -0.0.
        """
        return (
            self[:-1] == other[:-1]
            and self.attributes.keys() == other.attributes.keys()
            and all(
                item is other.attributes[key]
                or (isinstance(item, Constant) and item == other.attributes[key])
                for key, item in self.attributes.items()
            )
        )


class WrittenNodes:
    """The bytes of nodes by name, for configurations of one model; what is not as it was is written anew."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[NodeText, bytes]] = {}

    def write(self, text: NodeText, proto: onnx.NodeProto, fill: Callable[[], None]) -> None:
        """Fill `proto` with what `fill` fills it with, or with what that gave for an equal node."""
        known = self._known.get(text.name)
        if known is not None and known[0].means(text):
            proto.MergeFromString(known[1])
            return
        fill()
        held = text._replace(attributes=dict(text.attributes), metadata=dict(text.metadata))
        self._known[text.name] = held, proto.SerializeToString(deterministic=True)
