"""What a pass is: a frozen dataclass whose fields are its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from qir.ir.graph import Graph
from qir.passes.context import Context
from qir.passes.options import print_options


@dataclass(frozen=True)
class Pass(ABC):
    """One change to a graph.

    A subclass is a frozen dataclass. Its fields are its options (see `options.py` for the types that an
    option may have), each with a default unless the user must choose; the first line of its docstring is
    its description. It is thin: the work is done by plain functions of its module.

    The contract: a pass is given a graph that `qir.ir.verify.verify` accepts and leaves one that it
    accepts; what happens in between is its own affair. Names of the model's nodes and values survive. It
    keeps nothing between runs, and changes nothing but the graph, and the rewrite log and statistics of the
    context. Running it twice is running it once.
    """

    name: ClassVar[str]
    """The name in pipelines, in kebab-case; `fuse-bn` is class FuseBn in `passes/fuse_bn.py`."""

    @abstractmethod
    def run(self, graph: Graph, context: Context) -> bool:
        """Change `graph` in place; True when anything changed.

        A missing precondition is a `PassError` that says what to do. A place that could not be rewritten is
        no error: it goes with its reason to `context.rewrites.refused`.
        """

    def __str__(self) -> str:
        """The pass as pipeline text: `insert-quant{precision=int16 ops=Conv,Gemm}`; defaults are left out."""
        return self.name + print_options(self)
