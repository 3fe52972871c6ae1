"""Fills in element types and shapes that the model left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qir.frontends.onnx import infer_types
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context


@dataclass(frozen=True)
class InferTypes(Pass):
    """Infer element types and shapes with ONNX's rules; what cannot be inferred stays unknown."""

    name: ClassVar[str] = "infer-types"

    def run(self, graph: Graph, context: Context) -> bool:
        """Nothing known is ever forgotten, and no model is refused."""
        return infer_types(graph)
